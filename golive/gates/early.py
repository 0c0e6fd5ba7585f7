"""Failing early: sequential tests during the watch, whose total false alarm over all metrics and looks is the policy's.

What may fail a candidate early is that it is *shown* to break what the runbook asks of production (errors above 0.1 %), not merely that it
breaks the rollback trigger (1 %): telling 2 % from 1 % takes minutes at canary traffic, telling it from 0.1 % takes seconds. The price is
that a candidate between the two fails early even where the environment's own PASS threshold is looser; it does not keep production's
promise, so that is right. The danger, a hiccup of the machine that hurts both releases, is met by a second condition: the candidate must
also be shown to err more than the incumbent in the same seconds (or than the frozen baseline's upper bound). The null hypothesis "keeps
the threshold, or is no worse than the incumbent" falls only when both of its parts do. A candidate that keeps the threshold is failed with
the policy's ``false_alarm`` at most; one that breaks it, but no more than the incumbent (the site is sick), with ``false_alarm_alike``.
A second test has the trigger as its null and no such condition: above 1 % the run goes back whoever is to blame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golive.gates import binomial
from golive.gates.lines import Line
from golive.gates.samples import CANDIDATE, INCUMBENT, NOBODY, Samples
from golive.gates.sequential import blocks, evidence, evidence_against
from golive.gates.shift import Shift
from golive.gates.spec import GatePolicy, GateSpec, Threshold
from golive.gates.verdict import Verdict
from golive.gates.window import Window

__all__ = ["facts", "shares", "tests"]

_WEIGHTS = {
    "errors": 10.0,
    "trigger": 1.0,
    "unanswered": 1.0,
    "slow": 2.0,
    "shift": 1.0,
    "shift-end": 1.0,
    "p99": 0.5,
    "throughput": 0.5,
    "hosts": 0.5,
}
"""How the false alarm is split. Errors get most: they are what hurts, and each nat of evidence is worth seconds."""

_Failed = Callable[[Samples], NDArray[np.bool_]]

_RATES = {"DwcpErrorRateHigh", "DwcpLatencyHigh"}
"""Alerts about what the tests here measure on the same requests with a known false alarm; an alert fires on one error among its first few
requests. While one fires a gate does not pass, but what fails it is the test."""

_OF_BASELINE = 0.2
"""Part of a test's false alarm that pays for the baseline's rate being itself an estimate."""

_LITTLE = 0.2
"""Share of the requests below which the incumbent cannot speak for the site: of ten failures of a candidate with ten times its requests,
none of the incumbent's says nothing. There the baseline may speak too."""


def shares(spec: GateSpec, policy: GatePolicy) -> dict[str, float]:
    """The false alarm of each test that this gate runs; they sum to the policy's."""
    running = {
        "errors": spec.error_rate,
        "trigger": spec.error_rate,
        "unanswered": spec.error_rate,
        "slow": spec.latency_p99,
        "shift": spec.degradation,
        "shift-end": spec.degradation,
        "p99": spec.degradation,
        "throughput": spec.degradation,
        "hosts": spec.cpu or spec.growth,
    }
    weights = {name: _WEIGHTS[name] for name, limit in running.items() if limit is not None}
    total = sum(weights.values())
    return {name: policy.false_alarm * weight / total for name, weight in weights.items()}


def facts(window: Window, spec: GateSpec) -> list[Line]:
    """What needs no statistics: corruption, restarts, alerts, requests nobody answered."""
    samples = window.samples
    corrupt = int((samples.corrupt & (samples.role != INCUMBENT)).sum())
    counted = sum(agent.corruption for agent in window.agents)
    lines = [_count("corruption", corrupt + counted, 0, len(samples.by(CANDIDATE)), f"{corrupt} seen by clients, {counted:.0f} by agents")]
    restarted = [f"{agent.host} ({agent.restarts})" for agent in window.agents if agent.restarts]
    if spec.restarts is not None:
        lines.append(_count("restarts", sum(a.restarts for a in window.agents), spec.restarts, len(window.agents), ", ".join(restarted)))
    if spec.disruptions is not None:
        nobody = int((samples.role == NOBODY).sum())
        lines.append(_count("disruptions", nobody, spec.disruptions, len(samples), "requests that no release answered"))
    firing = [alert for alert in window.alerts if alert.role != "incumbent"]
    told = {alert.name for alert in firing}
    names = sorted(told - _RATES - {"DwcpMetricsAbsent"})
    lines.append(_count("alerts", len(names), 0, len(firing), ", ".join(names)))
    if "DwcpMetricsAbsent" in told:
        lines.append(Line("alerts", Verdict.ERROR, 1, "count", 1, None, 0, "none firing", note="DwcpMetricsAbsent fires"))
    if told & _RATES:
        count, note = len(told & _RATES), ", ".join(sorted(told & _RATES))
        lines.append(Line("alerts on rates", Verdict.INCONCLUSIVE, count, "count", count, None, 0, "none firing", note=note))
    return lines


def _count(metric: str, seen: float, allowed: int, n: int, note: str) -> Line:
    verdict = Verdict.FAIL if seen > allowed else Verdict.PASS
    return Line(metric, verdict, n, "count", float(seen), None, float(allowed), f"at most {allowed}", note=note if seen else "")


def tests(window: Window, spec: GateSpec, policy: GatePolicy, shift: Shift | None) -> list[Line]:
    """The sequential tests, each FAIL or INCONCLUSIVE ("not shown to be wrong")."""
    alpha = shares(spec, policy)
    lines = []
    if spec.error_rate is not None:
        lines += _errors(window, spec, spec.error_rate, policy, alpha)
    if spec.latency_p99 is not None:
        lines.append(_slow(window, spec, alpha["slow"], policy.false_alarm_alike))
    if spec.degradation is not None and shift is not None and shift.usable:
        limit = 1 + spec.degradation.value
        wrong = shift.shown_above(limit, alpha["shift"])
        text = spec.degradation.text
        lines.append(Line("latency (early)", _verdict(wrong), shift.n, "ratio", shift.ratio, None, limit, text, decides=wrong))
    return lines


def _verdict(wrong: bool) -> Verdict:
    return Verdict.FAIL if wrong else Verdict.INCONCLUSIVE


def _errors(window: Window, spec: GateSpec, asked: Threshold, policy: GatePolicy, alpha: dict[str, float]) -> list[Line]:
    samples, limit, text = window.samples, asked.value, asked.text
    mine = samples.by(CANDIDATE)
    test = _Test(lambda part: part.failed, limit, alpha["errors"], policy.false_alarm_alike)
    log_e, condition = _guarded(window, spec, samples, window.baseline, test)
    lines = [_e_line("errors (early)", log_e, alpha["errors"], mine.failed, limit, f"{text}{condition}")]
    trigger = policy.trigger_error_rate
    if trigger.value > limit:
        log_e = evidence(mine.failed, _blocks(mine, window), trigger.value)
        lines.append(_e_line("errors (trigger)", log_e, alpha["trigger"], mine.failed, trigger.value, f"rollback at {trigger.text}"))
    nobody = samples.role == NOBODY
    most = max(limit, trigger.value)
    log_e = evidence(nobody, _blocks(samples, window), most)
    lines.append(_e_line("unanswered", log_e, alpha["unanswered"], nobody, most, f"rollback at {trigger.text} of all requests"))
    return lines


def _slow(window: Window, spec: GateSpec, alpha: float, alike: float) -> Line:
    assert spec.latency_p99 is not None
    edge = spec.latency_p99.value
    samples = window.samples.where(window.samples.timed)
    baseline = None if window.baseline is None else window.baseline.where(window.baseline.timed)
    log_e, condition = _guarded(window, spec, samples, baseline, _Test(lambda part: part.latency > edge, 0.01, alpha, alike))
    slow = samples.by(CANDIDATE).latency > edge
    return _e_line("slow requests (early)", log_e, alpha, slow, 0.01, f"p99 {spec.latency_p99.text}{condition}")


def _blocks(samples: Samples, window: Window) -> NDArray[np.int64]:
    return blocks(samples.time, window.start, window.end)


@dataclass(frozen=True)
class _Test:
    """What counts as failed, how much of it the null allows, and how often the test may be wrong."""

    failed: _Failed
    limit: float
    alpha: float
    alike: float


def _guarded(window: Window, spec: GateSpec, samples: Samples, baseline: Samples | None, test: _Test) -> tuple[float, str]:
    """The evidence against "at most the limit of the candidate's requests fail, or no more than the other release's"."""
    mine = samples.by(CANDIDATE)
    absolute = evidence(test.failed(mine), _blocks(mine, window), test.limit)
    theirs = int((samples.role == INCUMBENT).sum()) if spec.against == "incumbent" else 0
    then = _more_than_baseline(window, mine, baseline, test) if baseline is not None and len(baseline) else None
    if not theirs:
        return (absolute, "") if then is None else (then, " and more than the baseline")
    both = samples.where((samples.role == CANDIDATE) | (samples.role == INCUMBENT))
    relative = evidence_against(test.failed(both), both.role == CANDIDATE, _blocks(both, window))
    # Both have to be shown. The relative evidence is put on the absolute one's scale: 1 at its own limit is 1 at the other's.
    now = min(absolute, relative * math.log(1 / test.alpha) / math.log(1 / test.alike))
    if then is None or theirs >= _LITTLE * len(both):
        return now, " and more than the incumbent"
    return max(0.0, max(now, then) - math.log(2)), " and more than the incumbent, or than the baseline"


def _more_than_baseline(window: Window, mine: Samples, baseline: Samples, test: _Test) -> float:
    known = binomial.upper(int(test.failed(baseline).sum()), len(baseline), test.alpha * _OF_BASELINE)
    found = evidence(test.failed(mine), _blocks(mine, window), max(test.limit, min(known, 0.5)))
    return max(0.0, found + math.log1p(-_OF_BASELINE))


def _e_line(metric: str, log_e: float, alpha: float, failed: NDArray[np.bool_], limit: float, stated: str) -> Line:
    wrong = log_e >= math.log(1 / alpha)
    count = int(failed.sum())
    estimate = count / len(failed) if len(failed) else None
    note = f"{count} in {len(failed):,}, evidence 10^{log_e / math.log(10):.1f} of 10^{math.log10(1 / alpha):.1f}"
    return Line(metric, _verdict(wrong), len(failed), "share", estimate, None, limit, stated, decides=wrong, note=note)
