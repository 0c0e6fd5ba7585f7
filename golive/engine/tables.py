"""The tables under journal, lease and requests, in both databases, and how an older layout becomes today's."""

from __future__ import annotations

import sqlalchemy as sa

from golive.errors import Held

__all__ = ["SCHEMA", "kept", "leases", "prepared", "records", "requests"]

SCHEMA = 2
"""Version of the layout. 1 had no version, no data of requests, no takeovers that wait to be journaled, and no kept files."""

_metadata = sa.MetaData()

_version = sa.Table("journal_schema", _metadata, sa.Column("version", sa.Integer, nullable=False))

records = sa.Table(
    "records",
    _metadata,
    sa.Column("env", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("stage", sa.Text),
    sa.Column("step", sa.Text),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

leases = sa.Table(
    "leases",
    _metadata,
    sa.Column("env", sa.Text, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("machine", sa.Text, nullable=False),
    sa.Column("boot", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("pid_start", sa.BigInteger, nullable=False),
    sa.Column("taken_at", sa.Double, nullable=False),
    sa.Column("beat_at", sa.Double, nullable=False),
    sa.Column("beats", sa.BigInteger, nullable=False),
    sa.Column("ttl_s", sa.Double, nullable=False),
    sa.Column("taken_over", sa.Text),
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

kept = sa.Table(
    "kept",
    _metadata,
    sa.Column("env", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

_SAYS = "the journal is append-only"

_SQLITE_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS records_keep_{verb.lower()} BEFORE {verb} ON records BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END"
    for verb in ("UPDATE", "DELETE")
)

_POSTGRESQL_TRIGGERS = (
    f"CREATE OR REPLACE FUNCTION records_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{_SAYS}'; END $$",
    "CREATE OR REPLACE TRIGGER records_keep_rows BEFORE UPDATE OR DELETE ON records FOR EACH ROW EXECUTE FUNCTION records_keep()",
    "CREATE OR REPLACE TRIGGER records_keep_all BEFORE TRUNCATE ON records FOR EACH STATEMENT EXECUTE FUNCTION records_keep()",
)


def version(connection: sa.Connection) -> int:
    """Version of the layout that is there; 0 for a database without a journal."""
    there = set(sa.inspect(connection).get_table_names())
    if _version.name in there:
        return int(connection.execute(sa.select(sa.func.max(_version.c.version))).scalar() or 0)
    return 1 if records.name in there else 0


def current(connection: sa.Connection, name: str) -> bool:
    """Whether the layout is today's. Raises Held for one that a newer toolkit made."""
    found = version(connection)
    if found > SCHEMA:
        raise Held(
            f"The journal {name} was written by a newer version of this toolkit (its layout is {found}, this one knows {SCHEMA}); "
            "use that version. Nothing was changed."
        )
    return found == SCHEMA


def prepared(connection: sa.Connection, name: str) -> None:
    """The layout is today's when the transaction of ``connection`` commits. Raises Held for one that a newer toolkit made."""
    if current(connection, name):
        return
    _metadata.create_all(connection)
    if connection.dialect.name == "sqlite":
        _completed(connection)
    for trigger in _SQLITE_TRIGGERS if connection.dialect.name == "sqlite" else _POSTGRESQL_TRIGGERS:
        connection.exec_driver_sql(trigger)
    connection.execute(sa.delete(_version))
    connection.execute(sa.insert(_version).values(version=SCHEMA))


def _completed(connection: sa.Connection) -> None:
    """Layout 1 was only ever in SQLite: the columns that it lacks are added, and nothing that is there changes."""
    for table, column in (("requests", "data"), ("leases", "taken_over")):
        if column not in {found["name"] for found in sa.inspect(connection).get_columns(table)}:
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")
