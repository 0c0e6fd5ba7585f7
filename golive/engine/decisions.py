"""What people decided: signed envelopes, taken from requests into the journal once they were checked."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from golive import approvals
from golive.approvals import Approvers, Judged, Question
from golive.engine.answers import open_questions, seals
from golive.engine.fold import RunState, step_key
from golive.environment import Environment
from golive.errors import Occupied, Refused

if TYPE_CHECKING:
    from golive.engine.requests import Request
    from golive.engine.running import Live

__all__ = ["KINDS", "judged", "take"]

JSON = dict[str, Any]

KINDS = ("approval", "rejection", "waiver", "skip")
"""Kinds of requests that are taken here."""

_DECISION = {"approval": "approve", "rejection": "reject", "waiver": "waive"}
_FACT = {"approval": "approval.given", "rejection": "approval.rejected", "waiver": "waiver.given"}


def take(live: Live, request: Request) -> None:
    """The request is journaled when this returns: as what it says, or as refused and why. One that was journaled before is left alone.

    Raises only what stops this process: a lost lease, a journal that cannot be written.
    """
    try:
        if request.kind == "skip":
            _skip(live, request)
            return
        seal = approvals.digest([request.data.get("statement"), request.data.get("signature")])
        if seal in seals(live.state):
            return
        found = judged(live.env, live.state, request.kind, request.data, live.clock.now())
        said = found.statement
        data: JSON = {"person": found.person, "seal": seal, "by": request.owner, "envelope": dict(request.data)}
        data |= {name: getattr(said, name) for name in ("role", "decision", "nonce", "comment", "issued", "expires")}
        live.append(_FACT[request.kind], data, said.stage, said.step)
    except Occupied:
        raise
    except Exception as error:  # whatever a stranger wrote into the database stops no run
        _refused(live, request, error)


def judged(env: Environment, state: RunState, kind: str, envelope: Any, at: datetime) -> Judged:
    """Whose decision of ``kind`` the envelope is, about what the run ``state`` asks or has.

    Raises GoliveError saying why it is none: unsigned, forged, of somebody who may not, about something else, or too late.
    """
    approvers = approvals.approvers_of(env)
    found = approvals.opened(envelope, approvers, at)
    statement = found.statement
    if statement.decision != _DECISION[kind]:
        raise Refused(f"This says {statement.decision}, and was handed in as {kind}.")
    if kind == "waiver":
        asked = (env.name, state.run, state.release, state.runbook_digest)
        if (statement.env, statement.run, statement.release, statement.runbook) != asked:
            raise Refused("This waiver is about another environment, run, release or runbook.")
    else:
        entry = next((one for one in open_questions(state) if one.get("nonce") == statement.nonce), None)
        if entry is None:
            raise Refused("This answers no question that is open in this run.")
        question = Question.of(entry)
        unfit = statement.unfit(question)
        if unfit:
            raise Refused(f"This answers another question: {unfit}.")
        out = _excluded(env, state, question, approvers) if kind == "approval" else {}
        if found.person in out:
            raise Refused(f"{found.person} {out[found.person]}.")
    if at >= statement.expires_at:
        raise Refused(f"This was worth something until {statement.expires}.")
    return found


def _excluded(env: Environment, state: RunState, question: Question, approvers: Approvers) -> dict[str, str]:
    """As the step that asked will see it; it looks again, and its word counts."""
    starter = state.starter if "starter" in question.not_by else None
    key = env.state / "keys" / "operator.pub"
    before = {
        str(entry["step"]): [str(answer["person"]) for answer in entry["answers"] if answer["decision"] == "approve"]
        for entry in state.questions
        if entry["step"] in question.not_by and entry["ended"] == "PASS"
    }
    return approvals.excluded(approvers, starter, key.read_text(encoding="utf-8") if key.is_file() else "", before)


def _skip(live: Live, request: Request) -> None:
    stage, step = str(request.data.get("stage")), str(request.data.get("step"))
    where = step_key(stage, step)
    if where in live.state.skips:
        return
    if not any((waiver["stage"], waiver["step"]) == (stage, step) for waiver in live.state.waivers):
        raise Refused(f"Nobody signed a waiver for {where} in this run.")
    live.append("skip.asked", {"by": request.owner, "at": request.at, "reason": request.reason}, stage, step)


def _refused(live: Live, request: Request, error: Exception) -> None:
    # Of what did not hold nothing is kept but who left it: its text is a stranger's.
    data = {"kind": request.kind, "by": request.owner, "at": request.at, "request": request.id, "why": str(error)[:500]}
    live.append("approval.refused", data)
