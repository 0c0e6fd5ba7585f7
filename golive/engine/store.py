"""The database under journal, lease and requests: tables, and how a connection behaves. SQLite; nothing else knows which."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from golive.errors import Held

__all__ = ["Store", "leases", "records", "requests"]

_metadata = sa.MetaData()

records = sa.Table(
    "records",
    _metadata,
    sa.Column("env", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("stage", sa.Text),
    sa.Column("step", sa.Text),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

leases = sa.Table(
    "leases",
    _metadata,
    sa.Column("env", sa.Text, primary_key=True),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("machine", sa.Text, nullable=False),
    sa.Column("boot", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("pid_start", sa.Integer, nullable=False),
    sa.Column("taken_at", sa.Float, nullable=False),
    sa.Column("beat_at", sa.Float, nullable=False),
    sa.Column("beats", sa.Integer, nullable=False),
    sa.Column("ttl_s", sa.Float, nullable=False),
)

requests = sa.Table(
    "requests",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("env", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("taken", sa.Text),
    sa.Column("data", sa.Text),
)

_KEEPERS = {f"records_keep_{verb.lower()}": verb for verb in ("UPDATE", "DELETE")}
_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {verb} ON records BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
    for name, verb in _KEEPERS.items()
)


class Store:
    """One database file. Every commit is on disk before it returns."""

    def __init__(self, path: Path, *, busy_s: float = 10.0) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600, exist_ok=True)
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": busy_s})
        sa.event.listen(self._engine, "connect", _on_connect)
        sa.event.listen(self._engine, "begin", _on_begin)
        if not self._complete():
            self._make()

    def _complete(self) -> bool:
        """Whether everything is there. Asked without the write lock: who only reads must not wait for a controller that was stopped in
        the middle of a write."""
        with self.reading() as connection:
            names = {name for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master")}
            columns = {row[1] for row in connection.exec_driver_sql("PRAGMA table_info(requests)")}
        return names >= {*_metadata.tables, *_KEEPERS} and "data" in columns

    def _make(self) -> None:
        with self._sentences():
            _metadata.create_all(self._engine)
            with self.writing() as connection:
                if "data" not in {column["name"] for column in sa.inspect(connection).get_columns("requests")}:
                    connection.exec_driver_sql("ALTER TABLE requests ADD COLUMN data TEXT")
                for trigger in _TRIGGERS:
                    connection.exec_driver_sql(trigger)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that holds the write lock from its first moment; committed (and synced) at the end of the block."""
        with self._sentences(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database and never waits for a writer."""
        with self._sentences(), self._engine.connect().execution_options(reading=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            why = getattr(error, "orig", None) or error
            remedy = "Nothing more was recorded; mend the disk or the file, then repeat the command."
            if "locked" in str(why):
                remedy = "A process holds it and does not go on: `./inv status` names it; let it go on or end it, then repeat the command."
            raise Held(f"The journal {self.path} cannot be used: {why}. {remedy}") from error


def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's guess
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
