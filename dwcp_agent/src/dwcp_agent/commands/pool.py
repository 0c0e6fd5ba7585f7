"""Sessions that the transfers of one command take turns with."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dwcp_agent.commands.session import Session

__all__ = ["SessionPool"]


class SessionPool:
    """At most ``limit`` sessions are busy at once. The limit may be changed at any time: what is busy beyond it is let finish.

    Args:
        make: a session of this number, counted from 1; the same number names the same session in every run.
        limit: at least 1.
    """

    def __init__(self, make: Callable[[int], Session], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._busy: dict[Session, int] = {}
        self._idle: list[tuple[int, Session]] = []
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many may be busy."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._changed:
            self._limit = limit
            self._changed.notify_all()

    def acquire(self) -> Session:
        """A session that is nobody else's until it is released; waits while ``limit`` are busy."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._busy) < self._limit)
            if self._idle:
                self._idle.sort(key=lambda idle: idle[0])
                number, session = self._idle.pop(0)
            else:
                number = min(set(range(1, len(self._busy) + 2)) - set(self._busy.values()))
                session = self._make(number)
            self._busy[session] = number
            return session

    def release(self, session: Session) -> None:
        """Somebody else may have it; when there are more than ``limit``, it is closed."""
        with self._changed:
            number = self._busy.pop(session)
            spare = len(self._busy) + len(self._idle) >= self._limit
            if not spare:
                self._idle.append((number, session))
            self._changed.notify_all()
        if spare:
            session.close()

    def drain(self) -> None:
        """Returns when none is busy."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)

    def close(self) -> None:
        """Closes those that nobody has."""
        with self._changed:
            idle, self._idle = self._idle, []
        for _, session in idle:
            session.close()
