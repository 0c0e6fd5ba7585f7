"""The days after T-0, T+1 to T+7: what gates, checks, Prometheus and users said of each, and how it moved. No data is said as that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import fmean
from typing import Literal

from golive.documents.feedback import Feedback
from golive.documents.figure import Figure
from golive.documents.run import Answered, GateFact, Noted, RunFacts
from golive.documents.sources import of_record, of_statement
from golive.engine import BACK
from golive.evidence import Kept

__all__ = ["DAYS", "MEASURES", "Asked", "Day", "HealthFacts", "Measure", "health_facts", "t_zero"]

DAYS = 7
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Measure:
    """A question to Prometheus about one release."""

    name: str
    query: str
    """With ``%s`` for the release's selector."""
    unit: Literal["share", "s", "per_s", "bytes", "count", ""]
    worst: Literal["most", "least"]
    """Which end of a day is the bad one."""


MEASURES = (
    Measure(
        "failed requests",
        'sum(rate(dwcp_load_requests_total{result!="ok",%s}[10m])) / sum(rate(dwcp_load_requests_total{%s}[10m]))'
        " or 0 * sum(rate(dwcp_load_requests_total{%s}[10m]))",
        "share",
        "most",
    ),
    Measure("p99 latency", "histogram_quantile(0.99, sum by (le) (rate(dwcp_load_latency_seconds_bucket{%s}[10m])))", "s", "most"),
    Measure("requests", "sum(rate(dwcp_load_requests_total{%s}[10m]))", "per_s", "least"),
    Measure("agents up", 'avg(up{job="agent",%s})', "share", "least"),
    Measure("restarts", 'sum(changes(dwcp_start_time_seconds{job="agent",%s}[10m]))', "count", "most"),
    Measure("CPUs of an agent", 'max(rate(process_cpu_seconds_total{job="agent",%s}[10m]))', "", "most"),
    Measure("memory of an agent", 'max(process_resident_memory_bytes{job="agent",%s})', "bytes", "most"),
    Measure("alerts that fire", 'count(ALERTS{alertstate="firing"}) or 0 * count(up)', "count", "most"),
)
"""No query turns an absence into a zero: where nothing was scraped, nothing is answered."""

STEP_S = 300


@dataclass(frozen=True)
class Asked:
    """What Prometheus answered over the days: points by measure, or why there are none."""

    digest: str
    """Of the statement that keeps the answers; empty when nothing was asked."""
    points: Mapping[str, Sequence[tuple[float, float]]]
    why: str = ""


@dataclass(frozen=True)
class Day:
    """24 hours after T-0."""

    number: int
    begins: Figure
    ends: Figure
    state: Literal["over", "going on", "to come"]
    gates: tuple[GateFact, ...]
    requests: Figure
    errors: Figure
    error_rate: Figure
    p50: Figure
    p99: Figure
    """The worst of the day's watches."""
    rate: Figure
    """Requests per second, in the day's watches."""
    change: Figure
    """Of the p99, against the last day before that has one."""
    verified: tuple[tuple[Figure, Figure, str], ...]
    """When, result, summary."""
    measures: tuple[tuple[Measure, Figure, Figure], ...]
    """Mean and worst of the day."""
    events: tuple[Noted, ...]
    feedback: tuple[Feedback, ...]

    @property
    def known(self) -> bool:
        """Whether anything at all was measured."""
        return bool(self.gates or self.verified) or any(mean.value is not None for _, mean, _ in self.measures)


@dataclass(frozen=True)
class HealthFacts:
    """All days."""

    release: str
    zero: Figure
    days: tuple[Day, ...]
    baseline: Answered | None
    """The incumbent before the candidate came."""
    feedback: tuple[Feedback, ...]
    """Of no day."""
    directory: str
    why: str
    """Why Prometheus said nothing; empty when it did."""


def t_zero(run: RunFacts) -> Figure:
    """When the candidate came onto hosts for good: after the drill, which takes it away again. No data when it never did, or went."""
    found = None
    for record in run.records:
        if record.kind in ("rehearsal.finished", "rollback.started"):
            found = None
        elif record.stage is not None and record.stage.startswith(BACK):
            continue
        elif found is None and record.kind in ("step.intent", "step.outcome") and record.data.get("reach") in ("candidate", "traffic"):
            found = record
    return Figure(found.at if found else None, (of_record(found),) if found else (), "time")


def health_facts(
    run: RunFacts,
    others: Iterable[RunFacts],
    kept: Mapping[str, Kept],
    feedback: Sequence[Feedback],
    asked: Asked,
    *,
    as_of: datetime,
    directory: str,
    days: int = DAYS,
) -> HealthFacts:
    """The days after ``run``'s T-0, which has to be.

    Args:
        others: later runs of the environment: what they saw of this release counts too.
        as_of: what is after it is still to come.
    """
    release, zero = run.state.release or "", t_zero(run)
    start = datetime.fromisoformat(str(zero.value))
    seen = [*_seen(run, release), *(one for other in others for one in _seen(other, release))]
    events = [noted for one in (run, *others) for noted in one.incidents]
    checks = [one for one in kept.values() if one.statement.predicate.check == "verify" and _of(one, run.state.env, release)]
    listed = []
    for number in range(1, days + 1):
        begins, ends = start + (number - 1) * _DAY, start + number * _DAY
        listed.append(
            _day(
                number,
                begins,
                ends,
                zero,
                [(gate, said) for gate, said in seen if begins <= _time(gate.at) < ends],
                [one for one in checks if begins <= one.statement.predicate.finished < ends],
                asked,
                [noted for noted in events if begins <= _time(noted.at) < ends],
                [one for one in feedback if one.day == number or (one.on and begins.date() < one.on <= ends.date())],
                as_of,
            )
        )
    placed = {one.name for day in listed for one in day.feedback}
    baseline = next((gate.of("baseline") for gate in run.gates if gate.of("baseline") is not None), None)
    rest = tuple(one for one in feedback if one.name not in placed)
    changed = _changed(listed, baseline.p99 if baseline is not None else Figure(None))
    return HealthFacts(release, zero, changed, baseline, rest, directory, asked.why)


def _seen(run: RunFacts, release: str) -> list[tuple[GateFact, Answered | None]]:
    """The gates of ``run`` with what they saw of ``release``: as candidate, or as the incumbent of a later one."""
    who = "candidate" if run.state.release == release else "incumbent" if run.state.incumbent == release else None
    return [(gate, gate.of(who)) for gate in run.final_gates] if who else []


def _day(
    number: int,
    begins: datetime,
    ends: datetime,
    zero: Figure,
    gates: Sequence[tuple[GateFact, Answered | None]],
    checks: Sequence[Kept],
    asked: Asked,
    events: Sequence[Noted],
    feedback: Sequence[Feedback],
    as_of: datetime,
) -> Day:
    said = [one for _, one in gates if one is not None and one.requests.value]
    refs = tuple(ref for one in said for ref in one.requests.refs)
    requests = sum(int(one.requests.value) for one in said) if said else None
    errors = sum(int(one.errors.value or 0) for one in said) if said else None
    return Day(
        number=number,
        begins=Figure(begins.isoformat(), zero.refs, "time"),
        ends=Figure(ends.isoformat(), zero.refs, "time"),
        state="over" if ends <= as_of else "going on" if begins <= as_of else "to come",
        gates=tuple(gate for gate, _ in gates),
        requests=Figure(requests, refs, "count"),
        errors=Figure(errors, refs, "count"),
        error_rate=Figure(errors / requests if requests and errors is not None else None, refs, "share"),
        p50=_worst([one.p50 for one in said]),
        p99=_worst([one.p99 for one in said]),
        rate=_mean([one.rate for one in said]),
        change=Figure(None, (), "ratio"),
        verified=tuple(_verified(one) for one in sorted(checks, key=lambda one: one.statement.predicate.finished)),
        measures=tuple(_measured(measure, asked, begins.timestamp(), ends.timestamp()) for measure in MEASURES),
        events=tuple(events),
        feedback=tuple(feedback),
    )


def _worst(figures: Sequence[Figure]) -> Figure:
    known = [figure for figure in figures if figure.value is not None]
    return max(known, key=lambda figure: float(figure.value)) if known else Figure(None, (), "ms")


def _mean(figures: Sequence[Figure]) -> Figure:
    known = [figure for figure in figures if figure.value is not None]
    refs = tuple(ref for figure in known for ref in figure.refs)
    return Figure(fmean(float(figure.value) for figure in known) if known else None, refs, "per_s")


def _changed(days: Sequence[Day], before: Figure) -> tuple[Day, ...]:
    """The days with how the p99 of each differs from the last one before it, the incumbent's frozen one at first."""
    found = []
    for day in days:
        if day.p99.value is not None:
            if before.value:
                ratio = float(day.p99.value) / float(before.value)
                day = replace(day, change=Figure(ratio, (*before.refs, *day.p99.refs), "ratio"))
            before = day.p99
        found.append(day)
    return tuple(found)


def _verified(kept: Kept) -> tuple[Figure, Figure, str]:
    at, refs = kept.statement.predicate, (of_statement(kept.digest),)
    return Figure(at.finished.isoformat(timespec="seconds"), refs, "time"), Figure(at.result, refs), at.summary


def _measured(measure: Measure, asked: Asked, begins: float, ends: float) -> tuple[Measure, Figure, Figure]:
    values = [value for at, value in asked.points.get(measure.name, ()) if begins <= at < ends]
    refs = (of_statement(asked.digest),) if asked.digest else ()
    mean = fmean(values) if values else None
    worst = (max(values) if measure.worst == "most" else min(values)) if values else None
    if measure.name == "restarts" and values:
        worst = sum(values) / 2  # windows of ten minutes, read every five: each restart is in two of them
    return measure, Figure(mean, refs, measure.unit), Figure(worst, refs, measure.unit)


def _of(kept: Kept, env: str, release: str) -> bool:
    at = kept.statement.predicate
    return at.env == env and at.facts.get("release") == release


def _time(at: Figure) -> datetime:
    return datetime.fromisoformat(str(at.value))
