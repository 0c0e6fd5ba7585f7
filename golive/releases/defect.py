"""Planted defects: what ``--defect errors=2%`` means. The lab proves by them that a bad candidate is caught."""

from __future__ import annotations

import re
from dataclasses import dataclass

from golive.errors import BadInput

__all__ = ["Defect", "parse"]

_PERCENT = re.compile(r"(errors|corrupt)=([0-9]{1,3}(?:\.[0-9]{1,4})?)%")
_LATENCY = re.compile(r"latency=\+([0-9]{1,4}(?:\.[0-9]{1,4})?)%")
_CRASH = re.compile(r"crash-after=([0-9]{1,5}(?:\.[0-9]{1,3})?)s")
_FORMS = "errors=2%, latency=+40%, corrupt=0.1%, crash-after=30s, no-metrics"


@dataclass(frozen=True)
class Defect:
    """A fault built into a release on purpose. The version becomes ``<version>+defect.<label>``."""

    label: str
    manifest: dict[str, float | bool]


def parse(text: str) -> Defect:
    """The defect that ``text`` describes. Raises BadInput for anything but the five forms, and for amounts that are none."""
    if text == "no-metrics":
        return Defect("metrics", {"metrics": False})
    if (match := _PERCENT.fullmatch(text)) and 0 < float(match[2]) <= 100:
        return Defect(match[1], {match[1]: round(float(match[2]) / 100, 8)})
    if (match := _LATENCY.fullmatch(text)) and float(match[1]) > 0:
        return Defect("latency", {"latency": round(float(match[1]) / 100, 8)})
    if (match := _CRASH.fullmatch(text)) and float(match[1]) > 0:
        return Defect("crash", {"crash_after_s": float(match[1])})
    raise BadInput(f"--defect {text!r} is none of {_FORMS}.")
