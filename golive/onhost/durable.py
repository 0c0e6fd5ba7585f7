"""Files that survive a crash: written whole or not at all, and on disk when the function returns."""

from __future__ import annotations

import json
import os
from pathlib import Path

from golive.onhost import machine

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["append_line", "remove", "sync_directory", "write_json", "write_text"]


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """``path`` holds exactly ``text``; a crash leaves the old content or the new, never a part."""
    machine.here().writes(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """``path`` holds ``value`` as one line of JSON with sorted keys."""
    write_text(path, json.dumps(value, sort_keys=True) + "\n", mode)


def append_line(path: Path, value: Any) -> None:
    """One more line of JSON at the end of ``path``. A line that a crash tore off before is closed first, so it spoils only itself."""
    machine.here().writes(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    existed = path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        line = ("\n" if torn else "") + json.dumps(value, sort_keys=True) + "\n"
        data = line.encode()
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not existed:
        sync_directory(path.parent)


def remove(path: Path) -> bool:
    """``path`` is gone, durably; says whether it was there."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_directory(path.parent)
    return True


def sync_directory(path: Path) -> None:
    """Names made, renamed or removed in ``path`` so far survive a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
