"""``inv rollback``: everything back on the incumbent."""

from __future__ import annotations

from golive import engine
from golive.environment import Environment
from golive.errors import BadInput
from golive.verbs._ports import ports_of
from golive.verbs._run import ended, shown, signed, way_back
from golive.verbs.result import Result

__all__ = ["rollback"]


def rollback(env: Environment, *, reason: str, pace: str | None = None, quiet: bool = False) -> Result:
    """Everything back on the incumbent, here or by the process that holds the run."""
    if not reason.strip():
        known = "; ".join(f"{word}: {what}" for word, what in engine.REASONS.items())
        raise BadInput(f"A rollback needs a reason: ./inv rollback --env {env.name} --reason outage (words it knows: {known}).")
    back, speed = way_back(env, pace)
    with shown(env, quiet=quiet) as tell:
        state = engine.rollback(env, back, reason=signed(reason), pace=speed, ports=ports_of(env), tell=tell)
    return ended(env, state)
