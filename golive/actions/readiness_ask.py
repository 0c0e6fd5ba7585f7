"""``readiness.ask``: whether the evidence allows what comes next, as the environment's policy has it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from golive.actions._check import Check
from golive.actions.port import Outcome, StepContext, action, registered
from golive.environment import ROOT
from golive.errors import GoliveError
from golive.evidence.decision import policy_of
from golive.evidence.standing import Standing, standing
from golive.gates.verdict import Verdict
from golive.releases import find_id
from golive.runbook import load

__all__ = ["ReadinessAsk"]

_RANK = ("NO-GO", "CONDITIONAL", "GO")


@action
class ReadinessAsk(Check):
    """Judges every item by the evidence there is; makes none. Where the policy says ``golive: note``, it is noted and never in the way."""

    name = "readiness.ask"

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        least: Literal["NO-GO", "CONDITIONAL", "GO"] = "GO"
        """What has to be decided for the run to go on; ``NO-GO``: it is said, and nobody is kept."""

    def plan(self, ctx: StepContext) -> list[str]:
        policy = policy_of(ctx.env.policy, ctx.env.settings.policy)
        if policy.golive == "note" or ctx.params["least"] == "NO-GO":
            return ["the decision over 186 items is noted; it keeps nobody"]
        return [f"the decision over 186 items is at least {ctx.params['least']}"]

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        policy = policy_of(ctx.env.policy, ctx.env.settings.policy)
        noted = policy.golive == "note" or ctx.params["least"] == "NO-GO"
        try:
            at = standing(ctx.env, _runbooks(), find_id(ctx.candidate))
        except GoliveError as error:
            return Outcome(Verdict.PASS if noted else Verdict.ERROR, f"readiness cannot be told: {error.message}", {"decision": None})
        data = _told(at)
        ctx.note("readiness", data)
        word = at.decision.word
        enough = _RANK.index(word) >= _RANK.index(ctx.params["least"])
        blockers = at.decision.blockers
        why = f": {blockers[0]}" + (f" (and {len(blockers) - 1} more)" if len(blockers) > 1 else "") if blockers else ""
        told = f"{word}, {at.decision.passed} of 156 items for machines pass{why}"
        if noted:
            return Outcome(Verdict.PASS, f"{told}; noted, and nobody is kept by it", {"decision": word})
        if not enough:
            return Outcome(Verdict.FAIL, f"{told}; see ./inv readiness --env {ctx.env.name}", {"decision": word})
        return Outcome(Verdict.PASS, told, {"decision": word})


def _told(at: Standing) -> dict[str, object]:
    states: dict[str, int] = {}
    for judged in at.judged.values():
        states[judged.state] = states.get(judged.state, 0) + 1
    return {
        "decision": at.decision.word,
        "passed": at.decision.passed,
        "states": states,
        "blockers": list(at.decision.blockers[:20]),
        "wrong": at.wrong,
        "heads": at.heads,
        "checklist": at.checklist.digest,
    }


def _runbooks() -> dict[str, str]:
    return {name: load(ROOT / f"runbooks/{name}.yaml", registered()).digest for name in ("golive", "rollback")}
