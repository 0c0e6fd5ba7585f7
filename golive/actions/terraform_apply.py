"""``terraform.apply``: the hosts are there as declared; exactly the plan that was shown is applied."""

from __future__ import annotations

import os
from datetime import timedelta

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
        from golive.verbs.provision import provision

        os.environ[MARK] = ctx.mark  # Terraform is started deep in a library; its processes inherit ours
        try:
            result = provision(ctx.env)
        finally:
            del os.environ[MARK]
        changes = result.data["changes"]
        verdict = Verdict.PASS if result.exit_code == 0 else Verdict.ERROR
        return Outcome(verdict, result.text, result.data, changed=len(changes))

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "hosts stay; `inv destroy` takes them away")
