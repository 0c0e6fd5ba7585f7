"""The compiled core: every path gives the plain implementation's answer, for every length, offset and split."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent import _native

CRC_PATHS = _native.available()["crc32c"]
ZERO_PATHS = _native.available()["pagescan"]


def plain_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


TABLE = plain_table()


def plain_crc32c(data: bytes, value: int = 0) -> int:
    state = value ^ 0xFFFFFFFF
    for byte in data:
        state = (state >> 8) ^ TABLE[(state ^ byte) & 0xFF]
    return state ^ 0xFFFFFFFF


# RFC 3720, appendix B.4, and the check value of the CRC catalogue.
PUBLISHED = [
    (b"", 0x00000000),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (
        bytes.fromhex("01c00000000000000000000000000000140000000000040000000014000000182800000000000000020000000000000000")[:48],
        0xD9963A56,
    ),
]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 40_960, 100_001])
@pytest.mark.parametrize("page", [1000, 4096])
def test_sums_of_pages_are_those_of_each_alone(size: int, page: int) -> None:
    data = os.urandom(size)
    sums = memoryview(_native.page_sums(data, page)).cast("I")
    assert list(sums) == [_native.crc32c(data[at : at + page]) for at in range(0, size, page)]


def test_pages_without_a_size_are_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        _native.page_sums(b"x", 0)


@pytest.mark.parametrize("path", CRC_PATHS)
@pytest.mark.parametrize(("data", "expected"), PUBLISHED)
def test_published_vectors(path: str, data: bytes, expected: int) -> None:
    assert _native.crc32c_on(path, data) == expected == plain_crc32c(data)


# The widest block is 256 bytes (avx2) or three lanes of 256 and 4096 (sse42): every length to three blocks, then around the lanes' edges.
LENGTHS = [*range(3 * 768 + 20), *(3 * 4096 * k + d for k in (1, 2) for d in (-9, -8, -1, 0, 1, 7, 8, 769))]


@pytest.mark.parametrize("path", CRC_PATHS)
def test_every_length_agrees_with_the_plain_version(path: str) -> None:
    data = os.urandom(max(LENGTHS))
    state, at, expected = 0xFFFFFFFF, 0, {}
    for length in range(max(LENGTHS) + 1):
        while at < length:
            state = (state >> 8) ^ TABLE[(state ^ data[at]) & 0xFF]
            at += 1
        expected[length] = state ^ 0xFFFFFFFF
    view = memoryview(data)
    for length in LENGTHS:
        assert _native.crc32c_on(path, view[:length]) == expected[length], length


@pytest.mark.parametrize("path", CRC_PATHS)
def test_long_content_agrees_with_the_scalar_path(path: str) -> None:
    """Multiplier and CRC instruction side by side cut content into turns of 704 bytes, and move states past any number of them."""
    data = memoryview(os.urandom(704 * 24_000))
    # Also every power of two that a state is moved by, and what is too long for this way.
    for turns in (*range(17, 80), 127, 128, 129, 511, 1023, 1024, 1025, 2047, 4096, 5000, 8191, 8192, 16_384, 23_831, 23_832):
        for length in (704 * turns - 1, 704 * turns, 704 * turns + 7):
            piece = data[turns % 8 :][:length]
            assert _native.crc32c_on(path, piece, turns) == _native.crc32c_on("scalar", piece, turns), length


@pytest.mark.parametrize("path", CRC_PATHS)
def test_odd_offsets_and_split_updates_agree(path: str) -> None:
    data = memoryview(os.urandom(6000))
    for offset in range(65):
        for length in (0, 1, 7, 63, 64, 255, 256, 511, 512, 513, 1024, 2305, 5000):
            piece = data[offset : offset + length]
            whole = plain_crc32c(bytes(piece)) if length <= 1024 else _native.crc32c_on("scalar", piece)
            assert _native.crc32c_on(path, piece) == whole
            for cut in {0, 1, length // 3, length // 2, length}:
                assert _native.crc32c_on(path, piece[cut:], _native.crc32c_on(path, piece[:cut])) == whole


@given(data=st.binary(max_size=3000), value=st.integers(0, 0xFFFFFFFF), cut=st.integers(0, 3000))
@settings(max_examples=150, deadline=None)
def test_any_content_start_and_cut_agree_on_every_path(data: bytes, value: int, cut: int) -> None:
    expected = plain_crc32c(data, value)
    for path in CRC_PATHS:
        assert _native.crc32c_on(path, data, value) == expected
        assert _native.crc32c_on(path, data[cut:], _native.crc32c_on(path, data[:cut], value)) == expected


@pytest.mark.parametrize("path", CRC_PATHS)
def test_every_single_flipped_bit_is_noticed(path: str) -> None:
    data = bytearray(os.urandom(700))
    before = _native.crc32c_on(path, data)
    for at in range(0, len(data) * 8, 5):
        data[at // 8] ^= 1 << (at % 8)
        assert _native.crc32c_on(path, data) != before
        data[at // 8] ^= 1 << (at % 8)


def test_value_outside_32_bits_is_refused() -> None:
    for value in (-1, 1 << 32, 1 << 70):
        with pytest.raises((OverflowError, TypeError)):
            _native.crc32c(b"", value)
    with pytest.raises(TypeError):
        _native.crc32c("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no path"):
        _native.crc32c_on("mmx", b"")


@pytest.mark.parametrize("path", ZERO_PATHS)
def test_one_byte_anywhere_is_not_zero(path: str) -> None:
    for length in [*range(400), 4095, 4096, 4097]:
        buffer = bytearray(length + 3)
        for offset in range(3):
            view = memoryview(buffer)[offset : offset + length]
            assert _native.is_zero_on(path, view)
            for at in range(length) if length < 300 else (0, 1, length // 2, length - 1):
                view[at] = 0x80
                assert not _native.is_zero_on(path, view)
                view[at] = 0
        buffer[length + 2 :] = b"\xff"
        assert _native.is_zero_on(path, memoryview(buffer)[:length])


@given(pages=st.lists(st.booleans(), max_size=40), tail=st.integers(0, 63), page=st.sampled_from([1, 16, 64, 4096]))
@settings(max_examples=100, deadline=None)
def test_runs_of_zero_pages_are_exactly_those(pages: list[bool], tail: int, page: int) -> None:
    data = b"".join(bytes(page) if zero else bytes(page - 1) + b"\1" for zero in pages) + bytes(min(tail, page - 1))
    flags = pages + ([True] if min(tail, page - 1) else [])
    runs = _native.zero_runs(data, page)
    assert [index for first, count in runs for index in range(first, first + count)] == [i for i, zero in enumerate(flags) if zero]
    assert all(count > 0 for _, count in runs)
    assert all(a + n < b for (a, n), (b, _) in itertools.pairwise(runs))


CHOSEN = """
import json
from dwcp_agent import _native, features
features.configure()
print(json.dumps([_native.active(), _native.crc32c(bytes(range(256)) * 40)]))
"""


@pytest.mark.parametrize("disable", ["", "avx512", "vpclmul", "avx2", "avx2,pclmul", "sse42", "avx2,pclmul,sse42"])
def test_environment_chooses_the_path_and_never_the_result(disable: str) -> None:
    import json

    environment = {**os.environ, "DWCP_DISABLE": disable}
    out = subprocess.run([sys.executable, "-c", CHOSEN], env=environment, capture_output=True, text=True, check=True).stdout
    active, crc = json.loads(out)
    assert crc == plain_crc32c(bytes(range(256)) * 40)
    off = set(disable.split(","))
    if "vpclmul" in off:
        off.add("avx2" if "avx2" in CRC_PATHS else "")  # the path of that name multiplies 256 bits at a time
    assert active["crc32c"] == last_before(off, CRC_PATHS)
    assert active["pagescan"] == last_before(set(disable.split(",")), ZERO_PATHS)


def last_before(off: set[str], paths: tuple[str, ...]) -> str:
    """The best of ``paths`` below the first that is switched off."""
    return list(itertools.takewhile(lambda path: path not in off, paths))[-1]


def test_pinned_thread_is_where_the_kernel_says() -> None:
    from dwcp_agent.cpus import parse_cpu_list
    from dwcp_agent.threads import Threads, cpus_of_thread

    allowed = sorted(os.sched_getaffinity(0))
    threads = Threads({"net": str(allowed[-1]), "codec": "4000-4001", "control": None})
    seen: dict[str, str | None] = {}

    def member(role: str) -> None:
        threads.join(role)  # type: ignore[arg-type]
        seen[role] = cpus_of_thread(threading.get_native_id())
        ready.wait(5)
        over.wait(5)

    ready, over = threading.Barrier(4), threading.Event()
    members = [threading.Thread(target=member, args=(role,)) for role in ("net", "codec", "control")]
    for thread in members:
        thread.start()
    ready.wait(5)
    report = threads.report()
    over.set()
    for thread in members:
        thread.join()
    assert parse_cpu_list(seen["net"] or "") == {allowed[-1]}
    roles = report["roles"]
    assert roles["net"]["actual"] == [str(allowed[-1])] and roles["net"]["as_configured"]  # type: ignore[index]
    # Asked for CPUs that the process may not use: on all it may, and the report shows both.
    assert parse_cpu_list(seen["codec"] or "") == set(allowed)
    assert roles["codec"]["configured"] == "4000-4001"  # type: ignore[index]
    with pytest.raises(OSError, match="Invalid argument"):
        _native.pin_thread([4000])
    with pytest.raises(ValueError, match="between 0 and 8191"):
        _native.pin_thread([-1])
