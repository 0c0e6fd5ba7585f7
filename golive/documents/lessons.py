"""What a run teaches, computed from its journal: what was slow, tried again, held, waived, taken back, interrupted, not told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from golive.documents.figure import Figure
from golive.documents.run import Noted, RunFacts
from golive.documents.steps import StepFact
from golive.views.view import seconds_between

__all__ = ["KINDS", "NEAR", "Lesson", "lessons"]

NEAR = 0.5
"""Share of its budget from which on a step is called slow: what takes half of it here takes all of it on a fleet twice as busy."""

KINDS = {
    "over budget": "took longer than it may",
    "near its budget": f"took more than {NEAR:.0%} of its budget",
    "late": "began after it was due",
    "tried again": "did not pass at once",
    "held": "stood still until somebody or something decided",
    "interrupted": "lost its process, or was stopped",
    "waived": "was left out by a signature",
    "rolled back": "went back",
    "left out": "a host that the run went on without",
    "not told": "a message that nobody got",
    "not measured": "a gate that could not say",
    "error": "an error of the toolkit",
}
"""Every kind of lesson, and what it means."""

_LATE_S = 60.0
_OF_NOTED = {
    "run.held": "held",
    "run.paused": "held",
    "step.holding": "held",
    "approval.rejected": "held",
    "step.interrupted": "interrupted",
    "step.given-up": "interrupted",
    "step.unknown": "interrupted",
    "lease.taken-over": "interrupted",
    "leftovers.ended": "interrupted",
    "job.lost": "interrupted",
    "run.aborting": "rolled back",
    "rollback.started": "rolled back",
    "rollback.overrun": "over budget",
    "guard": "rolled back",
    "host.set-aside": "left out",
    "bug": "error",
}

_ENDS = {
    "run.held": ("run.resumed",),
    "run.paused": ("run.unpaused", "run.resumed", "rollback.started"),
    "rollback.started": ("rollback.finished",),
    "step.interrupted": ("step.intent", "step.outcome", "rollback.started"),
}


@dataclass(frozen=True)
class Lesson:
    """One thing that did not go as planned."""

    kind: str
    where: str
    what: str
    cost: Figure
    """Seconds that it took; no data where the journal cannot tell."""
    at: Figure


def lessons(run: RunFacts) -> tuple[Lesson, ...]:
    """All of them, kind after kind in the order of :data:`KINDS`, the dearest first."""
    found = [*_steps(run), *_stages(run), *_noted(run), *_gates(run)]
    order = list(KINDS)
    return tuple(sorted(found, key=lambda one: (order.index(one.kind), -float(one.cost.value or 0), str(one.at.value))))


def _every(run: RunFacts) -> Iterator[StepFact]:
    for stage in (*run.stages, *(run.rollback.stages if run.rollback else ())):
        yield from stage.steps


def _steps(run: RunFacts) -> Iterator[Lesson]:
    for step in _every(run):
        share, tries = step.share, int(step.tries.value or 0)
        of_one = share / max(1, tries) if share is not None else None
        if of_one is not None and of_one > NEAR:
            kind = "over budget" if of_one > 1 else "near its budget"
            what = f"{step.uses} took {step.seconds.text}, {of_one:.0%} of the {step.budget.text} it may"
            yield Lesson(kind, step.name, what, Figure(step.seconds.value, (*step.seconds.refs, *step.budget.refs), "s"), step.ended)
        if tries > 1:
            what = f"{step.uses} was begun {tries} times before it ended {step.verdict.text}"
            yield Lesson(
                "tried again", step.name, what, Figure(step.seconds.value, (*step.tries.refs, *step.seconds.refs), "s"), step.ended
            )


def _stages(run: RunFacts) -> Iterator[Lesson]:
    for stage in run.stages:
        if stage.budget.value and stage.took.value is not None and stage.took.value > stage.budget.value:
            what = f"the stage took {stage.took.text} of the {stage.budget.text} it may, waits and holds included"
            yield Lesson(
                "over budget", stage.name, what, Figure(stage.took.value, (*stage.took.refs, *stage.budget.refs), "s"), stage.ended
            )
        if float(stage.late.value or 0) > _LATE_S:
            what = f"due {stage.due.text}, begun {stage.began.text}"
            yield Lesson("late", stage.name, what, stage.late, stage.began)


def _noted(run: RunFacts) -> Iterator[Lesson]:
    records = {record.seq: number for number, record in enumerate(run.records)}
    for noted in run.incidents:
        kind = _OF_NOTED.get(noted.kind)
        if kind is not None:
            yield Lesson(kind, noted.where or "the run", noted.what, _until_going_on(noted, run, records), noted.at)
    for noted in run.waived:
        yield Lesson("waived", noted.where, noted.what, Figure(None, noted.at.refs, "s"), noted.at)
    for noted in run.untold:
        yield Lesson("not told", noted.where or "the run", noted.what, Figure(None, noted.at.refs, "s"), noted.at)


def _until_going_on(noted: Noted, run: RunFacts, place: dict[int, int]) -> Figure:
    """How long it took until the record that says that it is over. No data while it is not, and where nothing says so."""
    ends = _ENDS.get(noted.kind, ())
    seq = int(noted.at.refs[0][1:])
    later = next((record for record in run.records[place[seq] + 1 :] if record.kind in ends), None)
    if later is None:
        return Figure(None, noted.at.refs, "s")
    return Figure(seconds_between(str(noted.at.value), later.at), (*noted.at.refs, f"j{later.seq}"), "s")


def _gates(run: RunFacts) -> Iterator[Lesson]:
    for gate in run.gates:
        if gate.verdict.value in ("INCONCLUSIVE", "ERROR"):
            yield Lesson("not measured", gate.name, gate.summary, gate.watched, gate.at)
