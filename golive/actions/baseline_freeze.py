"""``baseline.freeze``: the incumbent's requests over a window before anything is shifted, kept to compare with when it serves no more."""

from __future__ import annotations

import json
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

from golive.actions._measure import watched
from golive.actions._world import release_of
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.gates.freshness import problems
from golive.gates.samples import CANDIDATE, INCUMBENT
from golive.gates.spec import GateSpec, duration, parse_policy
from golive.gates.verdict import Verdict

__all__ = ["BaselineFreeze"]

_LEAST = 500
"""Fewer requests say too little about a p99: five of them would be above it."""
_FILE = "baseline.json"


@action
class BaselineFreeze:
    """Watches the incumbent alone; refuses a baseline with too few requests or with gaps."""

    name = "baseline.freeze"
    budget = timedelta(minutes=30)
    watch = True

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid", populate_by_name=True)
        for_: timedelta = Field(alias="for")

        @field_validator("for_", mode="before")
        @classmethod
        def _duration(cls, value: object) -> timedelta:
            return duration(value)

    def probe(self, ctx: StepContext) -> Findings:
        return {"environment": Finding(Found.ABSENT, "a baseline is measured anew for each run")}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        incumbent, policy = release_of(ctx, "incumbent"), parse_policy(ctx.env.policy)
        lasts = ctx.pace.watch(ctx.params["for"]).total_seconds()
        # The incumbent is read in the candidate's place: its hosts and its scrapes are what is wanted here.
        with watched(ctx, policy, candidate=incumbent, incumbent=None) as watch:
            end = ctx.clock.monotonic() + lasts
            while ctx.clock.monotonic() < end:
                ctx.sleep(min(2.0, max(0.0, end - ctx.clock.monotonic())))
                watch.window()  # a client that restarts between two reads is told by its boots
                ctx.tell("baseline", {"left_s": round(end - ctx.clock.monotonic(), 1)})
            window = watch.window()
        gaps = list(problems(window, GateSpec.model_validate({"for": "1s", "restarts": 0}), policy))
        gaps += [str(gap) for gap in window.problems] + [str(c.problem) for c in window.clients if c.problem]
        if gaps:
            return Outcome(Verdict.ERROR, f"no baseline: {gaps[0]}", {"gaps": gaps})
        mine = window.samples.by(CANDIDATE)
        if len(mine) < _LEAST:
            return Outcome(Verdict.INCONCLUSIVE, f"only {len(mine)} requests in {lasts:.0f} s; a baseline needs {_LEAST}")
        failed = int(mine.failed.sum())
        raw = json.dumps(mine.as_role(INCUMBENT).to_json()).encode()
        path = ctx.workdir.parent / _FILE
        path.write_bytes(raw)
        digest = ctx.keep(raw)  # for the controller that compares with it, which may be another one
        told = {"file": _FILE, "sha256": digest, "requests": len(mine), "failed": failed, "seconds": round(lasts, 1)}
        ctx.note("baseline", told)
        return Outcome(Verdict.PASS, f"{len(mine)} requests of {incumbent} over {lasts:.0f} s, {failed} failed", told)

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "a baseline harms no one")
