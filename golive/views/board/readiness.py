"""The last result of ``inv readiness``, as it stands in its file; nothing is computed here, and what is not there is not made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["STATES", "Readiness"]

JSON = dict[str, Any]

STATES = ("PASS", "WAIVED", "STALE", "UNKNOWN", "FAIL")


class Readiness:
    """Reads the file again when it is another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.summary: JSON = {"there": False, "why": "", "decision": None}
        self.items: dict[str, JSON] = {}
        self._tell_missing()

    def look(self) -> None:
        """``summary`` and ``items`` say what the file says now."""
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            data = json.loads(self._path.read_bytes())
            self._taken(data, datetime.fromtimestamp(found.st_mtime, UTC).isoformat(timespec="seconds"))
            self._seen = seen
        except FileNotFoundError:
            self._tell_missing()
        except (OSError, ValueError, TypeError, AttributeError) as error:
            self._seen, self.items = None, {}
            self.summary = {"there": False, "why": f"{self._path.name} cannot be read: {error}", "decision": None}

    def _tell_missing(self) -> None:
        self._seen, self.items = None, {}
        self.summary = {"there": False, "why": "Nothing was computed yet.", "decision": None}

    def _taken(self, data: Mapping[str, Any], at: str) -> None:
        items = {}
        for number, item in enumerate(data["items"]):
            known = {name: "" if item.get(name) is None else str(item[name]) for name in ("state", "reason")}
            evidence = item.get("evidence")
            count = len(evidence) if isinstance(evidence, list) else int(bool(evidence))
            items[str(item["id"])] = {"n": number, **known, "evidence": count}
        counts = {str(name): {state: _count(told, state) for state in STATES} for name, told in data["counts"].items()}
        self.items = items
        self.summary = {
            **{"there": True, "why": "", "at": at, "counts": counts, "total": len(items)},
            "decision": str(data.get("decision") or ""),
            "release": str(data.get("release") or ""),
        }


def _count(told: Any, state: str) -> int:
    value = told.get(state) if isinstance(told, Mapping) else 0
    return int(value) if isinstance(value, int) else 0
