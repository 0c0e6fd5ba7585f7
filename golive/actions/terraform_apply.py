"""``terraform.apply``: the hosts are there as declared; exactly the plan that was shown is applied."""

from __future__ import annotations

import os
from datetime import timedelta

from golive import ground
from golive.actions.port import MARK, Finding, Findings, Found, Outcome, StepContext, action
from golive.gates.verdict import Verdict

__all__ = ["TerraformApply"]


@action
class TerraformApply:
    """Plans anew each time: Terraform's own refresh is the probe, an apply that was cut short is planned again from what is there."""

    name = "terraform.apply"
    budget = timedelta(minutes=20)

    def probe(self, ctx: StepContext) -> Findings:
        return {"environment": Finding(Found.ABSENT, "Terraform plans anew")}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        os.environ[MARK] = ctx.mark  # Terraform is started deep in a library; its processes inherit ours
        try:
            done = ground.provision(ctx.env)
        finally:
            del os.environ[MARK]
        verdict = Verdict.ERROR if done.unreachable else Verdict.PASS
        return Outcome(verdict, done.text, done.to_json(), changed=len(done.changes))

    def plan(self, ctx: StepContext) -> list[str]:
        return [f"Terraform: {line}" for line in ground.planned(ctx.env, ctx.workdir / "terraform").splitlines()]

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "hosts stay; `inv destroy` takes them away")
