"""Pages of new content that the old version has at another place: files that were written again, tables that grew, logs that were turned.

Old and new are both at the sender, so a checksum of 32 bits is enough to find candidates: each is compared, byte by byte, before it is
named.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable

from dwcp_agent._native import is_equal, page_sums
from dwcp_agent.encoding.manifest import PAGE

__all__ = ["MovedPages"]

_PIECE = 4096 * PAGE
_UNSEEN = -1


class MovedPages:
    """Where the old content, of ``size`` bytes and read by ``read(offset, length)``, has pages. Safe from several threads."""

    def __init__(self, read: Callable[[int, int], bytes | bytearray | memoryview], size: int) -> None:
        self._read = read
        self._size = size
        self._index: dict[int, int] | None = None
        self._lock = threading.Lock()

    def of(self, chunk: bytes | bytearray | memoryview, offset: int) -> list[tuple[int, int]]:
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
                    index.update(zip(sums, range(offset // PAGE, offset // PAGE + len(sums)), strict=True))
                index.pop(_numbers(page_sums(bytes(PAGE), PAGE))[0], None)
                self._index = index
            return self._index


def _numbers(sums: bytes) -> array[int]:
    numbers = array("I")
    numbers.frombytes(sums)
    return numbers
