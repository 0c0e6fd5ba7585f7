"""What a sender by protocol 2 makes frames of: content in units, each hashed once, beside a baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from dwcp_agent.encoding.chunk import encode_delta
from dwcp_agent.encoding.manifest import BLOCK, HASH_BYTES, Manifest, block_count, hash_blocks
from dwcp_agent.encoding.moved import MovedPages
from dwcp_agent.errors import Failed
from dwcp_agent.transport.frame import Buffer, Flag, Kind, encode
from dwcp_agent.transport.source import Source

__all__ = ["UNIT", "Baseline", "Part", "Units"]

UNIT = 16 * BLOCK
"""What one stream takes on at a time: 1 MiB."""
_ZERO_BLOCK = blake3(bytes(BLOCK)).digest()


@dataclass(frozen=True)
class Baseline:
    """What the receiver has under the name that is sent: its manifest and, when this side has that very content too, the content."""

    manifest: Manifest
    source: Source | None = None


@dataclass(frozen=True)
class Part:
    """One DATA frame: header, payload, and how many bytes of the file it stands for in which way."""

    head: bytes
    payload: Buffer
    flags: Flag
    length: int

    @property
    def wire_bytes(self) -> int:
        return len(self.head) + len(self.payload)


class Units:
    """The units of ``source``. Safe from several threads as long as each unit is one thread's at a time."""

    def __init__(self, source: Source, baseline: Baseline | None) -> None:
        self.source = source
        self.baseline = baseline
        """May be given up before the first frame is made."""
        self.count = -(-source.size // UNIT)
        self._hashes: list[bytes] = [b""] * self.count
        both = baseline is not None and baseline.source is not None
        self._moved = MovedPages(self._old, baseline.manifest.size) if baseline is not None and both else None

    def length(self, unit: int) -> int:
        """Bytes of a unit; the last may be shorter."""
        return min(UNIT, self.source.size - unit * UNIT)

    def within(self, unit: int, runs: list[tuple[int, int]]) -> bool:
        """True when one of ``runs`` (first block, blocks) has all of the unit."""
        first, count = unit * UNIT // BLOCK, block_count(self.length(unit))
        return any(begin <= first and first + count <= begin + run for begin, run in runs)

    def hashes(self, unit: int) -> bytes:
        """The hashes of its blocks. Raises Failed when the source cannot be read."""
        if not self._hashes[unit]:
            self._hashes[unit] = hash_blocks(self._chunk(unit))
        return self._hashes[unit]

    def same(self, unit: int) -> bool:
        """True when the baseline has all of the unit at the same place."""
        if self.baseline is None:
            return False
        first, hashes = unit * UNIT // BLOCK, self.hashes(unit)
        return self.baseline.manifest.hashes[first * HASH_BYTES :][: len(hashes)] == hashes

    def parts(self, unit: int, number: int, encode_new: Callable[[Buffer], tuple[Flag, Buffer]]) -> Iterator[Part]:
        """The frames that stand for a unit, in transfer ``number``; ``encode_new`` encodes what no baseline tells. Raises Failed."""
        content, start = memoryview(self._chunk(unit)), unit * UNIT
        for begin, end, known in self._runs(unit):
            chunk = content[begin:end]
            if known is not None:
                flags: Flag = known
                payload: Buffer = b""
            elif self.baseline is None or self._moved is None or start + begin >= self.baseline.manifest.size:
                flags, payload = encode_new(chunk)
            else:
                flags, payload = encode_delta(chunk, start + begin, self._old, self._moved.of(chunk, start + begin))
            head = encode(Kind.DATA, number, payload, flags=flags, offset=start + begin, raw_length=end - begin)
            yield Part(head, payload, flags, end - begin)

    def manifest(self) -> Manifest:
        """The manifest of all units. Raises Failed."""
        return Manifest(self.source.size, b"".join(self.hashes(unit) for unit in range(self.count)))

    def _runs(self, unit: int) -> Iterator[tuple[int, int, Flag | None]]:
        """(begin, end, flag) within a unit: blocks that are the same or zeros, and, without a flag, those that have to be encoded."""
        begin, kind = 0, self._known(unit, 0)
        for index in range(1, block_count(self.length(unit))):
            other = self._known(unit, index)
            if other is not kind:
                yield begin * BLOCK, index * BLOCK, kind
                begin, kind = index, other
        yield begin * BLOCK, self.length(unit), kind

    def _known(self, unit: int, index: int) -> Flag | None:
        ours = self.hashes(unit)[index * HASH_BYTES : (index + 1) * HASH_BYTES]
        if self.baseline is not None and self.baseline.manifest.block(unit * UNIT // BLOCK + index) == ours:
            return Flag.SAME
        return Flag.ZERO if ours == _ZERO_BLOCK else None

    def _old(self, offset: int, length: int) -> Buffer:
        """What the baseline has at this place; shorter at its end."""
        assert self.baseline is not None and self.baseline.source is not None
        try:
            return self.baseline.source.chunk(offset, max(0, min(length, self.baseline.manifest.size - offset)))
        except OSError as error:
            raise Failed(f"The baseline cannot be read any more: {error.strerror or error}.") from None

    def _chunk(self, unit: int) -> Buffer:
        try:
            return self.source.chunk(unit * UNIT, self.length(unit))
        except OSError as error:
            raise Failed(f"The source cannot be read any more: {error.strerror or error}.") from None
