"""Where a sender takes chunks from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from dwcp_agent import features
from dwcp_agent._build import PHASE4
from dwcp_agent.errors import BadInput
from dwcp_agent.transport.frame import Buffer

__all__ = ["BytesSource", "FileSource", "Source", "open_source", "version_of"]


_MAPPED_BYTES = 1 << 20
"""Below it reading a file costs less processor time than mapping it."""


class Source(Protocol):
    """Content of a known size, readable in any order from several threads."""

    size: int
    path_name: str

    def chunk(self, offset: int, length: int) -> Buffer:
        """Exactly ``length`` bytes at ``offset``. Raises OSError."""
        ...

    def release(self, offset: int, length: int) -> None:
        """This range, whole pages but at the end, is not read again soon: memory that maps it may go."""

    def changed(self) -> bool:
        """Somebody wrote to it since it was opened: what was read before and after is no one version."""
        ...

    def close(self) -> None:
        """No chunk is in use any more."""
        ...


class BytesSource:
    """Content in memory."""

    path_name = "memory"

    def __init__(self, content: bytes) -> None:
        self._view = memoryview(content)
        self.size = len(content)

    def chunk(self, offset: int, length: int) -> memoryview:
        """A view, no copy."""
        return self._view[offset : offset + length]

    def release(self, offset: int, length: int) -> None:
        """Nothing is mapped."""

    def changed(self) -> bool:
        """Bytes do not change."""
        return False

    def close(self) -> None:
        """Nothing to do."""


class FileSource:
    """A file, read chunk by chunk."""

    path_name = "read"

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._opened = version_of(self._descriptor)
        self.size = self._opened[0]

    def chunk(self, offset: int, length: int) -> bytes:
        """A copy of the bytes."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) != length:
            raise OSError("the file became shorter while it was read")
        return data

    def release(self, offset: int, length: int) -> None:
        """Nothing is mapped."""

    def changed(self) -> bool:
        """By its size and time."""
        return version_of(self._descriptor) != self._opened

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


def version_of(descriptor: int) -> tuple[int, int]:
    """Size and time of the last write, in nanoseconds, of an open file."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def open_source(path: Path, *, quiescent: bool = False) -> Source:
    """The file or block device at ``path``; a file is mapped when the build can and it has content.

    Args:
        path: links are followed.
        quiescent: the operator says that nobody writes to the device; see :class:`~dwcp_agent.transport.device.DeviceSource`.

    Raises BadInput when it is neither, cannot be read, or is a device that somebody may write to.
    """
    try:
        if path.is_block_device():
            from dwcp_agent.transport.device import DeviceSource

            return DeviceSource(path, quiescent=quiescent)
        if not path.is_file():
            raise BadInput(f"{path} is neither a file nor a block device.")
        if PHASE4 and features.is_on("zerocopy") and path.stat().st_size >= _MAPPED_BYTES:
            from dwcp_agent.phase4.mapped import MappedSource

            return MappedSource(path)
        return FileSource(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None
