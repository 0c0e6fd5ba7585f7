"""Sessions that the transfers of one command take turns with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dwcp_agent.commands.session import Session
from dwcp_agent.sessions.scaling import FIRST_SESSIONS, Sessions
from dwcp_agent.telemetry.decisions import DecisionLog

__all__ = ["SessionPool"]

_STEP_S = 0.5


class SessionPool:
    """Sessions by number; as many at once as were asked for, or as the work is worth.

    Args:
        make: a session of this number, counted from 1; the same number names the same session in every run.
        asked: how many; None for as many as the load makes of it.
        most: how many the load may make of it.
        log: told of every change.
    """

    def __init__(self, make: Callable[[int], Session], asked: int | None, most: int, log: DecisionLog) -> None:
        self._make = make
        self._scaled = asked is None
        self._numbers: dict[Session, int] = {}
        self._lock = threading.Lock()
        self._stepped = time.monotonic()
        self._sessions: Sessions[Session] = Sessions(self._made, self._ended, log, first=asked or min(FIRST_SESSIONS, most), most=most)

    def acquire(self) -> Session:
        """A session that is nobody else's until it is released; waits while as many are busy as there may be. One thread's to call."""
        while True:
            if self._scaled and time.monotonic() - self._stepped >= _STEP_S:
                self._sessions.step()
                self._stepped = time.monotonic()
            try:
                return self._sessions.acquire(_STEP_S)
            except TimeoutError:
                continue

    def release(self, session: Session) -> None:
        """Somebody else may have it; when there are too many, it is closed."""
        self._sessions.release(session)

    def drain(self) -> None:
        """Returns when none is busy."""
        self._sessions.drain()

    def close(self) -> None:
        """Closes those that nobody has."""
        self._sessions.close()

    def _made(self) -> Session:
        with self._lock:
            number = min(set(range(1, len(self._numbers) + 2)) - set(self._numbers.values()))
            session = self._make(number)
            self._numbers[session] = number
            return session

    def _ended(self, session: Session) -> None:
        with self._lock:
            del self._numbers[session]
        session.close()
