"""One chunk to what goes on the wire, and back."""

from __future__ import annotations

import threading

import zstandard

from dwcp_agent._native import is_zero
from dwcp_agent.errors import ProtocolError
from dwcp_agent.transport.frame import Buffer, Flag

__all__ = ["LEVEL", "MAX_WINDOW", "WORTH_IT", "decode_chunk", "decompress", "encode_chunk", "unpack"]

LEVEL = 1
WORTH_IT = 0.97
"""A chunk that does not shrink below this share of its size goes raw: decompressing would cost the receiver more than the bytes."""
MAX_WINDOW = 8 << 20

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


def decompress(payload: Buffer, limit: int) -> bytes:
    """``payload``, one zstd frame, decompressed to at most ``limit`` bytes; nothing larger is ever allocated. Raises ProtocolError."""
    decompressor = getattr(_local, "decompressor", None)
    if decompressor is None:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    return unpack(payload, limit, decompressor)


def unpack(payload: Buffer, limit: int, decompressor: zstandard.ZstdDecompressor) -> bytes:
    """As :func:`decompress`, by ``decompressor``."""
    try:
        parameters = zstandard.get_frame_parameters(payload)
        announced = parameters.content_size
        unknown = announced in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR)
        if not unknown and announced > limit:
            raise ProtocolError(f"Compressed content announces {announced} bytes, more than {limit}.")
        if parameters.window_size > MAX_WINDOW:
            raise ProtocolError("Compressed content asks for too large a window.")
        content: bytes = decompressor.decompress(payload, max_output_size=max(limit, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"Compressed content is not one valid zstd frame: {error}.") from None
    if len(content) > limit:
        raise ProtocolError(f"Compressed content has more than {limit} bytes.")
    return content
