"""``approval.required``: people of a role sign that the run may go on, each with their own SSH key."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from golive import approvals, releases
from golive.actions._notices import announce
from golive.actions._pin import pinned_on_ops
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.approvals import Approvers, Evidence, Question, Tally
from golive.errors import BadInput, Unprepared, Unreachable
from golive.gates.verdict import Verdict
from golive.runbook.duration import Duration, format_duration

__all__ = ["ApprovalRequired"]

_LOOK_S = 0.5
_LONGEST = timedelta(days=30)


@action
class ApprovalRequired:
    """Asks once, and waits until enough have approved (PASS), one has rejected (FAIL), or the question expired (ERROR).

    Nothing but signatures passes it: each is checked again here, against who may decide at this moment. What was given while no process
    lived is found by the next one; a question that was asked keeps its nonce until its step has an outcome.
    """

    name = "approval.required"
    budget = _LONGEST + timedelta(days=1)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        role: list[str] = Field(min_length=1)
        """One role, or a list of which any will do."""
        count: int = Field(default=1, ge=1, le=20)
        """How many different people."""
        expires: Duration = timedelta(hours=24)
        """Wall time; people do not think faster in a rehearsal."""
        not_by: list[str] = Field(default_factory=list)
        """``starter`` (who began the run), or steps whose approvers must be others."""
        evidence: list[str] = Field(default_factory=list)
        """Steps that must have passed (or been waived, which is shown) in this run before anyone is asked."""

        @field_validator("role", "not_by", mode="before")
        @classmethod
        def _listed(cls, value: Any) -> Any:
            return [value] if isinstance(value, str) else value

        @model_validator(mode="after")
        def _in_time(self) -> ApprovalRequired.Params:
            if not timedelta(0) < self.expires <= _LONGEST:
                raise ValueError(f"expires is more than 0s and at most {format_duration(_LONGEST)}")
            return self

    def probe(self, ctx: StepContext) -> Findings:
        if approvals.mode_of(ctx.env) == "auto":
            if _own(ctx, "approval.auto"):
                return {"environment": Finding(Found.DONE, "passed by policy; nobody was asked")}
            return {"environment": Finding(Found.ABSENT, "the policy lets it pass by itself")}
        question = _open(ctx)
        if question is None:
            return {"environment": Finding(Found.ABSENT, "nobody was asked yet")}
        standing = _tally(ctx, question)
        if standing.enough:
            pinned_on_ops(ctx, approvals.approvers_of(ctx.env))
            data = {"nonce": question.nonce, "approved_by": _by(standing)}
            return {"environment": Finding(Found.DONE, f"approved by {standing.told}", data)}
        return {"environment": Finding(Found.PARTIAL, f"asked, and approved by {standing.told}; {question.count} needed")}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        roles = " or ".join(ctx.params["role"])
        if approvals.mode_of(ctx.env) == "auto":
            ctx.note("approval.auto", {"roles": ctx.params["role"], "count": ctx.params["count"], "policy": ctx.env.settings.policy})
            return Outcome(Verdict.PASS, f"auto: policy {ctx.env.settings.policy} asks nobody for the approval of {roles}", {"auto": True})
        question = _open(ctx)
        if question is None:
            missing = [name for name in ctx.params["evidence"] if not _passed(ctx, name)]
            if missing:
                return Outcome(Verdict.ERROR, f"nobody was asked: {', '.join(missing)} has not passed in this run")
            question = _asked(ctx)
        announce(ctx, f"approval/{question.nonce}", question.roles, _text(ctx, question), severity="warning")
        return _waited(ctx, question)

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "what people signed stays signed")


def manifest_of(release: str) -> str:
    """SHA-256 of the manifest of ``release``. Raises GoliveError when it is not on this machine."""
    return releases.find_id(release).digest


def _asked(ctx: StepContext) -> Question:
    """A new question, on the journal when this returns. Whoever could not be told apart or does not exist is not asked for."""
    p, now = ctx.params, ctx.clock.now()
    approvers = approvals.approvers_of(ctx.env)
    pinned_on_ops(ctx, approvers)
    out = _excluded(ctx, approvers, p["not_by"])
    able = [person for person in approvers.holding(p["role"], now) if person.person not in out]
    if len(able) < p["count"]:
        raise BadInput(
            f"Step {ctx.step} needs {p['count']} approval(s) of {' or '.join(p['role'])}, and only {len(able)} of them may give one "
            f"(inventories/{ctx.env.name}/approvers.yaml)."
        )
    gates = [
        {**{name: fact.get(name) for name in ("gate", "stage", "step", "verdict")}, "digest": approvals.digest(fact)}
        for fact in ctx.facts("gate")
    ]
    question = Question(
        env=ctx.env.name,
        run=ctx.run,
        stage=ctx.stage,
        step=ctx.step,
        nonce=secrets.token_hex(16),
        issued=now.isoformat(timespec="seconds"),
        expires=(now + p["expires"]).isoformat(timespec="seconds"),
        release=ctx.candidate,
        manifest=manifest_of(ctx.candidate),
        runbook=_started(ctx)["runbook_digest"],
        evidence=Evidence(head=ctx.head(), gates=approvals.digest([gate["digest"] for gate in gates])),
        roles=p["role"],
        count=p["count"],
        not_by=p["not_by"],
        gates=gates,
        waived=[f"{fact['stage']}/{fact['step']} by {fact.get('person')}: {fact.get('reason')}" for fact in ctx.facts("step.waived")],
    )
    ctx.note("approval.asked", question.model_dump(mode="json"))
    return question


def _open(ctx: StepContext) -> Question | None:
    """The question that this step asked and that has no outcome yet."""
    asked = _own(ctx, "approval.asked")
    if not asked:
        return None
    question = Question.of(asked[-1])
    ended = {(fact.get("data") or {}).get("nonce") for fact in _own(ctx, "step.outcome")}
    return None if question.nonce in ended else question


def _waited(ctx: StepContext, question: Question) -> Outcome:
    data: dict[str, Any] = {"nonce": question.nonce}
    left = (question.expires_at - ctx.clock.now()).total_seconds()
    end, seen, standing = ctx.clock.monotonic() + left, -1, Tally(question)
    while True:
        # Wall time that is set back does not make a question live longer than this process was told.
        over = ctx.clock.now() >= question.expires_at or ctx.clock.monotonic() >= end
        now = len(ctx.facts("approval.given")) + len(ctx.facts("approval.rejected"))
        if now != seen or over:
            latest = _tally(ctx, question)
            seen = -1 if latest.enough else now  # enough, and not passed below: looked at again
            standing = standing if over else latest
            if latest.rejected is not None:
                person, role, comment = latest.rejected
                said = f": {comment}" if comment else ""
                return Outcome(Verdict.FAIL, f"rejected by {person} ({role}){said}", {**data, "rejected_by": person})
            if over:
                but = f"; not counted: {'; '.join(latest.not_counted[:3])}" if latest.not_counted and not standing.approved else ""
                return Outcome(Verdict.ERROR, f"nobody decided in time: approved by {standing.told}, {question.count} needed{but}", data)
            if standing.enough and _pin_holds(ctx):
                return Outcome(Verdict.PASS, f"approved by {standing.told}", {**data, "approved_by": _by(standing)})
        ctx.tell("approval.waiting", {"stage": ctx.stage, "step": ctx.step, "roles": question.roles, "expires": question.expires})
        ctx.sleep(_LOOK_S)


def _pin_holds(ctx: StepContext) -> bool:
    """Whether who may decide is still who was meant; False while the host that says so does not answer, which is waited for."""
    try:
        pinned_on_ops(ctx, approvals.approvers_of(ctx.env))
    except Unreachable:
        return False
    return True


def _by(standing: Tally) -> list[dict[str, str]]:
    return [{"person": person, "role": role} for person, role in standing.approved]


def _tally(ctx: StepContext, question: Question) -> Tally:
    approvers = approvals.approvers_of(ctx.env)
    answers = (*ctx.facts("approval.given"), *ctx.facts("approval.rejected"))
    envelopes = [fact.get("envelope") for fact in answers if fact.get("nonce") == question.nonce]
    return approvals.tally(question, envelopes, approvers, ctx.clock.now(), _excluded(ctx, approvers, question.not_by))


def _excluded(ctx: StepContext, approvers: Approvers, not_by: list[str]) -> Mapping[str, str]:
    """Raises Unprepared when somebody has to be left out and it cannot be told who that is."""
    starter = str((_started(ctx).get("controller") or {}).get("owner") or "") if "starter" in not_by else None
    key = ctx.env.state / "keys" / "operator.pub"
    out = approvals.excluded(approvers, starter, key.read_text(encoding="utf-8") if key.is_file() else "", _before(ctx, not_by))
    if starter is not None and not any(person.has_account(starter) for person in approvers.people):
        raise Unprepared(
            f"Who started the run cannot be told: {starter or 'its account'} is nobody's in inventories/{ctx.env.name}/approvers.yaml. "
            f"List it under that person's accounts."
        )
    return out


def _before(ctx: StepContext, not_by: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fact in ctx.facts("step.outcome"):
        if fact["step"] in not_by and fact["step"] != "starter" and fact.get("verdict") == Verdict.PASS.value:
            said = (fact.get("data") or {}).get("approved_by") or (fact.get("targets") or {}).get("environment", {}).get("approved_by")
            found[fact["step"]] = [entry["person"] for entry in said or []]
    missing = [name for name in not_by if name != "starter" and not found.get(name)]
    if missing:
        raise BadInput(f"Step {ctx.step}: not_by names {missing[0]}, which is no approval that passed before it.")
    return found


def _passed(ctx: StepContext, step: str) -> bool:
    verdicts = [fact.get("verdict") for fact in ctx.facts("step.outcome") if fact["step"] == step]
    # A waived one counts here as it does everywhere, and whoever is asked is shown it.
    waived = any(fact["step"] == step for fact in ctx.facts("step.waived"))
    return waived or (bool(verdicts) and verdicts[-1] == Verdict.PASS.value)


def _own(ctx: StepContext, kind: str) -> list[dict[str, Any]]:
    return [fact for fact in ctx.facts(kind) if (fact["stage"], fact["step"]) == (ctx.stage, ctx.step)]


def _started(ctx: StepContext) -> dict[str, Any]:
    started = ctx.facts("run.started")
    return started[0] if started else {}


def _text(ctx: StepContext, question: Question) -> str:
    until = datetime.fromisoformat(question.expires).isoformat(sep=" ", timespec="minutes")
    return (
        f"{ctx.env.name}: {' or '.join(question.roles)} has to decide on {question.release} at {question.where} until {until}: "
        f"./inv approve --env {ctx.env.name} --stage {ctx.stage} or ./inv reject"
    )
