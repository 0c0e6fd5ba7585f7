"""Traces of links, made by a seed: what forecasts are trained and measured on.

Nothing here was fitted to a forecast. It was written, and committed, before the first model was, from what is known of throughput:

- its logarithm wanders about a mean, and what is near in time is alike: an AR(1) process (Balakrishnan et al., SIGMETRICS 1997; Zhang,
  Duffield, Paxson and Shenker, IMW 2001, who find it steady for minutes to hours);
- between such stretches its level shifts, by routes and by capacity, and single samples lie far off (Zhang et al.; He, Dovrolis and Ammar,
  SIGCOMM 2005, whose predictors restart at shifts and pass over outliers);
- others come and go on the link. Each is on for a time with a heavy tail (Pareto, shape 1.2 to 1.7: Willinger et al., ToN 1997; Crovella
  and Bestavros, ToN 1997) and takes a share while it is; many small ones on a far link, a few on a near one;
- it follows the hour of the day, by some tens of percent;
- Wi-Fi and LTE wander faster and further, and fade for seconds (Riiser et al., MMSys 2013; Winstein et al., NSDI 2013);
- a sample over one second is not the rate itself: bursts, acknowledgements and retransmissions fall into one second or the next.

Round trip, loss and jitter are those of the bottleneck's queue at the end of the second, so that they may know of a change before the
second's mean does. Ranges are wide on purpose, and each trace draws its own. Hosts in data centres move most; so three near links of
twenty are Wi-Fi, and four far ones of twenty LTE.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["HELD_OUT", "LENGTH", "TRAINING", "VALIDATION", "Kind", "Trace", "trace"]

Kind = Literal["near", "far"]
Numbers = NDArray[np.float64]

LENGTH = 1200
"""Samples in a trace, one a second."""
TRAINING = range(0, 200)
VALIDATION = range(10_000, 10_040)
"""For what is chosen between models: their sizes, their constants."""
HELD_OUT = range(20_000, 20_100)
"""Seen by nothing but the benchmark. A seed's place among twenty says its medium, so every twenty have the same mix."""

_WIRELESS_OF_20 = {"near": 3, "far": 4}
_MIDNIGHT = 1_700_006_400.0
_LONGEST_ON_S = 3600.0


@dataclass(frozen=True)
class Trace:
    """One link's samples. All arrays have ``LENGTH`` numbers."""

    kind: Kind
    medium: str
    seed: int
    at_s: Numbers
    """Unix time of the end of each second; the link's day is UTC."""
    bytes_per_s: Numbers
    rtt_ms: Numbers
    jitter_ms: Numbers
    loss: Numbers
    """Share of packets."""
    knowable: Numbers
    """What one would say of ``bytes_per_s`` who knows all that was hidden until the second before: level, wander, fade, who is on the link.

    That others stay for another second is taken for granted, as it mostly is. What this misses is what the link decides within the second,
    and who sees samples alone can hardly do better.
    """


@dataclass(frozen=True)
class _Ranges:
    """What a trace draws its constants from, each evenly, or evenly in the logarithm where the ratio of the ends is above three."""

    capacity: tuple[float, float]
    """Bytes/s."""
    rtt_ms: tuple[float, float]
    wander: tuple[float, float]
    """Standard deviation of the logarithm."""
    wander_s: tuple[float, float]
    """Time in which its autocorrelation falls to 1/e."""
    noise: tuple[float, float]
    """Standard deviation of the logarithm of one second's sample."""
    others: tuple[int, int]
    other_share: tuple[float, float]
    """What another takes, in our own units: 1 would halve our share."""
    other_off_s: tuple[float, float]
    shift_every_s: float
    outliers: float
    diurnal: tuple[float, float]
    fades: bool = False


_WIRED = {
    "near": _Ranges(
        (12.5e6, 1.25e9), (0.3, 10), (0.02, 0.10), (3, 60), (0.01, 0.04), (1, 6), (0.05, 0.5), (20, 200), 1800, 0.003, (0.05, 0.3)
    ),
    "far": _Ranges(
        (2.5e6, 1.25e8), (20, 250), (0.05, 0.20), (5, 120), (0.02, 0.08), (4, 24), (0.02, 0.2), (20, 200), 900, 0.005, (0.1, 0.4)
    ),
}
_WIRELESS = {
    "near": _Ranges(
        (2.5e6, 5e7), (2, 20), (0.15, 0.35), (1, 10), (0.05, 0.12), (1, 4), (0.1, 0.5), (10, 100), 1200, 0.01, (0.05, 0.3), True
    ),
    "far": _Ranges(
        (6e5, 1.2e7), (30, 120), (0.25, 0.50), (2, 20), (0.05, 0.12), (4, 16), (0.02, 0.2), (10, 100), 600, 0.01, (0.1, 0.4), True
    ),
}


def trace(kind: Kind, seed: int) -> Trace:
    """The trace of that kind and seed; always the same."""
    rng = np.random.default_rng((seed, 0 if kind == "near" else 1))
    wireless = seed % 20 < _WIRELESS_OF_20[kind]
    ranges = (_WIRELESS if wireless else _WIRED)[kind]
    begin = _MIDNIGHT + rng.uniform(0, 86_400)
    at = begin + np.arange(1, LENGTH + 1, dtype=np.float64)

    level, base_rtt = _shifted(rng, ranges)
    others_mean, others_end, others_new = _others(rng, ranges)
    wander, wander_known = _wander(rng, ranges)
    faded, faded_known = _fades(rng) if ranges.fades else (np.ones(LENGTH), np.ones(LENGTH))
    depth, peak = _drawn(rng, ranges.diurnal), rng.normal(20, 2)
    hour = 1 - depth * (1 + np.cos(2 * math.pi * ((at / 3600) % 24 - peak) / 24)) / 2
    noise = np.exp(rng.normal(0, _drawn(rng, ranges.noise), LENGTH))
    outlier = np.where(rng.random(LENGTH) < ranges.outliers, rng.uniform(0.2, 0.8, LENGTH), 1.0)

    rate = level * hour * faded * wander / (1 + others_mean) * noise * outlier
    known = _before(level) * hour * faded_known * wander_known / (1 + _before(others_end))

    # A bulk transfer keeps a queue in the bottleneck; each other adds to it, and one who has just come adds most.
    buffer_ms = base_rtt * rng.uniform(0.1, 1.0)
    queue = buffer_ms * np.clip(others_end / (1 + others_end) + others_new + 0.2, 0, 1) / np.sqrt(faded * wander)
    jitter = queue * np.exp(rng.normal(-1.5, 0.4, LENGTH)) + 0.02 * base_rtt
    rtt = base_rtt + queue + jitter * np.abs(rng.normal(0, 0.5, LENGTH))
    packets = np.maximum(1, rate / 1448)
    odds = 10 ** rng.uniform(-5, -3) * (1 + 5 * others_end + 50 * others_new) / faded
    loss = rng.poisson(np.minimum(odds, 0.2) * packets) / packets
    medium = ("Wi-Fi" if kind == "near" else "LTE") if wireless else "wire"
    return Trace(kind, medium, seed, at, rate, rtt, jitter, np.asarray(np.minimum(loss, 1.0)), known)


def _drawn(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    low, high = ends
    return float(math.exp(rng.uniform(math.log(low), math.log(high))) if high / low > 3 else rng.uniform(low, high))


def _before(values: Numbers) -> Numbers:
    """Each second's value as it was at the end of the second before; the first one's is its own."""
    return np.concatenate((values[:1], values[:-1]))


def _shifted(rng: np.random.Generator, ranges: _Ranges) -> tuple[Numbers, Numbers]:
    """Capacity and the path's own round trip: steady, until a shift changes both for good."""
    first, rtt = _drawn(rng, ranges.capacity), _drawn(rng, ranges.rtt_ms)
    shifts = np.flatnonzero(rng.random(LENGTH) < 1 / ranges.shift_every_s)
    level, base = np.full(LENGTH, first), np.full(LENGTH, rtt)
    for at in shifts:
        level[at:] = np.clip(level[at] * math.exp(rng.normal(0, 0.4)), first / 5, first * 2)
        if rng.random() < 0.5:  # the other half are changes of capacity on the same route
            base[at:] = base[at] * math.exp(rng.normal(0, 0.2))
    return level, base


def _others(rng: np.random.Generator, ranges: _Ranges) -> tuple[Numbers, Numbers, Numbers]:
    """What others take, in our own units: mean over each second, at its end, and of those who came within it."""
    mean, end, new = np.zeros(LENGTH), np.zeros(LENGTH), np.zeros(LENGTH)
    edges = np.arange(LENGTH + 1, dtype=np.float64)
    for _ in range(int(rng.integers(ranges.others[0], ranges.others[1] + 1))):
        share, off_s, shape = _drawn(rng, ranges.other_share), _drawn(rng, ranges.other_off_s), rng.uniform(1.2, 1.7)
        now = -rng.exponential(off_s)
        while now < LENGTH:
            on = min(2.0 * (1 + rng.pareto(shape)), _LONGEST_ON_S)
            inside = np.clip(np.minimum(edges[1:], now + on) - np.maximum(edges[:-1], now), 0, 1)
            mean += share * inside
            end += share * ((edges[1:] > now) & (edges[1:] <= now + on))
            if 0 <= now < LENGTH:
                new[int(now)] += share
            now += on + rng.exponential(off_s)
    return mean, end, new


def _wander(rng: np.random.Generator, ranges: _Ranges) -> tuple[Numbers, Numbers]:
    """The AR(1) process as a factor, and what was to be expected of it a second before."""
    deviation, memory = _drawn(rng, ranges.wander), math.exp(-1 / _drawn(rng, ranges.wander_s))
    steps = rng.normal(0, deviation * math.sqrt(1 - memory**2), LENGTH)
    value = np.empty(LENGTH)
    last = rng.normal(0, deviation)
    known = np.empty(LENGTH)
    for at in range(LENGTH):
        known[at] = memory * last
        last = value[at] = known[at] + steps[at]
    return np.exp(value), np.exp(known)


def _fades(rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """A radio link that fades for seconds: the factor, and the factor of the second before."""
    depth, clear_s, faded_s = rng.uniform(0.2, 0.6), rng.uniform(30, 120), rng.uniform(2, 8)
    factor = np.ones(LENGTH)
    at = rng.exponential(clear_s)
    while at < LENGTH:
        until = at + 1 + rng.exponential(faded_s)
        factor[int(at) : int(until)] = depth
        at = until + rng.exponential(clear_s)
    return factor, _before(factor)
