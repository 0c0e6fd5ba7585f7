"""Partial content that survives its transfer: what arrived of a file, and a journal of where.

Two files in the slot's partial directory: ``<key>.content`` and ``<key>.journal``. The journal's first line says what will become of the
content; then 16 bytes follow for every range that is written: offset (8 bytes), length (4 bytes) and the CRC-32C of the first line and of
these 12 bytes, big-endian. A range stands there only after its bytes were handed to the kernel, so a killed agent has lost nothing that the
journal names. A machine that went down may have kept any part of it: what does not match its checksum ends the journal. Whether the content
is right is not the journal's to say: that is verified from the file itself before it gets its name.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import struct
import time

from blake3 import blake3

from dwcp_agent._native import crc32c
from dwcp_agent.encoding.manifest import BLOCK, block_count
from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity

__all__ = ["Blocks", "Partial", "partial_key", "purge"]

_RANGE = struct.Struct(">QI")
_CRC = struct.Struct(">I")
_RECORD_BYTES = _RANGE.size + _CRC.size
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

    def __init__(self, directory: int, key: str, content: int, journal: int, blocks: Blocks, head: bytes) -> None:
        self._directory = directory
        self._seed = crc32c(head)
        self.key = key
        self.content = content
        self._journal = journal
        self.blocks = blocks

    @classmethod
    def opened(cls, directory: int, key: str, name: str, size: int) -> Partial:
        """What is there of it, or nothing yet, or nothing to rely on. Raises OSError, and Refused when it was begun as another."""
        head = (json.dumps({"name": name, "size": size}) + "\n").encode()
        journal = os.open(f"{key}.journal", _CREATE | os.O_APPEND, 0o640, dir_fd=directory)
        try:
            content = os.open(f"{key}.content", _CREATE, 0o640, dir_fd=directory)
        except OSError:
            os.close(journal)
            raise
        partial = cls(directory, key, content, journal, Blocks(size), head)
        try:
            found = os.pread(journal, _HEAD_BYTES, 0)
            if _is_another(found, name, size):
                raise Refused("This transfer was begun with another name or size.", code="mismatch", status=409)
            if found.startswith(head) and os.fstat(content).st_size == size:
                partial._read(len(head))
            else:
                os.ftruncate(journal, 0)
                os.ftruncate(content, 0)
                os.ftruncate(content, size)
                os.write(journal, head)
        except BaseException:
            partial.close()
            raise
        return partial

    def note(self, offset: int, length: int) -> None:
        """The range is written. Raises OSError."""
        told = _RANGE.pack(offset, length)
        if os.write(self._journal, told + self._checksum(told)) != _RECORD_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Keeps what is there for later."""
        for descriptor in (self.content, self._journal):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def remove(self) -> None:
        """Nothing is kept. The content may have been renamed."""
        self.close()
        _unlink(self._directory, self.key)

    def _checksum(self, told: bytes) -> bytes:
        return _CRC.pack(crc32c(told, self._seed))

    def _read(self, begin: int) -> None:
        offset = begin
        while data := os.pread(self._journal, _RECORD_BYTES * 4096, offset):
            for record in range(0, len(data), _RECORD_BYTES):
                told = data[record : record + _RANGE.size]
                if data[record + _RANGE.size : record + _RECORD_BYTES] != self._checksum(told):
                    # Torn by a full disk or a crash; what is noted from now on must not come behind it.
                    os.ftruncate(self._journal, offset + record)
                    return
                at, length = _RANGE.unpack(told)
                self.blocks.add(at // BLOCK, block_count(length))
            offset += len(data)


def _is_another(found: bytes, name: str, size: int) -> bool:
    """True when a journal that begins with ``found`` is of other content; false when it is no journal at all, as a crash may leave it."""
    try:
        told = json.loads(found.split(b"\n")[0].decode())
    except (ValueError, RecursionError):
        return False
    if not isinstance(told, dict) or not isinstance(told.get("name"), str) or type(told.get("size")) is not int:
        return False
    return (told["name"], told["size"]) != (name, size)


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
