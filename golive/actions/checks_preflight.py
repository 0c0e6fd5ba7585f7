"""``checks.preflight``: no host, and nothing on this machine, would stop the run later."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from golive.actions._check import Check
from golive.actions.port import Outcome, StepContext, action
from golive.gates.verdict import Verdict
from golive.preflight import Grade, preflight

__all__ = ["ChecksPreflight"]


@action
class ChecksPreflight(Check):
    """``inv preflight`` as a step. A lab is made by the next stage, so there is nothing to look at before it."""

    name = "checks.preflight"
    budget = timedelta(minutes=10)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        deadline_s: float = Field(default=120, ge=1, le=540)

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        if ctx.env.is_lab:
            return Outcome(Verdict.PASS, "the lab's hosts are made by the toolkit, not found")
        # Runbooks were read, and every host took this run's token, before any step began.
        report = preflight(ctx.env, knows=lambda run: True, looks={}, deadline_s=ctx.params["deadline_s"])
        problems, warnings = report.count(Grade.PROBLEM), report.count(Grade.WARNING)
        if report.ok:
            return Outcome(Verdict.PASS, f"{len(report.hosts)} hosts, no problem, {warnings} warnings", report.to_json())
        first = next(line.strip(" -") for line in report.text.splitlines() if line.startswith("    - "))
        return Outcome(
            Verdict.FAIL, f"{problems} problems; the first: {first} All of them: ./inv preflight --env {ctx.env.name}", report.to_json()
        )
