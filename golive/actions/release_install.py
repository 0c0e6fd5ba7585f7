"""``release.install``: a signed release lies complete on every host that needs it, beside whatever runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from golive import releases
from golive.actions._world import ask, hosts_for, release_of, slot_of, unknown
from golive.actions.port import Finding, Findings, Found, Outcome, Reach, StepContext, action
from golive.fleet.ansible import play_step
from golive.fleet.caches import cache_of
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
        bundle = releases.bundle(release)
        caches = _caches(ctx, role, todo)
        result = play_step(
            ctx,
            "install.yml",
            limit=sorted({*todo, *caches.values()}),
            extravars={
                **({"dwcp_install_caches": caches, "dwcp_release_sha256": digest_of(bundle)} if caches else {}),
                "dwcp_release_bundle": str(bundle),
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


def _caches(ctx: StepContext, role: str, todo: Findings) -> dict[str, str]:
    """By site, the host that gets the bundle for the others; only for sites where more than one host needs it."""
    if not ctx.env.settings.site_cache:
        return {}
    hosts = list(hosts_for(ctx, role))
    sites = Counter(host.site for host in hosts if host.name in todo)
    return {site: cache_of(hosts, site).name for site, many in sites.items() if many > 1}
