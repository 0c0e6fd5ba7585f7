"""How much slower one release is than the other: a stratified Hodges-Lehmann estimate with an honest error.

Latencies have heavy tails, depend on the operation and the site, and share the machine's hiccups. So requests are compared only with
requests of the same operation, client and (when both releases serve) the same few seconds: within such a stratum a common hiccup hits
both, and who gets a request is decided by the hash of its session, not by the hiccup. Ranks make one slow request weigh as one request.

A process that was left alone for a moment answers its next request slower: what it needs has left the caches. At a tenth of the traffic
that is most of a candidate's requests and hardly one of the incumbent's. So, in one window, requests are compared only after pauses of
about the same length since the release was last asked by the same client.

With D the pairwise differences of log latency, each weighted 1/(N+1) of its stratum (van Elteren's weights), the estimate is the
weighted median of D. Its bounds are weighted quantiles of D, from inverting the stratified Wilcoxon test. Its standard error is the
larger of two: the permutation one (right when requests are exchangeable within a stratum), and one from how the statistic differs
between slices of time (right when a release has hiccups of its own).

A mean ratio would follow the tail; a p99 ratio needs thousands of requests to show 20 % (five requests make the p99 of 540), so it is
printed with bounds and can only fail a gate, and this shift decides.

Sources: J. L. Hodges, E. L. Lehmann, *Estimates of location based on rank tests*, Ann. Math. Stat. 34 (1963); P. H. van Elteren, *On the
combination of independent two sample tests of Wilcoxon*, Bull. Int. Stat. Inst. 37 (1960).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from golive.gates.samples import Samples
from golive.gates.sequential import boundary

__all__ = ["Shift", "compare"]

_SLICES = (6, 120)
_SHORTEST_SLICE_S = 2.0
_TUNED = 4.0
"""The variance at which the early test is tightest, times 0.1: about that of a canary's 540 requests. Costs power, never validity."""
_PAUSES_S = (0.01, 0.03, 0.1, 0.3)
"""Edges between pauses that count as of one length. Of one release on the lab, medians after 10 and after 100 ms differed by 8 %, after 10
and after 300 ms by 20 %."""
_LEAST_PAIRED = 0.25
"""Share of the smaller release's requests that must find such a pause on the other side; where one never rests and the other always does,
all requests are compared. Only when requests came decides it, not how long they took."""
_PER_STRATUM = (120, 150)
"""More requests than this of one release in a stratum (of one slice, of a whole window) are thinned evenly: pairs grow with the product."""


@dataclass(frozen=True, eq=False)
class Shift:
    """A comparison. Ratios are candidate over the other: 1.2 is 20 % slower."""

    n: int
    """Candidate requests that were compared."""
    n_other: int
    _differences: NDArray[np.float64]
    """Of log latency, ascending, with the weight of each pair and the slices of time that its two requests are in."""
    _weights: NDArray[np.float64]
    _slices: NDArray[np.int32]
    _other_slices: NDArray[np.int32] | None
    """None when both requests of a pair are of one slice."""
    _permutation: float
    """Variance of the statistic when requests are exchangeable within their strata."""

    @property
    def usable(self) -> bool:
        """Whether there is anything to compare, in enough slices of time to say how sure it is."""
        sides = [self._slices] if self._other_slices is None else [self._slices, self._other_slices]
        return len(self._differences) > 0 and all(np.count_nonzero(np.bincount(side)) >= _SLICES[0] for side in sides)

    @property
    def ratio(self) -> float:
        return math.exp(self._quantile(0.5))

    def _quantile(self, share: float) -> float:
        if not 0 < share < 1:
            return math.copysign(math.inf, share - 0.5)
        cumulated = np.cumsum(self._weights)
        index = int(np.searchsorted(cumulated, share * cumulated[-1]))
        return float(self._differences[min(index, len(self._differences) - 1)])

    def _statistic(self, log_ratio: float) -> tuple[float, float, int]:
        """The centred statistic at a hypothetical shift, its variance, and the degrees of freedom of that variance (0: many)."""
        parts = np.sign(self._differences - log_ratio) * self._weights / 2
        clustered, freedom = 0.0, len(parts)
        for side in (self._slices, self._other_slices):
            if side is not None:
                sums = np.bincount(side, parts)[np.bincount(side) > 0]
                clustered += float(((sums - sums.mean()) ** 2).sum()) * len(sums) / max(1, len(sums) - 1)
                freedom = min(freedom, len(sums) - 1)
        if clustered > self._permutation:
            return float(parts.sum()), clustered, freedom
        return float(parts.sum()), self._permutation, 0

    def _bound(self, alpha: float, side: int) -> float:
        _, variance, freedom = self._statistic(self._quantile(0.5))
        factor = float(student.isf(alpha, freedom)) if freedom else float(norm.isf(alpha))
        share = 0.5 + side * factor * math.sqrt(variance) / float(self._weights.sum())
        return math.exp(min(50.0, max(-50.0, self._quantile(share))))

    def upper(self, alpha: float) -> float:
        """The ratio that is exceeded with probability at most ``alpha``."""
        return self._bound(alpha, +1)

    def lower(self, alpha: float) -> float:
        """The ratio that the true one is below with probability at most ``alpha``."""
        return self._bound(alpha, -1)

    def shown_above(self, ratio: float, alpha: float) -> bool:
        """Whether a ratio above ``ratio`` is shown, looking as often as one likes, but for a probability of ``alpha``."""
        statistic, variance, freedom = self._statistic(math.log(ratio))
        # With few slices their variance is itself uncertain: the boundary is widened as Student's quantile widens the normal one.
        widen = float(student.isf(alpha, freedom) / norm.isf(alpha)) if freedom else 1.0
        return statistic > widen * boundary(variance, _TUNED, alpha)

    def needed(self, ratio: float, alpha: float, power: float = 0.8) -> int | None:
        """Candidate requests needed to show a ratio below ``ratio``, were the true ratio what is estimated now (1, if that is lower)."""
        gap = math.log(ratio) - max(0.0, math.log(self.ratio))
        if gap <= 0:
            return None
        half = max(1e-9, math.log(self.upper(0.1587) / self.ratio))
        return math.ceil(self.n * ((float(norm.isf(alpha)) + float(norm.isf(1 - power))) * half / gap) ** 2)


def compare(candidate: Samples, other: Samples, *, same_time: bool) -> Shift:
    """Compares the latencies of two sets of requests. ``same_time``: both were served in one window, so that slices of time are shared."""
    parts = [candidate.where(candidate.timed), other.where(other.timed)]
    spans = [(float(part.time[0]), float(part.time[-1])) if len(part) else (0.0, 0.0) for part in parts]
    if same_time:
        spans = [(min(s[0] for s in spans), max(s[1] for s in spans))] * 2
    groups = _groups(*parts)
    slices = [_sliced(part.time, span) for part, span in zip(parts, spans, strict=True)]
    if same_time:
        alike = [group + _alike(whole) for group, whole in zip(groups, (candidate, other), strict=True)]
        groups = alike if _paired(alike, slices) >= _LEAST_PAIRED else groups
    most = _PER_STRATUM[0] if same_time else _PER_STRATUM[1]
    runs = [_runs(group, cut if same_time else np.zeros_like(cut), most) for group, cut in zip(groups, slices, strict=True)]
    logs = [np.log(np.maximum(part.latency, 1e-9)) for part in parts]
    differences, weights, mine, theirs, variance = [], [], [], [], 0.0
    for stratum in sorted(runs[0].keys() & runs[1].keys()):
        at, against = runs[0][stratum], runs[1][stratum]
        m, n = len(at), len(against)
        differences.append(np.subtract.outer(logs[0][at], logs[1][against]).ravel())
        weights.append(np.full(m * n, 1.0 / (m + n + 1)))
        mine.append(np.repeat(slices[0][at], n))
        theirs.append(np.tile(slices[1][against], m))
        variance += m * n / (12.0 * (m + n + 1))
    if not differences:
        return Shift(len(parts[0]), len(parts[1]), np.empty(0), np.empty(0), np.empty(0, np.int32), None, 0.0)
    joined = np.concatenate(differences)
    order = np.argsort(joined)
    return Shift(
        n=len(parts[0]),
        n_other=len(parts[1]),
        _differences=joined[order],
        _weights=np.concatenate(weights)[order],
        _slices=np.concatenate(mine)[order],
        _other_slices=None if same_time else np.concatenate(theirs)[order],
        _permutation=variance,
    )


def _groups(candidate: Samples, other: Samples) -> list[NDArray[np.int64]]:
    """One number for each operation at each client, the same on both sides."""
    ops = sorted({*candidate.ops, *other.ops})
    clients = sorted({*candidate.clients, *other.clients})

    def coded(part: Samples) -> NDArray[np.int64]:
        op = np.array([ops.index(name) for name in part.ops] or [0])[part.op]
        client = np.array([clients.index(name) for name in part.clients] or [0])[part.client]
        return np.asarray((op * len(clients) + client) * (len(_PAUSES_S) + 1), np.int64)

    return [coded(candidate), coded(other)]


def _alike(whole: Samples) -> NDArray[np.int64]:
    """For each timed request of a release, which length of pause came before it: since its client last had an answer of it, of any kind."""
    pause = np.full(len(whole), np.inf)
    for client in range(len(whole.clients)):
        asked = np.flatnonzero(whole.client == client)
        pause[asked[1:]] = np.diff(whole.time[asked])
    return np.searchsorted(_PAUSES_S, pause[whole.timed], side="right").astype(np.int64)


def _paired(groups: list[NDArray[np.int64]], slices: list[NDArray[np.int32]]) -> float:
    """Share of the requests of the release with fewer that have any of the other in their stratum."""
    codes = [cut.astype(np.int64) * (1 << 32) + group for group, cut in zip(groups, slices, strict=True)]
    few, many = sorted(codes, key=len)
    return float(np.isin(few, many).mean()) if len(few) else 0.0


def _sliced(time: NDArray[np.float64], span: tuple[float, float]) -> NDArray[np.int32]:
    """Which slice of time each request is in."""
    length = max(span[1] - span[0], 1e-9)
    number = int(min(max(length / _SHORTEST_SLICE_S, _SLICES[0]), _SLICES[1]))
    return np.asarray(np.minimum((time - span[0]) / length * number, number - 1), np.int32)


def _runs(group: NDArray[np.int64], cut: NDArray[np.int32], most: int) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Positions of the requests of each stratum, at most ``most`` of them, evenly over time."""
    if not len(group):
        return {}
    order = np.lexsort((group, cut))
    keys = np.stack((cut[order], group[order]), axis=1)
    starts = np.flatnonzero(np.r_[True, (np.diff(keys, axis=0) != 0).any(axis=1)])
    runs = {}
    for start, positions in zip(starts, np.split(order, starts[1:]), strict=True):
        if len(positions) > most:
            positions = positions[np.linspace(0, len(positions) - 1, most).astype(int)]
        runs[int(keys[start, 0]), int(keys[start, 1])] = positions
    return runs
