"""What differs between two pictures, so that a page takes in a change and not the whole again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["GROWING", "KEYED", "changes"]

JSON = dict[str, Any]

KEYED = frozenset({"stages", "hosts", "traffic", "watches", "items"})
"""Sections that are rows by name."""
GROWING = frozenset({"points"})
"""Sections that are lists of which the end alone grows."""


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> JSON:
    """By section: ``{"all": value}``, or ``{"set": {name: row}, "gone": [name]}``, or ``{"add": [...]}``. Empty when nothing changed."""
    found: JSON = {}
    for name, value in now.items():
        old = before.get(name)
        if old == value:
            continue
        if name in KEYED and old is not None:
            found[name] = {
                "set": {key: row for key, row in value.items() if old.get(key) != row},
                "gone": [k for k in old if k not in value],
            }
        elif name in GROWING and old is not None and value[: len(old)] == old:
            found[name] = {"add": value[len(old) :]}
        else:
            found[name] = {"all": value}
    return found
