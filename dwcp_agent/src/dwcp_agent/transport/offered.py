"""A sender's dictionaries: which one the receiver offers, and what stands for a batch with it."""

from __future__ import annotations

import threading
from typing import Protocol

from dwcp_agent.encoding.trained import LARGEST_BATCH, Dictionary, encode, is_dictionary_id
from dwcp_agent.transport.frame import Buffer, Flag

__all__ = ["Offered", "Shelf"]


class Shelf(Protocol):
    """Where a sender's dictionaries are. Both give None when there is no such, and raise nothing."""

    def find(self, id: str) -> Dictionary | None:
        """One that is here already, at once."""

    def fetch(self, id: str) -> Dictionary | None:
        """One that the receiver has, which takes a while; :meth:`find` finds it from then on."""


class Offered:
    """What one receiver offers one sender. Safe from several threads."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._lock = threading.Lock()
        self._offered: str | None = None
        self._refused: set[str] = set()
        self._used: Dictionary | None = None
        self._thread: threading.Thread | None = None

    def begin(self, id: object) -> None:
        """A session was opened whose receiver offers ``id``, or nothing that is one. What another offered is of no use with it."""
        with self._lock:
            self._offered = None
            if self._used is not None and self._used.id != id:
                self._used = None
        self.offer(id)

    def offer(self, id: object) -> None:
        """The receiver has this one, too. It is fetched when it is not here, and used from then on."""
        if not isinstance(id, str) or not is_dictionary_id(id):
            return
        with self._lock:
            if id == self._offered or id in self._refused:
                return
            self._offered = id
            self._used = self._shelf.find(id) or self._used
            if self._used is None or self._used.id != id:
                self._thread = threading.Thread(target=self._fetch, args=(id,), name="dictionary", daemon=True)
                self._thread.start()

    def refused(self) -> None:
        """The receiver lacks what was used: never again."""
        with self._lock:
            if self._used is not None:
                self._refused.add(self._used.id)
            self._used = self._offered = None

    def used_for(self, size: int) -> str | None:
        """The id of the dictionary that a payload of ``size`` bytes would be encoded with now."""
        with self._lock:
            return self._used.id if self._used is not None and size <= LARGEST_BATCH else None

    def encode(self, content: Buffer) -> tuple[Flag, Buffer, str | None]:
        """Flag and payload that stand for ``content``, and what :meth:`used_for` says of it."""
        with self._lock:
            used = self._used if len(content) <= LARGEST_BATCH else None
            flag, payload = encode(content, used)
            return flag, payload, None if used is None else used.id

    def close(self, timeout_s: float) -> None:
        """Returns when nothing is being fetched any more, or after ``timeout_s``."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _fetch(self, id: str) -> None:
        found = self._shelf.fetch(id)
        with self._lock:
            if found is not None and self._offered == id:
                self._used = found
