"""What an action is: the four verbs that the engine knows it by.

An action is one file under ``golive/actions/``; it registers itself under the name that runbooks use (``uses: traffic.shift``).
``probe`` says what is true now, per target (a host, a gateway, or ``"environment"``); ``apply`` makes it true for the targets in
``todo`` and is safe to run twice; ``undo`` takes it back; ``budget`` is the longest time it may take.

What else the engine reads from an action is set by the decorator :func:`action` where the class does not say it:

``Params``   pydantic model of the step's ``with:`` (default: nothing may be given)
``watch``    True for actions that observe for a time and have nothing to find: no probe; when interrupted they start from zero (False)
``verify``   True to have the engine probe again after ``apply``, and take nothing but DONE everywhere for a PASS (False)
``grounds``  True to have hosts that do not answer waited for only after it: it makes them, or starts them again (False)
``reach``    ``reach(params) -> Reach``: how far towards the users the step brings the candidate (``Reach.NONE``)
``plan``     ``plan(ctx) -> list[str]``: what the step would do or ask, for a dry run, as lines for a person. It changes nothing, on no host
             and nowhere else but under ``ctx.workdir``; what cannot be told now it raises (what the probe finds; nothing for a watch)
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from golive.environment import MARK
from golive.gates.verdict import Verdict
from golive.runbook.clock import Pace

__all__ = [
    "MARK",
    "Action",
    "Finding",
    "Findings",
    "Found",
    "NoParams",
    "Outcome",
    "Reach",
    "StepContext",
    "StepStopped",
    "Stop",
    "action",
    "complete",
    "registered",
]

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


class Reach(Enum):
    """How far towards the users a step brings the candidate. Decides what a failure means: hold, or go back."""

    NONE = "none"
    CANDIDATE = "candidate"
    """Puts something of the candidate on hosts."""
    TRAFFIC = "traffic"
    """Sends users to the candidate."""
    FINAL = "final"
    """Takes away the way back (the incumbent goes): from here on a failure holds and never rolls back."""


class NoParams(BaseModel):
    """``with:`` of an action that takes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StepStopped(Exception):
    """Raised inside a step that was asked to end: by a budget, a trigger, a signal or a lost lease."""


class Stop:
    """How a running step is asked to end. Set once; the first reason stays."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.reason = ""

    def request(self, reason: str) -> None:
        if not self._asked.is_set():
            self.reason = reason
            self._asked.set()

    def __call__(self) -> bool:
        """Whether the step was asked to end."""
        return self._asked.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Waits for the request in real time; True when it came."""
        return self._asked.wait(timeout_s)


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
    load: str
    """Release id of the pinned load client."""
    params: Mapping[str, Any]
    """The step's ``with:`` after the action's own ``Params`` model: defaults filled in, durations as timedelta, keys as in the YAML."""
    clock: Any  # golive.runbook.clock.Clock
    workdir: Path
    """A directory of this step's own under the run's directory."""
    note: Callable[[str, JSON], None]
    """Journals a fact (kind, data) while the step runs; durable when it returns."""
    facts: Callable[[str], list[JSON]]
    """All facts of a kind that this run has journaled so far, oldest first."""
    tell: Callable[[str, JSON], None]
    """Tells the views something transient (progress, live figures). Never journaled."""
    pace: Pace = field(default_factory=Pace)
    """Scales the step's own durations: ``ctx.pace.watch(ten_minutes)``."""
    attempt: int = 1
    """1 for the first try of this step in this run."""
    stop: Stop = field(default_factory=Stop)
    """Long steps look at it, or sleep by :meth:`sleep`; subprocesses are ended by the engine."""
    mark: str = ""
    """``<env>/<run>/<token>``: marks this process's children."""
    began: Callable[[int, str], None] = lambda pid, what: None
    """``began(pid, what)`` right after starting a process: journals pid and start time, so that a later controller can end it."""
    ended: Callable[[int], None] = lambda pid: None
    """``ended(pid)`` after it was waited for."""
    head: Callable[[], str] = lambda: ""
    """Hash of the last record of the journal's chain: stands for everything recorded so far."""
    ensure: Callable[[], None] = lambda: None
    """Raises Occupied when this process no longer holds the environment. The engine calls it before ``apply``, long steps more often."""

    keep: Callable[[bytes], str] = lambda content: hashlib.sha256(content).hexdigest()
    """Keeps content beside the journal, for a later step of this run on whatever controller; returns its SHA-256, to be noted."""
    kept: Callable[[str], bytes | None] = lambda sha256: None
    """What was kept under a SHA-256; None when nothing was."""

    def sleep(self, seconds: float) -> None:
        """Waits ``seconds`` of monotonic time. Raises StepStopped as soon as the step is asked to end."""
        if not self.clock.sleep(seconds, self.stop):
            raise StepStopped(self.stop.reason)

    def check(self) -> None:
        """Raises StepStopped when the step was asked to end."""
        if self.stop():
            raise StepStopped(self.stop.reason)

    def child_env(self) -> dict[str, str]:
        """Environment for every process that a step starts on the controller. It carries the mark, also to grandchildren."""
        return {**os.environ, MARK: self.mark}


class Action(Protocol):
    """One kind of step. ``name`` is what runbooks write after ``uses:``."""

    name: str
    budget: timedelta
    Params: type[BaseModel]
    watch: bool
    verify: bool
    grounds: bool

    def reach(self, params: Mapping[str, Any]) -> Reach: ...

    def probe(self, ctx: StepContext) -> Findings: ...

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome: ...

    def undo(self, ctx: StepContext) -> Outcome: ...

    def plan(self, ctx: StepContext) -> list[str]: ...


def _plans_by_its_probe(self: Any, ctx: StepContext) -> list[str]:
    """Targets alike in one line."""
    found: Findings = {} if self.watch else self.probe(ctx)
    alike: dict[tuple[Found, str], list[str]] = {}
    for target, finding in found.items():
        alike.setdefault((finding.found, finding.reason), []).append(target)
    words = {Found.DONE: "there already", Found.ABSENT: "to do", Found.PARTIAL: "to be completed", Found.UNKNOWN: "unknown"}
    lines = []
    for (state, reason), targets in alike.items():
        where = "" if targets == ["environment"] else f" on {', '.join(targets)}"
        lines.append(f"{words[state]}{where}{f': {reason}' if reason else ''}")
    return lines


def _reaches_nothing(self: Any, params: Mapping[str, Any]) -> Reach:
    return Reach.NONE


def complete(cls: type[Any]) -> type[Any]:
    """Gives an action class the defaults listed at the top of this module."""
    for name, default in (
        ("Params", NoParams),
        ("watch", False),
        ("verify", False),
        ("grounds", False),
        ("reach", _reaches_nothing),
        ("plan", _plans_by_its_probe),
    ):
        if not hasattr(cls, name):
            setattr(cls, name, default)
    return cls


_registry: dict[str, Action] = {}


def action(cls: type[Any]) -> type[Any]:
    """Class decorator: registers one instance under ``cls.name``, and fills in what the class does not say."""
    if cls.name in _registry:
        raise ValueError(f"two actions are called {cls.name!r}")
    complete(cls)
    _registry[cls.name] = cls()
    return cls


def registered() -> Mapping[str, Action]:
    """All actions by name."""
    return _registry
