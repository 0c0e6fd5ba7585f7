"""``release.install``: a signed release lies complete on every host that needs it, beside whatever runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from golive import releases
from golive.actions._waves import Went, in_waves, play_wave, played, spared
from golive.actions._world import ask, hosts_for, release_of, slot_of, unknown
from golive.actions.port import Finding, Findings, Found, Outcome, Reach, StepContext, action
from golive.fleet.caches import cache_of
from golive.fleet.model import Host
from golive.fleet.waves import Wave
from golive.gates.verdict import Verdict
from golive.releases.model import digest_of

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
        bundle = releases.bundle(release)
        extravars = {
            "dwcp_release_bundle": str(bundle),
            "dwcp_release_id": release.id,
            "dwcp_release_kind": "load" if role == "load" else "agent",
            "dwcp_release_slot": "a" if role == "load" else slot_of(ctx, role),
            "dwcp_token": ctx.token,
            "dwcp_run": ctx.run,
        }

        def install(wave: Wave, hosts: Sequence[Host]) -> Went:
            caches = _caches(ctx, role, hosts, todo)
            giving = [host for host in caches.values() if host not in hosts]
            given: dict[str, Any] = {}
            if caches:
                given = {
                    "dwcp_install_caches": {site: host.name for site, host in caches.items()},
                    "dwcp_release_sha256": digest_of(bundle),
                }
            played_on = [*hosts, *giving]
            went = played(play_wave(ctx, wave, "install.yml", hosts=played_on, extravars={**extravars, **given}))
            asked = {host.name for host in hosts}
            return replace(went, done={name: count for name, count in went.done.items() if name in asked})

        return in_waves(ctx, hosts_for(ctx, role), todo, f"{release.id} is installed", install)

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "installed releases stay until pruned")


def _caches(ctx: StepContext, role: str, wave: Sequence[Host], todo: Collection[str]) -> dict[str, Host]:
    """By site, the host that gets the bundle for the others of this wave: where more than one needs it, and the site's cache is itself
    of this wave or has the release already. A cache whose turn comes later is not touched before it."""
    if not ctx.env.settings.site_cache:
        return {}
    names = {host.name for host in wave}
    many = [site for site, count in Counter(host.site for host in wave).items() if count > 1]
    caches = {site: cache_of(list(hosts_for(ctx, role)), site) for site in many}
    return {site: host for site, host in caches.items() if host.name in names or host.name not in todo}
