"""Where targets keep files: a directory of each process, in memory where the machine has such. ``DWCP_FUZZ_PLACE`` names another place."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["IN_MEMORY", "emptied", "fresh"]

IN_MEMORY = Path("/dev/shm")
_place: Path | None = None


def fresh(name: str) -> Path:
    """An empty directory of this process that is removed when it ends."""
    global _place
    if _place is None:
        where = os.environ.get("DWCP_FUZZ_PLACE") or (IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None)
        _place = Path(tempfile.mkdtemp(prefix="dwcp-fuzz-", dir=where))
        atexit.register(shutil.rmtree, _place, ignore_errors=True)
    return emptied(_place / name)


def emptied(directory: Path) -> Path:
    """``directory`` with nothing in it."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
