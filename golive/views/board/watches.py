"""What gates measure, as the charts draw it: one watch after the other, each as wide as any other, with the limits that hold in it.

Days lie between some watches and seconds between others, so the axis counts watches and not hours: at 3.25 a quarter of the fourth watch is
over. Every point says its time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from golive.engine import Record

__all__ = ["Watches"]

JSON = dict[str, Any]
Limits = Callable[[str], Mapping[str, JSON]]

_NEAREST = 1 / 150
"""Looks nearer to one another than this part of a watch are drawn as one."""


@dataclass
class Watches:
    """The watches of one run. Numbers are of the watch so far, as the gate counts them: they settle while it goes on."""

    points: list[JSON] = field(default_factory=list)
    rows: dict[str, JSON] = field(default_factory=dict)
    """By number: gate, stage, verdict (empty while it goes on), what it asked, its lines."""
    latest: JSON = field(default_factory=dict)
    """The last look or decision: ``at``, ``gate``, ``live``, ``verdict``, ``left_s``, ``figures``, ``problems``."""
    _open: str | None = None

    def look(self, look: Mapping[str, Any], limits: Limits) -> None:
        """One look of a watch that goes on. What is no look changes nothing."""
        start, end, gate = _number(look.get("start")), _number(look.get("end")), str(look.get("gate") or "")
        if start is None or end is None or not gate:
            return
        key, row = self._row(gate, start, limits)
        left, whole = _number(look.get("left_s")), _number(look.get("of_s"))
        part = 1 - left / whole if left is not None and whole else min(0.99, (end - start) / 600)
        x = int(key) + min(0.995, max(0.0, part))
        figures = _figures(look.get("figures"))
        row.update(end=end, left_s=left, seen=str(look.get("verdict") or ""))
        problems = [str(problem) for problem in look.get("problems") or ()]
        said = {"gate": gate, "stage": row["stage"], "at": end, "figures": figures, "problems": problems}
        self.latest = {**said, "live": True, "verdict": row["seen"], "left_s": left, "told": str(look.get("at") or "")}
        if not self.points or self.points[-1]["x"] + _NEAREST <= x or int(self.points[-1]["x"]) != int(key):
            self.points.append(_point(x, end, figures))

    def decided(self, record: Record, limits: Limits) -> None:
        """A record of kind ``gate``."""
        data = record.data
        start, end = _number(data.get("start")) or 0.0, _number(data.get("end")) or 0.0
        gate = str(data.get("gate") or record.step or "")
        key, row = self._row(gate, start, limits)
        figures, verdict = _figures(data.get("figures")), str(data.get("verdict") or "")
        lines = [_line(line) for line in data.get("lines") or () if isinstance(line, Mapping)]
        problems = [str(problem) for problem in data.get("problems") or ()]
        row.update(stage=record.stage or "", end=end, left_s=None, verdict=verdict, summary=str(data.get("summary") or ""))
        row.update(lines=lines, problems=problems, attempt=data.get("attempt") or 0, seen=verdict)
        said = {"gate": gate, "stage": row["stage"], "at": end, "figures": figures, "problems": problems}
        self.latest = {**said, "live": False, "verdict": verdict, "left_s": None, "told": record.at}
        self._open = None
        self.points.append(_point(int(key) + 1.0, end, figures))

    def over(self) -> None:
        """No watch goes on any more: the step was interrupted, or the run is over."""
        if self._open is not None:
            row = self.rows[self._open]
            row.update(left_s=None, verdict=row["verdict"] or "ENDED")
            self._open = None
        if self.latest.get("live"):
            self.latest = {**self.latest, "live": False, "left_s": None}

    def _row(self, gate: str, start: float, limits: Limits) -> tuple[str, JSON]:
        if self._open is not None:
            row = self.rows[self._open]
            if (row["gate"], row["start"]) == (gate, start):
                return self._open, row
            self.over()
        key = str(len(self.rows))
        row = {"n": int(key), "gate": gate, "start": start, "stage": "", "verdict": "", "seen": "", "lines": [], "problems": []}
        self.rows[key] = {**row, "limits": {name: dict(limit) for name, limit in limits(gate).items()}}
        self._open = key
        return key, self.rows[key]


def _point(x: float, at: float, figures: Mapping[str, JSON]) -> JSON:
    point: JSON = {"x": round(x, 4), "at": at}
    for who in ("candidate", "incumbent"):
        told = figures.get(who) or {}
        point[who[0]] = [_number(told.get(name)) for name in ("error_rate", "p99_s", "per_s", "p50_s")]
    return point


def _figures(value: Any) -> dict[str, JSON]:
    if not isinstance(value, Mapping):
        return {}
    return {str(who): dict(told) for who, told in value.items() if isinstance(told, Mapping)}


def _line(line: Mapping[str, Any]) -> JSON:
    names = ("metric", "verdict", "n", "unit", "estimate", "bound", "threshold", "stated", "decides", "note")
    return {name: line.get(name) for name in names}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
