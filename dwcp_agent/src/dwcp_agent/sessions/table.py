"""The sessions that are live now."""

from __future__ import annotations

import threading

from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity

__all__ = ["SessionTable"]


class SessionTable:
    """Sessions by owner and id, each until its last ticket expires. Safe from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._expires: dict[tuple[Identity, str], float] = {}
        self._lock = threading.Lock()

    def open(self, identity: Identity, session: str, expires: float, now: float) -> bool:
        """Opens or prolongs a session; True when it is new. Raises Refused (503) when there are too many."""
        key = (identity, session)
        with self._lock:
            new = key not in self._expires
            if new and len(self._expires) >= self._limit:
                self._drop_expired(now)
                if len(self._expires) >= self._limit:
                    raise Refused(f"There are {self._limit} sessions already.", code="busy", status=503)
            self._expires[key] = expires
            return new

    def count(self, now: float) -> int:
        """Sessions that have not expired at ``now``."""
        with self._lock:
            self._drop_expired(now)
            return len(self._expires)

    def _drop_expired(self, now: float) -> None:
        for key in [key for key, expires in self._expires.items() if expires <= now]:
            del self._expires[key]
