"""Exact statistics of shares: "the error rate is below 0.1 %", "p99 is below 100 ms".

"p99 < T" says that fewer than 1 % of requests take longer than T, which is a claim about a share, tested exactly and without any
assumption on how latencies are distributed.

Sources: C. J. Clopper, E. S. Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*, Biometrika 26
(1934); distribution-free intervals of quantiles: H. A. David, H. N. Nagaraja, *Order Statistics*, 3rd ed., 7.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import binom

__all__ = ["above", "lower", "needed", "quantile_bounds", "upper"]


def upper(x: int, n: int, alpha: float) -> float:
    """The one-sided Clopper-Pearson upper bound: no larger share gives ``x`` or fewer of ``n`` with probability above ``alpha``."""
    if n == 0 or x >= n:
        return 1.0
    return float(betaincinv(x + 1, n - x, 1 - alpha))


def lower(x: int, n: int, alpha: float) -> float:
    """The one-sided Clopper-Pearson lower bound."""
    if n == 0 or x <= 0:
        return 0.0
    return float(betaincinv(x, n - x + 1, alpha))


@lru_cache(maxsize=1024)
def needed(limit: float, truth: float, alpha: float, power: float = 0.8) -> int | None:
    """How many requests the claim "share < ``limit``" needs when the true share is ``truth``, to be proved with ``power``.

    None when no number of requests proves it (``truth`` is not below ``limit``), or more than 2**31 would be needed. An example: a true
    0.05 % against 0.1 % needs some 20,000.
    """
    if truth >= limit:
        return None

    def enough(n: int) -> bool:
        most = int(binom.ppf(alpha, n, limit))
        while most >= 0 and binom.cdf(most, n, limit) > alpha:
            most -= 1
        return most >= 0 and float(binom.cdf(most, n, truth)) >= power

    high = max(1, math.ceil(math.log(alpha) / math.log1p(-limit)))
    while not enough(high):
        if high > 2**31:
            return None
        high = math.ceil(high * 1.3)
    low = max(1, math.floor(high / 1.3))
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def quantile_bounds(values: NDArray[np.float64], quantile: float, alpha: float) -> tuple[float, float]:
    """Distribution-free bounds of a quantile, each wrong with probability at most ``alpha``. Infinite where there are too few values."""
    n = len(values)
    if n == 0:
        return -math.inf, math.inf
    ordered = np.sort(values)
    first = int(binom.ppf(alpha, n, quantile))
    while first > 0 and binom.cdf(first - 1, n, quantile) > alpha:
        first -= 1
    last = int(binom.ppf(1 - alpha, n, quantile)) + 1
    return (float(ordered[first - 1]) if first >= 1 else -math.inf), (float(ordered[last - 1]) if last <= n else math.inf)


def above(buckets: Mapping[float, float], edge: float) -> tuple[int, int] | None:
    """Requests above ``edge`` and all requests, from a histogram's cumulative counts by upper edge. None without that very edge.

    Interpolating between edges would turn the exact test into a guess.
    """
    total = buckets.get(math.inf)
    at = next((count for bound, count in buckets.items() if math.isclose(bound, edge, rel_tol=1e-9)), None)
    if total is None or at is None:
        return None
    return round(total - at), round(total)
