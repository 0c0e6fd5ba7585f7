"""The database under journal, lease and requests: SQLite in a file, or PostgreSQL when controllers share it. Nothing else knows which."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from golive.engine.tables import current, kept, leases, prepared, records, requests
from golive.errors import Held
from golive.runbook.clock import Clock

__all__ = ["Away", "Store", "leases", "records", "requests"]

T = TypeVar("T")

_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
_POSTGRESQL: dict[str, str] = {
    # A record is on the server's disk when its commit returns, whatever the server's own default is.
    "synchronous_commit": "on",
    "statement_timeout": "30s",
    # Longer than a writer may stand still between two statements: whoever waits outlives whoever hangs.
    "lock_timeout": "15s",
    "idle_in_transaction_session_timeout": "8s",
}
_LOCK = 0x64776370  # "dwcp": one number that no one else takes advisory locks with

_PASSING = ("starting up", "shutting down", "recovery mode", "not yet accepting", "too many", "remaining connection slots")
"""What a server says that will take connections again."""


_WAL_S = 10.0


class Away(Held):
    """The database does not answer at this moment; whether the last commit stands is not known."""


class Store:
    """One database. Every commit is on disk before it returns.

    Args:
        where: the file of an SQLite database, or a ``postgresql://`` URL.
        busy_s: how long a writer waits for another, and a connection for the server.
        patience_s: how long :meth:`write` and :meth:`read` wait for a database that went away to come back, all of them together.
        only_reads: the database itself refuses every write, and one that is not there is not made.

    Raises:
        Held: it cannot be reached, used or understood; in one sentence.
    """

    def __init__(self, where: Path | str, *, busy_s: float = 10.0, patience_s: float = 20.0, only_reads: bool = False) -> None:
        self.where, self.patience_s = where, patience_s
        self._away_since: float | None = None
        self.name, self._engine = _engine(where, busy_s, only_reads)
        if only_reads:
            with self.reading() as connection:
                current(connection, self.name)  # records are the same in every layout that there was; a newer one is refused
            return
        if isinstance(where, Path):
            where.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            where.touch(mode=0o600, exist_ok=True)
        with self.reading() as connection:
            ready = current(connection, self.name)
            _refuse_forgetful(connection, self.name)
        if not ready:
            with self.writing() as connection:
                prepared(connection, self.name)

    @property
    def path(self) -> Path:
        """The file of an SQLite database."""
        if not isinstance(self.where, Path):
            raise RuntimeError(f"{self.name} is not a file")
        return self.where

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that holds the write lock from its first moment; committed (and synced) at the end of the block.

        Raises:
            Away: the database went away. Nothing stands, or all of it: look before doing it again.
        """
        with self._sentences(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database and never waits for a writer."""
        with self._sentences(), self._engine.connect() as fresh:
            connection = fresh.execution_options(**self._reads())
            with connection.begin():
                yield connection

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """What ``work`` returned in a transaction that stands.

        ``work`` is done again when the database went away meanwhile, so it begins by looking whether it was done already. The lock
        that it holds is the one its first try held: what that one committed, or did not, is settled before it looks.
        """
        return self._patiently(self.writing, work)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """What ``work`` returned of one state of the database, waiting for a database that went away."""
        return self._patiently(self.reading, work)

    def now(self, connection: sa.Connection, clock: Clock) -> float:
        """Seconds since 1970 by the clock that everyone who shares the database shares: for people, nothing is decided by it."""
        if connection.dialect.name == "sqlite":
            return clock.now().timestamp()
        return float(connection.execute(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))).scalar_one())

    def keep(self, env: str, content: bytes) -> str:
        """``content`` stands beside the journal for every controller that shares it; returns its SHA-256, by which it is found."""
        sha256 = hashlib.sha256(content).hexdigest()
        row = {"env": env, "sha256": sha256, "content": zlib.compress(content)}

        def work(connection: sa.Connection) -> None:
            if connection.execute(sa.select(kept.c.sha256).where(kept.c.env == env, kept.c.sha256 == sha256)).first() is None:
                connection.execute(sa.insert(kept).values(**row))

        self.write(work)
        return sha256

    def kept(self, env: str, sha256: str) -> bytes | None:
        """What was kept under ``sha256``; None when nothing was, or it was changed."""
        query = sa.select(kept.c.content).where(kept.c.env == env, kept.c.sha256 == sha256)
        found = self.read(lambda connection: connection.execute(query).scalar())
        try:
            content = zlib.decompress(found) if found is not None else None
        except zlib.error:
            return None
        return content if content is not None and hashlib.sha256(content).hexdigest() == sha256 else None

    def close(self) -> None:
        self._engine.dispose()

    @staticmethod
    def holds(where: Path | str, env: str) -> bool:
        """Whether there is a journal of ``env``; makes nothing. Raises Held when that cannot be told."""
        if isinstance(where, Path):
            return where.exists()  # made by a command that began to work on the environment
        name, engine = _engine(where, 10.0)
        try:
            with _said(name), engine.connect() as fresh:
                connection = fresh.execution_options(reading=True)
                with connection.begin():
                    there = sa.inspect(connection).get_table_names()
                    tables = [table for table in (records, leases) if table.name in there]
                    return any(
                        connection.execute(sa.select(table.c.env).where(table.c.env == env).limit(1)).first() is not None
                        for table in tables
                    )
        finally:
            engine.dispose()

    def _reads(self) -> dict[str, Any]:
        if self._engine.dialect.name == "sqlite":
            return {"reading": True}
        return {"reading": True, "isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def _patiently(
        self, transaction: Callable[[], contextlib.AbstractContextManager[sa.Connection]], work: Callable[[sa.Connection], T]
    ) -> T:
        pause = _PAUSE_S
        while True:
            try:
                with transaction() as connection:
                    result = work(connection)
                self._away_since = None
                return result
            except Away:
                now = time.monotonic()
                if self._away_since is None:
                    self._away_since = now
                # Counted from when it went: what is left to be said, at the end of a command, is tried once and not waited for again.
                if now + pause > self._away_since + self.patience_s:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _sentences(self) -> contextlib.AbstractContextManager[None]:
        return _said(self.name)


@contextlib.contextmanager
def _said(name: str) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        why = " ".join(str(getattr(error, "orig", None) or error).split())
        if _lost(error):
            raise Away(
                f"The journal {name} does not answer: {why}. Nothing more was recorded; bring the database back, then repeat the command."
            ) from error
        remedy = "Nothing more was recorded; mend the disk, the file or the database, then repeat the command."
        if "database is locked" in why:
            remedy = "A process holds it and does not go on: `./inv status` names it; let it go on or end it, then repeat the command."
        raise Held(f"The journal {name} cannot be used: {why}. {remedy}") from error


def _lost(error: SQLAlchemyError) -> bool:
    """Whether the connection is gone, or none came about: what SQLSTATE calls connection exceptions, and a server that shuts down."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or (state is not None and state.startswith(("08", "57P"))) or state == "25P03":
        return True
    # Without a state of its own an operational error comes from no server, or from one that takes nobody in, and says why.
    said = str(error.orig)
    refused = "FATAL" in said and not any(passing in said for passing in _PASSING)
    return state is None and type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout") and not refused


def _engine(where: Path | str, busy_s: float, only_reads: bool = False) -> tuple[str, sa.Engine]:
    if isinstance(where, Path):
        place = f"file:{quote(str(where))}?mode=ro&uri=true" if only_reads else str(where)
        engine = sa.create_engine(f"sqlite:///{place}", connect_args={"timeout": busy_s})
        sa.event.listen(engine, "connect", _on_sqlite_to_read if only_reads else _on_sqlite)
        sa.event.listen(engine, "begin", _on_sqlite_begin)
        return str(where), engine
    url = sa.make_url(where).set(drivername="postgresql+psycopg")
    settings = {**_POSTGRESQL, **({"default_transaction_read_only": "on"} if only_reads else {})}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    arguments: dict[str, Any] = {
        "options": options,
        "connect_timeout": max(2, round(busy_s)),
        "application_name": "golive",
        # A server that vanished without a word is noticed within half a minute, not in hours.
        **{"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000},
    }
    arguments |= {name: value for name, value in url.query.items() if name in arguments}
    engine = sa.create_engine(url, connect_args=arguments, pool_size=2, max_overflow=8, isolation_level="READ COMMITTED")
    sa.event.listen(engine, "begin", _on_postgresql_begin)
    return url.set(drivername="postgresql").render_as_string(hide_password=True), engine


def _refuse_forgetful(connection: sa.Connection, name: str) -> None:
    if connection.dialect.name == "sqlite":
        return
    if connection.exec_driver_sql("SHOW fsync").scalar() != "on":
        raise Held(
            f"The server of the journal {name} runs with fsync off: a power cut would lose records. Turn it on, then repeat the command."
        )


def _on_sqlite_to_read(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")


def _on_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's guess
    end = time.monotonic() + _WAL_S
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        while True:
            try:
                connection.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError as error:
                # SQLite does not wait here by itself when somebody else opens a database that was just made.
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.02)


def _on_sqlite_begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _on_postgresql_begin(connection: sa.Connection) -> None:
    # Held to the end of the transaction, also by a server process whose client is gone: whoever gets it next sees what that one left.
    if not connection.get_execution_options().get("reading", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
