"""What every verb that moves a run shares: who asks, the run while it goes on, and how it stands in the end."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from golive import actions, engine, runbook
from golive.engine import RunState
from golive.environment import ROOT, Environment
from golive.errors import GoliveError
from golive.runbook import Pace, Runbook
from golive.verbs.result import Result
from golive.verbs.status import status
from golive.views.looks import LOOKS, kept
from golive.views.terminal import Terminal

__all__ = ["Tell", "ended", "return_book", "sentence", "shown", "signed", "way_back"]

Tell = Callable[[str, dict[str, Any]], None]


def signed(reason: str) -> str:
    """``reason`` with who gives it."""
    return f"{reason} (by {getpass.getuser()}@{socket.gethostname()})"


def way_back(env: Environment, pace: str | None) -> tuple[Runbook, Pace]:
    """The way back alone: what was spoilt elsewhere since the run began must not stand in it."""
    actions.load_all()
    book = runbook.load(ROOT / "runbooks/rollback.yaml", actions.registered())
    return book, Pace.named(pace, env.policy) if pace else Pace()


def return_book() -> Runbook:
    """How an earlier release comes live again. Raises BadInput with file and line."""
    actions.load_all()
    return runbook.load(ROOT / "runbooks/return.yaml", actions.registered())


@contextmanager
def shown(env: Environment, *, quiet: bool) -> Iterator[Tell]:
    """Where the run is told while it goes on: on the terminal unless ``quiet``, and beside the journal for who watches it elsewhere."""
    path = env.state / LOOKS
    if quiet:
        yield kept(path, lambda kind, data: None)
    else:
        with Terminal(env.name) as terminal:
            yield kept(path, terminal)


def ended(env: Environment, state: RunState) -> Result:
    """The result of a verb that left the environment's run in ``state``."""
    text = sentence(env, state) + _unsealed(env, state)
    bare = {host for host, fact in state.aside.items() if fact.get("state") == "bare"}
    if lost := sorted(state.aside.keys() - bare):
        text += f" NOT on {', '.join(lost)}: set aside within the failure budget; `./inv status --env {env.name}` says why."
    if bare:
        text += f" NOT on {', '.join(sorted(bare))}: another machine by now; `./inv golive --env {env.name}` brings it what it needs."
    try:
        data = status(env).data
    except GoliveError as error:
        # How the run ended is known, whatever the hosts can be asked now.
        data = {"schema": 1, "env": env.name, "run": state.run, "outcome": state.outcome, "release": state.release}
        text += f" (Its hosts could not be asked: {error})"
    return Result(data, text, engine.exit_code(state))


def _unsealed(env: Environment, state: RunState) -> str:
    """What the journal of a run that is over lacks: a signature, or a host that holds its head."""
    if state.open or state.run is None:
        return ""
    again = f"`./inv journal.anchor --env {env.name}` tries again."
    missed = (state.anchored or {}).get("missed") or {}
    said = f" Its journal is NOT signed: {state.unsigned.rstrip('.')}." if state.unsigned else ""
    said += f" The journal's head could not be left on {', '.join(sorted(missed))}." if missed else ""
    return f"{said} {again}" if said else ""


def sentence(env: Environment, state: RunState) -> str:
    """How the run stands, and what to do next, in one or two sentences."""
    report = f"./inv report --env {env.name}"
    if state.outcome == "succeeded" and state.already_live:
        changed = sum(step.changed for step in state.steps.values())
        return f"{state.release} is already live in {env.name}; everything was checked, changed={changed}."
    if state.outcome == "succeeded" and not state.signed_off:
        return f"Stages {state.first_stage} to {state.last_stage} are done for {state.release} in {env.name}; nothing of it is live."
    if state.outcome == "succeeded":
        return f"{state.release} is live in {env.name} at 100 %, {state.incumbent or 'nothing'} is retired. Report: {report}"
    if state.outcome == "rolled-back":
        why = str((state.rollback or {}).get("reason", "")).rstrip(".")
        return f"Rolled back: {why}. {state.incumbent} serves everything in {env.name}. Report: {report}"
    if state.outcome == "held":
        held = state.held or {}
        if held.get("waiting_until"):
            return f"{held.get('reason')} {held.get('do')}"
        return f"Held at {state.stage}/{state.step}: {held.get('reason')} {held.get('do')}".strip()
    if state.outcome == "aborted":
        why = str((state.aborting or state.rollback or {}).get("reason", "")).rstrip(".")
        back = f"{state.incumbent} serves everything in {env.name}" if state.rollback else "nothing of the candidate is on hosts"
        return f"Aborted{f': {why}' if why else ''}. {back[:1].upper()}{back[1:]}. Report: {report}"
    return f"The run ended {state.outcome} at {state.stage}/{state.step}. Report: {report}"
