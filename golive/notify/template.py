"""Texts with names in braces."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["NAMES", "filled", "unknown_names"]

NAMES = ("env", "run", "stage", "step", "release", "incumbent", "share", "gate")
"""What a text may name: ``share`` is the highest percentage any gateway sends to the candidate, ``gate`` the last verdict."""

_NAME = re.compile(r"\{([^{}]*)\}")


def unknown_names(text: str) -> list[str]:
    """What ``text`` names and nobody can fill in."""
    return [name for name in _NAME.findall(text) if name not in NAMES]


def filled(text: str, values: Mapping[str, object]) -> str:
    """``text`` with each ``{name}`` replaced. What a value itself says in braces stays as it is."""
    return _NAME.sub(lambda match: str(values.get(match[1], match[0])), text)
