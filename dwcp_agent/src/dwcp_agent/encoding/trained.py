"""Dictionaries for small state: what the values of one identity have in common, so that a batch need not say it again.

A dictionary is zstd's (RFC 8878, section 6), trained by the receiver from what it was sent, and never changed: its id is the BLAKE3 of its
bytes. Frames name it by the number that zstd writes into them, which is a hash too. ``docs/protocol.md`` has the conversation in words,
``docs/benchmarks.md`` what it saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import zstandard
from blake3 import blake3

from dwcp_agent.encoding.chunk import LEVEL, MAX_WINDOW, encode_chunk, unpack
from dwcp_agent.errors import ProtocolError
from dwcp_agent.transport.frame import Buffer, Flag

__all__ = ["LARGEST_BATCH", "MAX_DICTIONARY_BYTES", "MIN_SAMPLES", "Dictionary", "dictionary_number", "encode", "is_dictionary_id", "train"]

DICTIONARY_BYTES = 16 * 1024
"""What is trained. Of 4, 8, 16, 32 and 64 KiB it made the smallest batches of 1 to 100 puts (``benchmarks/dictionary.py``)."""
MAX_DICTIONARY_BYTES = 32 * 1024
"""What is taken from elsewhere."""
LARGEST_BATCH = 64 * 1024
"""The largest payload that a dictionary is used for. Larger ones learn most of it from themselves, for less processor time."""
MIN_SAMPLES = 32
"""zstd trains none from less that is worth having."""
_NUMBERS = (1 << 15, 1 << 31)
"""Numbers below and above are reserved for dictionaries that are registered (RFC 8878, section 5)."""
_EMPTY = zstandard.ZstdCompressor(write_content_size=True).compress(b"0")


class Dictionary:
    """One of zstd's dictionaries. Not safe from several threads. Raises ProtocolError for bytes that are none, or too many."""

    def __init__(self, content: bytes) -> None:
        if not 0 < len(content) <= MAX_DICTIONARY_BYTES:
            raise ProtocolError(f"A dictionary has 1 to {MAX_DICTIONARY_BYTES} bytes, not {len(content)}.")
        self.content = content
        self.id: str = blake3(content).hexdigest()
        self._zstd = zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_FULLDICT)
        self.number: int = self._zstd.dict_id()
        """By which a frame names it."""
        if not self.number:
            raise ProtocolError("These bytes are no dictionary of zstd.")
        try:
            # Here and not in the middle of a conversation: it reads all of what says how symbols are coded.
            self._zstd.precompute_compress(level=LEVEL)
            zstandard.ZstdDecompressor(dict_data=self._zstd).decompress(_EMPTY, max_output_size=1)
        except zstandard.ZstdError as error:
            raise ProtocolError(f"These bytes are no dictionary of zstd: {error}.") from None

    def encode(self, content: Buffer) -> bytes:
        """``content`` as one zstd frame that refers to this."""
        packed: bytes = self._compressor.compress(content)
        return packed

    def decode(self, payload: Buffer, raw_length: int) -> bytes:
        """The ``raw_length`` bytes that ``payload`` stands for; nothing larger is ever allocated. Raises ProtocolError."""
        content = unpack(payload, raw_length, self._decompressor)
        if len(content) != raw_length:
            raise ProtocolError(f"A payload of {raw_length} bytes was announced, {len(content)} came.")
        return content

    @cached_property
    def _compressor(self) -> zstandard.ZstdCompressor:
        return zstandard.ZstdCompressor(level=LEVEL, dict_data=self._zstd, write_content_size=True, write_checksum=False)

    @cached_property
    def _decompressor(self) -> zstandard.ZstdDecompressor:
        return zstandard.ZstdDecompressor(dict_data=self._zstd, max_window_size=MAX_WINDOW)


def encode(content: Buffer, dictionary: Dictionary | None) -> tuple[Flag, Buffer]:
    """Flag and payload that stand for ``content``, a payload of PUT, with ``dictionary`` or without any."""
    if dictionary is None or len(content) > LARGEST_BATCH:
        return encode_chunk(content)
    packed = dictionary.encode(content)
    return (Flag.TRAINED, packed) if len(packed) < len(content) else (Flag.RAW, content)


def dictionary_number(payload: Buffer) -> int:
    """The number of the dictionary that ``payload`` refers to. Raises ProtocolError when it is no zstd frame that names one."""
    try:
        number: int = zstandard.get_frame_parameters(payload).dict_id
    except zstandard.ZstdError as error:
        raise ProtocolError(f"Compressed content is not one valid zstd frame: {error}.") from None
    if not number:
        raise ProtocolError("Compressed content names no dictionary.")
    return number


def is_dictionary_id(value: object) -> bool:
    """True for 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef")


def train(samples: Sequence[bytes]) -> Dictionary | None:
    """A dictionary of ``samples``; the same for the same ones. None when they have nothing in common, or are too few.

    Takes 0.1 s for 128 samples of 1 KiB, without the interpreter's lock.
    """
    if len(samples) < MIN_SAMPLES:
        return None
    digest = blake3()
    for sample in samples:
        digest.update(sample)
    low, high = _NUMBERS
    number = low + int.from_bytes(digest.digest(8), "big") % (high - low)
    try:
        return Dictionary(zstandard.train_dictionary(DICTIONARY_BYTES, list(samples), dict_id=number).as_bytes())
    except zstandard.ZstdError:
        return None
