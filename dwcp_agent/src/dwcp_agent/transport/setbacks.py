"""What becomes of a transfer by protocol 2 when something fails: it goes on, with a new session if need be, or it has failed by that."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dwcp_agent.errors import AgentError, Refused, Unreachable

__all__ = ["LONG_WINDOW", "Setbacks"]

_GRANT = "grant"
"""The receiver does not know, any more, what it granted streams without TLS by: the transfer is entered again."""
_MOST_GRANTS = 4
LONG_WINDOW = "window"
"""The receiver has no memory for another long window: the stream goes on with a shorter one."""
_AGAIN = frozenset({_GRANT, LONG_WINDOW, "parked", "draining", "busy", "interrupted", "incomplete", "ticket-expired", "ticket-invalid"})
"""Refusals that a new session or a little patience may change."""


class Setbacks:
    """Safe from several threads.

    Args:
        renew: opens the session again. Raises Refused, Unreachable.
        cut: breaks all streams.
        still_s: for how long nothing has moved.
        changed: notified when the transfer has failed or was aborted.
        patience_s: how long nothing may move.
    """

    def __init__(
        self,
        renew: Callable[[], None],
        cut: Callable[[], None],
        still_s: Callable[[], float],
        changed: threading.Condition,
        patience_s: float,
    ) -> None:
        self._renew = renew
        self._cut = cut
        self._still_s = still_s
        self._changed = changed
        self._patience_s = patience_s
        self._failure: AgentError | None = None
        self._aborted = False
        self._grants = 0
        """That were lost since something arrived."""

    @property
    def ended(self) -> bool:
        """It has failed, or was aborted."""
        return self._aborted or self._failure is not None

    def abort(self) -> None:
        """Whatever fails from now on is final."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def something_arrived(self) -> None:
        """So it is worth going on."""
        self._grants = 0

    def may_go_on(self, error: Exception) -> bool:
        """A stream failed by this. False when the transfer has."""
        if not isinstance(error, AgentError):
            error = AgentError(f"A stream failed unexpectedly: {error!r}.")
        # Without the grant no stream can go on; the transfer is entered again.
        if isinstance(error, Unreachable) or (isinstance(error, Refused) and error.code != _GRANT):
            try:
                self.go_on_or_raise(error)
                return True
            except AgentError as final:
                error = final
        with self._changed:
            if self._failure is None or (isinstance(error, Refused) and not isinstance(self._failure, Refused)):
                self._failure = error
            self._changed.notify_all()
        self._cut()
        return False

    def go_on_or_raise(self, error: AgentError) -> None:
        """Returns when it may be tried again, with a new ticket if that is what was missing; else raises ``error``."""
        code = error.code if isinstance(error, Refused) else None
        if self._aborted or (code is not None and code not in _AGAIN):
            raise error
        with self._changed:
            self._grants += code == _GRANT
        if self._grants > _MOST_GRANTS or self._still_s() > self._patience_s:
            raise error
        if code is not None:
            try:
                self._renew()
            except Unreachable:
                return
            except Refused as still:
                if still.code not in _AGAIN:
                    raise

    def raise_failure(self) -> None:
        """What it failed by, if it did; then it may be tried again."""
        with self._changed:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
