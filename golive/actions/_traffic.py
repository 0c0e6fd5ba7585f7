"""The traffic port of a running step, and the shares in the journal's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from golive.actions._world import aside, slot_of, world
from golive.actions.port import Finding, Findings, Found, StepContext
from golive.errors import Refused, Unreachable
from golive.traffic import Traffic, Weights, traffic_of

__all__ = ["TTL_S", "journaled", "leased", "shares", "traffic", "weights_everywhere"]

TTL_S = 10.0
"""Seconds without a beat after which a gateway's guard looks for itself: five missed beats."""


def traffic(ctx: StepContext) -> Traffic:
    """The traffic of the whole fleet, with this process's fencing token."""
    fleet, without = ctx.fleet(), aside(ctx)
    shell = world(ctx.env, fleet).shell
    if without:  # where agents admit sessions themselves, one that was set aside is no point of this run's
        fleet = fleet.model_copy(update={"hosts": tuple(host for host in fleet.hosts if host.name not in without)})
    candidate_slot: Any = slot_of(ctx, "candidate")
    return traffic_of(shell, fleet, run=ctx.run, token=ctx.token, candidate_slot=candidate_slot)


def leased(ctx: StepContext) -> bool:
    """Whether this run has opened the weight lease for the users that it sends now: one of a drill that is over counts no more."""
    facts = ctx.facts("traffic.leased")
    return bool(facts) and float(facts[-1]["ttl_s"]) > 0


def shares(ctx: StepContext, weights: Weights) -> dict[str, int]:
    """Percent by release id at one point. A release of this run that no slot carries has 0."""
    known = {release: 0 for release in (ctx.candidate, ctx.incumbent) if release}
    return {**known, **weights.by_release()}


def journaled(ctx: StepContext, read: Mapping[str, Weights]) -> None:
    """Writes what every point does now into the journal."""
    for point, weights in read.items():
        ctx.note("traffic.set", {"gateway": point, "weights": shares(ctx, weights), "at": weights.last.get("at")})


def weights_everywhere(ctx: StepContext, percent: int) -> Findings:
    """DONE for each point where the candidate has ``percent`` of the sessions, recorded and in effect."""
    port = traffic(ctx)
    try:
        read = port.read()
    except Unreachable as error:
        return {"traffic": Finding(Found.UNKNOWN, str(error))}
    found: dict[str, Finding] = {}
    for point, weights in read.items():
        try:
            now = weights.percent(port.candidate_slot)
            data = {"weights": shares(ctx, weights)}
        except Refused as error:
            found[point] = Finding(Found.PARTIAL, str(error))
            continue
        reason = f"the candidate has {now} %"
        found[point] = Finding(Found.DONE if now == percent else Found.ABSENT, reason, data)
    return found
