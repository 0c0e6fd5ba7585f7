"""Parts of new content that the old version has at another place: files that were written again, tables that grew, logs that were turned.

Old and new are both at the sender, so a checksum of 32 bits is enough to find candidates: each is compared, byte by byte, before it is
named.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable

from dwcp_agent._native import chunk_ends, crc32c, is_equal, page_sums
from dwcp_agent.encoding.manifest import PAGE

__all__ = ["MovedChunks", "MovedPages"]

_PIECE = 4096 * PAGE
_UNSEEN = -1
_AVERAGE = 8192
"""Bytes of a chunk: what is told of one costs some tens, and around every change one or two are not found."""

Buffer = bytes | bytearray | memoryview
Read = Callable[[int, int], Buffer]
Release = Callable[[int, int], None]


def _keep(offset: int, length: int) -> None:
    pass


class MovedPages:
    """Where the old content, of ``size`` bytes and read by ``read(offset, length)``, has pages. Safe from several threads.

    ``release(offset, length)`` is told what is not read again soon.
    """

    def __init__(self, read: Read, size: int, release: Release = _keep) -> None:
        self._release = release
        self._read = read
        self._size = size
        self._index: dict[int, int] | None = None
        self._lock = threading.Lock()

    def of(self, chunk: Buffer, offset: int) -> list[tuple[int, int]]:
        """(offset, length) of runs in the old content that hold pages of ``chunk``, which stands at ``offset`` in the new.

        What the old content has at the same place is not named: it is beside ``chunk`` anyway. Raises OSError.
        """
        index = self.made()
        sums = _numbers(page_sums(chunk, PAGE))
        view = memoryview(chunk)
        runs: list[list[int]] = []
        begin, end = offset // PAGE, (offset + len(view)) // PAGE
        for number in range(len(view) // PAGE):
            there = index.get(sums[number], _UNSEEN)
            if there == _UNSEEN or begin <= there < end:
                continue
            if not is_equal(view[number * PAGE : (number + 1) * PAGE], self._read(there * PAGE, PAGE)):
                continue
            if runs and runs[-1][0] + runs[-1][1] == there * PAGE:
                runs[-1][1] += PAGE
            else:
                runs.append([there * PAGE, PAGE])
        return [(at, length) for at, length in runs]

    def made(self) -> dict[int, int]:
        """Page numbers by checksum; made by who asks first, while others wait. Of equal checksums one is kept, and none of zeros."""
        with self._lock:
            if self._index is None:
                index: dict[int, int] = {}
                for offset in range(0, self._size - self._size % PAGE, _PIECE):
                    length = min(_PIECE, self._size - self._size % PAGE - offset)
                    sums = _numbers(page_sums(self._read(offset, length), PAGE))
                    self._release(offset, length)
                    index.update(zip(sums, range(offset // PAGE, offset // PAGE + len(sums)), strict=True))
                index.pop(_numbers(page_sums(bytes(PAGE), PAGE))[0], None)
                self._index = index
            return self._index


class MovedChunks:
    """The same of content that moved by any number of bytes, as behind an insertion: by chunks whose ends the content decides.

    Where :class:`MovedPages` finds next to nothing. Safe from several threads.
    """

    def __init__(self, read: Read, size: int, release: Release = _keep) -> None:
        self._release = release
        self._read = read
        self._size = size
        self._index: dict[tuple[int, int], int] | None = None
        self._lock = threading.Lock()

    def of(self, chunk: Buffer, offset: int) -> list[tuple[int, int]]:
        """As :meth:`MovedPages.of`. A chunk that begins before ``chunk`` does, or ends behind it, is not found. Raises OSError."""
        index = self._made()
        view = memoryview(chunk)
        runs: list[list[int]] = []
        begin = 0
        for end in chunk_ends(view, _AVERAGE):
            piece = view[begin:end]
            there = index.get((len(piece), crc32c(piece)), _UNSEEN)
            if there not in (_UNSEEN, offset + begin) and is_equal(piece, self._read(there, len(piece))):
                if runs and runs[-1][0] + runs[-1][1] == there:
                    runs[-1][1] += len(piece)
                else:
                    runs.append([there, len(piece)])
            begin = end
        return [(at, length) for at, length in runs]

    def _made(self) -> dict[tuple[int, int], int]:
        """Where chunks begin, by length and checksum; made by who asks first, while others wait. Of equal ones one is kept."""
        with self._lock:
            if self._index is None:
                index: dict[tuple[int, int], int] = {}
                at = 0
                while at < self._size:
                    piece = memoryview(self._read(at, min(_PIECE, self._size - at)))
                    last = at + len(piece) >= self._size
                    begin = 0
                    for end in chunk_ends(piece, _AVERAGE, final=last):
                        index[end - begin, crc32c(piece[begin:end])] = at + begin
                        begin = end
                    self._release(at - at % PAGE, len(piece) + at % PAGE)
                    at += begin
                self._index = index
            return self._index


def _numbers(sums: bytes) -> array[int]:
    numbers = array("I")
    numbers.frombytes(sums)
    return numbers
