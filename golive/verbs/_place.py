"""Where a result is to be written, looked at before it takes minutes to make."""

from __future__ import annotations

import os
from pathlib import Path

from golive.errors import BadInput

__all__ = ["writable"]


def writable(option: str, file: str) -> None:
    """Returns when ``file`` can be written, or none is asked for. Raises BadInput, before anything was done for it."""
    if not file:
        return
    path = Path(file)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BadInput(f"{option} {file} cannot be written: name a file in a directory that is there and yours to write to.")
