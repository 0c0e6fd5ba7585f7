"""Partial content that survives its transfer: what arrived of a file, and a journal of where.

Two files in the slot's partial directory: ``<key>.content`` and ``<key>.journal``. The journal's first line says what will become of the
content; then 12 bytes follow for every range that is written: offset (8 bytes) and length (4 bytes), big-endian. A range stands there only
after its bytes were handed to the kernel, so a killed agent has lost nothing that the journal names. Whether the content is right is not
the journal's to say: that is verified from the file itself before it gets its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time

from blake3 import blake3

from dwcp_agent.encoding.manifest import BLOCK, block_count
from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity

__all__ = ["Blocks", "Partial", "partial_key", "purge"]

_RANGE = struct.Struct(">QI")
_HEAD_BYTES = 4096
_KINDS = ("content", "journal")
_CREATE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Blocks:
    """Which blocks of a file are there. Not safe from several threads."""

    def __init__(self, size: int) -> None:
        self.count = block_count(size)
        self.there = 0
        self._bits = bytearray(self.count)

    def add(self, first: int, count: int) -> int:
        """Blocks ``first`` to ``first + count - 1`` are there; how many of them are new."""
        fresh = self._bits.count(0, first, first + count)
        self._bits[first : first + count] = b"\1" * count
        self.there += fresh
        return fresh

    def has(self, first: int, count: int) -> bool:
        """True when all of them are there."""
        return self._bits.find(0, first, first + count) < 0

    def runs(self, most: int) -> list[tuple[int, int]]:
        """(first, count) of what is there, ascending; the ``most`` longest when there are more."""
        found, begin = [], self._bits.find(1)
        while begin >= 0:
            end = self._bits.find(0, begin)
            end = end if end >= 0 else self.count
            found.append((begin, end - begin))
            begin = self._bits.find(1, end)
        return found if len(found) <= most else sorted(sorted(found, key=lambda run: -run[1])[:most])


def partial_key(owner: Identity, token: str) -> str:
    """Names the partial content of ``owner``'s transfer ``token``; nobody else's token leads there."""
    return blake3(f"{owner.directory}\0{token}".encode()).hexdigest(16)


class Partial:
    """Partial content of ``name`` with ``size`` bytes. Made or taken up by ``opened``; ends with ``close`` or ``remove``."""

    def __init__(self, directory: int, key: str, content: int, journal: int, blocks: Blocks) -> None:
        self._directory = directory
        self.key = key
        self.content = content
        self._journal = journal
        self.blocks = blocks

    @classmethod
    def opened(cls, directory: int, key: str, name: str, size: int) -> Partial:
        """What is there of it, or nothing yet. Raises OSError, and Refused when it was begun as something else."""
        head = (json.dumps({"name": name, "size": size}) + "\n").encode()
        journal = os.open(f"{key}.journal", _CREATE | os.O_APPEND, 0o640, dir_fd=directory)
        try:
            content = os.open(f"{key}.content", _CREATE, 0o640, dir_fd=directory)
        except OSError:
            os.close(journal)
            raise
        partial = cls(directory, key, content, journal, Blocks(size))
        try:
            found = os.pread(journal, _HEAD_BYTES, 0)
            if not found:
                os.ftruncate(content, 0)
                os.ftruncate(content, size)
                os.write(journal, head)
            elif not found.startswith(head):
                raise Refused("This transfer was begun with another name or size.", code="mismatch", status=409)
            elif os.fstat(content).st_size == size:
                partial._read(len(head))
            else:
                os.ftruncate(journal, len(head))
                os.ftruncate(content, 0)
                os.ftruncate(content, size)
        except BaseException:
            partial.close()
            raise
        return partial

    def note(self, offset: int, length: int) -> None:
        """The range is written. Raises OSError."""
        os.write(self._journal, _RANGE.pack(offset, length))

    def close(self) -> None:
        """Keeps what is there for later."""
        for descriptor in (self.content, self._journal):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def remove(self) -> None:
        """Nothing is kept. The content may have been renamed."""
        self.close()
        _unlink(self._directory, self.key)

    def _read(self, begin: int) -> None:
        size, offset = os.fstat(self.content).st_size, begin
        while data := os.pread(self._journal, _RANGE.size * 4096, offset):
            whole = len(data) - len(data) % _RANGE.size
            for at, length in _RANGE.iter_unpack(data[:whole]):
                # A range torn by a full disk or a crash is no range.
                if at % BLOCK or not 0 < length <= size - at or (length % BLOCK and at + length != size):
                    return
                self.blocks.add(at // BLOCK, block_count(length))
            if not whole:
                os.ftruncate(self._journal, offset)
                return
            offset += whole


def purge(directory: int, keep_s: float, most: int, busy: frozenset[str] | None = None) -> int:
    """Removes partial content that nobody went on with for ``keep_s`` seconds, and the oldest beyond ``most``; says of how many files.

    ``busy`` are keys of what is in use, and files of other names are let be; None: nothing is, and what is no partial content goes too.
    """
    ages: dict[str, float] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            key, _, kind = entry.name.partition(".")
            if kind in _KINDS:
                with contextlib.suppress(FileNotFoundError):
                    ages[key] = max(ages.get(key, 0.0), entry.stat(follow_symlinks=False).st_mtime)
            elif busy is None:
                os.unlink(entry.name, dir_fd=directory)
    idle = sorted((key for key in ages if key not in (busy or ())), key=lambda key: -ages[key])
    gone = [key for number, key in enumerate(idle) if number >= most or ages[key] < time.time() - keep_s]
    for key in gone:
        _unlink(directory, key)
    return len(gone)


def _unlink(directory: int, key: str) -> None:
    for kind in _KINDS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{key}.{kind}", dir_fd=directory)
