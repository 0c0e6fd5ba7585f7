"""Calls people, level by level, while a run stands still, goes back or waits for them. Never in the way of the run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from golive.notify import Incident, Notice

if TYPE_CHECKING:
    from golive.engine.running import Live

__all__ = ["Paging", "incidents"]

JSON = dict[str, Any]


class Paging:
    """What :attr:`golive.engine.ports.Ports.pager` says is due, sent on a thread of its own and journaled by the run."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._looked = 0.0
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def look(self) -> None:
        """Begins to send what is due. Returns at once; asked often, does something every few seconds."""
        pager, now = self._live.ports.pager, time.monotonic()
        if pager is None or now - self._looked < self._live.ports.timing.page_s or (self._thread and self._thread.is_alive()):
            return
        self._looked = now
        due = self._due()
        if due:
            self._thread = threading.Thread(target=self._send, args=(due,), name="paging", daemon=True)
            self._thread.start()

    def settle(self) -> int:
        """What is due was sent, or could not be in time: for the end of a process. Returns how many notices that were."""
        if self._live.ports.pager is None:
            return 0
        end = time.monotonic() + self._live.ports.timing.settle_s
        sent = 0
        if self._thread is not None:
            self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread is None or not self._thread.is_alive():
            due = self._due()
            if due:
                self._thread = threading.Thread(target=self._send, args=(due,), name="paging", daemon=True)
                self._thread.start()
                self._thread.join(max(0.0, end - time.monotonic()))
                sent = len(due)
        self._over.set()
        return sent

    def _due(self) -> Sequence[Notice]:
        pager, state = self._live.ports.pager, self._live.state
        if pager is None or state.already_live:
            return []
        try:
            told = [str(entry["key"]) for entry in state.notices]
            return pager.due(incidents(state.incidents), told, self._live.clock.now())
        except Exception as error:
            self._broken(error)
            return []

    def _send(self, due: Sequence[Notice]) -> None:
        pager = self._live.ports.pager
        # What cannot be journaled any more (another process has the run) is not sent either, and stops nobody.
        with contextlib.suppress(Exception):
            for notice in due:
                if pager is not None and not self._over.is_set():
                    pager.send(notice, self._note)

    def _note(self, kind: str, data: JSON) -> None:
        if self._over.is_set():
            raise RuntimeError("this process is done with the run")
        self._live.append(kind, data)

    def _broken(self, error: Exception) -> None:
        """A file of routes that cannot be read is said once."""
        key = "escalation"
        if not any(entry["key"] == key for entry in self._live.state.notices):
            with contextlib.suppress(Exception):
                self._live.append("notice.failed", {"key": key, "route": "", "why": str(error)[:500]})


def incidents(listed: Sequence[JSON]) -> list[Incident]:
    """The fold's incidents as the rules of escalation read them."""
    return [Incident(str(one["key"]), str(one["kind"]), str(one["since"]), str(one["what"])) for one in listed]
