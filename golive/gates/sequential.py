"""Tests that may be looked at every second and still keep their false alarm.

Each is an e-process: a quantity that, while the null hypothesis holds, is expected not to grow. Ville's inequality then says that it
ever reaches ``1 / alpha`` with probability at most ``alpha``, however often and whenever one looks. So a look may take the highest value
so far, and the tests hold no state: every look computes them anew from the whole watch.

Failures come in bursts: one stall of a machine makes forty requests slow at once. So what is bet on is not the request but the second: the
share of a second's requests that failed, a number between 0 and 1 whose mean the null bounds, whatever happens within that second. A bet
``1 + lambda (share - null)`` with ``0 <= lambda < 1 / null`` is fair or worse for the gambler under the null, and so is a mixture of such
bets. Against counting requests as independent this costs about a second of detection at a canary's traffic, and no false alarms.

Sources: J. Ville, *Étude critique de la notion de collectif* (1939); I. Waudby-Smith, A. Ramdas, *Estimating means of bounded random
variables by betting*, J. R. Stat. Soc. B 86 (2024); the mixture boundary: H. Robbins, *Statistical methods related to the law of the
iterated logarithm*, Ann. Math. Stat. 41 (1970).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_S", "blocks", "boundary", "evidence", "evidence_against"]

BLOCK_S = 1.0
"""Length of what is bet on. Bursts shorter than this count once."""

_STAKES = ((0.05, 0.1), (0.3, 0.7), (0.7, 0.2))
"""Parts of the largest allowed bet, and the weight of each in the mixture: for shares some 2, 10 and 50 times the null."""

_STAKES_AGAINST = ((0.3, 0.2), (0.9, 0.8))
"""The same for the candidate's part of the failures, where the incumbent usually has none."""


def blocks(time: NDArray[np.float64], start: float, end: float) -> NDArray[np.int64]:
    """The number of the whole second that each request is in, from ``start`` on; -1 in the last, unfinished second before ``end``."""
    number = np.floor((time - start) / BLOCK_S).astype(np.int64)
    whole = math.floor((end - start) / BLOCK_S + 1e-9)
    return np.where((number >= 0) & (number < whole), number, -1)


def evidence(failed: NDArray[np.bool_], block: NDArray[np.int64], null: float) -> float:
    """The highest log e-value so far of "at most ``null`` of the requests fail". 0 when there is nothing to see."""
    kept = block >= 0
    total = np.bincount(block[kept])
    bad = np.bincount(block[kept], failed[kept])
    share = bad[total > 0] / total[total > 0]
    return _highest(share, np.full(len(share), null), _STAKES)


def evidence_against(failed: NDArray[np.bool_], candidate: NDArray[np.bool_], block: NDArray[np.int64]) -> float:
    """The highest log e-value so far of "of the failed requests, no larger part is the candidate's than of all requests".

    That is what two releases show that fail alike, whatever makes both fail more at times. Of the candidate's share until then and over
    the whole watch the larger is taken, which errs to the safe side.
    """
    kept = (block >= 0) & failed
    if not kept.any():
        return 0.0
    total = np.bincount(block[kept])
    seen = total > 0
    part = np.bincount(block[kept], candidate[kept])[seen] / total[seen]
    until = np.searchsorted(block[block >= 0], np.flatnonzero(seen), side="right")
    so_far = (np.cumsum(candidate[block >= 0])[until - 1] + 1.0) / (until + 2.0)
    return _highest(part, np.clip(np.maximum(so_far, candidate.mean()), 1e-6, 1 - 1e-6), _STAKES_AGAINST)


def _highest(values: NDArray[np.float64], nulls: NDArray[np.float64], stakes: tuple[tuple[float, float], ...]) -> float:
    if not len(values):
        return 0.0
    logs = [math.log(weight) + np.cumsum(np.log1p(part / nulls * (values - nulls))) for part, weight in stakes]
    return float(max(0.0, np.logaddexp.reduce(np.array(logs), axis=0).max()))


def boundary(variance: float, scale: float, alpha: float) -> float:
    """How far a centred sum of that variance may ever stray, but for a probability of ``alpha``: Robbins' normal mixture.

    It is tightest, relative to the sum's deviation, where the variance is some ten times ``scale``; the choice costs power, never validity.
    """
    mixed = variance + scale
    return math.sqrt(mixed * (math.log(mixed / scale) + 2 * math.log(1 / alpha)))
