"""Durations and offsets as people write them: ``90s``, ``10m``, ``1h30m``, ``T-7d``, ``+60m``, ``T-0``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

__all__ = ["Duration", "Offset", "format_duration", "format_offset", "parse_duration", "parse_offset"]

_PART = r"(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?(?:(?P<ms>\d+)ms)?"
_DURATION = re.compile(_PART)
_OFFSET = re.compile(r"T?(?P<sign>[+-])(?P<rest>.+)")
_LONGEST = timedelta(days=366)


def parse_duration(text: Any) -> timedelta:
    """``1h30m`` as a timedelta. Raises ValueError with what to write instead."""
    if isinstance(text, timedelta):
        return text
    if isinstance(text, bool) or not isinstance(text, str):
        raise ValueError(f"a duration needs a unit, like 90s, 10m, 1h30m or 2d; got {text!r}")
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"a duration is written like 90s, 10m, 1h30m or 2d; got {text!r}")
    number = {unit: int(value) for unit, value in match.groupdict(default="0").items()}
    if any(value > 10**9 for value in number.values()):
        raise ValueError(f"the duration {text!r} is longer than a year")
    total = timedelta(days=number["d"], hours=number["h"], minutes=number["m"], seconds=number["s"], milliseconds=number["ms"])
    if total > _LONGEST:
        raise ValueError(f"the duration {text!r} is longer than a year")
    return total


def parse_offset(text: Any) -> timedelta:
    """``T-7d``, ``+60m`` or ``T-0`` as a distance from T-0. Raises ValueError with what to write instead."""
    if isinstance(text, timedelta):
        return text
    match = _OFFSET.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"an offset from T-0 is written like T-7d, T-0, +60m or T+2h; got {text!r}")
    distance = timedelta() if match["rest"] == "0" else parse_duration(match["rest"])
    return -distance if match["sign"] == "-" else distance


def format_duration(value: timedelta) -> str:
    """The shortest writing that :func:`parse_duration` reads back; whole milliseconds."""
    left = round(value / timedelta(milliseconds=1))
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def format_offset(value: timedelta) -> str:
    """``T-7d``, ``T-0`` or ``T+1h``."""
    if not value:
        return "T-0"
    return f"T-{format_duration(-value)}" if value < timedelta() else f"T+{format_duration(value)}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^(?=.)(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$", "examples": ["90s", "10m", "1h30m"]}),
]
"""A pydantic type: a timedelta that is written ``10m``. For ``Params`` of actions, too."""

Offset = Annotated[
    timedelta,
    BeforeValidator(parse_offset),
    PlainSerializer(format_offset, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^T?[+-]\\d", "examples": ["T-7d", "T-0", "+60m", "T+2h"]}),
]
"""A pydantic type: a distance from T-0 that is written ``T-7d`` or ``+60m``."""
