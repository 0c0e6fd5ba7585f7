"""Which profile: by round trip, with hysteresis and a least stay, and by the size of what is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dwcp_agent.profiles.table import PROFILES, SMALL_BYTES, Profile

__all__ = ["LARGE_BYTES", "Choice", "choose"]

_BOUNDS_MS = (10.0, 100.0)
"""Low-latency below the first, high-throughput from the second on."""
_HYSTERESIS = 0.2
_STAY_S = 5.0
LARGE_BYTES = 32 << 20
"""Below it a transfer is over before it has climbed to the highest level: that is decided anew every 4 MiB at most, and six times."""


@dataclass(frozen=True)
class Choice:
    """A profile, fitted to the size, and why."""

    profile: Profile
    why: str


def choose(rtt_ms: float, size: int, current: Profile | None, in_it_s: float, forced: Profile | None = None) -> Choice:
    """The profile from now on.

    Args:
        rtt_ms: the path's least round trip: a queue is not distance.
        size: bytes of content.
        current: the profile until now, None at first.
        in_it_s: for how long; it is not left before ``_STAY_S``.
        forced: the user's own, whatever else is true.
    """
    if forced is not None:
        return Choice(forced.fitted(size), "asked for")
    plain = _index_of(rtt_ms, _BOUNDS_MS)
    index, why = plain, f"round trip {rtt_ms:.3g} ms"
    if current is not None:
        now = next(index for index, each in enumerate(PROFILES) if each.name == current.name)
        # A bound above the profile it is in must be passed by a fifth upwards, one below it downwards.
        index = _index_of(rtt_ms, [bound * (1 + _HYSTERESIS if at >= now else 1 - _HYSTERESIS) for at, bound in enumerate(_BOUNDS_MS)])
        if index == now != plain:
            why += ", within a fifth of the bound"
        elif index != now and in_it_s < _STAY_S:
            index, why = now, f"{why}, but {current.name} for {in_it_s:.1f} s only"
    most = 0 if size <= SMALL_BYTES else 1 if size < LARGE_BYTES else 2
    if index > most:
        index, why = most, f"{size} bytes are too few for more; {why}"
    return Choice(PROFILES[index].fitted(size), why)


def _index_of(rtt_ms: float, bounds: Sequence[float]) -> int:
    return sum(rtt_ms >= bound for bound in bounds)
