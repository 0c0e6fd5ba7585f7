"""What a run that stands asks, and of whom: read from its state alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from golive.engine import RunState

__all__ = ["ASKS", "Ask", "asks"]


@dataclass(frozen=True)
class Ask:
    """One thing that somebody has to do before the run goes on."""

    of: str
    """A role of the runbook, or a person."""
    what: str


def _paused(state: RunState) -> Sequence[Ask]:
    if state.paused is None:
        return ()
    return [Ask(str(state.paused.get("by")), f"`./inv resume --env {state.env} --reason WHY` lets the paused run go on")]


def _held(state: RunState) -> Sequence[Ask]:
    """The owner of the stage; nobody when the run only waits for its time."""
    held = state.held
    if state.outcome != "held" or held is None or held.get("waiting_until") or state.paused is not None:
        return ()
    stage = state.stages.get(state.stage or "")
    return [Ask((stage.owner if stage else None) or "operator", str(held.get("do") or held.get("reason")))]


ASKS: list[Callable[[RunState], Sequence[Ask]]] = [_paused, _held]
"""Each looks for one kind of thing that is asked; another room adds its own when it is imported."""


def asks(state: RunState, *, alive: bool) -> list[Ask]:
    """Everything that is asked now, most urgent first; empty for a run that is over, goes on, or waits for its time.

    ``alive``: whether a process works on the run.
    """
    if not state.open:
        return []
    found = [ask for look in ASKS for ask in look(state)]
    if state.outcome == "running" and not alive and state.paused is None:
        found.append(Ask("operator", f"no process works on the run: `./inv golive --env {state.env}` continues it"))
    return found
