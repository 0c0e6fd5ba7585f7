"""Before a run begins: those whom its runbook asks and tells can be asked and told."""

from __future__ import annotations

from golive import actions, approvals, engine, notify
from golive.approvals import Need
from golive.engine.process import owner
from golive.environment import Environment
from golive.errors import BadInput
from golive.runbook import Runbook

__all__ = ["needs_of", "people_ready"]


def people_ready(env: Environment, book: Runbook, candidate: str, incumbent: str | None) -> None:
    """Returns when a run of ``book`` would not wait for nobody. A run that only repairs asks no one, and a way back waits for no one.

    Raises BadInput, Unprepared or Refused, with nothing begun.
    """
    last = engine.state(env)
    if candidate == incumbent or last.rolling_back:
        return
    needs, told = needs_of(book)
    approvals.ready(env, needs, None if last.open else owner())
    notify.ready(env, told)


def needs_of(book: Runbook) -> tuple[list[Need], list[str]]:
    """What the runbook asks of people, and whom it tells. Raises BadInput when a step names another that is not before it."""
    needs: list[Need] = []
    told: list[str] = []
    before: set[str] = set()
    for _, step in book.steps():
        if step.uses == "approval.required":
            given = actions.registered()[step.uses].Params.model_validate(step.params).model_dump()
            known = {"starter", *(need.step for need in needs)}
            unknown = [name for name in given["not_by"] if name not in known] + [name for name in given["evidence"] if name not in before]
            if unknown:
                raise BadInput(f"Runbook {book.name}: step {step.id} names {unknown[0]}, which is no such step before it.")
            needs.append(Need(step.id, tuple(given["role"]), given["count"], tuple(given["not_by"])))
        elif step.uses == "notify.send":
            told += actions.registered()[step.uses].Params.model_validate(step.params).model_dump()["to"]
        before.add(step.id)
    return needs, told
