"""What a sender by protocol 2 makes frames of: content in units, each hashed once, beside a baseline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from dwcp_agent._native import equal_runs
from dwcp_agent.encoding.chunk import WORTH_IT
from dwcp_agent.encoding.manifest import BLOCK, HASH_BYTES, PAGE, PAGE_HASH_BYTES, Manifest, block_count, hash_blocks, hash_pages
from dwcp_agent.encoding.moved import MovedChunks, MovedPages
from dwcp_agent.encoding.patch import MAX_RUNS, encode_patch
from dwcp_agent.errors import Failed
from dwcp_agent.transport.frame import Buffer, Flag, Kind, encode
from dwcp_agent.transport.source import Source

__all__ = ["UNIT", "AskPages", "Baseline", "Part", "Units"]

UNIT = 16 * BLOCK
"""What one stream takes on at a time: 1 MiB."""
_ZERO_BLOCK = blake3(bytes(BLOCK)).digest()
_PAGES = BLOCK // PAGE
_SEGMENT = 256
"""Units whose pages are asked for at once: a quarter of a GiB, hashed in some tens of milliseconds."""
_MOSTLY = 0.5
"""Where more of the blocks than this differ, their pages will too."""

Runs = list[tuple[int, int]]
AskPages = Callable[[Runs], dict[int, bytes]]
"""Asks the receiver for the page hashes of runs of blocks (first, count); by block, as far as it says."""


@dataclass(frozen=True)
class Baseline:
    """What the receiver has under the name that is sent: its manifest and, when this side has that very content too, the content.

    Where this side has not, ``pages`` asks for more of it.
    """

    manifest: Manifest
    source: Source | None = None
    pages: AskPages | None = None


@dataclass(frozen=True)
class Part:
    """One DATA frame: header, payload, and how many bytes of the file it stands for in which way."""

    head: bytes
    payload: Buffer
    flags: Flag
    length: int
    same: int = 0
    """Of ``length``, what is as in the baseline."""

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
        self._moved = MovedPages(self._old, baseline.manifest.size, self._release_old) if baseline is not None and both else None
        self._shifted = MovedChunks(self._old, baseline.manifest.size, self._release_old) if baseline is not None and both else None
        self._pages: dict[int, bytes] = {}
        self._asked: set[int] = set()
        self._asking = [threading.Lock() for _ in range(-(-self.count // _SEGMENT))]

    def prepare(self) -> None:
        """Makes what takes a while and is needed as soon as something differs; from a thread of its own. Raises Failed."""
        if self._moved is not None:
            self._moved.made()

    def length(self, unit: int) -> int:
        """Bytes of a unit; the last may be shorter."""
        return min(UNIT, self.source.size - unit * UNIT)

    def within(self, unit: int, runs: Runs) -> bool:
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
        """The frames that stand for a unit, in transfer ``number``; ``encode_new`` encodes what no baseline tells. Raises AgentError."""
        content, start = memoryview(self._chunk(unit)), unit * UNIT
        if (patched := self._patch(unit, content)) is not None:
            patch, new = patched
            head = encode(Kind.DATA, number, patch, flags=Flag.PATCH, offset=start, raw_length=len(content))
            yield Part(head, patch, Flag.PATCH, len(content), len(content) - new)
            return
        for begin, end, known in self._runs(unit):
            flags, payload = (known, b"") if known is not None else encode_new(content[begin:end])
            head = encode(Kind.DATA, number, payload, flags=flags, offset=start + begin, raw_length=end - begin)
            yield Part(head, payload, flags, end - begin, end - begin if flags == Flag.SAME else 0)

    def release(self, unit: int) -> None:
        """Its content is not needed soon, here or in the baseline."""
        self.source.release(unit * UNIT, self.length(unit))
        self._release_old(unit * UNIT, UNIT)

    def manifest(self) -> Manifest:
        """The manifest of all units. Raises Failed."""
        return Manifest(self.source.size, b"".join(self.hashes(unit) for unit in range(self.count)))

    def _patch(self, unit: int, content: memoryview) -> tuple[bytes, int] | None:
        """The payload of a PATCH frame for a unit, and the bytes that are new in it; None where frames of other kinds are less."""
        if all(self._known(unit, index) is not None for index in range(block_count(len(content)))):
            return None
        runs = self._new_pages(unit, content)
        if runs is None or not 0 < len(runs) <= MAX_RUNS:
            return None
        new = sum(length for _, length in runs)
        if new > _MOSTLY * len(content) and self._moved is None:
            return None
        start = unit * UNIT
        payload = encode_patch(content, start, runs, self._old if self._moved else None, self._elsewhere(content, start, runs))
        return (payload, new) if len(payload) < WORTH_IT * len(content) else None

    def _elsewhere(self, content: memoryview, start: int, runs: Runs) -> Runs:
        """What the baseline has of these runs at other places."""
        if self._moved is None or self._shifted is None:
            return []
        moved = [run for at, length in runs for run in self._moved.of(content[at : at + length], start + at)]
        new, found = (sum(length for _, length in each) for each in (runs, moved))
        if new > _MOSTLY * len(content) and found < _MOSTLY * new:
            # Next to nothing stays where it was: something was put in, or taken out, before this.
            moved = self._shifted.of(content, start)
        return moved

    def _new_pages(self, unit: int, content: memoryview) -> Runs | None:
        """(offset, length) of pages that the baseline has not at the same place; None when that is not known, or the whole is the same."""
        base = self.baseline
        if base is None or unit * UNIT + len(content) > base.manifest.size or self.same(unit):
            return None
        if base.source is None and not self._ask(unit):
            return None
        found: Runs = []
        for index in range(block_count(len(content))):
            if self._known(unit, index) == Flag.SAME:
                continue
            block = content[index * BLOCK : (index + 1) * BLOCK]
            for at, length in self._differing(unit, index, block):
                at += index * BLOCK
                if found and found[-1][0] + found[-1][1] == at:
                    found[-1] = found[-1][0], found[-1][1] + length
                else:
                    found.append((at, length))
        return found

    def _differing(self, unit: int, index: int, block: memoryview) -> Iterator[tuple[int, int]]:
        """(offset, length) in a block of pages that are not as in the baseline."""
        assert self.baseline is not None
        if self.baseline.source is not None:
            end = 0
            for first, count in [*equal_runs(block, self._old(unit * UNIT + index * BLOCK, len(block)), PAGE), (-(-len(block) // PAGE), 0)]:
                if first * PAGE > end:
                    yield end, min(first * PAGE, len(block)) - end
                end = (first + count) * PAGE
            return
        theirs = self._pages[unit * UNIT // BLOCK + index]
        ours = hash_pages(block)
        for page in range(-(-len(block) // PAGE)):
            if ours[page * PAGE_HASH_BYTES :][:PAGE_HASH_BYTES] != theirs[page * PAGE_HASH_BYTES :][:PAGE_HASH_BYTES]:
                yield page * PAGE, min(PAGE, len(block) - page * PAGE)

    def _ask(self, unit: int) -> bool:
        """True when the receiver has told the pages of the unit's blocks that differ; asks for those of the units behind it too."""
        base = self.baseline
        if base is None or base.pages is None:
            return False
        with self._asking[unit // _SEGMENT]:
            if unit not in self._asked:
                end = min(self.count, (unit // _SEGMENT + 1) * _SEGMENT)
                segment = [each for each in range(unit, end) if each not in self._asked]
                wanted = []
                for each in segment:
                    wanted += self._differing_blocks(each)
                    if each != unit:
                        self.release(each)  # it was read to be hashed, and it will be a while until it is sent
                if 0 < len(wanted) <= _MOSTLY * len(segment) * UNIT // BLOCK:
                    self._pages.update(base.pages(_as_runs(wanted)))
                self._asked.update(segment)
        return all(block in self._pages for block in self._differing_blocks(unit))

    def _differing_blocks(self, unit: int) -> list[int]:
        if self.same(unit):
            return []
        first = unit * UNIT // BLOCK
        return [first + index for index in range(block_count(self.length(unit))) if self._known(unit, index) != Flag.SAME]

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

    def _release_old(self, offset: int, length: int) -> None:
        base = self.baseline
        if base is not None and base.source is not None and offset < base.manifest.size:
            base.source.release(offset, min(length, base.manifest.size - offset))

    def _chunk(self, unit: int) -> Buffer:
        try:
            return self.source.chunk(unit * UNIT, self.length(unit))
        except OSError as error:
            raise Failed(f"The source cannot be read any more: {error.strerror or error}.") from None


def _as_runs(blocks: list[int]) -> Runs:
    """(first, count) of ascending numbers."""
    runs: Runs = []
    for block in blocks:
        if runs and sum(runs[-1]) == block:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((block, 1))
    return runs
