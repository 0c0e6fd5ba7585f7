"""What the engine needs from outside, and what it is told from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from golive.actions.port import Action, Findings, StepContext, registered
from golive.engine.chain import Head
from golive.engine.leftovers import LocalLeftovers
from golive.engine.process import Process
from golive.notify import Incident, Notice
from golive.runbook.clock import Clock, RealClock

__all__ = ["Anchor", "Leftovers", "Pager", "Ports", "Signature", "Timing", "Trigger", "Watcher"]


@dataclass(frozen=True)
class Trigger:
    """Why a run has to go back."""

    source: str
    """``operator``, a watcher's name, or ``step``."""
    reason: str
    seen_at: str = ""
    """RFC 3339; when the breach was seen. Empty: now."""
    data: Mapping[str, Any] = field(default_factory=dict)


class Watcher(Protocol):
    """Something that looks on in the background while users may be on the candidate."""

    name: str

    def start(self, ctx: StepContext) -> None:
        """Begins to look, on threads of its own. Returns at once. Called again by a resumed run."""

    def stop(self) -> None:
        """Ends. Called once for each start; must not raise."""

    def poll(self) -> Trigger | None:
        """What was seen; None while all is well. Returns at once: it is called several times a second, never concurrently."""


class Pager(Protocol):
    """Tells people, level by level, what they have to see to."""

    def due(self, incidents: Sequence[Incident], told: Iterable[str], now: datetime) -> Sequence[Notice]:
        """What is to be sent now. ``told`` are the keys of what was tried before. Cheap."""

    def send(self, notice: Notice, note: Callable[[str, dict[str, Any]], None]) -> None:
        """Sends it, journaling by ``note`` before and after. May take a while: it is called on a thread of its own."""


class Leftovers(Protocol):
    """Ends what a dead (or given up) process left running on this machine."""

    def end(self, env: str, run: str, below: int, recorded: Sequence[Process]) -> Sequence[str]:
        """When it returns, no process of ``run`` started under a token lower than ``below``, and none of ``recorded``, runs here.

        Returns what was ended, for the journal. Raises Held when one would not end.
        """


@dataclass(frozen=True)
class Timing:
    """How patient the engine is; seconds. Not part of a runbook."""

    tick_s: float = 0.05
    """How often a running step is looked at."""
    look_s: float = 0.2
    """How often requests and watchers are asked."""
    grace_s: float = 5.0
    """How long a step that was asked to end may take."""
    breach_grace_s: float = 1.0
    """The same, when users are being hurt."""
    retry_s: float = 2.0
    """Pause before trying again; doubles up to ``longest_retry_s``."""
    longest_retry_s: float = 30.0
    probes: int = 3
    """How often an unknown target is probed before a person is asked."""
    back_attempts: int = 3
    """How often a step of the way back is tried."""
    lease_ttl_s: float = 30.0
    lease_beat_s: float = 2.0
    page_s: float = 5.0
    """How often it is looked whether somebody is to be called."""
    settle_s: float = 30.0
    """How long a process that ends may take to call them."""
    answer_s: float = 30.0
    """How long a live process may take to accept a request."""
    anchor_s: float = 20.0
    """How long the hosts may take to take the journal's head; the run goes on without those that did not."""
    anchor_attempts: int = 3
    """How often it is left on the hosts at the end of a run."""


@dataclass(frozen=True)
class Anchor:
    """The head of a journal as it is left on hosts: whoever changes the journal later cannot change it there as well."""

    env: str
    journal: str
    """Hash of the journal's first record: tells it from another journal of the same environment."""
    run: str
    token: int
    head: Head


@dataclass(frozen=True)
class Signature:
    """Somebody's word for a head."""

    key: str
    """Public half of the key that signed, as in ``ssh-ed25519 AAAA...``."""
    text: str
    """Armored, as ``ssh-keygen -Y sign`` writes it."""


def _no_anchors(anchor: Anchor) -> Findings:
    return {}


def _nothing_to_fence(token: int, run: str) -> Findings:
    return {}


def _no_fleet() -> Any:
    raise RuntimeError("no fleet was given to the engine")


@dataclass(frozen=True)
class Ports:
    """Everything outside of the engine that a run uses."""

    fleet: Callable[[], Any] = _no_fleet
    """Reads the current Fleet; raises Unprepared before provisioning."""
    fence: Callable[[int, str], Findings] = _nothing_to_fence
    """``fence(token, run)`` raises the token on every host: DONE or UNKNOWN per host; nothing when there are no hosts yet."""
    bare: Callable[[], Mapping[str, str]] = dict
    """Hosts on which nothing of the toolkit is, as a machine has it that was put in place of another; and why that is known."""
    leftovers: Leftovers = field(default_factory=LocalLeftovers)
    watchers: Sequence[Watcher] = ()
    anchor: Callable[[Anchor], Findings] = _no_anchors
    """Leaves the journal's head on every host: DONE, ABSENT (the host's dwcp-host is too old) or UNKNOWN per host."""
    sign: Callable[[bytes], Signature] | None = None
    """Signs with the journal's key; None when runs are not signed."""
    pager: Pager | None = None
    clock: Clock = field(default_factory=RealClock)
    actions: Mapping[str, Action] = field(default_factory=registered)
    timing: Timing = field(default_factory=Timing)
