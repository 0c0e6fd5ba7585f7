"""`Traffic` in memory, for tests of what stands on it. It passes the same contract tests as the adapters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from golive.errors import BadInput, GoliveError, Refused, Unreachable
from golive.traffic.port import Beat, Beats, Shift, Slot, SlotName, Weights

__all__ = ["FakePoint", "FakeTraffic"]


@dataclass
class FakePoint:
    """One point as a test sees and spoils it."""

    slot_b: int = 0
    slots: dict[SlotName, Slot] = field(default_factory=lambda: {"a": Slot(None, False), "b": Slot(None, False)})
    lease: dict[str, Any] | None = None
    guard: dict[str, Any] | None = None
    guard_age_s: float | None = 0.5
    history: list[dict[str, Any]] = field(default_factory=list)
    silent: bool = False
    """Does not answer."""
    servers_up: bool = True

    def guard_takes(self, share: int, *, why: str = "an alert fires about the candidate") -> None:
        """What the guard would do: the candidate goes back to ``share``."""
        if self.lease is None:
            raise ValueError("no lease is open")
        to_b = self.lease["candidate_slot"] == "b"
        before = self.slot_b if to_b else 100 - self.slot_b
        self.slot_b = share if to_b else 100 - share
        self.guard = {"run": self.lease["run"], "from": before, "to": share, "at": "", "why": why, "alerts": [], "acknowledged": False}


class FakeTraffic:
    """`golive.traffic.port.Traffic` without hosts. ``points`` may be shared by several, as gateways are by several controllers."""

    def __init__(
        self, names: Sequence[str], *, run: str, token: int, candidate_slot: SlotName, points: dict[str, FakePoint] | None = None
    ) -> None:
        self.points = {name: FakePoint() for name in names} if points is None else points
        self._run = run
        self._token = token
        self._candidate_slot: SlotName = candidate_slot

    @property
    def candidate_slot(self) -> SlotName:
        return self._candidate_slot

    def read(self) -> Mapping[str, Weights]:
        self._answering()
        return {name: self._weights(name, point) for name, point in self.points.items()}

    def shift(self, percent: int, *, stage: str) -> Shift:
        started = time.monotonic()
        if not 0 <= percent <= 100:
            raise BadInput(f"The candidate's share must be 0 to 100 percent, not {percent}.")
        slot_b = percent if self._candidate_slot == "b" else 100 - percent
        changed = []
        failed: list[GoliveError] = []
        for name, point in self.points.items():
            if point.silent:
                failed.append(Unreachable(f"{name} does not answer.", host=name))
            elif problem := self._refusal(name, point, slot_b):
                failed.append(problem)
            elif point.slot_b != slot_b:
                entry = {"seq": len(point.history) + 1, "from": point.slot_b, "slot_b": slot_b, "by": "controller"}
                point.history.append({**entry, "token": self._token, "run": self._run, "stage": stage})
                point.slot_b = slot_b
                changed.append(name)
        if failed:
            raise next((error for error in failed if isinstance(error, Refused)), failed[0])
        return Shift(percent, tuple(changed), self.read(), time.monotonic() - started)

    def open(self, *, passed: int, ttl_s: float = 10.0, acknowledge_guard: bool = False) -> None:
        for name, point in self._answering():
            if point.guard and point.guard["run"] == self._run and not point.guard["acknowledged"] and not acknowledge_guard:
                raise Refused(f"The guard of {name} acted, unacknowledged.", host=name)
            if point.guard_age_s is None or point.guard_age_s > 10:
                raise Refused(f"dwcp-guard does not run on {name}.", host=name)
        for point in self.points.values():
            if point.guard is not None:
                point.guard["acknowledged"] = True
            lease = {"run": self._run, "token": self._token, "candidate_slot": self._candidate_slot}
            point.lease = {**lease, "passed": passed, "ttl_s": ttl_s}

    def beat(self) -> Beats:
        beats: dict[str, Beat | GoliveError] = {}
        for name, point in self.points.items():
            if point.silent:
                beats[name] = Unreachable(f"{name} does not answer.", host=name)
            elif point.lease is None or point.lease["run"] != self._run or point.lease["token"] > self._token:
                beats[name] = Refused(f"Run {self._run} has no open lease on {name}.", host=name)
            else:
                beats[name] = Beat(name, point.slot_b, point.guard, point.guard_age_s)
        return beats

    def passed(self, percent: int) -> None:
        for name, point in self._answering():
            if point.lease is None or point.lease["run"] != self._run:
                raise Refused(f"Run {self._run} has no open lease on {name}.", host=name)
            point.lease = {**point.lease, "passed": percent, "token": self._token}

    def close(self) -> None:
        for _, point in self._answering():
            point.lease = None

    def enable(self, slot: SlotName, *, up_s: float = 10.0, without: Sequence[str] = ()) -> None:
        for name, point in self._answering():
            point.slots[slot] = Slot(point.slots[slot].release, True, tuple(sorted(without)))
            if not point.servers_up and up_s > 0:
                raise Refused(f"Slot {slot} of {name} is in, but its servers are not up.", host=name)

    def disable(self, slot: SlotName, *, last: bool = False) -> None:
        for name, point in self._answering():
            if point.slots[slot].is_in and self._share(point, slot) > 0 and not last:
                raise Refused(f"Slot {slot} of {name} gets {self._share(point, slot)} % of the sessions.", host=name)
            point.slots[slot] = Slot(point.slots[slot].release, False)

    def label(self, slot: SlotName, release: str) -> None:
        for name, point in self._answering():
            known = point.slots[slot]
            if known.is_in and self._share(point, slot) > 0 and known.release not in (None, release):
                raise Refused(f"Slot {slot} of {name} serves {known.release}.", host=name)
            point.slots[slot] = Slot(release, known.is_in)

    def _answering(self) -> list[tuple[str, FakePoint]]:
        for name, point in self.points.items():
            if point.silent:
                raise Unreachable(f"{name} does not answer.", host=name)
        return list(self.points.items())

    def _refusal(self, name: str, point: FakePoint, slot_b: int) -> Refused | None:
        shares: dict[SlotName, int] = {"a": 100 - slot_b, "b": slot_b}
        for slot, share in shares.items():
            if share > 0 and not point.slots[slot].is_in and point.slot_b != slot_b:
                return Refused(f"Slot {slot} of {name} is out and would get {share} % of the sessions.", host=name)
        acted = point.guard is not None and point.guard["run"] == self._run and not point.guard["acknowledged"]
        if acted and shares[self._candidate_slot] > self._share(point, self._candidate_slot):
            return Refused(f"The guard of {name} acted, unacknowledged.", host=name)
        return None

    @staticmethod
    def _share(point: FakePoint, slot: SlotName) -> int:
        return point.slot_b if slot == "b" else 100 - point.slot_b

    @staticmethod
    def _weights(name: str, point: FakePoint) -> Weights:
        last = point.history[-1] if point.history else {"seq": 0}
        return Weights(name, point.slot_b, point.slot_b, dict(point.slots), last, point.lease, point.guard, point.guard_age_s)
