"""``inv resume``: a paused run may go on."""

from __future__ import annotations

from golive import engine
from golive.environment import Environment
from golive.verbs._ports import ports_of
from golive.verbs._run import signed
from golive.verbs.result import Result

__all__ = ["resume"]


def resume(env: Environment, *, reason: str = "") -> Result:
    """Returns when it stands in the journal. The process that holds the run goes on at once; without one, `golive` continues it: a run
    takes hours, and whoever lifts a pause need not be the one whose terminal it lives in."""
    state = engine.resume(env, reason=signed(reason or "resumed"), ports=ports_of(env))
    alive = engine.standing(env).holder is not None
    text = f"Run {state.run} in {env.name} is no longer paused" + (
        " and goes on." if alive else f"; no process works on it: `./inv golive --env {env.name}` continues it."
    )
    data = {"schema": 1, "env": env.name, "run": state.run, "outcome": state.outcome, "paused": state.paused, "goes_on": alive}
    return Result(data, text)
