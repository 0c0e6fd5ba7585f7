"""``load.start``: the pinned load client offers its traffic at every site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from golive.actions._world import ask, change, concluded, hosts_for, unknown
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.gates.verdict import Verdict

__all__ = ["LoadStart"]


@action
class LoadStart:
    """Starts ``dwcp-load@<id>`` on host 2 of each site; the client is of a release of its own, so a go-live never replaces its measure."""

    name = "load.start"
    budget = timedelta(minutes=5)
    verify = True

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")

    def probe(self, ctx: StepContext) -> Findings:
        answers = ask(ctx, hosts_for(ctx, "load"))
        found: dict[str, Finding] = unknown(answers)
        for name, answer in answers.items():
            if answer.data is not None:
                found[name] = _client(answer.data["load"], ctx.load)
        return found

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        hosts = [h for h in hosts_for(ctx, "load") if h.name in todo]
        for name, answer in ask(ctx, hosts).items():
            others = [e["id"] for e in (answer.data or {}).get("load", []) if e["active"] and e["id"] != ctx.load]
            for other in others:
                # The pin changed: the old client makes room before anything is measured.
                stopped = concluded(change(ctx, [ctx.fleet().named(name)], "load-stop", other, timeout_s=60), f"{other} stopped")
                if stopped.verdict is not Verdict.PASS:
                    return stopped
        return concluded(change(ctx, hosts, "load-start", ctx.load, timeout_s=60), f"load {ctx.load} runs at {len(hosts)} sites")

    def undo(self, ctx: StepContext) -> Outcome:
        return concluded(change(ctx, ctx.fleet().loads, "load-stop", ctx.load, timeout_s=60), "load stopped")


def _client(there: Sequence[Mapping[str, Any]], wanted: str) -> Finding:
    """DONE when the pinned client offers its traffic and no other does: two of them would measure each other."""
    mine = next((entry for entry in there if entry["id"] == wanted), None)
    others = [entry["id"] for entry in there if entry["id"] != wanted and entry["active"]]
    if mine is None:
        return Finding(Found.ABSENT, "not installed")
    if mine["active"] and mine["enabled"] and not others:
        return Finding(Found.DONE, "running")
    if not mine["active"] and not mine["enabled"] and not others:
        return Finding(Found.ABSENT, "not running")
    told = f"active={mine['active']}, enabled={mine['enabled']}"
    return Finding(Found.PARTIAL, f"{told}; {others[0]} runs beside it" if others else told)
