"""A range that is mostly what the baseline has there: the pages that are not, told beside what they were.

Payload of a PATCH frame, big-endian (``docs/protocol.md``):

    u16                 n, how many runs of pages are new
    n x (u32, u32)      offset in the range and length of each: ascending, whole pages but for the range's end
    u16                 m, how many runs of the baseline are alike, at other places
    m x (u64, u32)      offset in the baseline and length of each
    u8                  how what follows stands for the new pages, one after the other: 0 as they are; 1 one zstd frame; 2 one zstd frame
                        that refers to the m runs of the baseline and to what it has in place of the n runs, in this order
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zstandard

from dwcp_agent.encoding.chunk import WORTH_IT, unpack
from dwcp_agent.encoding.manifest import PAGE
from dwcp_agent.errors import ProtocolError
from dwcp_agent.transport.frame import MAX_OFFSET, Buffer

__all__ = ["MAX_REFERRED_BYTES", "MAX_RUNS", "Patch", "decode_patch", "encode_patch"]

MAX_RUNS = 256
"""Of new pages, and of the baseline's."""
MAX_REFERRED_BYTES = 2 << 20
"""What a receiver reads of its baseline to decode one range: what it has there, and as much from elsewhere."""
LEVEL = 3
"""What is left of a changed place is little, and the old content beside it makes it less: the processor is not what limits here."""
_COUNT = struct.Struct(">H")
_RUN = struct.Struct(">II")
_MOVED = struct.Struct(">QI")
_RAW, _ZSTD, _BESIDE = range(3)

Read = Callable[[int, int], Buffer]
Runs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Patch:
    """``runs`` of a range, (offset in it, length), and their new ``content``, one after the other."""

    runs: list[tuple[int, int]]
    content: Buffer


def encode_patch(chunk: Buffer, offset: int, runs: Runs, read: Read | None, moved: Runs = ()) -> bytes:
    """The payload that tells a receiver who has the rest of ``chunk``, which stands at ``offset``, what stands in its ``runs``.

    Args:
        chunk: the range's new content.
        offset: its place.
        runs: (offset in the range, length) of what is new; ``MAX_RUNS`` at most.
        read: gives bytes of the baseline at an offset, as many as asked for or as there are; None when this side has no baseline.
        moved: (offset, length) of more of the baseline that is alike; what is more than may be referred to is left out.
    """
    view = memoryview(chunk)
    new = b"".join(view[at : at + length] for at, length in runs)
    moved = _as_many_as_may(moved, sum(length for _, length in runs))
    before = _before(read, offset, runs, moved) if read is not None else b""
    if before:
        how, packed = _BESIDE, zstandard.ZstdCompressor(level=LEVEL, dict_data=_dictionary(before)).compress(new)
    else:
        moved, how, packed = (), _ZSTD, zstandard.ZstdCompressor(level=LEVEL).compress(new)
    if len(packed) >= len(new) * WORTH_IT:
        moved, how, packed = (), _RAW, new
    told = b"".join(_RUN.pack(*run) for run in runs)
    referred = b"".join(_MOVED.pack(*run) for run in moved)
    return b"".join([_COUNT.pack(len(runs)), told, _COUNT.pack(len(moved)), referred, bytes([how]), packed])


def decode_patch(payload: Buffer, offset: int, length: int, read: Read) -> Patch:
    """What ``payload`` says of the range of ``length`` bytes at ``offset``, beside the baseline that ``read`` reads.

    Raises ProtocolError for what breaks a rule above, or refers to what the baseline has not; nothing larger than the range is made.
    """
    view = memoryview(payload)
    try:
        runs, at = _numbers(view, 0, _RUN)
        moved, at = _numbers(view, at, _MOVED)
        how = view[at]
    except (struct.error, IndexError):
        raise ProtocolError("A patch is shorter than it says.") from None
    if len(runs) > MAX_RUNS or len(moved) > MAX_RUNS:
        raise ProtocolError(f"A patch has more than {MAX_RUNS} runs.")
    end = 0
    for begin, count in runs:
        if begin < end or begin % PAGE or not count or begin + count > length or (count % PAGE and begin + count != length):
            raise ProtocolError(f"A patch of {length} bytes has no run of {count} bytes at {begin}.")
        end = begin + count
    size = sum(count for _, count in runs)
    if not size or size + sum(count for _, count in moved) > MAX_REFERRED_BYTES or any(begin > MAX_OFFSET for begin, _ in moved):
        raise ProtocolError("A patch has nothing new, or refers to more of the baseline than it may.")
    packed = view[at + 1 :]
    if how == _RAW:
        content: Buffer = packed
    elif how == _ZSTD:
        content = unpack(packed, size, zstandard.ZstdDecompressor(max_window_size=MAX_REFERRED_BYTES))
    elif how == _BESIDE:
        before = _before(read, offset, runs, moved)
        if not before:
            raise ProtocolError(f"The baseline has nothing at {offset}.")
        content = unpack(packed, size, zstandard.ZstdDecompressor(max_window_size=8 * MAX_REFERRED_BYTES, dict_data=_dictionary(before)))
    else:
        raise ProtocolError(f"A patch is encoded in a way, {how}, that is not known.")
    if len(content) != size:
        raise ProtocolError(f"A patch of {size} bytes was announced, {len(content)} came.")
    return Patch(runs, content)


def _as_many_as_may(moved: Runs, new_bytes: int) -> Runs:
    left, kept = MAX_REFERRED_BYTES - new_bytes, []
    for at, length in moved[:MAX_RUNS]:
        if length > left:
            break
        kept.append((at, length))
        left -= length
    return kept


def _before(read: Read, offset: int, runs: Runs, moved: Runs) -> bytes:
    """What a frame refers to. Raises ProtocolError when the baseline ends before one of ``moved`` does."""
    parts = [bytes(read(at, length)) for at, length in moved]
    if any(len(part) != length for part, (_, length) in zip(parts, moved, strict=True)):
        raise ProtocolError("A patch refers to what the baseline has not.")
    return b"".join([*parts, *(bytes(read(offset + at, length)) for at, length in runs)])


def _dictionary(content: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _numbers(view: memoryview, at: int, each: struct.Struct) -> tuple[list[tuple[int, int]], int]:
    (count,) = _COUNT.unpack_from(view, at)
    at += _COUNT.size
    # Of too many one more is enough to refuse them, and no list of them all is made.
    found = [each.unpack_from(view, at + number * each.size) for number in range(min(count, MAX_RUNS + 1))]
    return [(begin, length) for begin, length in found], at + count * each.size
