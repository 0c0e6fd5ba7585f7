"""What a watch sees while it goes on, for people: kept beside the run, one line a look. Nothing reads it to decide anything.

The journal holds what a gate decided, not each look on the way there: a day of watches would be a thousand records that no one needs later.
Whoever watches the run from another process reads them here.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["LOOKS", "LookReader", "kept"]

JSON = dict[str, Any]
Tell = Callable[[str, JSON], None]

LOOKS = "looks.jsonl"
"""Name of the file in the environment's state directory: the looks of the last run, no other's."""

_NAMES = ("gate", "left_s", "of_s", "verdict", "start", "end", "figures", "problems")
_MOST_BYTES = 64 << 20


def kept(path: Path, tell: Tell) -> Tell:
    """``tell``, and looks are appended to ``path`` as well. A disk that takes none loses looks and nothing else."""

    def told(kind: str, data: JSON) -> None:
        if kind in ("run.started", "gate.look"):
            with contextlib.suppress(OSError, TypeError, ValueError):
                _write(path, kind, data)
        tell(kind, data)

    return told


def _write(path: Path, kind: str, data: JSON) -> None:
    if kind == "run.started":
        # The first line is no other file's: one that took its place is told from one that grew, and whose run it is stands there.
        path.write_text(json.dumps({"looks": secrets.token_hex(8), "begin": data.get("begin")}) + "\n", encoding="utf-8")
        return
    line = json.dumps({**{name: data.get(name) for name in _NAMES}, "at": datetime.now(UTC).isoformat(timespec="milliseconds")})
    with path.open("a", encoding="utf-8") as file:
        if file.tell() < _MOST_BYTES:
            file.write(line + "\n")


class LookReader:
    """Reads the looks as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = b""
        self._at = 0
        self.begin: str | None = None
        """``begin`` of the run whose looks these are; None when there are none."""

    def more(self) -> tuple[bool, list[JSON]]:
        """Whether what was read before is to be forgotten, and the looks since the last call; lines that are none are left out."""
        try:
            with self._path.open("rb") as file:
                name = file.readline()
                anew = name != self._name or os.fstat(file.fileno()).st_size < self._at
                if anew:
                    self._name, self._at, self.begin = name, len(name), _begin(name)
                file.seek(self._at)
                text = file.read()
        except OSError:
            gone = self._name != b""
            self._name, self._at, self.begin = b"", 0, None
            return gone, []
        whole = text.rfind(b"\n") + 1
        self._at += whole
        looks = []
        for line in text[:whole].splitlines():
            with contextlib.suppress(ValueError):
                look = json.loads(line)
                if isinstance(look, dict):
                    looks.append(look)
        return anew, looks


def _begin(line: bytes) -> str | None:
    try:
        begin = json.loads(line)["begin"]
    except (ValueError, KeyError, TypeError):
        return None
    return begin if isinstance(begin, str) else None
