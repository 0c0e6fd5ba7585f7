"""Manifests of stored content, kept beside it: what a sender asks for to send only what differs.

A kept manifest speaks for a file as long as size, times and inode are what they were when it was written, and as long as it has the id that
it was written with: what a disk has damaged is not there. Of all that are kept in a directory, those that were used last stay: what
nobody asks for any more, because its file is gone or another by now, goes first.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import secrets
import threading
from typing import Any

from blake3 import blake3

from dwcp_agent.encoding.manifest import HASH_BYTES, Manifest, block_count, manifest_of
from dwcp_agent.errors import BadInput

__all__ = ["MOST_BYTES", "MOST_FILES", "has_its_mark", "kept_id", "load_manifest", "purge_manifests", "read_manifest", "save_manifest"]

MOST_FILES, MOST_BYTES = 100_000, 1_000_000_000
"""Of kept manifests in one directory: those of 2 TB of content."""
_PURGE_FILES, _PURGE_BYTES = 1_000, 50_000_000
"""Between two looks at the whole directory, which take some ms per thousand files: so much more than the most may be there."""
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

    def release(self, offset: int, length: int) -> None:
        self._map.madvise(mmap.MADV_DONTNEED, offset, length)


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
            if _due(directory, len(head) + len(manifest.hashes)):
                purge_manifests(directory)
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
                with contextlib.suppress(OSError):
                    os.utime(key, dir_fd=directory)
                return found
    with contextlib.suppress(OSError):
        os.unlink(key, dir_fd=directory)
    return None


def kept_id(directory: int, of: str, descriptor: int) -> str | None:
    """The id that is kept for an open file, by the first line alone: for who asks before reading all of it.

    None when none is kept, and of content whose numbers are rounded: the mark is looked at with all the rest.
    """
    try:
        with os.fdopen(os.open(_key(of), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory), "rb") as file:
            head: Any = json.loads(file.readline(_HEAD_BYTES))
            stamp = _stamp(descriptor)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(head, dict) or {field: head.get(field) for field in stamp} != stamp or "rounded" in head:
        return None
    found = head.get("id")
    return found if isinstance(found, str) else None


def purge_manifests(directory: int, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> int:
    """Removes those that were used longest ago until no more are there than may be, but for the last one; says how many. Raises OSError.

    After the machine's clock was set back some go too early, which costs the time to make them again.
    """
    found: list[tuple[int, int, str]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # another purges, or replaces, at the same time
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime_ns, status.st_size, entry.name))
    found.sort(reverse=True)
    kept_bytes, gone = 0, 0
    for number, (_, size, name) in enumerate(found):
        kept_bytes += size
        if number and (number >= most_files or kept_bytes > most_bytes):
            kept_bytes -= size
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
                gone += 1
    return gone


_saved: dict[tuple[int, int], tuple[int, int]] = {}
"""By directory: files and bytes since this process looked at all of it."""
_saving = threading.Lock()


def _due(directory: int, size: int) -> bool:
    """Whether it is time to look: at a process's first one, and then now and then."""
    status = os.fstat(directory)
    place = status.st_dev, status.st_ino
    with _saving:
        files, total = _saved.get(place, (_PURGE_FILES, 0))
        due = files + 1 > _PURGE_FILES or total + size > _PURGE_BYTES
        _saved[place] = (0, 0) if due else (files + 1, total + size)
        return due


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
