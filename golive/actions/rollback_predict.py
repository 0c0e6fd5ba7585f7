"""``rollback.predict``: from the drill's measured times, whether the whole fleet goes back within the runbook's half an hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from golive.actions._check import Check
from golive.actions.port import Outcome, StepContext, action
from golive.fleet.ssh import HOSTS_AT_ONCE
from golive.gates.rollback_time import Measured, NotMeasured, Prediction, predict
from golive.gates.verdict import Verdict

__all__ = ["RollbackPredict"]


@action
class RollbackPredict(Check):
    """Reads the journal alone. Without a finished drill of this run, or with a step that was not timed, it is an ERROR: never a guess."""

    name = "rollback.predict"

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        stage: str
        """The stage that rehearsed the way back."""
        traffic: list[str] = Field(min_length=1)
        candidate: list[str] = Field(min_length=1)
        verification: list[str] = Field(min_length=1)
        hosts: int | None = Field(default=None, ge=1)
        """Size of the fleet to predict for; the environment's own by default."""

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        drills = ctx.facts("rehearsal.finished")
        if not drills:
            return Outcome(Verdict.ERROR, "no way back was rehearsed in this run, so nobody knows how long one takes")
        rehearsed, p = int(drills[-1]["hosts"]), ctx.params
        try:
            measured = [
                Measured(step, box, (took(ctx, p["stage"], step),), rehearsed, HOSTS_AT_ONCE)
                for box in ("traffic", "candidate", "verification")
                for step in p[box]
            ]
            found = predict(measured, hosts=p["hosts"] or len(ctx.fleet().agents), at_once=HOSTS_AT_ONCE)
        except NotMeasured as error:
            return Outcome(Verdict.ERROR, f"how long a rollback takes cannot be told: {error}")
        data = {**found.to_json(), "rehearsed_hosts": rehearsed}
        ctx.note("rollback-time", data)
        return Outcome(Verdict.PASS if found.holds else Verdict.FAIL, told(found), data)


def told(found: Prediction) -> str:
    """The prediction in one sentence, part by part."""
    parts = ", ".join(f"{box.name} {box.predicted_s:.0f} s of {box.budget_s / 60:.0f} min" for box in found.boxes)
    return f"a rollback of {found.hosts} hosts is predicted to take {found.total_s:.0f} s of 30 min ({parts})"


def took(ctx: StepContext, stage: str, step: str) -> float:
    """Seconds that the step took in the drill. Raises NotMeasured.

    A step that was interrupted and gone on with took the time from its first intent to its end, the gap in between included, but no
    longer than its budget: more it would never have been given.
    """
    mine = [fact for fact in ctx.facts("step.outcome") if (fact["stage"], fact["step"]) == (stage, step) and fact["verdict"] == "PASS"]
    intents = [fact for fact in ctx.facts("step.intent") if (fact["stage"], fact["step"]) == (stage, step)]
    if not mine:
        raise NotMeasured(f"step {step} of stage {stage} has not passed in this run")
    if not intents:
        raise NotMeasured(f"step {step} of stage {stage} found everything as it should be, so it did nothing that could be timed")
    if len(intents) == 1 and not mine[-1].get("already_there"):
        return float(mine[-1]["seconds"])
    return _at_most(intents, mine[-1])


def _at_most(intents: list[dict[str, Any]], end: Mapping[str, Any]) -> float:
    budget = max(float(intent["budget_s"]) for intent in intents)
    gap = (datetime.fromisoformat(end["at"]) - datetime.fromisoformat(intents[0]["at"])).total_seconds()
    return min(gap, budget) if gap > 0 else budget  # a clock that was set back measures nothing
