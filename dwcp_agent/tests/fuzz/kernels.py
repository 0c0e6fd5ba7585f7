"""Target: what the compiled core shows to Python, beside a few lines that do the same."""

from __future__ import annotations

import itertools
import struct

from dwcp_agent import _native
from fuzz.given import Given

__all__ = ["kernels"]


def kernels(data: bytes) -> None:
    """Every kernel, on every path, says what plain Python says."""
    given = Given(data)
    page, offset, average = 1 + given.number(5000), given.number(64), 256 + given.number(2000)
    value, times, changed = given.number(0xFFFFFFFF), 1 + given.number(60), given.number(0xFFFF)
    content = memoryview(given.rest() * times)[offset:]
    other = bytearray(content)
    if other:
        other[changed % len(other)] ^= 1 + changed % 255
    pages = [content[at : at + page] for at in range(0, len(content), page)]
    beside = [other[at : at + page] for at in range(0, len(other), page)]
    paths = _native.available()
    sums = [_native.crc32c_on("scalar", each) for each in pages]
    assert _native.page_sums(content, page) == struct.pack(f"={len(sums)}I", *sums)
    assert _native.zero_runs(content, page) == _runs([not any(each) for each in pages])
    assert _native.equal_runs(content, other, page) == _runs([left == right for left, right in zip(pages, beside, strict=True)])
    whole = _native.crc32c_on("scalar", content, value)
    for path in paths["crc32c"]:
        assert _native.crc32c_on(path, content, value) == whole
        assert _native.crc32c_on(path, content[page:], _native.crc32c_on(path, content[:page], value)) == whole
    expected = bytes(left ^ right for left, right in zip(content, other, strict=True))
    for path in paths["xor"]:
        out = bytearray(other)
        _native.xor_into_on(path, out, content, out)
        assert out == expected
    for path in paths["pagecompare"]:
        assert _native.is_equal_on(path, content, other) == (not content)
        assert _native.is_equal_on(path, content, bytes(content))
    for path in paths["pagescan"]:
        assert _native.is_zero_on(path, content) == (not any(content))
    ends = _native.chunk_ends_on("scalar", content, average)
    assert all(_native.chunk_ends_on(path, content, average) == ends for path in paths["chunker"])
    lengths = [end - begin for begin, end in itertools.pairwise([0, *ends])]
    assert sum(lengths) == len(content) and all(length <= 4 * average for length in lengths)
    assert all(length >= average // 4 for length in lengths[:-1])
    sure = _native.chunk_ends(content, average, final=False)
    assert ends[: len(sure)] == sure


def _runs(pages: list[bool]) -> list[tuple[int, int]]:
    found, at = [], 0
    for good, group in itertools.groupby(pages):
        count = len(list(group))
        if good:
            found.append((at, count))
        at += count
    return found
