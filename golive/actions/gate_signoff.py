"""``gate.signoff``: the criteria of sign-off, over everything that this run's gates measured."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from golive.actions._check import Check
from golive.actions._measure import metrics
from golive.actions.port import Outcome, StepContext, action
from golive.gates.binomial import upper
from golive.gates.lines import worst
from golive.gates.spec import GateSpec, both, parse_policy, threshold
from golive.gates.verdict import Verdict
from golive.gates.window import NoData

__all__ = ["GateSignoff"]


@action
class GateSignoff(Check):
    """Every gate passed; error rate, typical and worst latency and availability over all of them keep the limits; no alert fires."""

    name = "gate.signoff"

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        error_rate: str = "< 0.1 %"
        latency_p50_ms: float = Field(default=50, gt=0)
        latency_p99_ms: float = Field(default=100, gt=0)
        availability_percent: float = Field(default=99.9, gt=0, lt=100)

        @field_validator("error_rate")
        @classmethod
        def _is_a_threshold(cls, value: str) -> str:
            threshold("error_rate", value)
            return value

    def plan(self, ctx: StepContext) -> list[str]:
        p, policy = ctx.params, parse_policy(ctx.env.policy)
        spec = GateSpec.model_validate({"for": "1s", "error_rate": p["error_rate"], "latency_p99": f"< {p['latency_p99_ms']:g} ms"})
        rate, slowest = policy.limit(spec, "error_rate"), policy.limit(spec, "latency_p99")
        assert spec.error_rate and rate and spec.latency_p99 and slowest
        return [
            "every gate of the run passed, and over all of them:",
            f"error rate {both(spec.error_rate, rate)}",
            f"worst p50 < {p['latency_p50_ms']:g} ms, worst p99 {both(spec.latency_p99, slowest)}",
            f"more than {p['availability_percent']:g} % of requests answered, and no alert fires",
        ]

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        gates = {fact["gate"]: fact for fact in ctx.facts("gate")}
        if not gates:
            return Outcome(Verdict.ERROR, "no gate of this run has measured anything, so nothing can be signed off")
        lines = [_gates(gates), *self._limits(ctx, gates), _alerts(ctx)]
        verdict = worst(Verdict(line["verdict"]) for line in lines)
        told = "; ".join(line["text"] for line in lines if verdict is Verdict.PASS or line["verdict"] == verdict.value)
        ctx.note("signoff", {"criteria": lines, "verdict": verdict.value})
        return Outcome(verdict, told, {"criteria": lines})

    @staticmethod
    def _limits(ctx: StepContext, gates: dict[str, Any]) -> list[dict[str, Any]]:
        candidate = [gate["figures"]["candidate"] for gate in gates.values()]
        requests, errors = sum(c["requests"] for c in candidate), sum(c["errors"] for c in candidate)
        nobody = sum(gate["figures"]["nobody"]["requests"] for gate in gates.values())
        everyone = sum(part["requests"] for gate in gates.values() for name, part in gate["figures"].items() if name != "baseline")
        if not requests or any(c["p50_s"] is None for c in candidate):
            return [_line("requests", Verdict.ERROR, "the gates saw no request of the candidate")]
        p = ctx.params
        policy = parse_policy(ctx.env.policy)
        asked = GateSpec.model_validate({"for": "1s", "error_rate": p["error_rate"], "latency_p99": f"< {p['latency_p99_ms']:g} ms"})
        limit, slowest = policy.limit(asked, "error_rate"), policy.limit(asked, "latency_p99")
        assert asked.error_rate and limit and asked.latency_p99 and slowest
        bound = upper(errors, requests, 1 - policy.confidence)
        p50, p99 = max(c["p50_s"] for c in candidate) * 1000, max(c["p99_s"] for c in candidate) * 1000
        answered = 100 * (1 - nobody / everyone)
        return [
            _line(
                "error rate",
                Verdict.PASS if bound < limit.value else Verdict.FAIL,
                f"{errors} errors in {requests} requests, at most {bound:.3%} (asked {both(asked.error_rate, limit)})",
            ),
            _within("worst p50", p50, p["latency_p50_ms"], f"< {p['latency_p50_ms']:g} ms"),
            _within("worst p99", p99, slowest.value * 1000, both(asked.latency_p99, slowest)),
            _line(
                "availability",
                Verdict.PASS if answered > p["availability_percent"] else Verdict.FAIL,
                f"{answered:.3f} % of {everyone} requests answered (asked > {p['availability_percent']} %)",
            ),
        ]


def _gates(gates: dict[str, Any]) -> dict[str, Any]:
    wrong = [name for name, fact in gates.items() if fact["verdict"] != Verdict.PASS.value]
    if wrong:
        return _line("gates", Verdict.FAIL, f"gate {wrong[0]} ended {gates[wrong[0]]['verdict']}")
    return _line("gates", Verdict.PASS, f"{len(gates)} gates passed")


def _within(what: str, value_ms: float, limit_ms: float, asked: str) -> dict[str, Any]:
    return _line(what, Verdict.PASS if value_ms < limit_ms else Verdict.FAIL, f"{what} {value_ms:.1f} ms (asked {asked})")


def _alerts(ctx: StepContext) -> dict[str, Any]:
    with ExitStack() as stack:
        scraped = metrics(ctx, ctx.fleet(), stack)
        now = scraped.now()
        firing = now if isinstance(now, NoData) else scraped.firing(now)
    if isinstance(firing, NoData):
        return _line("incidents", Verdict.ERROR, f"whether an alert fires is unknown: {firing}")
    # What the incumbent does on its way out, on the control lane alone, is no incident of the candidate's.
    firing = [alert for alert in firing if alert.get("release") not in (ctx.incumbent, "control")]
    if firing:
        return _line("incidents", Verdict.FAIL, f"{firing[0].get('alertname')} fires")
    return _line("incidents", Verdict.PASS, "no alert fires")


def _line(criterion: str, verdict: Verdict, text: str) -> dict[str, Any]:
    return {"criterion": criterion, "verdict": verdict.value, "text": text}
