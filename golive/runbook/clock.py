"""Time as a port. Due times are wall time; watches, budgets and pauses are monotonic, so that no jump of the clock shortens them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

from golive.errors import BadInput
from golive.runbook.model import Stage

__all__ = ["Clock", "FakeClock", "Pace", "RealClock"]

_TICK_S = 0.1
"""How often a waiting clock asks whether to stop, and reads the wall clock again."""


def _never() -> bool:
    return False


class Clock(Protocol):
    """Where the time comes from, and who waits."""

    def now(self) -> datetime:
        """Wall time, UTC, aware."""

    def monotonic(self) -> float:
        """Seconds that only go forward, at the speed of real time."""

    def wait_until(self, due: datetime, should_stop: Callable[[], bool] = _never) -> bool:
        """Returns True when the wall clock shows ``due`` or later, False as soon as ``should_stop()`` is true."""

    def sleep(self, seconds: float, should_stop: Callable[[], bool] = _never) -> bool:
        """Returns True after ``seconds`` of monotonic time, False as soon as ``should_stop()`` is true."""


class RealClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait_until(self, due: datetime, should_stop: Callable[[], bool] = _never) -> bool:
        while not should_stop():
            left = (due - self.now()).total_seconds()
            if left <= 0:
                return True
            time.sleep(min(left, _TICK_S))
        return False

    def sleep(self, seconds: float, should_stop: Callable[[], bool] = _never) -> bool:
        end = self.monotonic() + seconds
        while not should_stop():
            left = end - self.monotonic()
            if left <= 0:
                return True
            time.sleep(min(left, _TICK_S))
        return False


class FakeClock:
    """A clock for tests: waiting moves it at once, and :meth:`jump` moves the wall clock alone. Safe to share between threads."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._wall = start
        self._monotonic = 1000.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return self._wall

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        """Both clocks move on by ``seconds``."""
        with self._lock:
            self._wall += timedelta(seconds=seconds)
            self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """The wall clock is set forward (or back); monotonic time does not notice."""
        with self._lock:
            self._wall += timedelta(seconds=seconds)

    def wait_until(self, due: datetime, should_stop: Callable[[], bool] = _never) -> bool:
        while not should_stop():
            left = (due - self.now()).total_seconds()
            if left <= 0:
                return True
            self.advance(min(left, max(_TICK_S, left / 10)))
        return False

    def sleep(self, seconds: float, should_stop: Callable[[], bool] = _never) -> bool:
        end = self.monotonic() + seconds
        while not should_stop():
            left = end - self.monotonic()
            if left <= 0:
                return True
            self.advance(min(left, max(_TICK_S, left / 10)))
        return False


@dataclass(frozen=True)
class Pace:
    """How fast a run goes: ``real`` keeps every wait, ``rehearsal`` scales and caps them. Everything else is the same."""

    name: Literal["real", "rehearsal"] = "real"
    scale: float = 1.0
    longest_watch: timedelta | None = None
    longest_wait: timedelta | None = None
    longest_hold: timedelta | None = None

    @classmethod
    def named(cls, name: str, policy: Mapping[str, Any]) -> Pace:
        """``real``, or ``rehearsal`` with the figures of the policy's ``rehearsal:``. Raises BadInput."""
        if name == "real":
            return cls()
        if name != "rehearsal":
            raise BadInput(f"There is no pace {name!r}; known are real and rehearsal.")
        try:
            figures = policy["rehearsal"]
            scale, watch, wait = (float(figures[key]) for key in ("scale", "longest_watch_s", "longest_wait_s"))
            hold = float(figures.get("longest_hold_s", watch))
        except (KeyError, TypeError, ValueError):
            raise BadInput("The policy needs rehearsal: {scale, longest_watch_s, longest_wait_s} for --pace rehearsal.") from None
        if not 0 < scale <= 1 or watch <= 0 or wait < 0 or hold <= 0:
            raise BadInput("The policy's rehearsal: needs 0 < scale <= 1, longest_watch_s > 0, longest_hold_s > 0 and longest_wait_s >= 0.")
        return cls("rehearsal", scale, timedelta(seconds=watch), timedelta(seconds=wait), timedelta(seconds=hold))

    def watch(self, duration: timedelta) -> timedelta:
        """How long a watch that the runbook gives as ``duration`` really takes."""
        scaled = duration * self.scale
        return scaled if self.longest_watch is None else min(scaled, self.longest_watch)

    def hold(self, duration: timedelta) -> timedelta:
        """How long a hold that the runbook gives as ``duration`` really takes: the time that a watch may be extended by."""
        scaled = duration * self.scale
        return scaled if self.longest_hold is None else min(scaled, self.longest_hold)

    def wait(self, duration: timedelta) -> timedelta:
        """How long a wait between two stages that the runbook gives as ``duration`` really takes."""
        scaled = duration * self.scale
        return scaled if self.longest_wait is None else min(scaled, self.longest_wait)

    def schedule(self, stages: Iterable[Stage], begin: datetime) -> dict[str, datetime]:
        """When each stage is due, if the first of them is due at ``begin``."""
        due: dict[str, datetime] = {}
        last: Stage | None = None
        at = begin
        for stage in stages:
            if last is not None:
                at = at + self.wait(stage.at - last.at)
            due[stage.name] = at
            last = stage
        return due
