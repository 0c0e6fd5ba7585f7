"""``inv approve``, ``inv reject``: a person's signed answer to what a run asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from golive import engine
from golive.approvals import Person, Question
from golive.environment import Environment
from golive.errors import BadInput, GoliveError
from golive.verbs._decision import agreed, journal_holds, key_of, left_signed, person_of
from golive.verbs.golive import runbooks
from golive.verbs.result import Result

__all__ = ["approve", "decided"]


def approve(
    env: Environment,
    *,
    stage: str | None = None,
    role: str | None = None,
    key: str | None = None,
    comment: str = "",
    yes: bool = False,
) -> Result:
    """Signs that the run may go on, after showing exactly what that is about."""
    return decided(env, "approve", stage=stage, role=role, key=key, comment=comment, yes=yes)


def decided(
    env: Environment,
    decision: Literal["approve", "reject"],
    *,
    stage: str | None,
    role: str | None,
    key: str | None,
    comment: str,
    yes: bool,
) -> Result:
    """Signs ``decision`` about the one question that is open, and leaves it for the run. Raises BadInput, with nothing left behind."""
    path = key_of(key)
    person = person_of(env, path)
    question, taken = _question(env, person, stage, role)
    journal_holds(env, question)
    statement = question.answered(decision, taken, datetime.now(UTC), comment)
    agreed(_shown(env, question, person, taken, decision), f"Sign {decision}?", yes=yes)
    kind = "approval" if decision == "approve" else "rejection"
    left_signed(env, kind, statement, path, comment or decision)
    holder = engine.standing(env).holder
    next_ = "the run takes it now" if holder else f"`./inv golive --env {env.name}` takes it when the run goes on"
    data = {"schema": 1, "env": env.name, "person": person.person, "signed": statement.model_dump(mode="json")}
    return Result(data, f"{person.person} ({taken}) signed {decision} for {question.where} of run {question.run}; {next_}.")


def _question(env: Environment, person: Person, stage: str | None, role: str | None) -> tuple[Question, str]:
    """The one open question that is meant, and the role in which ``person`` answers it."""
    open_ = [Question.of(entry) for entry in engine.open_questions(engine.state(env))]
    meant = [question for question in open_ if stage in (None, question.stage)]
    if not meant:
        others = ", ".join(question.where for question in open_)
        raise BadInput(
            f"No approval is asked for in {env.name}{f' at stage {stage}' if stage else ''}{f'; {others} is' if others else ''}."
        )
    able = [question for question in meant if set(question.roles) & set(person.roles) and role in (None, *question.roles)]
    if not able:
        asked = ", ".join(f"{' or '.join(question.roles)} at {question.where}" for question in meant)
        raise BadInput(f"{person.person} holds {', '.join(person.roles)}; what is asked for is {asked}.")
    if len(able) > 1:
        raise BadInput(f"More than one approval is asked for: say which with --stage ({', '.join(question.where for question in able)}).")
    roles = [one for one in able[0].roles if one in person.roles and role in (None, one)]
    if not roles:
        raise BadInput(f"{person.person} does not hold the role {role}, but {', '.join(person.roles)}.")
    return able[0], roles[0]


def _shown(env: Environment, question: Question, person: Person, role: str, decision: str) -> list[str]:
    state = engine.state(env)
    gates = [f"    {gate.get('gate')} ({gate.get('stage')}): {gate.get('verdict')}" for gate in question.gates] or ["    none decided yet"]
    return [
        f"{person.person} as {role} signs: {decision}",
        f"  environment {question.env}, run {question.run}, {question.where}",
        f"  release {question.release} against {state.incumbent or 'nothing'}, manifest sha256 {question.manifest}",
        f"  runbook sha256 {question.runbook}",
        f"  journal up to {question.evidence.head[:16]}, with these gates:",
        *gates,
        *(f"    WAIVED {waived}" for waived in question.waived),
        f"  asked {question.issued}, worth something until {question.expires}; {question.count} needed",
        f"  next: {_next(question)}",
    ]


def _next(question: Question) -> str:
    try:
        listed = list(runbooks()[0].steps())
    except GoliveError as error:
        return f"unknown ({error})"
    at = next((i for i, (stage, step) in enumerate(listed) if (stage.name, step.id) == (question.stage, question.step)), None)
    if at is None or at + 1 == len(listed):
        return "the end of the run"
    stage, step = listed[at + 1]
    return f"{stage.name}/{step.id} ({step.uses} {step.params or ''})".replace(" )", ")")
