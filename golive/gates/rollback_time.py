"""How long a rollback of the whole fleet takes, from what a rehearsed one took. Pure functions.

Hosts are worked on in waves: a step of ``hosts`` hosts, ``at_once`` at the same time, has ``ceil(hosts / at_once)`` of them, and a wave
lasts as long as its slowest host. So a measured time is taken per wave, and the fleet's is as many waves of it, with a margin. The margin
comes from the spread of the measurements; a single one has no spread to show and is doubled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["BOXES", "TOTAL_S", "Box", "Measured", "NotMeasured", "Prediction", "predict"]

BOXES: dict[str, float] = {"traffic": 300.0, "candidate": 600.0, "state": 600.0, "verification": 300.0}
"""Seconds that the runbook gives each part of the way back: 0-5, 5-15, 15-25 and 25-30 minutes."""
TOTAL_S = 1800.0
_ALONE = 2.0
"""Factor on a step that was measured once."""
_LEAST = 1.25
"""Factor on the slowest of several measurements; their spread is added."""


class NotMeasured(ValueError):
    """There is nothing to predict from, and why."""


@dataclass(frozen=True)
class Measured:
    """What one step of a rehearsed way back took, each time that it was done."""

    step: str
    box: str
    seconds: tuple[float, ...]
    hosts: int
    """On how many hosts it was done."""
    at_once: int
    """How many of them at the same time."""


@dataclass(frozen=True)
class Box:
    """A part of the way back against its budget."""

    name: str
    budget_s: float
    measured_s: float
    predicted_s: float
    steps: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.predicted_s <= self.budget_s


@dataclass(frozen=True)
class Prediction:
    """The way back of ``hosts`` hosts, ``at_once`` at the same time."""

    hosts: int
    at_once: int
    boxes: tuple[Box, ...]

    @property
    def total_s(self) -> float:
        return sum(box.predicted_s for box in self.boxes)

    @property
    def holds(self) -> bool:
        """Every part within its budget, and all of it in less than half an hour."""
        return all(box.holds for box in self.boxes) and self.total_s < TOTAL_S

    def to_json(self) -> dict[str, Any]:
        boxes = [
            {
                "box": box.name,
                "budget_s": box.budget_s,
                "measured_s": round(box.measured_s, 3),
                "predicted_s": round(box.predicted_s, 3),
                "holds": box.holds,
                "steps": list(box.steps),
            }
            for box in self.boxes
        ]
        return {
            "hosts": self.hosts,
            "at_once": self.at_once,
            "total_s": round(self.total_s, 3),
            "limit_s": TOTAL_S,
            "holds": self.holds,
            "boxes": boxes,
        }


def predict(measured: Sequence[Measured], *, hosts: int, at_once: int) -> Prediction:
    """What the way back takes on ``hosts`` hosts, ``at_once`` at the same time.

    The box ``state`` needs no measurement: nothing is restored on the way back, both releases read what the other wrote.

    Raises:
        NotMeasured: a box other than ``state`` has no step, or a step no time, or one that is none.
    """
    if hosts < 1 or at_once < 1:
        raise NotMeasured(f"a fleet of {hosts} hosts, {at_once} at once, is none")
    for step in measured:
        if step.box not in BOXES:
            raise NotMeasured(f"step {step.step} is of no part of the way back: {step.box!r}")
        if not step.seconds or step.hosts < 1 or step.at_once < 1:
            raise NotMeasured(f"step {step.step} was not measured on any host")
        if not all(math.isfinite(value) and value > 0 for value in step.seconds):
            raise NotMeasured(f"step {step.step} took {', '.join(f'{value:g} s' for value in step.seconds)}, which is no time")
    boxes = []
    for name, budget in BOXES.items():
        mine = [step for step in measured if step.box == name]
        if not mine and name != "state":
            raise NotMeasured(f"nothing of the part {name!r} of the way back was rehearsed")
        took, predicted = sum(max(step.seconds) for step in mine), sum(_predicted(step, hosts, at_once) for step in mine)
        boxes.append(Box(name, budget, took, predicted, tuple(step.step for step in mine)))
    return Prediction(hosts, at_once, tuple(boxes))


def _predicted(step: Measured, hosts: int, at_once: int) -> float:
    slowest, fastest = max(step.seconds), min(step.seconds)
    expected = slowest * _ALONE if len(step.seconds) == 1 else slowest * _LEAST + (slowest - fastest)
    return expected / _waves(step.hosts, step.at_once) * _waves(hosts, at_once)


def _waves(hosts: int, at_once: int) -> int:
    return -(-hosts // at_once)
