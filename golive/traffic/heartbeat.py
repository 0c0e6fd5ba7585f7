"""The beat: a thread that tells every point, every two seconds, that the controller is alive, and keeps what it heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from golive.errors import GoliveError, Refused
from golive.traffic.port import Beat, Beats

__all__ = ["Heartbeat", "Pulse"]


@dataclass(frozen=True)
class Pulse:
    """What the last beats brought, for the engine to look at between steps and while it waits."""

    missed_s: Mapping[str, float] = field(default_factory=dict)
    """By point: seconds since it last took a beat. Above the lease's ttl its guard may act."""
    failed: Mapping[str, GoliveError] = field(default_factory=dict)
    """By point: why it did not take the last beat."""
    acted: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """By point: what its guard did in spite of us."""
    broken: str | None = None
    """Why the thread itself ended; it beats no more."""

    def trouble(self, ttl_s: float) -> str | None:
        """One sentence when the run must not go on as if nothing were, else None."""
        if self.broken is not None:
            return f"The heartbeat ended: {self.broken}"
        for point, act in self.acted.items():
            return f"The guard of {point} took the candidate from {act.get('from')} to {act.get('to')} %: {act.get('why')}."
        for point, error in self.failed.items():
            if isinstance(error, Refused):
                return f"{point} refused the beat: {error}"
            if self.missed_s.get(point, 0.0) > ttl_s:
                return f"{point} has taken no beat for {self.missed_s[point]:.0f} s: {error}"
        return None


class Heartbeat:
    """Beats from ``with`` to the end of its block. `pulse` may be read from any thread."""

    def __init__(self, beat: Callable[[], Beats], *, interval_s: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        beat: `Traffic.beat`, called from the thread that this makes.
        interval_s: seconds from the start of one beat to the start of the next.
        clock: monotonic seconds.
        """
        self._beat = beat
        self._interval_s = interval_s
        self._clock = clock
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._taken: dict[str, float] = {}
        self._failed: dict[str, GoliveError] = {}
        self._acted: dict[str, Mapping[str, object]] = {}
        self._broken: str | None = None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def pulse(self) -> Pulse:
        """How it goes now."""
        with self._lock:
            now = self._clock()
            missed = {point: now - taken for point, taken in self._taken.items()}
            return Pulse(missed, dict(self._failed), dict(self._acted), self._broken)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = self._clock()
                self._hear(self._beat(), began)
                self._stop.wait(max(0.0, self._interval_s - (self._clock() - began)))
        except Exception as error:
            # Whatever it was, the run has to see that nobody beats any more.
            with self._lock:
                self._broken = f"{type(error).__name__}: {error}"

    def _hear(self, beats: Beats, began: float) -> None:
        with self._lock:
            for point, said in beats.items():
                if isinstance(said, Beat):
                    self._taken[point] = began
                    self._failed.pop(point, None)
                    if said.guard_acted and said.guard is not None:
                        self._acted[point] = said.guard
                else:
                    # A point that never took one counts from the first try.
                    self._taken.setdefault(point, began)
                    self._failed[point] = said
