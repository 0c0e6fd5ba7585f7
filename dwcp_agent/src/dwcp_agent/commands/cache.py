"""The user's cache directory: what may be lost at any time."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_directory"]


def cache_directory(*below: str) -> Path:
    """``$XDG_CACHE_HOME/dwcp`` or ``~/.cache/dwcp`` and what is ``below`` it, made when missing, its user's alone. Raises OSError."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The specification of these directories: a relative path is invalid and to be ignored.
        path = Path(given) if given.startswith("/") else Path.home() / ".cache"
    except RuntimeError as error:
        raise FileNotFoundError(f"this user has no home: {error}") from None
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in ("dwcp", *below):
        path = path / part
        path.mkdir(exist_ok=True, mode=0o700)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    return path
