"""Stages and steps as they went: due and real times, budgets, tries, who answered for them and who did them."""

from __future__ import annotations

from dataclasses import dataclass

from golive.documents.figure import Figure
from golive.documents.sources import of_record
from golive.documents.trail import Trail
from golive.engine import RunState
from golive.engine.run_state import StepState
from golive.views.view import seconds_between

__all__ = ["StageFact", "StepFact", "stage_facts"]


@dataclass(frozen=True)
class StepFact:
    """One step: its last outcome, and what all of its tries took."""

    stage: str
    step: str
    uses: str
    owner: str
    """The role that answers for it."""
    by: str
    """``user@host`` of the controller that did it."""
    began: Figure
    ended: Figure
    seconds: Figure
    """Of all tries."""
    budget: Figure
    """Of one try."""
    tries: Figure
    verdict: Figure
    summary: str

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.step}"

    @property
    def share(self) -> float | None:
        """Seconds by budget."""
        if not self.budget.value or self.seconds.value is None:
            return None
        return float(self.seconds.value) / float(self.budget.value)


@dataclass(frozen=True)
class StageFact:
    """One stage."""

    name: str
    owner: str
    status: str
    due: Figure
    began: Figure
    ended: Figure
    late: Figure
    """Seconds from due to begun."""
    took: Figure
    budget: Figure
    steps: tuple[StepFact, ...]


def stage_facts(state: RunState, trail: Trail) -> tuple[StageFact, ...]:
    """Every stage that the run came to, in the order in which it did."""
    found = []
    for name, stage in state.stages.items():
        started, waited, done = (trail.of(name, None, kind) for kind in ("stage.started", "stage.waiting", "stage.done"))
        due = next((record for record in (*started, *waited) if record.data.get("due")), None)
        due_at = str(due.data["due"]) if due is not None else None
        due_refs = (of_record(due),) if due is not None else ()
        first = (of_record(started[0]),) if started else ()
        over = trail.of_step(name, None, "stage.done", "stage.skipped")
        ended = stage.ended if stage.status in ("done", "skipped") else None
        budget = next((record for record in started if record.data.get("budget_s") is not None), None)
        steps = tuple(
            _step(key.removeprefix(f"{name}/"), name, step, stage.owner or "", trail)
            for key, step in state.steps.items()
            if key.startswith(f"{name}/")
        )
        found.append(
            StageFact(
                name=name,
                owner=stage.owner or "",
                status=stage.status,
                due=Figure(due_at, due_refs, "time"),
                began=Figure(stage.began, first, "time"),
                ended=Figure(ended, over, "time"),
                late=Figure(_late(due_at, stage.began), (*due_refs, *first), "s"),
                took=Figure(seconds_between(stage.began, ended), (*first, *(of_record(record) for record in done[-1:])), "s"),
                budget=Figure(budget.data["budget_s"] if budget else None, (of_record(budget),) if budget else (), "s"),
                steps=steps,
            )
        )
    return tuple(found)


def _late(due: str | None, began: str | None) -> float | None:
    late = seconds_between(due, began)
    return None if late is None else max(0.0, late)


def _step(step: str, stage: str, state: StepState, owner: str, trail: Trail) -> StepFact:
    intents, outcomes = trail.of(stage, step, "step.intent"), trail.of(stage, step, "step.outcome")
    waived = trail.of(stage, step, "step.waived")
    ends = [*outcomes, *waived]
    last = max(ends, key=lambda record: record.seq) if ends else None
    seconds = sum(float(record.data.get("seconds") or 0) for record in outcomes)
    budgets = [record for record in intents if record.data.get("budget_s") is not None]
    said_by = last or (intents[-1] if intents else None)
    refs = (of_record(last),) if last is not None else tuple(of_record(record) for record in intents[-1:])
    began = intents[0] if intents else last
    return StepFact(
        stage=stage,
        step=step,
        uses=state.uses,
        owner=owner,
        by=trail.owner(said_by) if said_by is not None else "unknown",
        began=Figure(began.at if began is not None else None, (of_record(began),) if began is not None else (), "time"),
        ended=Figure(state.ended, refs, "time"),
        seconds=Figure(seconds if outcomes else None, tuple(of_record(record) for record in outcomes), "s"),
        budget=Figure(budgets[-1].data["budget_s"] if budgets else None, tuple(of_record(record) for record in budgets[-1:]), "s"),
        tries=Figure(len(intents) or (1 if outcomes else 0), tuple(of_record(record) for record in intents) or refs, "count"),
        verdict=Figure(state.verdict or state.status, refs),
        summary=state.summary,
    )
