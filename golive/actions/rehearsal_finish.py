"""``rehearsal.finish``: the drill's way back is seen on every host and gateway, and from then on nothing counts as deployed."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

from golive.actions._traffic import traffic
from golive.actions._world import aside, slot_of
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.actions.release_activate import units
from golive.errors import Refused, Unreachable
from golive.gates.verdict import Verdict

__all__ = ["RehearsalFinish"]

_RUN = "environment"


@action
class RehearsalFinish:
    """Journals ``rehearsal.finished`` only when the candidate runs nowhere, has no share and is let in at no gateway.

    The lease is closed by the step after this one: while the candidate counts as exposed, a gateway that takes no beat sends the run back.
    """

    name = "rehearsal.finish"
    budget = timedelta(minutes=2)
    verify = True

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        release: Literal["candidate"] = "candidate"

    def probe(self, ctx: StepContext) -> Findings:
        recorded = any(fact.get("step") == ctx.step for fact in ctx.facts("rehearsal.finished"))
        own = Finding(Found.DONE if recorded else Found.ABSENT, "recorded" if recorded else "not recorded yet")
        return {_RUN: own, **units(ctx, [h for h in ctx.fleet().agents if h.name not in aside(ctx)], running=False), **_gateways(ctx)}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        left = {target: finding for target, finding in todo.items() if target != _RUN}
        if left:
            target, finding = next(iter(left.items()))
            more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
            return Outcome(Verdict.FAIL, f"the drill is not over: {target}: {finding.reason}{more}")
        # What the guards go back to, and whether there is a lease to beat for, begins anew with the next shift.
        ctx.note("traffic.passed", {"percent": 0, "gate": ctx.step})
        ctx.note("traffic.leased", {"ttl_s": 0, "passed": 0})
        fleet = ctx.fleet()
        told = {"hosts": len(fleet.agents), "gateways": len(fleet.gateways), "step": ctx.step}
        ctx.note("rehearsal.finished", told)
        return Outcome(Verdict.PASS, f"the candidate runs on none of {len(fleet.agents)} hosts and has no users", told, changed=1)

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "a record stays")


def _gateways(ctx: StepContext) -> Findings:
    slot, found = slot_of(ctx, "candidate"), {}
    try:
        read = traffic(ctx).read()
    except Unreachable as error:
        return {"traffic": Finding(Found.UNKNOWN, str(error))}
    for point, weights in read.items():
        name: object = slot
        try:
            share = weights.percent(name)  # type: ignore[arg-type]  # a slot's name
        except Refused as error:
            found[f"traffic at {point}"] = Finding(Found.PARTIAL, str(error))
            continue
        is_in = weights.slots[name].is_in  # type: ignore[index]
        out = share == 0 and not is_in
        found[f"traffic at {point}"] = Finding(Found.DONE if out else Found.PARTIAL, f"the candidate has {share} %, in={is_in}")
    return found
