"""``inv pause``: the running step is finished, and no further one begins."""

from __future__ import annotations

from golive import engine
from golive.environment import Environment
from golive.errors import BadInput
from golive.verbs._ports import ports_of
from golive.verbs._run import signed
from golive.verbs.result import Result

__all__ = ["pause"]


def pause(env: Environment, *, reason: str) -> Result:
    """Returns when the pause stands in the journal; the step that runs then may take as long as it takes."""
    if not reason.strip():
        raise BadInput(f"A pause needs a reason, for whoever finds the run standing: ./inv pause --env {env.name} --reason WHY.")
    state = engine.pause(env, reason=signed(reason), ports=ports_of(env))
    where = "/".join(part for part in (state.stage, state.step) if part)
    alive = engine.standing(env).holder is not None
    text = f"Run {state.run} in {env.name} is paused at {where}: " + (
        "the running step is finished, no further one begins; traffic stays as it is, and is watched on."
        if alive
        else "no process works on it, and none that continues it begins a step."
    )
    text += f" `./inv resume --env {env.name}` lets it go on; rollback and abort work as ever."
    return Result({"schema": 1, "env": env.name, "run": state.run, "outcome": state.outcome, "paused": state.paused}, text)
