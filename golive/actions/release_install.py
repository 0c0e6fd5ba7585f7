"""``release.install``: a signed release lies complete on every host that needs it, beside whatever runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from golive import releases
from golive.actions._waves import Went, in_waves, play_wave, played, spared
from golive.actions._world import ask, hosts_for, release_of, slot_of, unknown
from golive.actions.port import Finding, Findings, Found, Outcome, Reach, StepContext, action
from golive.fleet.model import Host
from golive.fleet.waves import Wave
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
        wanted, kept = release_of(ctx, role), "load" if role == "load" else "releases"
        said: dict[str, dict[str, Any]] = {}

        def look(hosts: Sequence[Host]) -> Findings:
            answers = ask(ctx, hosts)
            said.update({name: answer.data for name, answer in answers.items() if answer.data is not None})
            return {host.name: Finding(Found.ABSENT, "not installed") for host in hosts} | unknown(answers)

        found = dict(spared(ctx, hosts_for(ctx, role), look))
        slot = None if role == "load" else slot_of(ctx, role)
        for name, data in said.items():
            there = {entry["id"]: entry for entry in data[kept]}
            if wanted in there and slot is not None and there[wanted]["slot"] != slot:
                found[name] = Finding(Found.PARTIAL, f"installed for slot {there[wanted]['slot']}, needed in {slot}")
            elif wanted in there:
                found[name] = Finding(Found.DONE, "complete")
        return found

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        role = ctx.params["release"]
        release = releases.find_id(release_of(ctx, role))
        extravars = {
            "dwcp_release_bundle": str(releases.bundle(release)),
            "dwcp_release_id": release.id,
            "dwcp_release_kind": "load" if role == "load" else "agent",
            "dwcp_release_slot": "a" if role == "load" else slot_of(ctx, role),
            "dwcp_token": ctx.token,
            "dwcp_run": ctx.run,
        }

        def install(wave: Wave, hosts: Sequence[Host]) -> Went:
            return played(play_wave(ctx, wave, "install.yml", hosts=hosts, extravars=extravars))

        return in_waves(ctx, hosts_for(ctx, role), todo, f"{release.id} is installed", install)

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "installed releases stay until pruned")
