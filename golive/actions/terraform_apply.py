"""``terraform.apply``: the hosts are there as declared; exactly the plan that was shown is applied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from golive import ground
from golive.actions._waves import set_aside
from golive.actions._world import aside
from golive.actions.port import MARK, Finding, Findings, Found, Outcome, StepContext, action
from golive.errors import BadInput, GoliveError
from golive.gates.verdict import Verdict

__all__ = ["TerraformApply"]


@action
class TerraformApply:
    """A plan is the probe: Terraform looks at everything that is there. An apply that was cut short is planned again from that."""

    name = "terraform.apply"
    budget = timedelta(minutes=20)
    grounds = True

    def probe(self, ctx: StepContext) -> Findings:
        try:
            with _marked(ctx):
                looked = ground.look(ctx.env)
        except BadInput:
            raise
        except GoliveError as error:
            do = f"Run `./inv drift --env {ctx.env.name}`, which makes the same plan, and mend what it says"
            return {"environment": Finding(Found.UNKNOWN, f"what is there cannot be planned: {error}", {"do": do})}
        cut = f"; {looked.cut_short}" if looked.cut_short else ""
        if not looked.applied:
            return {"environment": Finding(Found.PARTIAL if cut else Found.ABSENT, f"nothing was ever applied{cut}")}
        found = {
            change.name: Finding(Found.ABSENT if change.action == "create" and not cut else Found.PARTIAL, f"{change.why}{cut}")
            for change in looked.changes
        }
        for name in looked.unreachable:
            if name not in aside(ctx):
                found.setdefault(name, Finding(Found.PARTIAL, "did not let the operator in when it was last looked at"))
        if looked.missing:
            found["environment"] = Finding(Found.PARTIAL, f"missing here: {', '.join(looked.missing)}")
        return found or {"environment": Finding(Found.DONE, f"everything is as declared{cut}")}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        with _marked(ctx):
            done = ground.provision(ctx.env)
        silent = {name: why for name, why in done.unreachable.items() if name not in aside(ctx)}
        why = set_aside(ctx, {}, silent) if silent else ""
        text = f"{done.text} {'; '.join(silent)} set aside within the failure budget." if silent and not why else done.text
        return Outcome(
            Verdict.ERROR if why else Verdict.PASS, f"{text} ({why})" if why else text, done.to_json(), changed=len(done.changes)
        )

    def plan(self, ctx: StepContext) -> list[str]:
        return [f"Terraform: {line}" for line in ground.planned(ctx.env, ctx.workdir / "terraform").splitlines()]

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "hosts stay; `inv destroy` takes them away")


@contextmanager
def _marked(ctx: StepContext) -> Iterator[None]:
    """Terraform is started deep in a library; its processes inherit ours."""
    os.environ[MARK] = ctx.mark
    try:
        yield
    finally:
        del os.environ[MARK]
