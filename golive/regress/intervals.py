"""How far apart two things are that were measured in pairs, without assuming how samples are distributed.

The interval is that of the Wilcoxon signed-rank test, inverted: M. Hollander, D. A. Wolfe, E. Chicken, *Nonparametric Statistical
Methods*, 3rd ed., 3.2 and 3.3. It is exact whenever the logarithms of the pairs' ratios are distributed symmetrically, which turns that
change places with every pair bring about for equal releases. A sample that is far off counts by its rank, however far it is: from twelve
pairs on, one of them moves no end of the interval out of sight.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from golive.gates import binomial

__all__ = ["Interval", "fewest_pairs", "paired", "rates"]


@dataclass(frozen=True)
class Interval:
    """An estimate and what it may be instead."""

    low: float
    estimate: float
    high: float


def paired(ours: Sequence[float], theirs: Sequence[float], confidence: float) -> Interval | None:
    """Ours over theirs: the pairs' median ratio (Hodges and Lehmann) and its interval; None when so few pairs have none.

    Raises ValueError for what has no ratio: nothing measured is zero or below.
    """
    if any(not (value > 0 and math.isfinite(value)) for value in (*ours, *theirs)):
        raise ValueError("a sample is zero, negative or no number")
    logs = [math.log(our / their) for our, their in zip(ours, theirs, strict=True)]
    cut = _cut(len(logs), (1 - confidence) / 2)
    if cut is None:
        return None
    averages = sorted((one + other) / 2 for number, one in enumerate(logs) for other in logs[number:])
    return Interval(math.exp(averages[cut]), math.exp(statistics.median(averages)), math.exp(averages[-1 - cut]))


@lru_cache(maxsize=256)
def _cut(pairs: int, alpha: float) -> int | None:
    """How many of the outermost averages at either end are left out; None when even the outermost two are too close together."""
    ways = [1]
    for rank in range(1, pairs + 1):  # sums of ranks, each with either sign
        longer = ways + [0] * rank
        for total, count in enumerate(ways):
            longer[total + rank] += count
        ways = longer
    below, cut = 0, -1
    for count in ways:
        below += count
        if below > alpha * 2**pairs:
            break
        cut += 1
    return cut if cut >= 0 else None


def fewest_pairs(confidence: float) -> int:
    """The least number of pairs that have an interval."""
    return next(pairs for pairs in range(1, 64) if _cut(pairs, (1 - confidence) / 2) is not None)


def rates(ours: tuple[int, int], theirs: tuple[int, int], confidence: float) -> Interval:
    """Our share of failures over theirs, each ``(failed, of)``: exact, by the failures of both together (Clopper and Pearson).

    Without any failure nothing is known of the ratio: from 0 to infinity, and the estimate is 1.
    """
    (failed, of), (failed_theirs, of_theirs) = ours, theirs
    together, alpha = failed + failed_theirs, (1 - confidence) / 2
    if not together:
        return Interval(0.0, 1.0, math.inf)

    def ratio(share: float) -> float:
        return math.inf if share >= 1 else share / (1 - share) * of_theirs / of

    low, high = binomial.lower(failed, together, alpha), binomial.upper(failed, together, alpha)
    return Interval(ratio(low), ratio(failed / together), ratio(high))
