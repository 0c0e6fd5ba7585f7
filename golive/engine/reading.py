"""An environment's journal as somebody follows it who must never touch it: read only, again and again, and checked as it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from golive.engine.chain import EMPTY, wrong
from golive.engine.journal import Head, SqlJournal, Witness
from golive.engine.lease import Holder, holder
from golive.engine.store import Store
from golive.engine.tables import version
from golive.environment import Environment
from golive.runbook import RealClock

__all__ = ["JournalReader", "Sight"]

_PATIENCE_S = 2.0
"""A database that went away is asked again with the next look, not waited for."""


@dataclass(frozen=True)
class Sight:
    """What one look found."""

    identity: str
    """Hash of the first record."""
    rows: Sequence[Any]
    """Records as they are kept, ``data`` as text, oldest first: those after the last look, or all."""
    anew: bool
    """Whether ``rows`` begin with the first record: at the first look, and when the journal is not the one that was read before."""
    wrong: tuple[str, ...]
    """What is wrong with ``rows``, or with what was read before, as sentences."""
    holder: Holder | None
    """Who holds the environment now; None when nobody does, or its process is dead."""


@dataclass
class JournalReader:
    """Follows the journal of one environment. Opens it read-only; makes nothing; holds no lock between two looks."""

    environment: Environment
    _store: Store | None = None
    _file: tuple[int, int] | None = None
    _seen: Head = field(default=EMPTY)
    _identity: str = ""

    def look(self) -> Sight | None:
        """What came since the last look; None when nobody ever began to work on the environment. Raises Held when it cannot be read."""
        where = self.environment.journal
        if isinstance(where, Path):
            try:
                found = where.stat()
            except FileNotFoundError:
                self._forget()
                return None
            if self._file != (found.st_dev, found.st_ino):
                # A file that was replaced under its name: the open one would be read on for ever.
                self._forget()
                self._file = (found.st_dev, found.st_ino)
        elif self._store is None and not Store.holds(where, self.environment.name):
            return None
        if self._store is None:
            self._store = Store(where, busy_s=_PATIENCE_S, patience_s=_PATIENCE_S, only_reads=True)
        if not self._store.read(version):
            return None  # made a moment ago, and nothing in it yet
        return self._read(self._store)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _read(self, store: Store) -> Sight:
        # Before the records: it is never newer than they are.
        witness = Witness(self.environment.state / "journal.head").read()
        journal = SqlJournal(store, self.environment.name, RealClock())
        said: list[str] = []
        before = self._seen
        rows = journal.rows(max(0, before.seq - 1))
        if before.seq:
            if rows and rows[0].seq == before.seq and rows[0].hash == before.hash:
                rows = rows[1:]
            else:
                if journal.identity == self._identity:
                    said.append(f"record {before.seq}, which was read before, is gone or is another one now")
                self._seen, self._identity = EMPTY, ""
                rows = journal.rows()
        anew = self._seen == EMPTY
        anchors = [witness] if witness is not None and witness.seq > self._seen.seq else []
        said += wrong(rows, anchors, after=self._seen)
        if anew:
            self._identity = rows[0].hash if rows else ""
        if rows:
            self._seen = Head(rows[-1].seq, rows[-1].hash)
        held_by = holder(store, self.environment.name)
        alive = held_by if held_by is not None and held_by.alive is not False else None
        return Sight(self._identity, rows, anew, tuple(said), alive)

    def _forget(self) -> None:
        self.close()
        self._file, self._seen, self._identity = None, EMPTY, ""
