"""Exclusive or, the scans, the chunker: every path gives the plain implementation's answer, for every length and offset."""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
import platform
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent import _native, features

PATHS = _native.available()

# The widest step is 256 bytes: every length to three of them, and a few beyond.
LENGTHS = [*range(3 * 256 + 5), 4095, 4096, 4097, 10_001]


def test_every_instruction_set_has_its_switch() -> None:
    assert set(_native.INSTRUCTION_SETS) <= set(features.SWITCHES)
    assert set(PATHS) == {"crc32c", "pagescan", "pagecompare", "xor", "chunker"}


def flags_of_this_processor() -> set[str]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return set(next(line for line in lines if line.startswith("flags")).partition(":")[2].split())


AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
CARRYLESS = {"sse4_2", "pclmulqdq"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="/proc/cpuinfo names sets of x86")
def test_paths_are_those_that_the_kernel_says_this_processor_has() -> None:
    has = flags_of_this_processor()
    needs = {
        "sse42": {"sse4_2"},
        "pclmul": CARRYLESS,
        "avx2": CARRYLESS | {"avx2", "vpclmulqdq"},
        "avx512": CARRYLESS | {"avx2", "vpclmulqdq"} | AVX512,
    }
    assert [path for path in PATHS["crc32c"] if path != "avx512+crc"] == ["scalar", *(path for path in needs if needs[path] <= has)]
    wide = [path for path, sets in (("avx2", {"avx2"}), ("avx512", {"avx2"} | AVX512)) if sets <= has]
    for kernel in ("pagescan", "pagecompare", "xor", "chunker"):
        assert list(PATHS[kernel]) == ["scalar", *wide]


def test_the_checksum_has_a_path_on_avx2_that_is_run_and_right() -> None:
    """Where the processor has none this fails, as it should: such a host is slower, and somebody has to know."""
    features.configure(["avx512"])
    try:
        assert _native.active()["crc32c"] == "avx2"
        assert _native.crc32c(b"123456789" * 1000) == _native.crc32c_on("scalar", b"123456789" * 1000)
    finally:
        features.configure()
    assert _native.crc32c_on("avx2", b"123456789") == 0xE3069283  # the check value of the CRC catalogue


@pytest.mark.parametrize("path", PATHS["xor"])
def test_xor_agrees_at_every_length_in_place_and_apart(path: str) -> None:
    left, right = os.urandom(10_100), os.urandom(10_100)
    expected = (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")
    for length in LENGTHS:
        offset = length % 67
        a, b = memoryview(left)[offset : offset + length], memoryview(right)[offset : offset + length]
        out = bytearray(b"\xaa" * (length + 2))
        _native.xor_into_on(path, memoryview(out)[1:-1], a, b)
        assert out == b"\xaa" + expected[offset : offset + length] + b"\xaa", length
        in_place = bytearray(a)
        _native.xor_into_on(path, in_place, in_place, b)
        assert in_place == expected[offset : offset + length]
        _native.xor_into_on(path, in_place, a, in_place)
        assert in_place == b  # a ^ (a ^ b): it can be undone


def test_xor_refuses_what_it_cannot_do() -> None:
    memory = bytearray(100)
    with pytest.raises(ValueError, match="overlaps"):
        _native.xor_into(memoryview(memory)[1:51], memoryview(memory)[:50], bytes(50))
    with pytest.raises(ValueError, match="same length"):
        _native.xor_into(memory, bytes(99), bytes(100))
    with pytest.raises(TypeError):
        _native.xor_into(bytes(4), bytes(4), bytes(4))
    assert memory == bytes(100)


@pytest.mark.parametrize("path", PATHS["pagecompare"])
def test_one_different_byte_anywhere_is_noticed(path: str) -> None:
    content = os.urandom(10_100)
    for length in LENGTHS:
        for offset in (0, 1, 33):
            left, right = memoryview(content)[offset : offset + length], bytearray(content[offset : offset + length])
            assert _native.is_equal_on(path, left, right)
            for at in range(length) if length < 300 else {0, 1, 255, 256, length // 2, length - 2, length - 1}:
                right[at] ^= 0x10
                assert not _native.is_equal_on(path, left, right), (length, at)
                right[at] ^= 0x10


def test_buffers_of_different_length_are_not_compared() -> None:
    for compare in (_native.is_equal, _native.equal_runs):
        with pytest.raises(ValueError, match="same length"):
            compare(b"ab", b"abc")


@given(pages=st.lists(st.booleans(), max_size=40), tail=st.integers(0, 63), page=st.sampled_from([1, 16, 64, 4096]))
@settings(max_examples=100, deadline=None)
def test_runs_of_equal_pages_are_exactly_those(pages: list[bool], tail: int, page: int) -> None:
    tail = min(tail, page - 1)
    left = os.urandom(len(pages) * page + tail)
    right = bytearray(left)
    for index, equal in enumerate(pages):
        if not equal:
            right[index * page + random.randrange(page)] ^= 1
    flags = pages + ([True] if tail else [])
    runs = _native.equal_runs(left, right, page)
    assert [index for first, count in runs for index in range(first, first + count)] == [i for i, equal in enumerate(flags) if equal]
    assert all(a + n < b for (a, n), (b, _) in itertools.pairwise(runs))


def gear() -> list[int]:
    """SplitMix64 from 5: sixteen words for the low half of a byte, sixteen for the high."""
    state, words, mask = 5, [], (1 << 64) - 1
    for _ in range(32):
        state = (state + 0x9E3779B97F4A7C15) & mask
        value = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        words.append((value ^ (value >> 31)) >> 32)
    return [words[byte & 15] ^ words[16 + (byte >> 4)] for byte in range(256)]


GEAR = gear()


def plain_ends(data: bytes, average: int, least: int, most: int) -> list[int]:
    even = (1 << 32) // average
    ends, start = [], 0
    while start < len(data):
        end = min(start + most, len(data))
        for at in range(start + least, end + 1):
            value = 0
            for byte in data[at - 32 : at]:
                value = ((value << 1) + GEAR[byte]) & 0xFFFFFFFF
            if value < (even // 4 if at - start < average else even * 4):
                end = at
                break
        ends.append(end)
        start = end
    return ends


@given(data=st.binary(max_size=4000), seed=st.integers(0, 1 << 32), size=st.integers(0, 4000))
@settings(max_examples=60, deadline=None)
def test_chunks_agree_with_the_plain_version_on_every_path(data: bytes, seed: int, size: int) -> None:
    for content in (data, random.Random(seed).randbytes(size)):
        expected = plain_ends(content, 256, 64, 1024)
        for path in PATHS["chunker"]:
            assert _native.chunk_ends_on(path, content, 256) == expected, path


CONTENTS: dict[str, Callable[[], bytes]] = {
    "random": lambda: random.Random(1).randbytes(300_000),
    "zeros": lambda: bytes(300_000),
    "text": lambda: b"".join(b"%d: the quick brown fox jumps over the lazy dog\n" % n for n in range(6000)),
    "mixed": lambda: b"".join(random.Random(n).randbytes(900) + bytes([n % 256]) * 1100 for n in range(150)),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("average", [256, 1000, 4096, 65536])
def test_paths_agree_whatever_the_content_its_length_and_where_it_lies(content: str, average: int) -> None:
    data = memoryview(CONTENTS[content]())
    for length in (0, 1, 63, 64, 65, 1023, 1024, 1025, 16_384, 32_767, 32_768, 32_769, 33_000, 66_000, len(data)):
        for offset in (0, 1, 31):
            piece = data[offset : offset + length]
            ends = {path: _native.chunk_ends_on(path, piece, average) for path in PATHS["chunker"]}
            assert all(found == ends["scalar"] for found in ends.values()), (length, offset)
            sizes = [end - begin for begin, end in itertools.pairwise([0, *ends["scalar"]])]
            assert sum(sizes) == len(piece)
            assert all(max(64, average // 4) <= size <= average * 4 for size in sizes[:-1]) and all(
                0 < size <= average * 4 for size in sizes
            )


def test_ends_are_those_of_the_format() -> None:
    """Two hosts of different versions must cut alike: these never change."""
    ends = _native.chunk_ends(random.Random(1).randbytes(1 << 20), 8192)
    assert (len(ends), ends[:3]) == PINNED[:2]
    assert hashlib.sha256(",".join(map(str, ends)).encode()).hexdigest() == PINNED[2]


PINNED = (115, [2451, 11424, 20846], "f6adcbeebd953a1bd7a09eb8b0607edc921cb26c8b97c1a3d7b134443b106ae6")


def test_average_is_kept_and_an_insertion_changes_only_what_is_around_it() -> None:
    data = random.Random(2).randbytes(8 << 20)
    ends = _native.chunk_ends(data, 8192)
    assert 0.8 < len(data) / len(ends) / 8192 < 1.3

    def chunks(content: bytes) -> set[bytes]:
        return {hashlib.sha256(content[a:b]).digest() for a, b in itertools.pairwise([0, *_native.chunk_ends(content, 8192)])}

    changed = chunks(data[:3_000_000] + b"one more line" + data[3_000_000:])
    assert len(changed - chunks(data)) <= 4


def test_streamed_content_is_cut_like_the_whole() -> None:
    data = CONTENTS["mixed"]() + CONTENTS["random"]()
    whole = _native.chunk_ends(data, 4096)
    ends, start, step = [], 0, 10_000
    for until in range(step, len(data) + step, step):
        final = until >= len(data)
        found = [start + end for end in _native.chunk_ends(memoryview(data)[start:until], 4096, final=final)]
        ends += found
        start = found[-1] if found else start
    assert ends == whole


def test_run_of_one_byte_is_never_cut_before_its_longest() -> None:
    for byte in range(256):
        sizes = {end - begin for begin, end in itertools.pairwise([0, *_native.chunk_ends(bytes([byte]) * 10_240, 256)])}
        assert sizes == {1024}, byte


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"average": 255}, "average must be"),
        ({"average": 1 << 25}, "average must be"),
        ({"average": 256, "least": 63}, "least must be"),
        ({"average": 256, "least": 257}, "least must be"),
        ({"average": 256, "most": 255}, "least must be"),
        ({"average": 256, "least": -1}, "least must be"),
    ],
)
def test_impossible_chunk_sizes_are_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _native.chunk_ends(b"x" * 1000, **options)


@pytest.mark.parametrize("work", ["crc32c", "is_zero", "is_equal", "zero_runs", "equal_runs", "xor_into", "chunk_ends"])
def test_large_work_lets_other_threads_run(work: str) -> None:
    # Never written, so it is the kernel's page of zeros again and again: much to read, hardly any memory.
    data, writable = mmap.mmap(-1, 2 << 30), bytearray(256 << 20)
    calls: dict[str, Callable[[], object]] = {
        "crc32c": lambda: _native.crc32c(data),
        "is_zero": lambda: _native.is_zero(data),
        "is_equal": lambda: _native.is_equal(data, data),
        "zero_runs": lambda: _native.zero_runs(data, 1 << 20),
        "equal_runs": lambda: _native.equal_runs(data, data, 1 << 20),
        "xor_into": lambda: _native.xor_into(writable, writable, writable),
        "chunk_ends": lambda: _native.chunk_ends(data, 1 << 20),
    }
    call: list[float] = []

    def run() -> None:
        begun = time.perf_counter()
        calls[work]()
        call.extend((begun, time.perf_counter()))

    worker = threading.Thread(target=run)
    ticks = []
    worker.start()
    while worker.is_alive():
        time.sleep(0.0005)
        ticks.append(time.perf_counter())
    worker.join()
    begun, ended = call
    # One call, in the middle of which this thread ran again and again: with the lock held it could not have.
    assert sum(begun < tick < ended for tick in ticks) >= 5, f"{ended - begun:.3f} s"
