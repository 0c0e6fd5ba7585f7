"""``monitoring.targets``: Prometheus scrapes exactly the named releases on every agent host."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from golive.actions._world import command, everywhere, hosts_for, release_of, slot_of, unknown, world
from golive.actions.checks_smoke import CONTROL_PORT
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.gates.verdict import Verdict

__all__ = ["MonitoringTargets"]


@action
class MonitoringTargets:
    """Writes the file that Prometheus discovers its ``agent`` targets from; Prometheus takes it up by itself, without a reload."""

    name = "monitoring.targets"
    budget = timedelta(minutes=2)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        releases: list[Literal["candidate", "incumbent"]] = Field(min_length=1)

    def probe(self, ctx: StepContext) -> Findings:
        ops = ctx.fleet().ops
        answer = everywhere(ctx, [ops], "targets", "show", timeout_s=30)[ops.name]
        if answer.data is None:
            return (
                {ops.name: Finding(Found.ABSENT, "nothing was ever told to scrape there")} if answer.bare else unknown({ops.name: answer})
            )
        there = answer.data.get("groups")
        if not isinstance(there, list):
            return {ops.name: Finding(Found.PARTIAL, "the list of targets cannot be read; it is written anew")}
        same = _targets(there) == _targets(self._groups(ctx))
        return {ops.name: Finding(Found.DONE if same else Found.ABSENT, f"{len(there)} targets, {'these' if same else 'others'}")}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        fleet = ctx.fleet()
        text = json.dumps(self._groups(ctx)).encode()
        argv = command(fleet.ops, "dwcp-host", "targets", "set", "--token", str(ctx.token), "--run", ctx.run)
        got = world(ctx.env, fleet).shell.run(fleet.ops, argv, input=text, timeout_s=30)
        if got.rc != 0:
            said = got.stderr.decode(errors="replace").strip().splitlines()
            why = said[-1] if said else f"dwcp-host ended with {got.rc}"
            return Outcome(Verdict.FAIL, f"{fleet.ops.name}: the list of targets was not taken: {why}")
        data = json.loads(got.stdout)
        return Outcome(Verdict.PASS, f"{data['targets']} agent targets", data, changed=int(data["changed"]))

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "the list is written anew by the step that needs another")

    @staticmethod
    def _groups(ctx: StepContext) -> list[dict[str, Any]]:
        groups = []
        for role in ctx.params["releases"]:
            release, slot = release_of(ctx, role), slot_of(ctx, role)
            for host in hosts_for(ctx, role):
                labels = {"host": host.name, "site": host.site, "slot": slot, "release": release}
                groups.append({"targets": [f"{host.name}:{CONTROL_PORT[slot]}"], "labels": labels})
        return groups


def _targets(groups: list[Any]) -> set[str]:
    """The list without its order."""
    return {json.dumps(group, sort_keys=True) for group in groups}
