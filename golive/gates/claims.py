"""The claims that a PASS makes at the end of a watch, each tested once, each at the full confidence.

A gate passes only when all its claims are shown. Passing wrongly then needs every wrong claim to look shown, so no claim has to pay for the
others (an intersection-union test: R. L. Berger, *Multiparameter hypothesis testing and acceptance sampling*, Technometrics 24, 1982).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import t as student
from scipy.stats import theilslopes

from golive.gates import binomial
from golive.gates.lines import Line
from golive.gates.samples import CANDIDATE, INCUMBENT, NOBODY, Samples
from golive.gates.shift import Shift
from golive.gates.spec import GatePolicy, GateSpec, Threshold, both
from golive.gates.verdict import Verdict
from golive.gates.window import Agent, Window

__all__ = ["claims"]

_LEAST_POINTS = 4
_SLOPE_POINTS = 300
_ALIKE = 2
"""Up to this many times the other release's requests a candidate's tail may be held against it."""


def claims(window: Window, spec: GateSpec, policy: GatePolicy, shift: Shift | None, alpha: float, alarm: dict[str, float]) -> list[Line]:
    """One line for each claim. ``alpha``: how often a PASS may be wrong; ``alarm``: how often each test may FAIL wrongly."""
    lines = []
    if spec.error_rate is not None:
        lines.append(_error_rate(window, spec, policy, alpha))
    if spec.latency_p99 is not None:
        lines.append(_p99(window, spec, policy, alpha))
    if spec.degradation is not None:
        other = window.baseline if spec.against == "baseline" else window.samples.by(INCUMBENT)
        lines += _relative(window.samples.by(CANDIDATE), other or Samples(), spec, shift, alpha, alarm)
    if spec.cpu is not None:
        strict = alarm["hosts"] / max(1, len(window.agents))
        lines.append(_hosts([_cpu(agent, spec.cpu, alpha, strict) for agent in window.agents]))
    if spec.memory is not None:
        lines.append(_hosts([_memory(agent, spec.memory) for agent in window.agents]))
    if spec.growth is not None:
        strict = alarm["hosts"] / max(1, len(window.agents))
        # Where nobody said how much growth is too much, a small process may fill its caches: a tenth of the limit counts as its size.
        least = spec.memory.value / 10 if spec.memory is not None and spec.memory_growth is None else 1.0
        lines.append(_hosts([_growth(agent, spec.growth, window.seconds, least, alpha, strict) for agent in window.agents]))
    return lines


def _share(metric: str, x: int, n: int, limit: float, stated: str, alpha: float, note: str = "") -> Line:
    """The exact test of "share < limit". What speaks against the candidate speaks in the sequential tests: this one never fails it."""
    bound = binomial.upper(x, n, alpha)
    estimate = x / n if n else None
    verdict = Verdict.PASS if n and bound < limit else Verdict.INCONCLUSIVE
    truth = estimate if estimate is not None and 0 < estimate < limit else limit / 2
    needed = None if verdict is Verdict.PASS or (estimate or 0) >= limit else binomial.needed(limit, truth, round(alpha, 9))
    told = note or f"{x} in {n:,}"
    return Line(metric, verdict, n, "share", estimate, bound, limit, stated, needed, note=told)


def _error_rate(window: Window, spec: GateSpec, policy: GatePolicy, alpha: float) -> Line:
    stated, limit = spec.error_rate, policy.limit(spec, "error_rate")
    assert stated is not None and limit is not None
    mine = window.samples.by(CANDIDATE)
    nobody = int((window.samples.role == NOBODY).sum())
    x = int(mine.failed.sum()) + nobody
    note = f"{x} in {len(mine) + nobody:,}" + (f", {nobody} that no release answered counted as its own" if nobody else "")
    if limit is not stated:
        proof = binomial.needed(stated.value, stated.value / 2, round(alpha, 9))
        note += f"; production's needs some {proof:,}" if proof else ""
    return _share("error_rate", x, len(mine) + nobody, limit.value, both(stated, limit), alpha, note)


def _p99(window: Window, spec: GateSpec, policy: GatePolicy, alpha: float) -> Line:
    limit = policy.limit(spec, "latency_p99")
    assert limit is not None and spec.latency_p99 is not None
    stated = f"p99 {both(spec.latency_p99, limit)}: under 1 % slower"
    if spec.latency_from == "histogram":
        counted = binomial.above(window.histogram or {}, limit.value)
        if counted is None:
            return Line("latency_p99", Verdict.ERROR, 0, "share", stated=stated, note=f"the histogram has no edge at {limit.value:g} s")
        slow, n = counted
        return _share("latency_p99", slow, n, 0.01, stated, alpha)
    mine = window.samples.by(CANDIDATE)
    mine = mine.where(mine.timed)
    slow, n = int((mine.latency > limit.value).sum()), len(mine)
    p99 = float(np.quantile(mine.latency, 0.99)) * 1000 if n else math.nan
    return _share("latency_p99", slow, n, 0.01, stated, alpha, f"{slow} in {n:,} slower, p99 {p99:.3g} ms" if n else "")


def _relative(mine: Samples, other: Samples, spec: GateSpec, shift: Shift | None, alpha: float, alarm: dict[str, float]) -> list[Line]:
    limit = spec.degradation
    assert limit is not None
    worst = 1 + limit.value
    if shift is None or not shift.usable:
        count = 0 if shift is None else shift.n
        note = "too few seconds with requests of both"
        line = Line("latency", Verdict.INCONCLUSIVE, count, "ratio", None, None, worst, limit.text, note=note)
    else:
        bound = shift.upper(alpha)
        verdict = Verdict.PASS if bound < worst else Verdict.FAIL if shift.lower(alarm["shift-end"]) > worst else Verdict.INCONCLUSIVE
        needed = shift.needed(worst, alpha) if verdict is Verdict.INCONCLUSIVE else None
        note = f"median slow-down of like requests, other release n = {shift.n_other:,}; this decides"
        line = Line("latency", verdict, shift.n, "ratio", shift.ratio, bound, worst, limit.text, needed, note=note)
    return [
        line,
        _p99_ratio(mine, other, worst, limit, alpha, alarm["p99"], alike=spec.against == "incumbent" and len(mine) <= _ALIKE * len(other)),
        _throughput(mine, other, limit, alpha, alarm["throughput"]),
    ]


def _p99_ratio(mine: Samples, other: Samples, worst: float, limit: Threshold, alpha: float, alarm: float, *, alike: bool) -> Line:
    """The ratio of the p99s, distribution-free. Five requests make the p99 of 540: it can fail a candidate, not pass one.

    And only while both releases serve users: what makes a p99 is the machine's hiccups, those of another minute are other hiccups, and a
    process with ten times the requests has queues of its own.
    """
    x, y = mine.latency[mine.timed], other.latency[other.timed]
    note = "printed, can only fail a gate" if alike else "printed only: the other release had other hiccups, or less to do"
    if not len(x) or not len(y):
        return Line("latency_p99 ratio", Verdict.INCONCLUSIVE, len(x), "ratio", None, None, worst, limit.text, decides=False, note=note)
    estimate = float(np.quantile(x, 0.99) / max(1e-9, float(np.quantile(y, 0.99))))
    low, high = binomial.quantile_bounds(x, 0.99, alarm / 2)[0], binomial.quantile_bounds(y, 0.99, alarm / 2)[1]
    top, base = binomial.quantile_bounds(x, 0.99, alpha / 2)[1], binomial.quantile_bounds(y, 0.99, alpha / 2)[0]
    bound = top / base if base > 0 else math.inf
    wrong = alike and high > 0 and low / high > worst
    verdict = Verdict.FAIL if wrong else Verdict.PASS if bound < worst else Verdict.INCONCLUSIVE
    return Line("latency_p99 ratio", verdict, len(x), "ratio", estimate, bound, worst, limit.text, decides=wrong, note=note)


def _throughput(mine: Samples, other: Samples, limit: Threshold, alpha: float, alarm: float) -> Line:
    """Requests served well per request offered. Load is open loop: a release that cannot keep up shows here and in latency since due."""
    n, m = len(mine), len(other)
    served, theirs = n - int(mine.failed.sum()), m - int(other.failed.sum())
    least = 1 - limit.value
    if not n or not m or not theirs:
        return Line("throughput", Verdict.INCONCLUSIVE, n, "ratio", None, None, least, limit.text)
    bound = binomial.lower(served, n, alpha / 2) / binomial.upper(theirs, m, alpha / 2)
    base = binomial.lower(theirs, m, alarm / 2)
    wrong = base > 0 and binomial.upper(served, n, alarm / 2) / base < least
    verdict = Verdict.FAIL if wrong else Verdict.PASS if bound > least else Verdict.INCONCLUSIVE
    note = "served of offered, candidate over the other release"
    return Line("throughput", verdict, n, "ratio", (served / n) / (theirs / m), bound, least, f"less than {limit.text[2:]} lost", note=note)


def _hosts(lines: list[Line]) -> Line:
    """The host that speaks worst for the candidate speaks for all."""
    order = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.FAIL)
    if not lines:
        return Line("hosts", Verdict.ERROR, 0, "count", note="no agent of the candidate was scraped")
    return max(lines, key=lambda line: (order.index(line.verdict), line.bound if line.bound is not None else math.inf))


def _cpu(agent: Agent, limit: Threshold, alpha: float, alarm: float) -> Line:
    values = agent.cpu.value
    if len(values) < _LEAST_POINTS:
        note = f"{agent.host}: {len(values)} points"
        return Line("cpu", Verdict.INCONCLUSIVE, len(values), "share", None, None, limit.value, limit.text, _LEAST_POINTS, note=note)
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    bound = mean + float(student.isf(alpha, len(values) - 1)) * error
    least = mean - float(student.isf(alarm, len(values) - 1)) * error
    verdict = Verdict.PASS if bound < limit.value else Verdict.FAIL if least > limit.value else Verdict.INCONCLUSIVE
    return Line("cpu", verdict, len(values), "share", mean, bound, limit.value, limit.text, note=f"highest on {agent.host}")


def _memory(agent: Agent, limit: Threshold) -> Line:
    values = agent.memory.value
    if len(values) < 2:
        return Line("memory", Verdict.INCONCLUSIVE, len(values), "bytes", None, None, limit.value, limit.text, 2, note=agent.host)
    top = float(values.max())
    verdict = Verdict.PASS if top < limit.value else Verdict.FAIL
    return Line("memory", verdict, len(values), "bytes", top, top, limit.value, limit.text, note=f"highest on {agent.host}")


def _growth(agent: Agent, limit: Threshold, seconds: float, size: float, alpha: float, alarm: float) -> Line:
    """Growth over the watch as a share of the median (or of ``size``, if that is more).

    By the Theil-Sen slope, whose bounds no single jump of the heap can move.
    """
    time, values = agent.memory.time, agent.memory.value
    least = _LEAST_POINTS + 1
    if len(values) < least:
        note = f"{agent.host}: {len(values)} points"
        return Line("memory growth", Verdict.INCONCLUSIVE, len(values), "share", None, None, limit.value, limit.text, least, note=note)
    kept = np.linspace(0, len(values) - 1, min(len(values), _SLOPE_POINTS)).astype(int)
    scale = seconds / max(size, float(np.median(values)))
    found = theilslopes(values[kept], time[kept], 1 - 2 * alpha)
    strict = theilslopes(values[kept], time[kept], 1 - 2 * alarm)
    bound = float(found.high_slope) * scale
    grows = float(strict.low_slope) * scale > limit.value
    verdict = Verdict.PASS if bound < limit.value else Verdict.FAIL if grows else Verdict.INCONCLUSIVE
    note = f"over the watch, fastest on {agent.host}"
    return Line("memory growth", verdict, len(values), "share", float(found.slope) * scale, bound, limit.value, limit.text, note=note)
