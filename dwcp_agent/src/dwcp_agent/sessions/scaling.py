"""How many sessions are kept for a load (ASS): twice as many when it stays high, half when it stays low, and no work is ever cut.

A session here is whatever costs something to have and serves one piece of work at a time: a connection, a worker, a conversation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dwcp_agent.telemetry.decisions import Decision, DecisionLog

__all__ = ["FIRST_SESSIONS", "MOST_SESSIONS", "Scale", "Scaled", "Sessions", "decide"]

T = TypeVar("T")
FIRST_SESSIONS = 4
MOST_SESSIONS = 32
_HIGH, _LOW = 0.8, 0.3
"""Twice the sessions for a load of 0.8 leave one of 0.4, and half of them for 0.3 one of 0.6: neither calls the other back."""
_HIGH_FOR_S, _LOW_FOR_S = 1.0, 5.0
"""For so long without a break: work that waits costs more than sessions that do not."""
_COOL_DOWN_S = 5.0


@dataclass(frozen=True)
class Scale:
    """What the policy remembers between two looks at the load."""

    sessions: int = FIRST_SESSIONS
    high_s: float = 0.0
    """For how long the load has been above 0.8."""
    low_s: float = 0.0
    """For how long it has been below 0.3."""
    since_change_s: float = _COOL_DOWN_S


@dataclass(frozen=True)
class Scaled:
    """How many sessions there should be, how many may be ended for it now, and why."""

    scale: Scale
    may_end: int
    """Idle ones that are too many. Busy ones that are too many end when their work does."""
    why: str


def decide(scale: Scale, load: float, interval_s: float, *, opened: int, busy: int, most: int = MOST_SESSIONS) -> Scaled:
    """The scale after ``interval_s`` of ``load``.

    Args:
        load: work that is done or waits, by sessions wanted; above 1 when some waits.
        opened: sessions that there are.
        busy: those of them with work.
        most: more than that there are never.
    """
    high_s = scale.high_s + interval_s if load > _HIGH else 0.0
    low_s = scale.low_s + interval_s if load < _LOW else 0.0
    since_s = scale.since_change_s + interval_s
    sessions, why = scale.sessions, f"load {load:.2f}"
    if high_s >= _HIGH_FOR_S and sessions < most:
        wanted, why = min(most, 2 * sessions), f"{why}, above {_HIGH} for {high_s:.1f} s"
    elif low_s >= _LOW_FOR_S and sessions > 1:
        wanted, why = sessions // 2, f"{why}, below {_LOW} for {low_s:.1f} s"
    else:
        wanted = sessions
    if wanted != sessions and since_s < _COOL_DOWN_S:
        wanted, why = sessions, f"{why}, but changed {since_s:.1f} s ago"
    scale = Scale(wanted, since_change_s=0.0) if wanted != sessions else Scale(sessions, high_s, low_s, since_s)
    return Scaled(scale, max(0, opened - max(wanted, busy)), why)


class Sessions(Generic[T]):
    """Sessions for any number of threads, as many as the policy says. Safe from several threads.

    Args:
        make: opens one; called when the first work needs it. What it raises, :meth:`acquire` raises.
        end: closes one, which nobody uses then.
        log: told of every change.
        clock: seconds, for :meth:`step`.
        first: how many there may be until the first step.
        most: how many there may ever be, by the policy.
    """

    def __init__(
        self,
        make: Callable[[], T],
        end: Callable[[T], None],
        log: DecisionLog,
        clock: Callable[[], float] = time.monotonic,
        *,
        first: int = FIRST_SESSIONS,
        most: int = MOST_SESSIONS,
    ) -> None:
        self._make = make
        self._end = end
        self._log = log
        self._clock = clock
        self._changed = threading.Condition()
        self._scale = Scale(first)
        self._most = most
        self._idle: list[T] = []
        self._opened = 0
        """Those being made included, and those that are busy and have to go."""
        self._waiting = 0
        self._closed = False
        self._stepped = clock()

    @property
    def wanted(self) -> int:
        """How many there may be."""
        return self._scale.sessions

    @property
    def opened(self) -> int:
        """How many there are: above ``wanted`` while busy ones that are too many have work."""
        return self._opened

    def load(self) -> float:
        """Work that is done or waits, by sessions wanted."""
        with self._changed:
            return self._load()

    def acquire(self, timeout_s: float | None = None) -> T:
        """A session that is the caller's until :meth:`release`. Raises TimeoutError, RuntimeError once closed."""
        with self._changed:
            self._waiting += 1
            try:
                free = self._changed.wait_for(lambda: self._closed or self._idle or self._opened < self._scale.sessions, timeout_s)
            finally:
                self._waiting -= 1
            if self._closed:
                raise RuntimeError("the sessions are closed")
            if not free:
                raise TimeoutError("all sessions are busy")
            if self._idle:
                return self._idle.pop()
            self._opened += 1
        try:
            return self._make()
        except BaseException:
            with self._changed:
                self._opened -= 1
                self._changed.notify()
            raise

    def release(self, session: T, *, broken: bool = False) -> None:
        """The work is done. A session that is ``broken``, or one too many, is ended."""
        with self._changed:
            goes = broken or self._closed or self._opened > self._scale.sessions
            if goes:
                self._opened -= 1
            else:
                self._idle.append(session)
            self._changed.notify_all()
        if goes:
            self._end(session)

    def step(self) -> Scaled:
        """Looks at the load, and makes the number right: at once for idle sessions, when they are released for busy ones."""
        now = self._clock()
        with self._changed:
            load, before = self._load(), self._scale.sessions
            said = decide(self._scale, load, now - self._stepped, opened=self._opened, busy=self._busy, most=self._most)
            self._scale, self._stepped = said.scale, now
            # The one that was used last is the one most likely to be warm.
            gone, self._idle = self._idle[: said.may_end], self._idle[said.may_end :]
            self._opened -= len(gone)
            self._changed.notify_all()
        for session in gone:
            self._end(session)
        if said.scale.sessions != before:
            self._log.add(Decision(now, "sessions", "sessions", said.scale.sessions, said.why))
        return said

    def drain(self) -> None:
        """Returns when none is busy."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)

    def close(self) -> None:
        """Ends the idle ones; busy ones end when they are released, and nobody gets one any more."""
        with self._changed:
            self._closed = True
            gone, self._idle = self._idle, []
            self._opened -= len(gone)
            self._changed.notify_all()
        for session in gone:
            self._end(session)

    def _load(self) -> float:
        return (self._busy + self._waiting) / self._scale.sessions

    @property
    def _busy(self) -> int:
        return self._opened - len(self._idle)
