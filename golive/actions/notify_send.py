"""``notify.send``: people are told where the run stands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from golive import notify
from golive.actions._notices import announce, noted
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.gates.verdict import Verdict
from golive.notify.routes import Severity

__all__ = ["NotifySend"]

_TRIES = 3
_PAUSE_S = 5.0


@action
class NotifySend:
    """At least once by every route of those named in ``to``. A service that fails never stops the run; that nobody was told is said."""

    name = "notify.send"
    budget = timedelta(minutes=15)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        to: list[str] = Field(min_length=1)
        """Routes or roles of ``notify.yaml``."""
        text: str = Field(min_length=1, max_length=4000)
        """May name {env}, {run}, {stage}, {step}, {release}, {incumbent}, {share} and {gate}."""
        severity: Severity = "info"
        once: bool = False
        """True where a second message would do harm: when it cannot be told whether it went out, the run is held and a person asked."""

        @field_validator("text")
        @classmethod
        def _can_be_filled(cls, value: str) -> str:
            unknown = notify.unknown_names(value)
            if unknown:
                raise ValueError(f"nobody can fill in {{{unknown[0]}}}; known are {', '.join(notify.template.NAMES)}")
            return value

    def probe(self, ctx: StepContext) -> Findings:
        key, routes = _key(ctx), self._routes(ctx)
        if not routes:
            return {"environment": Finding(Found.ABSENT, "nobody has a route")}
        before = noted(ctx, key)
        return {route.route: _found(ctx, route.route, before.get(route.route)) for route in routes}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        p = ctx.params
        routes = notify.routes_of(ctx.env)
        unrouted = routes.unrouted(p["to"])
        if unrouted and notify.mode_of(ctx.env) == "required":
            return Outcome(Verdict.ERROR, f"no route configured for {', '.join(unrouted)} in inventories/{ctx.env.name}/notify.yaml")
        text = notify.filled(p["text"], _values(ctx))
        for attempt in range(1, _TRIES + 1):
            done = announce(ctx, _key(ctx), p["to"], text, severity=p["severity"])
            if all(one.sent for one in done) or attempt == _TRIES or p["once"]:
                break
            ctx.sleep(ctx.pace.watch(timedelta(seconds=_PAUSE_S)).total_seconds())
        told = [one.route for one in done if one.sent]
        said = [f"told {', '.join(told)}"] if told else []
        said += [f"no route configured for {', '.join(unrouted)}; nobody was told"] if unrouted else []
        said += [f"NOT TOLD by {one.route or 'any route'}: {one.why}" for one in done if not one.sent]
        said += [f"{one.route} may have been told twice" for one in done if one.perhaps_twice]
        if not said:
            said = [f"no route of {', '.join(p['to'])} carries {p['severity']}; nobody was told"]
        return Outcome(Verdict.PASS, "; ".join(said), {"told": told, "not_told": [*unrouted, *(d.route for d in done if not d.sent)]})

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "what was said cannot be taken back")

    @staticmethod
    def _routes(ctx: StepContext) -> list[notify.Route]:
        return notify.routes_of(ctx.env).of(ctx.params["to"], ctx.params["severity"])


def _key(ctx: StepContext) -> str:
    return f"step/{ctx.stage}/{ctx.step}"


def _found(ctx: StepContext, route: str, before: str | None) -> Finding:
    if before == "sent":
        return Finding(Found.DONE, "sent")
    if before == "sending" and ctx.params["once"]:
        where = f"{ctx.stage}/{ctx.step}"
        do = (
            f"Ask those behind route {route}; if they have it, `./inv waive --env {ctx.env.name} --step {where} ...` and "
            f"`./inv skip --env {ctx.env.name} --step {where}`"
        )
        return Finding(Found.UNKNOWN, "it may have been sent, and once matters here", {"do": do})
    return Finding(Found.ABSENT, "may have been sent; at least once matters" if before == "sending" else "not sent")


def _values(ctx: StepContext) -> dict[str, Any]:
    shares = {fact["gateway"]: (fact.get("weights") or {}).get(ctx.candidate, 0) for fact in ctx.facts("traffic.set")}
    gates = ctx.facts("gate")
    return {
        "env": ctx.env.name,
        "run": ctx.run,
        "stage": ctx.stage,
        "step": ctx.step,
        "release": ctx.candidate,
        "incumbent": ctx.incumbent or "nothing",
        "share": f"{max(shares.values(), default=0):g} %",
        "gate": f"{gates[-1].get('gate')}: {gates[-1].get('verdict')}" if gates else "no gate yet",
    }
