"""A block device as a source: a disk, a partition, a logical volume or a snapshot of one.

A device has no time of its last write. Its kernel counts what is written to it instead, and by that a sender knows whether what it read
is one version. The count is of this host and of this device: what another host writes to a shared disk, or anybody to the device or file
below this one, is not in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from dwcp_agent.errors import BadInput

__all__ = ["DeviceSource"]

_WRITTEN = (6, 13)
"""Of Documentation/admin-guide/iostats.rst, from 0: sectors written and discarded. A flush counts as a write, and has no sectors."""


class DeviceSource:
    """A device, read chunk by chunk; not mapped, since a bad sector would end the process that way.

    Args:
        path: leads to a block device.
        quiescent: the operator says that nobody writes to it. Without that it is taken for this process alone, so that nobody can mount it
            meanwhile, and has to be one that counts its writes.
    """

    path_name = "device"

    def __init__(self, path: Path, *, quiescent: bool = False) -> None:
        self._descriptor = _opened(path, quiescent)
        try:
            self.size = os.lseek(self._descriptor, 0, os.SEEK_END)
            self._written = self._count()
            if not self.size:
                raise BadInput(f"{path} has no content: its size is 0.")
            if not self.stable and not quiescent:
                raise BadInput(
                    f"Whether anybody writes to {path} cannot be told, since its writes are not counted: see that nobody does, "
                    "and say so with --quiescent."
                )
            # A file system that is or was mounted writes past the pages that an earlier reader left in the cache.
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def stable(self) -> bool:
        """Whether :meth:`changed` knows; without it, that all was read of one version is the operator's word alone."""
        return bool(self._written)

    @property
    def version(self) -> list[object] | None:
        """Equal as long as nothing was written to this device since this host began to run; None when that is not known."""
        if not self.stable:
            return None
        number = os.fstat(self._descriptor).st_rdev
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return [boot, os.major(number), os.minor(number), self.size, *self._written]

    def chunk(self, offset: int, length: int) -> bytes:
        """A copy of the bytes. Raises OSError."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) != length:
            raise OSError(errno.EIO, "the device became shorter while it was read")
        return data

    def release(self, offset: int, length: int) -> None:
        """Nothing is mapped."""

    def changed(self) -> bool:
        """By its count of writes and its size; False when nothing is known."""
        return self._count() != self._written or os.lseek(self._descriptor, 0, os.SEEK_END) != self.size

    def close(self) -> None:
        """Closes the device."""
        os.close(self._descriptor)

    def _count(self) -> tuple[int, ...]:
        """What was written until now; empty when nobody counts."""
        with contextlib.suppress(OSError):
            # What waits in the cache, where it is read already, is counted when it is written.
            os.fsync(self._descriptor)
        number = os.fstat(self._descriptor).st_rdev
        device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
        try:
            whole = device if (device / "queue").exists() else device.resolve().parent
            read_only = int((device / "ro").read_text())
            statistics = [int(field) for field in (device / "stat").read_text().split()]
            writing = int((device / "inflight").read_text().split()[1])
            sequence = _number(whole / "diskseq", 0)
            if not read_only and not _number(whole / "queue/iostats", 1):
                return ()
            return (sequence, read_only, writing, *(statistics[index] for index in _WRITTEN if index < len(statistics)))
        except (OSError, ValueError, IndexError):
            return ()


def _opened(path: Path, quiescent: bool) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        # Of a block device O_EXCL means: nobody has it mounted, or as part of another device, and nobody can as long as this is open.
        return os.open(path, flags if quiescent else flags | os.O_EXCL)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise BadInput(
                f"{path} is in use on this host, mounted or as part of another device: send a snapshot of it, "
                "or see that nobody writes to it and say so with --quiescent."
            ) from None
        raise


def _number(path: Path, otherwise: int) -> int:
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return otherwise
