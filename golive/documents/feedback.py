"""What users and operators said after the go-live: files that people leave, quoted and never interpreted."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from golive.documents.sources import Sources

__all__ = ["Feedback", "feedback_in"]

_DAY = re.compile(r"(?:^|[^0-9a-z])t\+?([1-9][0-9]?)(?![0-9])", re.IGNORECASE)
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})")
_LARGEST = 64 * 1024


@dataclass(frozen=True)
class Feedback:
    """One file."""

    name: str
    text: str
    ref: str
    day: int | None
    """``T+3`` in its name."""
    on: date | None
    """``2026-12-05`` in its name."""


def feedback_in(directory: Path, sources: Sources) -> list[Feedback]:
    """The files ``*.md`` of ``directory``, by name; what is no plain file, or larger than 64 KiB, is left out as that."""
    found = []
    for path in sorted(directory.glob("*.md")) if directory.is_dir() else []:
        told = path.lstat()
        if not stat.S_ISREG(told.st_mode):
            continue
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        text = content[:_LARGEST].decode("utf-8", errors="replace")
        if len(content) > _LARGEST:
            text += "\n(The file goes on; what comes after 64 KiB is not quoted.)"
        ref = sources.add_file(f"feedback/{path.name}", path.read_bytes(), what="as people wrote it")
        numbered, dated = _DAY.search(path.stem), _DATE.search(path.stem)
        found.append(Feedback(path.name, text, ref, int(numbered[1]) if numbered else None, _date(dated[1]) if dated else None))
    return found


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
