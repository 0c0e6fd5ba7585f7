"""Steps that are left out because somebody who answers for them signed that they may be."""

from __future__ import annotations

from fnmatch import fnmatchcase

from golive import approvals
from golive.actions.port import Action, Reach
from golive.engine.fold import step_key
from golive.engine.running import Live
from golive.engine.step import reach_of
from golive.environment import Environment
from golive.errors import BadInput, GoliveError, Refused
from golive.runbook import Stage, Step

__all__ = ["refusal", "waived"]


def waived(live: Live, stage: Stage, step: Step) -> bool:
    """Whether ``step`` was asked to be skipped and a waiver covers it; then that is journaled and the step counts as passed.

    A skip that nothing covers is journaled as refused, and asked for no more.
    """
    where = step_key(stage.name, step.id)
    if where not in live.state.skips:
        return False
    never = refusal(live.env, live.ports.actions[step.uses], step)
    why = never or "no waiver for it is valid any more"
    for waiver in reversed(live.state.waivers):
        if (waiver["stage"], waiver["step"]) != (stage.name, step.id) or never:
            continue
        try:
            _covers(live, stage, step, waiver)
        except GoliveError as error:
            why = str(error)
            continue
        names = ("person", "role", "seal", "expires")
        data = {name: waiver[name] for name in names} | {"reason": waiver["comment"], "uses": step.uses}
        live.append("step.waived", data, stage.name, step.id)
        return True
    live.append("skip.refused", {"why": why}, stage.name, step.id)
    return False


def refusal(env: Environment, action: Action, step: Step) -> str:
    """Why no waiver can cover ``step``; empty when one can."""
    try:
        params = action.Params.model_validate(step.params).model_dump(by_alias=True)
        far = reach_of(action, params) in (Reach.TRAFFIC, Reach.FINAL)
        never = approvals.never_waived(env)
    except (ValueError, BadInput) as error:
        return str(error)
    if far or any(fnmatchcase(step.uses, pattern) for pattern in never):
        return f"{step.uses} is not waived: it reaches users or cannot be undone, or the policy says never"
    return ""


def _covers(live: Live, stage: Stage, step: Step, waiver: dict[str, object]) -> None:
    now = live.clock.now()
    found = approvals.opened(waiver["envelope"], approvals.approvers_of(live.env), now)
    statement = found.statement
    owner = step.owner or stage.owner
    about = (statement.decision, statement.env, statement.run, statement.stage, statement.step, statement.release, statement.runbook)
    state = live.state
    if about != ("waive", live.name, live.run, stage.name, step.id, state.release, state.runbook_digest):
        raise Refused("the waiver is about something else")
    if statement.role != owner:
        raise Refused(f"the waiver is by {statement.role}, and {owner} answers for this step")
    if now >= statement.expires_at:
        raise Refused(f"the waiver was valid until {statement.expires}")
