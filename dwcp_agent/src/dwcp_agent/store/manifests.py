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
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from blake3 import blake3

from dwcp_agent.encoding.manifest import HASH_BYTES, Manifest, block_count, manifest_of
from dwcp_agent.errors import BadInput

__all__ = ["has_its_mark", "load_manifest", "read_manifest", "save_manifest"]

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
    with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as readers:
        return manifest_of(content, readers)


def save_manifest(directory: int, of: str, descriptor: int, manifest: Manifest) -> bool:
    """Keeps the manifest of an open file, which is called ``of`` and has its name already. A full disk keeps none, and it is False.

    That costs time, and for rounded content the mark.
    """
    head = json.dumps(_stamp(descriptor) | {"schema": 2, "of": of, "id": manifest.id} | _marked(manifest)).encode() + b"\n"
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
        return True
    return False


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
            found = Manifest(stamp["size"], hashes, head.get("rounded"))
            if found.id == head.get("id") and has_its_mark(head, found):
                return found
    with contextlib.suppress(OSError):
        os.unlink(key, dir_fd=directory)
    return None


def has_its_mark(head: dict[str, Any], manifest: Manifest) -> bool:
    """True when ``head`` says of ``manifest`` whether it is rounded, and how, and no bit of that was changed."""
    told = {name: head.get(name) for name in ("schema", "rounded", "seal")}
    return told == {"schema": 2, "rounded": None, "seal": None} | _marked(manifest)


def _marked(manifest: Manifest) -> dict[str, Any]:
    if manifest.rounded is None:
        return {}
    seal = blake3(f"{manifest.id} {manifest.rounded}".encode()).hexdigest(16)
    return {"schema": 3, "rounded": manifest.rounded, "seal": seal}


def _stamp(descriptor: int) -> dict[str, int]:
    status = os.fstat(descriptor)
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns, "inode": status.st_ino}


def _key(of: str) -> str:
    return blake3(of.encode(errors="surrogateescape")).hexdigest()
