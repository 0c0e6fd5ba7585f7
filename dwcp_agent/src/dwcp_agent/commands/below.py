"""Files below a directory, opened without following a link on the way: nobody who may write there chooses what is read."""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["DIRECTORY", "open_below"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_below(directory: int, parts: Sequence[str]) -> int:
    """A descriptor of what ``parts`` lead to, for reading; the caller's to close. Raises OSError, as ELOOP or ENOTDIR for a link."""
    current = os.dup(directory)
    try:
        for part in parts[:-1]:
            below = os.open(part, DIRECTORY, dir_fd=current)
            os.close(current)
            current = below
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=current)
    finally:
        os.close(current)
