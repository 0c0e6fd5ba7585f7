"""``inv waive``, ``inv skip``: a step is left out because somebody who answers for it signed that it may be."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime

from golive import actions, engine, releases
from golive.approvals import Evidence, Statement
from golive.engine import RunState
from golive.engine.waiving import refusal
from golive.environment import Environment
from golive.errors import BadInput, GoliveError, Held
from golive.runbook import Stage, Step, parse_duration
from golive.verbs._decision import agreed, key_of, left_signed, person_of
from golive.verbs.golive import runbooks
from golive.verbs.result import Result

__all__ = ["skip", "waive"]


def waive(env: Environment, *, step: str = "", reason: str = "", until: str = "", key: str | None = None, yes: bool = False) -> Result:
    """Signs that ``step`` (STAGE/STEP) of the unfinished run may be left out until ``until``."""
    if not reason.strip():
        raise BadInput(f"A waiver needs a reason: ./inv waive --env {env.name} --step {step or 'STAGE/STEP'} --reason WHY --until 24h.")
    stage, found, state = _step(env, step)
    why = refusal(env, actions.registered()[found.uses], found)
    if why:
        raise BadInput(f"{step} cannot be waived: {why}.")
    path = key_of(key)
    person, owner = person_of(env, path), found.owner or stage.owner
    if owner not in person.roles:
        raise BadInput(f"{step} is waived by its owner, {owner}; {person.person} holds {', '.join(person.roles)}.")
    journal = engine.open_journal(env)
    wrong = journal.verify()
    if wrong:
        raise Held(f"The journal of {env.name} is not what was written: {wrong[0]}. Do not sign on it.")
    now = datetime.now(UTC)
    statement = Statement.of(
        {
            "env": env.name,
            "run": state.run or "",
            "stage": stage.name,
            "step": found.id,
            "nonce": secrets.token_hex(16),
            "expires": _until(until, now).isoformat(timespec="seconds"),
            "release": state.release or "",
            "manifest": _manifest(state.release or ""),
            "runbook": state.runbook_digest or "",
            "evidence": Evidence(head=journal.head().hash, gates=""),
            "role": owner,
            "decision": "waive",
            "issued": now.isoformat(timespec="seconds"),
            "comment": reason,
        }
    )
    shown = [
        f"{person.person} as {owner} signs: {step} ({found.uses}) of run {state.run} may be left out until {statement.expires}",
        f"  release {state.release}, reason: {reason}",
        "  the step will not be done; it shows as WAIVED in status and report",
    ]
    agreed(shown, "Sign this waiver?", yes=yes)
    left_signed(env, "waiver", statement, path, reason)
    data = {"schema": 1, "env": env.name, "person": person.person, "signed": statement.model_dump(mode="json")}
    return Result(
        data, f"{person.person} ({owner}) waived {step} until {statement.expires}; `./inv skip --env {env.name} --step {step}` uses it."
    )


def skip(env: Environment, *, step: str = "", reason: str = "") -> Result:
    """Asks the run to leave ``step`` (STAGE/STEP) out, which it does where a signed waiver covers it."""
    stage, found, state = _step(env, step)
    before = state.step_state(stage.name, found.id)
    if before is not None and before.passed:
        raise BadInput(f"{step} has passed already ({before.summary}).")
    known = any((waiver["stage"], waiver["step"]) == (stage.name, found.id) for waiver in state.waivers)
    if not known and not any(_waives(request.data, stage.name, found.id) for request in engine.left(env) if request.kind == "waiver"):
        owner = found.owner or stage.owner
        raise BadInput(f"Nobody waived {step}: {owner} signs that first with ./inv waive --env {env.name} --step {step}.")
    engine.request(env, "skip", reason or "skip", {"stage": stage.name, "step": found.id})
    data = {"schema": 1, "env": env.name, "run": state.run, "step": step}
    return Result(data, f"{step} is left out when the run comes to it; `./inv golive --env {env.name}` goes on if nothing runs now.")


def _step(env: Environment, where: str) -> tuple[Stage, Step, RunState]:
    state = engine.state(env)
    if not state.open or state.rolling_back:
        raise BadInput(f"No run of {env.name} is on its way forward; there is nothing to leave out.")
    book = runbooks()[0]
    if state.runbook_digest != book.digest:
        raise BadInput(f"The runbook {book.name} was changed since run {state.run} began; put it back first.")
    for stage, step in book.steps():
        if f"{stage.name}/{step.id}" == where:
            return stage, step, state
    raise BadInput(f"There is no step {where!r}; write it as STAGE/STEP, like {book.stages[0].name}/{book.stages[0].steps[0].id}.")


def _until(text: str, now: datetime) -> datetime:
    try:
        until = datetime.fromisoformat(text)
        until = until if until.tzinfo is not None else until.astimezone(UTC)
    except ValueError:
        try:
            until = now + parse_duration(text)
        except ValueError:
            raise BadInput(f"--until is a duration like 24h or a time like {now:%Y-%m-%dT%H:%M:%SZ}; got {text!r}.") from None
    if until <= now:
        raise BadInput(f"--until {text} is over already.")
    return until


def _manifest(release: str) -> str | None:
    try:
        return releases.find_id(release).digest
    except GoliveError:
        return None


def _waives(data: dict[str, object], stage: str, step: str) -> bool:
    try:
        said = json.loads(str(data.get("statement")))
    except ValueError:
        return False
    return isinstance(said, dict) and (said.get("stage"), said.get("step")) == (stage, step)
