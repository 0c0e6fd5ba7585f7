"""Manifests of stored content, kept beside it: what a sender asks for to send only what differs.

A kept manifest speaks for a file as long as size, times and inode are what they were when it was written, and as long as it has the id that
it was written with: what a disk has damaged is not there.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import secrets
from typing import Any

from blake3 import blake3

from dwcp_agent.encoding.manifest import HASH_BYTES, Manifest, block_count, manifest_of
from dwcp_agent.errors import BadInput

__all__ = ["kept_id", "load_manifest", "read_manifest", "save_manifest"]

_HEAD_BYTES = 32 * 1024
"""Enough for any path of Linux, however it has to be escaped."""
_READERS = 2
_ALONE_BYTES = 8 << 20
"""Up to here a second thread costs more than it brings."""


class _Mapped:
    """An open file as content to hash."""

    def __init__(self, descriptor: int) -> None:
        self.size = os.fstat(descriptor).st_size
        self._map = mmap.mmap(descriptor, self.size, access=mmap.ACCESS_READ)

    def chunk(self, offset: int, length: int) -> bytes | memoryview:
        return memoryview(self._map)[offset : offset + length]


def read_manifest(descriptor: int) -> Manifest:
    """The manifest of an open file, from its bytes. Raises OSError."""
    if not os.fstat(descriptor).st_size:
        return Manifest(0, b"")
    content = _Mapped(descriptor)
    if content.size <= _ALONE_BYTES:
        return manifest_of(content)
    from concurrent.futures import ThreadPoolExecutor  # a tenth of the time that a command takes to start

    with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as readers:
        return manifest_of(content, readers)


def save_manifest(directory: int, of: str, descriptor: int, manifest: Manifest) -> None:
    """Keeps the manifest of an open file, which is called ``of`` and has its name already. A full disk keeps none: that costs time only."""
    head = json.dumps(_stamp(descriptor) | {"schema": 2, "of": of, "id": manifest.id}).encode() + b"\n"
    temporary = secrets.token_hex(16)
    with contextlib.suppress(OSError):
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640, dir_fd=directory)
            with os.fdopen(file, "wb") as opened:
                opened.write(head + manifest.hashes)
            os.rename(temporary, _key(of), src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise


def load_manifest(directory: int, of: str, descriptor: int) -> Manifest | None:
    """The manifest kept for an open file; None when there is none, it is damaged, or the file is another by now."""
    key = _key(of)
    try:
        with os.fdopen(os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory), "rb") as file:
            head: Any = json.loads(file.readline(_HEAD_BYTES))
            stamp = _stamp(descriptor)
            hashes = file.read(block_count(stamp["size"]) * HASH_BYTES + 1)
    except (OSError, ValueError, RecursionError):
        return None
    if isinstance(head, dict) and {field: head.get(field) for field in stamp} == stamp:
        with contextlib.suppress(BadInput):
            found = Manifest(stamp["size"], hashes)
            if found.id == head.get("id"):
                return found
    with contextlib.suppress(OSError):
        os.unlink(key, dir_fd=directory)
    return None


def kept_id(directory: int, of: str, descriptor: int) -> str | None:
    """The id that is kept for an open file, by the first line alone: for who asks before reading all of it. None when none is kept."""
    try:
        with os.fdopen(os.open(_key(of), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory), "rb") as file:
            head: Any = json.loads(file.readline(_HEAD_BYTES))
            stamp = _stamp(descriptor)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(head, dict) or {field: head.get(field) for field in stamp} != stamp:
        return None
    found = head.get("id")
    return found if isinstance(found, str) else None


def _stamp(descriptor: int) -> dict[str, int]:
    status = os.fstat(descriptor)
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns, "inode": status.st_ino}


def _key(of: str) -> str:
    return blake3(of.encode(errors="surrogateescape")).hexdigest()
