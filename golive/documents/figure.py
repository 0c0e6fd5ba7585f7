"""A figure of a document: its value, its unit, and where it is from. Pure data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

__all__ = ["NO_DATA", "Figure", "Unit", "duration", "moment"]

Unit = Literal["", "s", "ms", "share", "percent", "count", "per_s", "ratio", "bytes", "time", "digest"]

NO_DATA = "no data"
"""What stands where nothing was measured: never a zero, never an empty cell."""


@dataclass(frozen=True)
class Figure:
    """One value of a document.

    Args:
        value: what was found; None: nothing was.
        refs: keys of the sources that it is taken from (golive.documents.sources).
        unit: of ``value``: ``share`` is 0 to 1, ``percent`` 0 to 100, ``time`` RFC 3339, ``ratio`` 1.0 for the same.
    """

    value: Any
    refs: tuple[str, ...] = ()
    unit: Unit = ""

    @property
    def text(self) -> str:
        """The value as people read it; :data:`NO_DATA` where there is none."""
        value = self.value
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return NO_DATA
        if self.unit == "time":
            return moment(str(value))
        if self.unit == "digest":
            return str(value)[:16]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return str(value)
        return _NUMBERS[self.unit](float(value))


def moment(at: str | datetime | None) -> str:
    """``2026-12-03 06:50:07`` in UTC of an RFC 3339 time; what is no time stays as it is."""
    if at is None:
        return NO_DATA
    try:
        parsed = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    except ValueError:
        return str(at)
    if parsed.tzinfo is not None:
        parsed = parsed.astimezone(UTC)
    return parsed.strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """Three digits, in the unit that people would say it in."""
    size = abs(seconds)
    if size < 1:
        return f"{seconds:.3f} s" if size else "0 s"
    if size < 120:
        return f"{seconds:.3g} s"
    if size < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h" if size < 172_800 else f"{seconds / 86_400:.3g} d"


_NUMBERS: Mapping[str, Callable[[float], str]] = {
    "": lambda value: f"{value:,.0f}" if value == int(value) else f"{value:.4g}",
    "count": lambda value: f"{value:,.0f}",
    "s": duration,
    "ms": lambda value: f"{value:.3g} ms",
    "share": lambda value: f"{value * 100:.3g} %",
    "percent": lambda value: f"{value:g} %",
    "per_s": lambda value: f"{value:.1f}/s",
    "ratio": lambda value: f"{(value - 1) * 100:+.3g} %",
    "bytes": lambda value: f"{value / 1e6:.4g} MB" if value >= 1e5 else f"{value:,.0f} B",
}
