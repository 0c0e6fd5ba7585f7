"""``traffic.attach``, ``traffic.detach``, ``traffic.close``: a release is known to the gateways, or no longer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from golive.actions._traffic import journaled, shares, traffic
from golive.actions._world import aside, release_of, slot_of
from golive.actions.port import Finding, Findings, Found, Outcome, Reach, StepContext, action
from golive.errors import Refused, Unreachable
from golive.gates.verdict import Verdict
from golive.traffic import SlotName, Weights

__all__ = ["TrafficAttach", "TrafficClose", "TrafficDetach"]

_UP_S = 20.0
"""Longest wait until every server of a slot has passed the gateway's own health check."""


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid")
    release: Literal["candidate", "incumbent"]


def _points(ctx: StepContext) -> Mapping[str, Weights] | Findings:
    try:
        return traffic(ctx).read()
    except Unreachable as error:
        return {"traffic": Finding(Found.UNKNOWN, str(error))}


def _share(weights: Weights, slot: SlotName) -> int | None:
    try:
        return weights.percent(slot)
    except Refused:
        return None


@action
class TrafficAttach:
    """The slot carries the release's name and its servers are in. An incumbent on a fleet that serves nothing else gets everything."""

    name = "traffic.attach"
    budget = timedelta(minutes=2)
    verify = True
    Params = _Params

    def reach(self, params: Mapping[str, Any]) -> Reach:
        return Reach.CANDIDATE if params["release"] == "candidate" else Reach.NONE

    def probe(self, ctx: StepContext) -> Findings:
        role = ctx.params["release"]
        wanted, slot, found = release_of(ctx, role), _slot(ctx, role), {}
        for point, weights in _points(ctx).items():
            if isinstance(weights, Finding):
                return {point: weights}
            state, share = weights.slots[slot], _share(weights, slot)
            right = state.release == wanted and state.is_in and share is not None
            right = right and {name for name in aside(ctx) if ctx.fleet().named(name).site == ctx.fleet().named(point).site} <= set(
                state.without
            )
            if role == "incumbent" and right:
                right = share == 100 or weights.lease is not None
            how = Found.DONE if right else Found.PARTIAL if state.release == wanted else Found.ABSENT
            said = f"slot {slot} is {state.release}, in={state.is_in}, {share if share is not None else 'unknown'} %"
            found[point] = Finding(how, said, {"weights": shares(ctx, weights)} if right else {})
        return found

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        role = ctx.params["release"]
        wanted, slot, port = release_of(ctx, role), _slot(ctx, role), traffic(ctx)
        candidate_share = 0
        if role == "incumbent" and slot == port.candidate_slot:
            candidate_share = 100  # candidate and incumbent are one: the release is live already
        if role == "candidate" and any(_share(w, slot) != 0 for w in port.read().values()):
            # Nothing is labelled or let in while the slot has a share left over from an earlier run.
            journaled(ctx, port.shift(0, stage=ctx.stage).weights)
        port.label(slot, wanted)
        port.enable(slot, up_s=_UP_S, without=sorted(aside(ctx)))
        read = port.read()
        if role == "incumbent" and any(_share(w, slot) != 100 for w in read.values()):
            read = port.shift(candidate_share, stage=ctx.stage).weights
        journaled(ctx, read)
        return Outcome(Verdict.PASS, f"{wanted} attached in slot {slot} at {len(read)} gateways", changed=len(todo))

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "traffic.detach takes it out")


@action
class TrafficDetach:
    """No server of the release's slot is in. Refused while it has a share: traffic goes first."""

    name = "traffic.detach"
    budget = timedelta(minutes=2)
    Params = _Params

    def probe(self, ctx: StepContext) -> Findings:
        slot, found = _slot(ctx, ctx.params["release"]), {}
        for point, weights in _points(ctx).items():
            if isinstance(weights, Finding):
                return {point: weights}
            is_in = weights.slots[slot].is_in
            found[point] = Finding(Found.ABSENT if is_in else Found.DONE, f"slot {slot} in={is_in}")
        return found

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        slot = _slot(ctx, ctx.params["release"])
        traffic(ctx).disable(slot)
        return Outcome(Verdict.PASS, f"slot {slot} takes nothing", changed=len(todo))

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "traffic.attach brings it back")


@action
class TrafficClose:
    """The run ends, so the weight is no lease any more and the guards rest."""

    name = "traffic.close"
    budget = timedelta(minutes=1)

    def probe(self, ctx: StepContext) -> Findings:
        found = {}
        for point, weights in _points(ctx).items():
            if isinstance(weights, Finding):
                return {point: weights}
            found[point] = Finding(Found.ABSENT if weights.lease else Found.DONE, "lease open" if weights.lease else "no lease")
        return found

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        port = traffic(ctx)
        port.close()
        journaled(ctx, port.read())
        return Outcome(Verdict.PASS, f"weight leases closed on {len(todo)} gateways", changed=len(todo))

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "traffic.shift opens it again")


def _slot(ctx: StepContext, role: str) -> SlotName:
    slot: Any = slot_of(ctx, role)
    name: SlotName = slot
    return name
