"""The four answers a check can give. Only PASS advances a run."""

from __future__ import annotations

from enum import Enum

__all__ = ["Verdict"]


class Verdict(Enum):
    """What a gate or an action concluded."""

    PASS = "PASS"  # noqa: S105 a verdict, not a password
    """Shown, by enough evidence."""
    FAIL = "FAIL"
    """The opposite was shown."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """Measured, but too little to say either."""
    ERROR = "ERROR"
    """Not measured: no data, stale data, unreachable, timed out."""
