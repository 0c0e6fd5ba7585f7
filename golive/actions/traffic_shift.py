"""``traffic.shift``: the candidate gets a share of the sessions at every gateway, applied and read back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from golive.actions._traffic import TTL_S, journaled, shares, traffic, weights_everywhere
from golive.actions.port import Finding, Findings, Found, Outcome, Reach, StepContext, action
from golive.gates.verdict import Verdict

__all__ = ["TrafficShift"]


@action
class TrafficShift:
    """Upwards only with the guards watching; to 0 with or without them: the way back must not depend on a guard."""

    name = "traffic.shift"
    budget = timedelta(minutes=2)
    verify = True

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        candidate: int = Field(ge=0, le=100)

    def reach(self, params: Mapping[str, Any]) -> Reach:
        return Reach.TRAFFIC

    def probe(self, ctx: StepContext) -> Findings:
        found = weights_everywhere(ctx, ctx.params["candidate"])
        if ctx.params["candidate"] and all(f.found is Found.DONE for f in found.values()):
            # A lease from before a crash carries the old token: a resumed shift opens it anew even when the weights are right.
            return found if self._leased(ctx) else dict.fromkeys(found, Finding(Found.PARTIAL, "no weight lease of this process"))
        return found

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        percent, port = ctx.params["candidate"], traffic(ctx)
        if percent > 0:
            port.open(passed=passed(ctx), ttl_s=TTL_S)
            ctx.note("traffic.leased", {"ttl_s": TTL_S, "passed": passed(ctx)})
        shift = port.shift(percent, stage=ctx.stage)
        journaled(ctx, shift.weights)
        weights = {point: shares(ctx, w) for point, w in shift.weights.items()}
        data = {"percent": percent, "seconds": round(shift.seconds, 3), "weights": weights}
        summary = f"candidate at {percent} % on {len(weights)} gateways in {shift.seconds:.2f} s"
        return Outcome(Verdict.PASS, summary, data, changed=len(shift.changed))

    def undo(self, ctx: StepContext) -> Outcome:
        shift = traffic(ctx).shift(0, stage=ctx.stage)
        journaled(ctx, shift.weights)
        return Outcome(Verdict.PASS, f"candidate at 0 % in {shift.seconds:.2f} s", changed=len(shift.changed))

    @staticmethod
    def _leased(ctx: StepContext) -> bool:
        return all(w.lease is not None and w.lease.get("token") == ctx.token for w in traffic(ctx).read().values())


def passed(ctx: StepContext) -> int:
    """Percent of the candidate that last passed its gate in this run: what the guards go back to."""
    facts = ctx.facts("traffic.passed")
    return int(facts[-1]["percent"]) if facts else 0
