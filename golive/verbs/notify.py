"""``inv notify``: people are told what is due about a run on which no process works. For a timer, and for trying the routes."""

from __future__ import annotations

from golive import engine
from golive.environment import Environment
from golive.errors import BadInput, GoliveError
from golive.notify import routes_of
from golive.notify.post import post
from golive.verbs._ports import ports_of
from golive.verbs.result import Result

__all__ = ["notify"]


def notify(env: Environment, *, test: str = "") -> Result:
    """Sends the escalation that is due; with ``test`` one message by that route instead, outside of any run.

    While a process works on the run, it tells people itself, and this does nothing.
    """
    if test:
        return _tried(env, test)
    holder = engine.standing(env).holder
    if holder is not None:
        data = {"schema": 1, "env": env.name, "due": 0, "failed": []}
        return Result(data, f"{holder.sentence} works on {env.name} and tells people itself.")
    count = engine.page(env, ports_of(env))
    failed = [entry for entry in engine.state(env).notices if entry["is"] in ("failed", "unrouted")]
    text = f"{count} notices were due in {env.name}." if count else f"Nobody is to be told anything in {env.name} now."
    if failed:
        text += f" {len(failed)} did not reach anyone; see ./inv status --env {env.name}."
    return Result({"schema": 1, "env": env.name, "due": count, "failed": failed}, text)


def _tried(env: Environment, name: str) -> Result:
    route = next((one for one in routes_of(env).routes if one.route == name), None)
    if route is None:
        raise BadInput(f"inventories/{env.name}/notify.yaml has no route {name!r}.")
    try:
        why = post(route.address(), f"DWCP {env.name}", f"A test of route {name}; nothing has happened.", "info")
    except GoliveError as error:
        why = str(error)
    said = f"Route {name}: {why}." if why else f"Route {name} took the message."
    return Result({"schema": 1, "env": env.name, "route": name, "sent": not why, "why": why}, said, 4 if why else 0)
