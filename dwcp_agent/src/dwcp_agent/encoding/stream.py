"""Content of one stream as parts of one long zstd frame: every part may refer to what went over the stream before.

A stream's parts arrive in order and are decoded in order, so that what was sent is a window for what comes; chunks by themselves would
forget it. A level is changed, and a broken stream forgotten, by beginning a new frame.
"""

from __future__ import annotations

from typing import IO, cast

import zstandard

from dwcp_agent.encoding.chunk import WORTH_IT
from dwcp_agent.encoding.windows import LONG_WINDOW_LOG, WINDOW_LOG, WindowBudget
from dwcp_agent.errors import ProtocolError, Refused
from dwcp_agent.transport.frame import Buffer, Flag

__all__ = ["PartDecoder", "PartEncoder"]

_LONG_FROM = 3
"""Below this level the search for what is far away takes as long again as all the rest."""
_PROBE_BYTES = 32 * 1024


class PartEncoder:
    """Encodes one stream's content, referring back by at most 2^``window_log`` bytes. Not safe from several threads."""

    def __init__(self, window_log: int = WINDOW_LOG) -> None:
        self._window_log = window_log
        self._level = 0
        self._compressors: dict[int, zstandard.ZstdCompressor] = {}
        self._object: zstandard.ZstdCompressionObj | None = None
        self._probe = zstandard.ZstdCompressor(level=1)
        self._raw_before = False

    def encode(self, chunk: Buffer, level: int) -> tuple[Flag, Buffer]:
        """The flag and payload that stand for ``chunk``, at this level of zstd."""
        if self._raw_before and not self._shrinks(chunk):
            return Flag.RAW, chunk
        begins = self._object is None or level != self._level
        if begins:
            self._object, self._level = self._compressor(level).compressobj(), level
        assert self._object is not None
        packed = self._object.compress(chunk) + self._object.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        self._raw_before = len(packed) >= len(chunk) * WORTH_IT
        if self._raw_before:
            # It goes as it is, so that the receiver has nothing to decode; then it is no part of the frame, and what comes begins another.
            self._object = None
            return Flag.RAW, chunk
        return Flag.PART_FIRST if begins else Flag.PART, packed

    def _compressor(self, level: int) -> zstandard.ZstdCompressor:
        if level not in self._compressors:
            far = self._window_log > WINDOW_LOG and level >= _LONG_FROM
            log = self._window_log if far else min(self._window_log, WINDOW_LOG)
            parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=log, enable_ldm=far)
            self._compressors = {level: zstandard.ZstdCompressor(compression_params=parameters)}
        return self._compressors[level]

    def _shrinks(self, chunk: Buffer) -> bool:
        """Whether a piece out of the middle does; where the chunk before did not, it is worth asking first."""
        view = memoryview(chunk)
        middle = max(0, len(view) // 2 - _PROBE_BYTES // 2)
        piece = view[middle : middle + _PROBE_BYTES]
        return len(self._probe.compress(piece)) < len(piece) * WORTH_IT


class _Feed:
    """Hands a decoder one part at a time."""

    def __init__(self) -> None:
        self.part = b""

    def read(self, size: int = -1) -> bytes:
        taken, self.part = self.part, b""
        return taken


class PartDecoder:
    """Decodes one stream's content. Not safe from several threads.

    Args:
        budget: for windows of more than 8 MiB, up to 32; without one there are none. :meth:`close` gives back what was taken.
    """

    def __init__(self, budget: WindowBudget | None = None) -> None:
        self._budget = budget
        self._taken = 0
        most = LONG_WINDOW_LOG if budget is not None else WINDOW_LOG
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << most)
        self._feed = _Feed()
        self._chunk = bytearray(0)
        self._reader: zstandard.ZstdDecompressionReader | None = None

    def decode(self, begins: bool, payload: Buffer, raw_length: int) -> memoryview:
        """The ``raw_length`` bytes that a part stands for, until the next is decoded; nothing longer is ever made.

        Raises ProtocolError, and Refused (``window``) when there is no memory for the window it needs.
        """
        if begins:
            self._reserve(payload)
            self._feed = _Feed()
            self._reader = self._decompressor.stream_reader(cast("IO[bytes]", self._feed))
        if self._reader is None:
            raise ProtocolError("A part of a zstd frame came before its beginning.")
        if self._feed.part:
            raise ProtocolError("The part before stood for more than it said.")
        self._feed.part = bytes(payload)
        if len(self._chunk) < raw_length:
            self._chunk = bytearray(raw_length)
        chunk = view = memoryview(self._chunk)[:raw_length]
        try:
            while view:
                got = self._reader.readinto(view)
                if not got:
                    raise ProtocolError(f"A part stands for {raw_length - len(view)} bytes and not for {raw_length}.")
                view = view[got:]
        except zstandard.ZstdError as error:
            self._reader = None
            raise ProtocolError(f"A part is none of its stream's zstd frame: {error}.") from None
        return chunk

    def close(self) -> None:
        """Nothing more is decoded."""
        self._reader = None
        if self._budget is not None:
            self._budget.give(self._taken)
        self._taken = 0

    def _reserve(self, payload: Buffer) -> None:
        try:
            window = zstandard.get_frame_parameters(payload).window_size
        except zstandard.ZstdError as error:
            raise ProtocolError(f"A part begins no zstd frame: {error}.") from None
        if self._budget is None or window <= self._taken or not 1 << WINDOW_LOG < window <= 1 << LONG_WINDOW_LOG:
            return  # what is beyond every limit the decompressor refuses
        self._budget.give(self._taken)
        self._taken = 0
        if not self._budget.take(window):
            raise Refused("The receiver has no memory for another long window now.", code="window", status=503)
        self._taken = window
