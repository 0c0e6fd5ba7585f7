"""What an action is: the four verbs that the engine knows it by.

An action is one file under ``golive/actions/``; it registers itself under the name that runbooks use (``uses: traffic.shift``).
``probe`` says what is true now, per target (a host, a gateway, or ``"environment"``); ``apply`` makes it true for the targets in
``todo`` and is safe to run twice; ``undo`` takes it back; ``budget`` is the longest time it may take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from golive.gates.verdict import Verdict

__all__ = ["Action", "Finding", "Findings", "Found", "Outcome", "StepContext", "action", "registered"]

JSON = dict[str, Any]


class Found(Enum):
    """How much of a step's effect a target already shows."""

    ABSENT = "ABSENT"
    PARTIAL = "PARTIAL"
    DONE = "DONE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Finding:
    """What a probe saw on one target, and why it says so."""

    found: Found
    reason: str = ""
    data: JSON = field(default_factory=dict)


Findings = Mapping[str, Finding]


@dataclass(frozen=True)
class Outcome:
    """How an apply or undo ended. Only ``Verdict.PASS`` advances the run."""

    verdict: Verdict
    summary: str
    data: JSON = field(default_factory=dict)
    changed: int = 0
    """Number of things changed on hosts; 0 means everything was already there."""


@dataclass(frozen=True)
class StepContext:
    """What a step may know and use while it runs."""

    env: Any  # golive.environment.Environment
    fleet: Callable[[], Any]
    """Reads the current ``golive.fleet.model.Fleet``; raises Unprepared before provisioning."""
    run: str
    stage: str
    step: str
    token: int
    """Fencing token of this process's lease. Every effect on a host carries it."""
    candidate: str
    """Release id ``<version>-<digest12>`` that is to go live."""
    incumbent: str | None
    """Release id that serves now; None before the first."""
    params: Mapping[str, Any]
    """The step's ``with:``, validated by the action's own ``Params`` model."""
    clock: Any  # golive.runbook.clock.Clock
    workdir: Path
    """A directory of this step's own under the run's directory."""
    note: Callable[[str, JSON], None]
    """Journals a fact (kind, data) while the step runs; durable when it returns."""
    facts: Callable[[str], list[JSON]]
    """All facts of a kind that this run has journaled so far, oldest first."""
    tell: Callable[[str, JSON], None]
    """Tells the views something transient (progress, live figures). Never journaled."""


class Action(Protocol):
    """One kind of step. ``name`` is what runbooks write after ``uses:``."""

    name: str
    budget: timedelta

    def probe(self, ctx: StepContext) -> Findings: ...

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome: ...

    def undo(self, ctx: StepContext) -> Outcome: ...


_registry: dict[str, Action] = {}


def action(cls: type[Any]) -> type[Any]:
    """Class decorator: registers one instance under ``cls.name``."""
    if cls.name in _registry:
        raise ValueError(f"two actions are called {cls.name!r}")
    _registry[cls.name] = cls()
    return cls


def registered() -> Mapping[str, Action]:
    """All actions by name."""
    return _registry
