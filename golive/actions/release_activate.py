"""``release.activate`` and ``release.deactivate``: a release runs on every agent host, or runs on none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from golive.actions._waves import Went, change_wave, in_waves, spared
from golive.actions._world import ask, change, concluded, hosts_for, release_of, unknown
from golive.actions.port import Finding, Findings, Found, Outcome, Reach, StepContext, action
from golive.fleet.model import Host
from golive.fleet.waves import Wave
from golive.gates.verdict import Verdict

__all__ = ["ReleaseActivate", "ReleaseDeactivate", "units"]

_START_S = 90
"""Longest a host may take from `activate` to a /ready that names the release."""
_DRAIN_S = 120
"""Longest a host may take to drain and stop."""


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid")
    release: Literal["candidate", "incumbent"]


def units(ctx: StepContext, hosts: Sequence[Host], *, running: bool) -> Findings:
    """DONE for each host whose unit of the release is in the wanted state; a stopped but enabled unit is PARTIAL."""
    role = ctx.params["release"]
    wanted = release_of(ctx, role)
    answers = ask(ctx, hosts)
    found: dict[str, Finding] = unknown(answers)
    for name, answer in answers.items():
        if answer.data is None:
            continue
        unit = next((e for e in answer.data["releases"] if e["id"] == wanted), None)
        states = (bool(unit and unit["active"]), bool(unit and unit["enabled"]))
        if all(states):
            found[name] = Finding(Found.DONE if running else Found.ABSENT, "running")
        elif not any(states):
            found[name] = Finding(Found.ABSENT if running else Found.DONE, "not running")
        else:
            found[name] = Finding(Found.PARTIAL, f"active={states[0]}, enabled={states[1]}")
    return {host.name: found[host.name] for host in hosts}


@action
class ReleaseActivate:
    """Starts and enables the release; a host is done when its own ``/ready`` names this release and digest."""

    name = "release.activate"
    budget = timedelta(minutes=5)
    verify = True
    Params = _Params

    def reach(self, params: Mapping[str, Any]) -> Reach:
        return Reach.CANDIDATE if params["release"] == "candidate" else Reach.NONE

    def probe(self, ctx: StepContext) -> Findings:
        return spared(ctx, hosts_for(ctx, ctx.params["release"]), lambda hosts: units(ctx, hosts, running=True))

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        wanted = release_of(ctx, ctx.params["release"])

        def start(wave: Wave, hosts: Sequence[Host]) -> Went:
            return change_wave(ctx, wave, hosts, "activate", wanted, timeout_s=_START_S)

        return in_waves(ctx, hosts_for(ctx, ctx.params["release"]), todo, f"{wanted} runs", start)

    def undo(self, ctx: StepContext) -> Outcome:
        wanted = release_of(ctx, ctx.params["release"])
        hosts = hosts_for(ctx, ctx.params["release"])
        return concluded(change(ctx, hosts, "deactivate", wanted, timeout_s=_DRAIN_S), f"{wanted} stopped on {len(hosts)} hosts")


@action
class ReleaseDeactivate:
    """Drains, stops and disables the release; its files stay."""

    name = "release.deactivate"
    budget = timedelta(minutes=5)
    verify = True
    Params = _Params

    def probe(self, ctx: StepContext) -> Findings:
        return spared(ctx, hosts_for(ctx, ctx.params["release"]), lambda hosts: units(ctx, hosts, running=False))

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        wanted = release_of(ctx, ctx.params["release"])
        hosts = [h for h in hosts_for(ctx, ctx.params["release"]) if h.name in todo]
        return concluded(change(ctx, hosts, "deactivate", wanted, timeout_s=_DRAIN_S), f"{wanted} stopped on {len(hosts)} hosts")

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "a stopped release is started again only by release.activate")
