"""The port ``Traffic``: which share of the sessions the candidate gets, everywhere at once.

Callers speak in percent of the candidate; an adapter translates to the slots of its points. A *point* is a machine that decides which
release takes a session: a gateway, or, at a site without one, each agent host. Every method either holds at all points when it returns,
or raises naming the point at which it does not and what the others were left at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from golive.errors import GoliveError, Refused

__all__ = ["Beat", "Beats", "Shift", "Slot", "SlotName", "Traffic", "Weights", "other"]

SlotName = Literal["a", "b"]


def other(slot: SlotName) -> SlotName:
    """The slot that ``slot`` is not."""
    return "b" if slot == "a" else "a"


@dataclass(frozen=True)
class Slot:
    """One of the two slots at one point."""

    release: str | None
    is_in: bool
    without: tuple[str, ...] = ()
    """Servers that stay out of the slot while it is in."""


@dataclass(frozen=True)
class Weights:
    """What one point does with sessions, as it says itself."""

    point: str
    slot_b: int
    """Percent for slot b, as recorded on disk."""
    runtime: int | None
    """Percent for slot b, as it is done now; None when that is unknown."""
    slots: Mapping[SlotName, Slot]
    last: Mapping[str, Any] = field(default_factory=dict)
    """The last recorded change: seq, from, slot_b, at, token, run, stage, by."""
    lease: Mapping[str, Any] | None = None
    guard: Mapping[str, Any] | None = None
    """What the guard last did: run, choice, from, to, at, why, alerts, acknowledged."""
    guard_age_s: float | None = None
    """Seconds since the guard last looked; None when it does not run."""
    problem: str | None = None

    def percent(self, slot: SlotName) -> int:
        """Percent that ``slot`` gets now. Raises Refused when what is done is unknown or differs from the record."""
        if self.runtime is None:
            raise Refused(f"What {self.point} sends where is unknown: {self.problem or 'it does not say'}", host=self.point)
        if self.runtime != self.slot_b:
            raise Refused(f"{self.point} gives slot b {self.runtime} % and has {self.slot_b} % on record.", host=self.point)
        return self.runtime if slot == "b" else 100 - self.runtime

    def by_release(self) -> dict[str, int]:
        """Percent per release id. Raises Refused when it is unknown."""
        shares: dict[str, int] = {}
        for name, slot in self.slots.items():
            if slot.release is not None:
                shares[slot.release] = shares.get(slot.release, 0) + self.percent(name)
        return shares

    @property
    def guard_acted(self) -> bool:
        """Whether the guard did something that no controller has acknowledged."""
        return self.guard is not None and not self.guard.get("acknowledged")


@dataclass(frozen=True)
class Shift:
    """A change of the candidate's share that holds at all points."""

    percent: int
    changed: tuple[str, ...]
    """Points at which something had to be changed."""
    weights: Mapping[str, Weights]
    seconds: float


@dataclass(frozen=True)
class Beat:
    """A point took the beat."""

    point: str
    slot_b: int
    guard: Mapping[str, Any] | None
    guard_age_s: float | None

    @property
    def guard_acted(self) -> bool:
        """Whether the guard did something that no controller has acknowledged."""
        return self.guard is not None and not self.guard.get("acknowledged")


Beats = Mapping[str, Beat | GoliveError]
"""By point: the beat it took, or why it did not (Unreachable, Refused)."""


class Traffic(Protocol):
    """The shares of incumbent and candidate, for one run with one fencing token."""

    @property
    def candidate_slot(self) -> SlotName:
        """The slot that the candidate has at every point."""
        ...

    def read(self) -> Mapping[str, Weights]:
        """What every point does now. Raises Unreachable naming the points that do not answer."""
        ...

    def shift(self, percent: int, *, stage: str) -> Shift:
        """The candidate gets ``percent`` at every point, applied and read back from each.

        Raises Unreachable or Refused naming the point, after all have been asked: the rest then have the new share.
        """
        ...

    def open(self, *, passed: int, ttl_s: float = 10.0, acknowledge_guard: bool = False) -> None:
        """The guards watch from now on; ``passed`` is the share that last passed its gate, to which they go back.

        Raises Refused when a guard does not run, or acted in this run and ``acknowledge_guard`` does not say that this is known.
        """
        ...

    def beat(self) -> Beats:
        """The controller is alive. Never raises for a point: what each said is in the answer."""
        ...

    def passed(self, percent: int) -> None:
        """``percent`` passed its gate; the guards would go back to it."""
        ...

    def close(self) -> None:
        """The guards leave everything alone."""
        ...

    def enable(self, slot: SlotName, *, up_s: float = 10.0, without: Sequence[str] = ()) -> None:
        """``slot`` may get traffic; every server of it is up within ``up_s`` seconds, else Refused.

        Hosts in ``without`` do not have the slot's release: their servers stay out of it. Refused where that leaves a point none.
        """
        ...

    def disable(self, slot: SlotName, *, last: bool = False) -> None:
        """``slot`` gets nothing whatever the weight. Raises Refused while it has a share, unless ``last`` lets nothing serve."""
        ...

    def label(self, slot: SlotName, release: str) -> None:
        """``slot`` is ``release``. Raises Refused while the slot serves another one."""
        ...
