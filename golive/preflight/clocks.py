"""How far clocks are apart: from when a question went out, when its answer came, and what the host's clock said in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from golive.preflight.finding import Finding, problem

__all__ = ["Offset", "judged_clocks"]

LIMIT_S = 2.0
"""As ``checks.hosts``: gates compare samples of hosts by their times."""


@dataclass(frozen=True)
class Offset:
    """The host's clock minus this machine's, as the interval that it certainly is in."""

    least: float
    most: float

    @classmethod
    def measured(cls, asked: float, began: float, ended: float, answered: float) -> Offset:
        """``asked`` and ``answered`` by this machine's clock, ``began`` and ``ended`` by the host's, in that order in truth."""
        return cls(ended - answered, began - asked)


def judged_clocks(offsets: Mapping[str, Offset], limit_s: float = LIMIT_S) -> dict[str, list[Finding]]:
    """What is wrong with which host's clock. Only what is certain is said: a slow answer makes an interval wide, not a clock wrong."""
    found: dict[str, list[Finding]] = {}
    for name, offset in offsets.items():
        if offset.least > limit_s or offset.most < -limit_s:
            off = offset.least if offset.least > 0 else offset.most
            direction = "ahead of" if off > 0 else "behind"
            says = f"its clock is at least {abs(off):.1f} s {direction} this machine's; synchronise both (chronyc makestep)."
            found[name] = [problem("clock", says)]
    if not found and len(offsets) > 1:
        # None is off by itself: two may still be, from one another.
        first = min(offsets, key=lambda name: offsets[name].most)
        last = max(offsets, key=lambda name: offsets[name].least)
        apart = offsets[last].least - offsets[first].most
        if apart > limit_s:
            found[last] = [
                problem("clock", f"its clock is at least {apart:.1f} s ahead of {first}'s; synchronise both (chronyc makestep).")
            ]
    return found
