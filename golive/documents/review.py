"""Thirty days later: what was predicted before T-0, against what was measured after it. What was not measured is no success."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from golive.documents.figure import Figure
from golive.documents.health import HealthFacts, t_zero
from golive.documents.measured import Suite
from golive.documents.ready import ReadyFacts
from golive.documents.run import GateFact, RunFacts
from golive.documents.sources import of_record, of_statement
from golive.documents.steps import StageFact
from golive.evidence import Kept
from golive.views.view import seconds_between

__all__ = ["DAYS", "Compared", "ReviewFacts", "review_facts"]

DAYS = 30
_WORSE = 1.2
"""What users get may differ so much from day to day without a reason in the release."""
_FLOOR = 0.001
"""An error rate below it is none to compare: it is a handful of requests."""
_TOLERATED = 1.1
"""The regression's tolerance for latency (policies/regress.yaml)."""
_DECIDED = ("stage.waiting", "step.intent", "step.outcome", "run.finished", "run.held", "rollback.started", "rollback.traffic-back")
Held = Literal["held", "did not hold", "not measured"]

_BOXES = {"traffic": ("traffic-back",), "candidate": ("candidate-detached", "candidate-out"), "verification": ("verify",)}
"""Stages of the way back by the part that was predicted for them."""


@dataclass(frozen=True)
class Compared:
    """One prediction and what became of it."""

    about: str
    what: str
    predicted: Figure
    measured: Figure
    held: Held
    note: str = ""


@dataclass(frozen=True)
class ReviewFacts:
    """All of them."""

    zero: Figure
    due: Figure
    days: Figure
    """Days from T-0 to the document."""
    early: bool
    rows: tuple[Compared, ...]

    def counted(self, held: Held) -> int:
        return sum(row.held == held for row in self.rows)


def review_facts(
    run: RunFacts,
    ready: ReadyFacts | None,
    health: HealthFacts | None,
    kept: Mapping[str, Kept],
    measured: Sequence[Suite],
    *,
    as_of: datetime,
) -> ReviewFacts:
    """Everything that was predicted for ``run``. ``health``: the days after T-0, when there are any."""
    zero = t_zero(run)
    start = datetime.fromisoformat(str(zero.value)) if zero.value else None
    due = start + timedelta(days=DAYS) if start is not None else None
    rows = (
        *_outcome(run, ready),
        *_times(run),
        *_way_back(run),
        *_gates(run),
        *_regress(run, measured),
        *_recovery(run, kept),
        *_after(run, health),
    )
    return ReviewFacts(
        zero=zero,
        due=Figure(due.isoformat() if due else None, zero.refs, "time"),
        days=Figure((as_of - start) / timedelta(days=1) if start else None, zero.refs),
        early=due is None or as_of < due,
        rows=rows,
    )


def _held(yes: bool | None) -> Held:
    return "not measured" if yes is None else "held" if yes else "did not hold"


def _outcome(run: RunFacts, ready: ReadyFacts | None) -> Iterator[Compared]:
    if ready is not None:
        went = run.outcome.value
        over = went in ("succeeded", "rolled-back", "failed", "aborted")
        agrees = (ready.decision.value == "NO-GO") != (went == "succeeded") if over else None
        note = "readiness as the evidence has it now, not as it was at T-0" if agrees is not True else ""
        yield Compared("decision", "whether the release can go live", ready.decision, run.outcome, _held(agrees), note)
    asked = [gate for gate in run.gates if gate.step]
    for criterion, text, verdict in run.criteria:
        yield Compared("sign-off", criterion, Figure("PASS", verdict.refs), verdict, _held(verdict.value == "PASS"), text)
    if not run.criteria and asked:
        yield Compared(
            "sign-off", "all criteria", Figure("PASS", asked[-1].verdict.refs), Figure(None), "not measured", "no sign-off was reached"
        )


def _times(run: RunFacts) -> Iterator[Compared]:
    steps = [step for stage in run.stages for step in stage.steps if step.share is not None]
    if steps:
        over = [step for step in steps if (step.share or 0) / max(1, int(step.tries.value or 1)) > 1]
        worst = max(steps, key=lambda step: step.share or 0)
        refs = (*worst.seconds.refs, *worst.budget.refs)
        note = f"{len(over)} of {len(steps)} steps took longer; nearest to it: {worst.name}, {worst.share:.1%}"
        yield Compared("time", "every step within its budget", worst.budget, Figure(worst.seconds.value, refs, "s"), _held(not over), note)
    for stage in run.stages:
        if stage.budget.value:
            within = None if stage.took.value is None else stage.took.value <= stage.budget.value
            yield Compared("time", f"stage {stage.name} within its budget", stage.budget, stage.took, _held(within))
    late = [stage for stage in run.stages if stage.late.value is not None]
    if late:
        worst_stage = max(late, key=lambda stage: float(stage.late.value))
        note = f"latest: {worst_stage.name}"
        yield Compared(
            "time", "stages begin when they are due", worst_stage.due, worst_stage.began, _held(worst_stage.late.value <= 60), note
        )


def _way_back(run: RunFacts) -> Iterator[Compared]:
    stages = {stage.name.partition(":")[2]: stage for stage in (run.rollback.stages if run.rollback else ())}
    for box in run.boxes:
        if box.name == "state":
            continue  # nothing is restored, so there is no time to predict
        took = _together([stages[name] for name in _BOXES.get(box.name, ()) if name in stages])
        note = "the way back was not needed" if run.rollback is None else ""
        within = None if took.value is None else took.value <= box.predicted.value
        yield Compared("way back", f"part {box.name}", box.predicted, took, _held(within), note)


def _together(stages: list[StageFact]) -> Figure:
    if not stages or any(stage.took.value is None for stage in stages):
        return Figure(None, (), "s")
    return Figure(sum(stage.took.value for stage in stages), tuple(ref for stage in stages for ref in stage.took.refs), "s")


def _gates(run: RunFacts) -> Iterator[Compared]:
    """What the first gate could say of everybody from a few users, against what the last one saw of everybody."""
    watched = [gate for gate in run.final_gates if gate.lines]
    if not watched:
        return
    first, last = watched[0], watched[-1]
    for line in first.lines:
        if not line.decides or line.bound.value is None or line.estimate.value is None:
            continue
        later = next((other for other in last.lines if other.metric == line.metric), None) if last is not first else None
        seen = later.estimate if later is not None else Figure(None)
        held = None
        if seen.value is not None:
            most = line.bound.value >= line.estimate.value
            held = seen.value <= line.bound.value if most else seen.value >= line.bound.value
        note = f"the worst that {first.name} left open, against {last.name}" if later is not None else "no later gate measured it"
        yield Compared("first gate", line.metric, line.bound, seen, _held(held), note)


def _regress(run: RunFacts, measured: Sequence[Suite]) -> Iterator[Compared]:
    """What was measured on purpose, candidate against incumbent, beside what users saw of both at the same gate."""
    both = [gate for gate in run.final_gates if _requests(gate, "candidate") and _requests(gate, "incumbent")]
    rows = [row for suite in measured if suite.check == "regress" for row in suite.rows if row.id.startswith("latency-")]
    for row in rows:
        name = "p99" if "p99" in row.id else "p50"
        seen, where = None, ""
        refs: tuple[str, ...] = ()
        if both:
            ours, theirs = (getattr(both[-1].of(who), name) for who in ("candidate", "incumbent"))
            seen = ours.value / theirs.value if ours.value and theirs.value else None
            refs, where = ours.refs, f"{name} of the candidate against the incumbent's at {both[-1].name}"
        held = None
        if seen is not None and row.verdict.value in ("PASS", "FAIL"):
            held = (row.verdict.value == "PASS") == (seen <= _TOLERATED)
        yield Compared("regression", row.metric, row.change, Figure(seen, refs, "ratio"), _held(held), where)


def _requests(gate: GateFact, who: str) -> int:
    said = gate.of(who)
    return int(said.requests.value or 0) if said is not None else 0


def _after(run: RunFacts, health: HealthFacts | None) -> Iterator[Compared]:
    """The last gate's word against what was measured after the run was over: by gates of later runs, else by Prometheus."""
    last = next((gate.of("candidate") for gate in reversed(run.final_gates) if gate.of("candidate")), None)
    for name, what, asked in (
        ("error_rate", "error rate", "failed requests"),
        ("p99", "p99 latency", "p99 latency"),
        ("rate", "requests per second", "requests"),
    ):
        before: Figure = getattr(last, name) if last is not None else Figure(None)
        day, after = _later(run, health, name, asked)
        held = None
        if before.value is not None and after.value is not None:
            worse, better = (before.value, after.value) if name == "rate" else (after.value, before.value)
            held = worse <= max(better * _WORSE, _FLOOR if name == "error_rate" else 0.0)
        note = f"day T+{day}; {_WORSE - 1:.0%} is allowed for" if day else "nothing measured it after the run was over"
        yield Compared("after the run", what, before, after, _held(held), note)


def _later(run: RunFacts, health: HealthFacts | None, name: str, asked: str) -> tuple[int, Figure]:
    """The last day on which something other than the run itself measured, and what."""
    for day in reversed(health.days if health is not None else ()):
        figure = getattr(day, name, Figure(None))
        if figure.value is not None and all(ref.startswith("j") and int(ref[1:]) > run.last for ref in figure.refs):
            return day.number, figure
        for measure, mean, _ in day.measures:
            if measure.name == asked and mean.value is not None:
                scaled = mean.value * 1000 if measure.unit == "s" else mean.value
                return day.number, Figure(scaled, mean.refs, "ms" if measure.unit == "s" else mean.unit)
    return 0, Figure(None)


def _recovery(run: RunFacts, kept: Mapping[str, Kept]) -> Iterator[Compared]:
    """How long the run took to decide something after each process that it lost, against the longest of the rounds that were struck."""
    rounds = [one for one in kept.values() if one.statement.predicate.check.startswith("chaos.")]
    rows = [(one, row) for one in rounds for row in one.statement.predicate.facts.get("rows") or [] if isinstance(row, Mapping)]
    known = [(one, float(row["recovery_s"])) for one, row in rows if isinstance(row.get("recovery_s"), int | float)]
    longest = max(known, key=lambda pair: pair[1], default=None)
    predicted = Figure(longest[1], (of_statement(longest[0].digest),), "s") if longest else Figure(None, (), "s")
    for number, record in enumerate(run.records):
        if record.kind != "run.resumed":
            continue
        decided = next((later for later in run.records[number + 1 :] if later.kind in _DECIDED), None)
        took = seconds_between(record.at, decided.at) if decided is not None else None
        refs = (of_record(record), *((of_record(decided),) if decided is not None else ()))
        within = took <= predicted.value if took is not None and predicted.value is not None else None
        yield Compared(
            "recovery", f"decides again after it was resumed at {record.at[:19]}", predicted, Figure(took, refs, "s"), _held(within)
        )
