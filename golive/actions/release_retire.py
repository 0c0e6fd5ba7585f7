"""``release.retire``: after sign-off the old release takes no traffic, runs nowhere, and old releases are pruned by number."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from golive.actions._traffic import traffic
from golive.actions._world import change, concluded, hosts_for, release_of, slot_of
from golive.actions.port import Finding, Findings, Found, Outcome, Reach, StepContext, action
from golive.actions.release_activate import units
from golive.gates.verdict import Verdict

__all__ = ["ReleaseRetire"]


@action
class ReleaseRetire:
    """Gateways first (no server of its slot stays in), then the units, then the files beyond the number kept."""

    name = "release.retire"
    budget = timedelta(minutes=10)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        release: Literal["incumbent"]

    def reach(self, params: Mapping[str, Any]) -> Reach:
        return Reach.FINAL

    def probe(self, ctx: StepContext) -> Findings:
        found = dict(units(ctx, hosts_for(ctx, "incumbent"), running=False))
        done = all(f.found is Found.DONE for f in found.values())
        pruned = any(f.get("step") == ctx.step for f in ctx.facts("releases.pruned"))
        if done and not pruned:  # whether the gateways let go and the old files went is told by the step's own record
            return {name: Finding(Found.PARTIAL, "stopped; slot and old files not yet") for name in found}
        return found

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        old, hosts = release_of(ctx, "incumbent"), hosts_for(ctx, "incumbent")
        slot: Any = slot_of(ctx, "incumbent")
        traffic(ctx).disable(slot)  # raises, naming the point, while the old release has a share anywhere
        for words, what in ((("deactivate", old), "stopped"), (("prune", "--keep", str(ctx.env.settings.keep_releases)), "pruned")):
            outcome = concluded(change(ctx, hosts, *words, timeout_s=120), what)
            if outcome.verdict is not Verdict.PASS:
                return outcome
        ctx.note("releases.pruned", {"step": ctx.step, "kept": ctx.env.settings.keep_releases})
        return Outcome(Verdict.PASS, f"{old} retired on {len(hosts)} hosts", changed=len(todo))

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.FAIL, "a retired release comes back by a go-live of its own")
