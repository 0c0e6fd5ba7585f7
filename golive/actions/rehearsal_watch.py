"""``rehearsal.watch``: users really are on the candidate for a while before the way back is rehearsed, and are not hurt."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

from golive.actions._measure import watched
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.gates.samples import CANDIDATE
from golive.gates.spec import duration, parse_policy
from golive.gates.verdict import Verdict

__all__ = ["RehearsalWatch"]


@action
class RehearsalWatch:
    """Counts the candidate's requests at the load clients. No gate: it proves that there is something to take back, and stops a bad drill.

    The thresholds of the go-live are for its own gates, which watch longer; what is measured here decides nothing about the release.
    """

    name = "rehearsal.watch"
    budget = timedelta(minutes=30)
    watch = True

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid", populate_by_name=True)
        for_: timedelta = Field(alias="for")
        requests: int = Field(default=20, ge=1)
        """Fewer of the candidate's say that no users came."""
        failed_percent: float = Field(default=5.0, gt=0, le=100)

        @field_validator("for_", mode="before")
        @classmethod
        def _duration(cls, value: object) -> timedelta:
            return duration(value)

    def probe(self, ctx: StepContext) -> Findings:
        return {"environment": Finding(Found.ABSENT, "a watch is measured anew")}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        policy = parse_policy(ctx.env.policy)
        lasts = ctx.pace.watch(ctx.params["for"]).total_seconds()
        roles = {"candidate": ctx.candidate, "incumbent": ctx.incumbent}
        with watched(ctx, policy, **roles) as watch:  # type: ignore[arg-type]  # there is a candidate
            end = ctx.clock.monotonic() + lasts
            while (left := end - ctx.clock.monotonic()) > 0:
                ctx.sleep(min(2.0, left))
                ctx.tell("rehearsal", {"left_s": round(max(0.0, end - ctx.clock.monotonic()), 1)})
            window = watch.window()
        gaps = [f"{client.name}: {client.problem}" for client in window.clients if client.problem]
        if gaps:
            return Outcome(Verdict.ERROR, f"what users saw is not known: {gaps[0]}", {"gaps": gaps})
        mine = window.samples.by(CANDIDATE)
        count, failed = len(mine), int(mine.failed.sum())
        told = {"requests": count, "failed": failed, "seconds": round(lasts, 1)}
        if failed > max(1.0, count * ctx.params["failed_percent"] / 100):
            return Outcome(Verdict.FAIL, f"{failed} of {count} requests of the candidate failed in {lasts:.0f} s", told)
        if count < ctx.params["requests"]:
            need = ctx.params["requests"]
            return Outcome(Verdict.INCONCLUSIVE, f"only {count} requests of the candidate in {lasts:.0f} s; a drill needs {need}", told)
        return Outcome(Verdict.PASS, f"{count} requests of the candidate in {lasts:.0f} s, {failed} failed", told)

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "a watch leaves nothing behind")
