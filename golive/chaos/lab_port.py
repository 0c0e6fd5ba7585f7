"""What a round needs of its stage, and what it is told of the hosts there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from golive.chaos.clock import WallClock
from golive.engine import Record, RunState

__all__ = ["Facts", "HostFacts", "Operator", "Seen", "Stage"]

JSON = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """A record as it appeared."""

    seq: int
    kind: str
    stage: str | None = None
    step: str | None = None


@dataclass(frozen=True)
class HostFacts:
    """What one host says of itself; ``why`` when it says nothing."""

    name: str
    agent: bool = True
    gateway: bool = False
    effects: tuple[JSON, ...] = ()
    releases: tuple[JSON, ...] = ()
    """``dwcp-host status``: id, active, enabled, invocation_id."""
    weight: JSON | None = None
    """``dwcp-host weight get``, of a gateway."""
    why: str = ""


@dataclass(frozen=True)
class Facts:
    """What all hosts say, and what users got."""

    hosts: tuple[HostFacts, ...] = ()
    requests: int = 0
    nobody: int = 0
    """Requests since the round began that nobody answered."""
    unread: tuple[str, ...] = ()
    """Load clients that could not be asked."""
    journal: tuple[str, ...] = field(default=())
    """What is wrong with the journal: its chain, its signatures, or what hosts saw of it."""


class Operator(Protocol):
    """A command that was typed."""

    killed: bool

    @property
    def pid(self) -> int: ...

    @property
    def status(self) -> int | None: ...

    @property
    def said(self) -> str: ...

    def send(self, number: int) -> None: ...

    def kill(self) -> None: ...

    def end(self) -> None: ...

    def waited(self, timeout_s: float) -> int | None: ...


class Stage(Protocol):
    """Where rounds are played."""

    env_name: str

    def type(self, words: Sequence[str], clock: WallClock | None = None) -> Operator:
        """``./inv`` with these words, started."""
        ...

    def appeared(self) -> list[Seen]:
        """Records since the last call."""
        ...

    def records(self, after: int) -> list[Record]: ...

    def state(self) -> RunState:
        """The environment's last run."""
        ...

    def facts(self, since: float | None) -> Facts:
        """What is true now; requests from the unix time ``since`` on. None: what hosts say alone, without users and journal."""
        ...

    def mend(self) -> list[str]:
        """Nothing that a fault changed is left changed. Returns what was mended."""
        ...
