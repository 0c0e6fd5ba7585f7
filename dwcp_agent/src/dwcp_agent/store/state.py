"""Small state: versioned values by key, each identity's for itself, in one SQLite database below the store's directory.

A transaction is durable when it is acknowledged: the write-ahead log is flushed with every commit. With it goes how many puts of their
sender have been applied, so that a put is applied once however often it comes. Releases in different slots share the database.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dwcp_agent import log
from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity

__all__ = ["StateStore", "Value"]

SENDER_KEEP_S = 24 * 3600.0
MAX_SENDERS = 1000
"""How long, and of how many senders of an identity, it is remembered what they have sent."""
_BUSY_S = 5.0
"""How long a transaction waits for one of the other slot's agent."""
_SCHEMA = 1
_TABLES = """
CREATE TABLE owners (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, keys INTEGER NOT NULL, bytes INTEGER NOT NULL
);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    value BLOB NOT NULL, UNIQUE (owner, key)
);
CREATE TABLE senders (
    owner INTEGER NOT NULL, token TEXT NOT NULL, puts INTEGER NOT NULL, time_ms INTEGER NOT NULL, PRIMARY KEY (owner, token)
);
"""
_PUT = """
INSERT INTO entries (owner, key, version, time_ms, value) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (owner, key) DO UPDATE SET version = excluded.version, time_ms = excluded.time_ms, value = excluded.value
"""
_SIZES = "SELECT key, length(value) FROM entries WHERE owner = ? AND key IN (SELECT value FROM json_each(?))"
_SENT = """
INSERT INTO senders (owner, token, puts, time_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (owner, token) DO UPDATE SET puts = excluded.puts, time_ms = excluded.time_ms
"""
_FORGET = """
DELETE FROM senders WHERE owner = ?1 AND (
    time_ms < ?2 OR token NOT IN (SELECT token FROM senders WHERE owner = ?1 ORDER BY time_ms DESC, rowid DESC LIMIT ?3)
)
"""


@dataclass(frozen=True)
class Value:
    """What a key has now. ``version`` is above that of every earlier put of the same identity, ``time_s`` is Unix time."""

    value: bytes
    version: int
    time_s: float


class StateStore:
    """State below ``root``; made with the first sender. Safe from several threads.

    Every method raises Refused when the database cannot be used.
    """

    def __init__(self, root: Path, max_keys: int, max_bytes: int) -> None:
        self._path = root / ".state" / "state.db"
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        if self._exists():
            try:
                self._open()
            except Refused as error:
                # Whoever asks for state is told; transfers have nothing to do with it.
                log.warn("state-unusable", path=str(self._path), reason=error.message)

    def close(self) -> None:
        """Closes the database; nothing may be in flight."""
        with self._lock, self._reading:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None

    def position(self, owner: Identity, token: str) -> int:
        """How many puts of the sender that calls itself ``token`` have been applied; 0 when it is not known (any more)."""
        with self._lock, _refused():
            if self._writer is None:
                self._open()
            assert self._writer is not None
            sent = "SELECT puts FROM senders JOIN owners ON owner = owners.id WHERE name = ? AND token = ?"
            row = self._writer.execute(sent, (owner.directory, token)).fetchone()
        return 0 if row is None else int(row[0])

    def apply(self, owner: Identity, token: str, first: int, entries: Sequence[tuple[str, bytes]]) -> int:
        """Applies ``entries``, the sender's puts from number ``first`` on, all or none; how many of its puts are applied and durable now.

        Raises Refused: ``interrupted`` when the sender is not at ``first`` (it goes on over another stream), ``state-full`` when the
        identity would have more keys or bytes than it may, ``disk-full``, ``busy``.
        """
        now_ms = time.time_ns() // 1_000_000
        with self._lock, _refused(), self._transaction() as database:
            number = _owner(database, owner)
            if _position(database, number, token) != first:
                raise Refused("The sender goes on over another stream.", code="interrupted", status=409)
            version, keys, size = database.execute("SELECT version, keys, bytes FROM owners WHERE id = ?", (number,)).fetchone()
            rows = {key: (number, key, version + place, now_ms, value) for place, (key, value) in enumerate(entries, 1)}
            before = dict(database.execute(_SIZES, (number, json.dumps(list(rows)))))
            more_keys = len(rows) - len(before)
            more_bytes = sum(len(key.encode()) + len(row[4]) for key, row in rows.items())
            more_bytes -= sum(len(key.encode()) + length for key, length in before.items())
            keys, size = keys + more_keys, size + more_bytes
            # Who has more than it may since a limit was lowered can still make it less.
            if more_keys > 0 and keys > self._max_keys:
                raise Refused(f"{owner} may have {self._max_keys} keys; delete some first.", code="state-full", status=507)
            if more_bytes > 0 and size > self._max_bytes:
                raise Refused(f"{owner} may have {self._max_bytes} bytes of state; delete some first.", code="state-full", status=507)
            database.executemany(_PUT, rows.values())
            database.execute(
                "UPDATE owners SET version = ?, keys = ?, bytes = ? WHERE id = ?", (version + len(entries), keys, size, number)
            )
            database.execute(_SENT, (number, token, first + len(entries), now_ms))
            if first == 0:
                database.execute(_FORGET, (number, now_ms - int(SENDER_KEEP_S * 1000), MAX_SENDERS))
        return first + len(entries)

    def get(self, owner: Identity, key: str) -> Value | None:
        """What ``key`` of ``owner`` has, None when there is no such key. Waits for no writer."""
        with self._reading, _refused():
            if self._reader is None:
                if not self._exists():
                    return None
                with self._lock:
                    self._open()
            assert self._reader is not None
            row = self._reader.execute(
                "SELECT value, entries.version, time_ms FROM entries JOIN owners ON owner = owners.id WHERE name = ? AND key = ?",
                (owner.directory, key),
            ).fetchone()
        return None if row is None else Value(row[0], row[1], row[2] / 1000)

    def delete(self, owner: Identity, key: str) -> bool:
        """``key`` of ``owner`` is gone, durably; False when there was none."""
        if not self._exists():
            return False
        with self._lock, _refused(), self._transaction() as database:
            number = _owner(database, owner)
            row = database.execute("DELETE FROM entries WHERE owner = ? AND key = ? RETURNING length(value)", (number, key)).fetchone()
            if row is None:
                return False
            size = len(key.encode()) + row[0]
            database.execute("UPDATE owners SET keys = keys - 1, bytes = bytes - ? WHERE id = ?", (size, number))
            return True

    def _exists(self) -> bool:
        try:
            return self._path.exists()
        except OSError:
            return True  # and opening it says what is wrong

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction of the writer, who holds the lock."""
        if self._writer is None:
            self._open()
        database = self._writer
        assert database is not None
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise

    def _open(self) -> None:
        with _refused(), contextlib.ExitStack() as failed:
            self._path.parent.mkdir(mode=0o750, exist_ok=True)
            writer, reader = (sqlite3.connect(self._path, _BUSY_S, isolation_level=None, check_same_thread=False) for _ in range(2))
            failed.callback(writer.close)
            failed.callback(reader.close)
            writer.execute("PRAGMA journal_mode = WAL")
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute("BEGIN IMMEDIATE")
            (schema,) = writer.execute("PRAGMA user_version").fetchone()
            if schema == 0:
                for statement in filter(str.strip, _TABLES.split(";")):
                    writer.execute(statement)
                writer.execute(f"PRAGMA user_version = {_SCHEMA}")
            writer.execute("COMMIT")
            if schema > _SCHEMA:
                raise Refused("This agent's state was written by a newer release.", code="state-unusable", status=500)
            if schema == 0:
                _make_durable(self._path.parent)
                _make_durable(self._path.parent.parent)
            failed.pop_all()
            self._writer, self._reader = writer, reader


def _owner(database: sqlite3.Connection, owner: Identity) -> int:
    row = database.execute("SELECT id FROM owners WHERE name = ?", (owner.directory,)).fetchone()
    if row is None:
        row = database.execute(
            "INSERT INTO owners (name, version, keys, bytes) VALUES (?, 0, 0, 0) RETURNING id", (owner.directory,)
        ).fetchone()
    return int(row[0])


def _position(database: sqlite3.Connection, owner: int, token: str) -> int:
    row = database.execute("SELECT puts FROM senders WHERE owner = ? AND token = ?", (owner, token)).fetchone()
    return 0 if row is None else int(row[0])


def _make_durable(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """What a caller is told about a database that cannot be used."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise Refused("The store's disk is full.", code="disk-full", status=507) from None
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Refused("The state is being written by another process.", code="busy", status=503) from None
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise Refused(f"This agent's state is damaged ({error}); restore or remove it.", code="state-damaged", status=500) from None
        raise Refused(f"This agent's state cannot be used: {error}.", code="state-unusable", status=500) from None
    except OSError as error:
        raise Refused(f"This agent's state cannot be used: {error.strerror}.", code="state-unusable", status=500) from None
