"""A file as a source without copies: pages go from the page cache to the codec."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from dwcp_agent.transport.source import version_of

__all__ = ["MappedSource"]


class MappedSource:
    """A file mapped into memory. A file that is cut while it is read is noticed by its size before every chunk."""

    path_name = "mmap"

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._opened = version_of(self._file.fileno())
        self.size = self._opened[0]
        self._map = mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        self._view = memoryview(self._map)

    def chunk(self, offset: int, length: int) -> memoryview:
        """``length`` bytes at ``offset``. Raises OSError when the file became shorter."""
        if os.fstat(self._file.fileno()).st_size < self.size:
            raise OSError("the file became shorter while it was read")
        return self._view[offset : offset + length]

    def release(self, offset: int, length: int) -> None:
        """Of this range nothing stays mapped; who reads it again finds it in the page cache."""
        self._map.madvise(mmap.MADV_DONTNEED, offset, length)

    def changed(self) -> bool:
        """By its size and time."""
        return version_of(self._file.fileno()) != self._opened

    def close(self) -> None:
        """Unmaps and closes."""
        self._view.release()
        self._map.close()
        self._file.close()
