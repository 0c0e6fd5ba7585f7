"""``release.install``: a signed release lies complete on every host that needs it, beside whatever runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from golive import releases
from golive.actions._world import ask, hosts_for, release_of, slot_of, unknown
from golive.actions.port import Finding, Findings, Found, Outcome, Reach, StepContext, action
from golive.fleet.ansible import play_step
from golive.gates.verdict import Verdict

__all__ = ["ReleaseInstall"]


@action
class ReleaseInstall:
    """Ships the bundle; each host checks the signature and every hash itself before anything is put in place."""

    name = "release.install"
    budget = timedelta(minutes=10)
    verify = True

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        release: Literal["candidate", "incumbent", "load"]

    def reach(self, params: Mapping[str, Any]) -> Reach:
        return Reach.CANDIDATE if params["release"] == "candidate" else Reach.NONE

    def probe(self, ctx: StepContext) -> Findings:
        role = ctx.params["release"]
        wanted, hosts = release_of(ctx, role), hosts_for(ctx, role)
        slot = None if role == "load" else slot_of(ctx, role)
        answers = ask(ctx, hosts)
        found: dict[str, Finding] = unknown(answers)
        for host in hosts:
            data = answers[host.name].data
            if data is None:
                continue
            there = {entry["id"]: entry for entry in data["load" if role == "load" else "releases"]}
            if wanted not in there:
                found[host.name] = Finding(Found.ABSENT, "not installed")
            elif slot is not None and there[wanted]["slot"] != slot:
                found[host.name] = Finding(Found.PARTIAL, f"installed for slot {there[wanted]['slot']}, needed in {slot}")
            else:
                found[host.name] = Finding(Found.DONE, "complete")
        return {host.name: found[host.name] for host in hosts}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        role = ctx.params["release"]
        release = releases.find_id(release_of(ctx, role))
        result = play_step(
            ctx,
            "install.yml",
            limit=sorted(todo),
            extravars={
                "dwcp_release_bundle": str(releases.bundle(release)),
                "dwcp_release_id": release.id,
                "dwcp_release_kind": "load" if role == "load" else "agent",
                "dwcp_release_slot": "a" if role == "load" else slot_of(ctx, role),
                "dwcp_token": ctx.token,
                "dwcp_run": ctx.run,
            },
        )
        trouble = result.trouble()
        if trouble:
            return Outcome(Verdict.FAIL if not result.unreachable else Verdict.ERROR, trouble, result.as_json())
        return Outcome(Verdict.PASS, f"{release.id} on {len(todo)} hosts", result.as_json(), changed=len(todo))

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "installed releases stay until pruned")
