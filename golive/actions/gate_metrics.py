"""``gate.metrics``: a watch over what users and hosts say of the candidate. Only PASS lets the run go on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from golive.actions._measure import Watch, frozen_baseline, watched
from golive.actions._traffic import traffic
from golive.actions._world import release_of
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.errors import GoliveError, Refused
from golive.gates.judge import Judge
from golive.gates.samples import Samples
from golive.gates.spec import GatePolicy, GateSpec, both, parse_policy
from golive.gates.verdict import Verdict
from golive.runbook import Pace, format_duration

__all__ = ["GateMetrics", "asked"]


@action
class GateMetrics:
    """Looks every few seconds and fails early when something is shown to be wrong; decides once, when the watch is over.

    A watch that could not be concluded is not thrown away: the next try goes on from its beginning, and the judge accounts for having
    decided before. A watch that was interrupted begins anew.
    """

    name = "gate.metrics"
    budget = timedelta(hours=6)
    watch = True
    Params = GateSpec

    def probe(self, ctx: StepContext) -> Findings:
        return {"environment": Finding(Found.ABSENT, "a watch is measured anew")}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        spec, policy = GateSpec.model_validate(dict(ctx.params)), parse_policy(ctx.env.policy)
        judge = Judge(spec, policy)
        earlier = _open_decisions(ctx)
        baseline, incumbent = _baseline(ctx, spec), _incumbent(ctx, spec)
        lasts = ctx.pace.watch(spec.for_).total_seconds()
        roles: dict[str, Any] = {"candidate": ctx.candidate, "incumbent": incumbent, "baseline": baseline}
        histogram = spec.latency_from == "histogram"
        with watched(ctx, policy, **roles, histogram=histogram, earlier=earlier[0] if earlier else None) as watch:
            end = ctx.clock.monotonic() + lasts
            while (left := end - ctx.clock.monotonic()) > 0:
                ctx.sleep(min(spec.every.total_seconds(), left))
                look = judge.look(watch.window())
                left = max(0.0, end - ctx.clock.monotonic())
                ctx.tell("gate.look", {"gate": ctx.step, "left_s": round(left, 1), "of_s": lasts, **look.to_json()})
                if look.verdict is Verdict.FAIL:
                    return _said(ctx, look.verdict, look.summary, look.to_json(), watch, len(earlier))
            decision = judge.decide(watch.window(), attempt=len(earlier))
        if decision.verdict is Verdict.PASS:
            _passed(ctx)  # before the gate is journaled: it is no PASS while the gateways do not agree
        return _said(ctx, decision.verdict, decision.summary, decision.to_json(), watch, len(earlier))

    def plan(self, ctx: StepContext) -> list[str]:
        return asked(GateSpec.model_validate(dict(ctx.params)), parse_policy(ctx.env.policy), ctx.pace)

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "a watch leaves nothing behind")


def asked(spec: GateSpec, policy: GatePolicy, pace: Pace) -> list[str]:
    """What a watch asks of the candidate, by runbook and policy, as lines for a person."""
    lines = [f"watches for {format_duration(spec.for_)}" + (f", here {format_duration(pace.watch(spec.for_))}" if pace.scale != 1 else "")]
    for metric in ("error_rate", "latency_p99"):
        stated, limit = getattr(spec, metric), policy.limit(spec, metric)
        if stated is not None and limit is not None:
            lines.append(f"{metric.replace('_', ' ')} {both(stated, limit)}")
    if spec.degradation is not None:
        lines.append(f"slower than the {spec.against} by {spec.degradation.text}")
    for metric in ("cpu", "memory"):
        if (limit := getattr(spec, metric)) is not None:
            lines.append(f"{metric} {limit.text}")
    if spec.growth is not None:
        lines.append(f"growth of memory {spec.growth.text}")
    for metric in ("restarts", "disruptions"):
        if (most := getattr(spec, metric)) is not None:
            lines.append(f"at most {most} {metric}")
    lines.append(f"shown with confidence {policy.confidence:g}; errors {policy.trigger_error_rate.text} go back whoever else errs")
    return lines


def _incumbent(ctx: StepContext, spec: GateSpec) -> str | None:
    """Who may answer beside the candidate. Behind gateways the incumbent answers the control lane whatever the watch compares with."""
    if spec.against == "incumbent":
        return release_of(ctx, "incumbent")
    return ctx.incumbent if ctx.fleet().gateways else None


def _baseline(ctx: StepContext, spec: GateSpec) -> Samples | None:
    """The frozen baseline; where it does not decide, one that is lost or was changed keeps nothing from passing."""
    if spec.against == "baseline":
        return frozen_baseline(ctx)
    try:
        return frozen_baseline(ctx) if ctx.facts("baseline") else None
    except GoliveError as error:
        ctx.note("baseline.lost", {"gate": ctx.step, "why": str(error)})
        return None


def _open_decisions(ctx: StepContext) -> list[dict[str, Any]]:
    """Decisions of this very watch, by this very process, that concluded nothing."""
    mine = [fact for fact in ctx.facts("gate") if fact["gate"] == ctx.step]
    open_: list[dict[str, Any]] = []
    for fact in mine:
        same = fact["token"] == ctx.token and fact["verdict"] == Verdict.INCONCLUSIVE.value
        open_ = [*open_, fact] if same else []
    return open_


def _said(ctx: StepContext, verdict: Verdict, summary: str, data: dict[str, Any], watch: Watch, attempt: int) -> Outcome:
    which = {"gate": ctx.step, "start": watch.start, "began": watch.began, "attempt": attempt, "token": ctx.token}
    ctx.note("gate", {**data, "verdict": verdict.value, **which})
    return Outcome(verdict, summary, {"figures": data.get("figures", {})})


def _passed(ctx: StepContext) -> None:
    """The share that the candidate has now is the one to which guards and people may go back."""
    port = traffic(ctx)
    now = {point: weights.percent(port.candidate_slot) for point, weights in port.read().items()}
    if len(set(now.values())) != 1:
        raise Refused(f"The gateways do not agree on the candidate's share: {now}; something else than this run has set it.")
    percent = next(iter(now.values()))
    port.passed(percent)
    ctx.note("traffic.passed", {"percent": percent, "gate": ctx.step})
