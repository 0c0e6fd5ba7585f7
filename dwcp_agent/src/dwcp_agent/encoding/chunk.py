"""One chunk to what goes on the wire, and back; alone, or beside the same place of a baseline."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence

import zstandard

from dwcp_agent._native import is_zero
from dwcp_agent.errors import ProtocolError
from dwcp_agent.transport.frame import MAX_OFFSET, Buffer, Flag

__all__ = ["decode_chunk", "decode_delta", "decompress", "encode_chunk", "encode_delta"]

LEVEL = 1
DELTA_LEVEL = 3
"""What is left of a changed place is little, and the old content beside it makes it less: the processor is not what limits here."""
WORTH_IT = 0.97
"""A chunk that does not shrink below this share of its size goes raw: decompressing would cost the receiver more than the bytes."""
_MAX_WINDOW = 8 << 20

MAX_MOVED = 256
MAX_MOVED_BYTES = 1 << 20
_COUNT = struct.Struct(">H")
_RUN = struct.Struct(">QI")

Read = Callable[[int, int], Buffer]

_local = threading.local()


def encode_chunk(chunk: Buffer) -> tuple[Flag, Buffer]:
    """The flag and payload that stand for ``chunk``."""
    if is_zero(chunk):
        return Flag.ZERO, b""
    compressor = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True, write_checksum=False)
    packed: bytes = compressor.compress(chunk)
    if len(packed) < len(chunk) * WORTH_IT:
        return Flag.ZSTD, packed
    return Flag.RAW, chunk


def decode_chunk(flags: int, payload: Buffer, raw_length: int) -> Buffer | None:
    """The chunk, None for zeros. Raises ProtocolError when ``payload`` does not stand for exactly ``raw_length`` bytes."""
    if flags == Flag.ZERO:
        return None
    if flags == Flag.RAW:
        return payload
    if flags != Flag.ZSTD:
        raise ProtocolError("Content that stands for a baseline's came where none was agreed on.")
    chunk = decompress(payload, raw_length)
    if len(chunk) != raw_length:
        raise ProtocolError(f"A chunk of {raw_length} bytes was announced, {len(chunk)} came.")
    return chunk


def encode_delta(chunk: Buffer, offset: int, read: Read, moved: Sequence[tuple[int, int]] = ()) -> tuple[Flag, Buffer]:
    """As :func:`encode_chunk`, where the receiver has a baseline: ``chunk`` is told by what that has at ``offset``, and at ``moved``.

    Args:
        chunk: new content.
        offset: its place, where the baseline has something too.
        read: gives bytes of the baseline at an offset, as many as asked for or as there are.
        moved: (offset, length) of more of the baseline that is alike; at most ``MAX_MOVED``, the rest is left out.
    """
    if is_zero(chunk):
        return Flag.ZERO, b""
    moved = moved[:MAX_MOVED]
    before = b"".join([*(bytes(read(*run)) for run in moved), bytes(read(offset, len(chunk)))])
    head = _COUNT.pack(len(moved)) + b"".join(_RUN.pack(*run) for run in moved)
    packed: bytes = zstandard.ZstdCompressor(level=DELTA_LEVEL, dict_data=_before(before), write_content_size=True).compress(chunk)
    if len(head) + len(packed) < len(chunk) * WORTH_IT:
        return Flag.DELTA, head + packed
    return Flag.RAW, chunk


def decode_delta(payload: Buffer, offset: int, raw_length: int, read: Read) -> bytes:
    """The chunk at ``offset`` that ``payload`` stands for, beside the baseline that ``read`` reads.

    Raises ProtocolError when it does not stand for ``raw_length`` bytes, or names what the baseline has not.
    """
    view = memoryview(payload)
    try:
        (count,) = _COUNT.unpack_from(view)
        moved = [_RUN.unpack_from(view, _COUNT.size + number * _RUN.size) for number in range(count)]
    except struct.error:
        raise ProtocolError("A delta is shorter than it says.") from None
    if count > MAX_MOVED or sum(length for _, length in moved) > MAX_MOVED_BYTES or any(at > MAX_OFFSET for at, _ in moved):
        raise ProtocolError("A delta refers to more of the baseline than it may.")
    parts = [bytes(read(at, length)) for at, length in moved]
    if any(len(part) != length for part, (_, length) in zip(parts, moved, strict=True)):
        raise ProtocolError("A delta refers to what the baseline has not.")
    before = b"".join([*parts, bytes(read(offset, raw_length))])
    if not before:
        raise ProtocolError(f"The baseline has nothing at {offset}.")
    packed = view[_COUNT.size + count * _RUN.size :]
    chunk = _unpack(packed, raw_length, zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW, dict_data=_before(before)))
    if len(chunk) != raw_length:
        raise ProtocolError(f"A chunk of {raw_length} bytes was announced, {len(chunk)} came.")
    return chunk


def _before(content: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def decompress(payload: Buffer, limit: int) -> bytes:
    """``payload``, one zstd frame, decompressed to at most ``limit`` bytes; nothing larger is ever allocated. Raises ProtocolError."""
    decompressor = getattr(_local, "decompressor", None)
    if decompressor is None:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    return _unpack(payload, limit, decompressor)


def _unpack(payload: Buffer, limit: int, decompressor: zstandard.ZstdDecompressor) -> bytes:
    try:
        parameters = zstandard.get_frame_parameters(payload)
        announced = parameters.content_size
        unknown = announced in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR)
        if not unknown and announced > limit:
            raise ProtocolError(f"Compressed content announces {announced} bytes, more than {limit}.")
        if parameters.window_size > _MAX_WINDOW and unknown:
            raise ProtocolError("Compressed content asks for too large a window.")
        content: bytes = decompressor.decompress(payload, max_output_size=max(limit, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"Compressed content is not one valid zstd frame: {error}.") from None
    if len(content) > limit:
        raise ProtocolError(f"Compressed content has more than {limit} bytes.")
    return content
