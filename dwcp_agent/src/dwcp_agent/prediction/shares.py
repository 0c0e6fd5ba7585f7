"""What each of several transfers gets of a link that they share."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from dwcp_agent.prediction.sample import Forecast

__all__ = ["Want", "shares"]

Name = TypeVar("Name", bound=Hashable)
_LEAST = 1e-300


@dataclass(frozen=True)
class Want:
    """What a transfer asks for."""

    weight: float = 1.0
    """Above 0; who has twice the weight gets twice as much while both want more."""
    cap_bytes_per_s: float = math.inf
    """More than this it would not use: its own limit, or what its receiver takes."""


def shares(forecast: Forecast, wants: Mapping[Name, Want]) -> dict[Name, float]:
    """Bytes/s for each, max-min fair by weight: nobody can get more without taking it from one who has less for its weight.

    Nothing is left over unless all have their cap. Raises ValueError for a weight that is not a positive number or a cap that is negative
    or none.
    """
    for name, want in wants.items():
        if not (math.isfinite(want.weight) and want.weight > 0):
            raise ValueError(f"The weight of {name!r} is {want.weight}; it must be a number above 0.")
        if not want.cap_bytes_per_s >= 0:
            raise ValueError(f"The cap of {name!r} is {want.cap_bytes_per_s}; it must be 0 or more.")
    # Weights are taken against the largest, so that no sum of them overflows, and none becomes 0.
    largest = max((want.weight for want in wants.values()), default=1.0)
    weight = {name: max(want.weight / largest, _LEAST) for name, want in wants.items()}
    # Who is full first comes first; what it leaves is for the others.
    order = sorted(wants, key=lambda name: wants[name].cap_bytes_per_s / weight[name])
    given: dict[Name, float] = {}
    left = forecast.bytes_per_s
    for at, name in enumerate(order):
        fair = left * weight[name] / math.fsum(weight[other] for other in order[at:])
        given[name] = min(fair, wants[name].cap_bytes_per_s)
        left = max(0.0, left - given[name])
    return {name: given[name] for name in wants}
