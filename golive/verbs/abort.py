"""``inv abort``: the run ends, whatever it waits for."""

from __future__ import annotations

from golive import engine
from golive.environment import Environment
from golive.errors import BadInput
from golive.verbs._ports import ports_of
from golive.verbs._run import ended, shown, signed, way_back
from golive.verbs.result import Result

__all__ = ["abort"]


def abort(env: Environment, *, reason: str, pace: str | None = None, take_over: bool = False, quiet: bool = False) -> Result:
    """Ends the run, here or by the process that holds it; what of the candidate is on hosts goes the whole way back first."""
    if not reason.strip():
        raise BadInput(f"An abort needs a reason: ./inv abort --env {env.name} --reason WHY.")
    back, speed = way_back(env, pace)
    with shown(env, quiet=quiet) as tell:
        state = engine.abort(env, back, reason=signed(reason), pace=speed, ports=ports_of(env), take_over=take_over, tell=tell)
    return ended(env, state)
