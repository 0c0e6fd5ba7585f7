"""What controller and workers tell each other beside the queue, in the same database: content by digest, and who works on which job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from golive.errors import Unreachable

__all__ = ["APPLICATION", "VERSION", "Beat", "Board", "queue_of"]

APPLICATION = "golive"
VERSION = "golive-workers-1"
"""Pinned: DBOS would make one from the source, and a worker of another version would never take a job."""

_TABLES = """
create schema if not exists golive;
create table if not exists golive.content (sha256 text primary key, data bytea not null, kept timestamptz not null default now());
create table if not exists golive.job (id text primary key, worker text, beat bigint not null default 0,
    given_up boolean not null default false, result text, trouble text);
create table if not exists golive.worker (env text, site text, name text, seen timestamptz not null default now(),
    primary key (env, site, name));
"""
_LOCK = 0x676F6C697665
_SECONDS = 5


def queue_of(env: str, site: str) -> str:
    """The queue that the workers of a site take from; a wave that crosses sites goes to whoever comes first."""
    return f"golive-{env}-{site or 'any'}"


@dataclass(frozen=True)
class Beat:
    """What is known of a job beside its status."""

    worker: str | None
    beat: int
    given_up: bool
    result: str | None
    """SHA-256 of what it brought, once it ended."""
    trouble: str | None
    """Why it brought nothing, once it ended."""

    @property
    def ended(self) -> bool:
        return self.result is not None or self.trouble is not None


class Board:
    """One connection a call: whatever happened to PostgreSQL in between, the next call finds it as it is now.

    Every method raises Unreachable when the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def _open(self) -> Iterator[psycopg.Connection]:
        try:
            with psycopg.connect(self._url, connect_timeout=_SECONDS, options=f"-c statement_timeout={_SECONDS * 12}s") as connection:
                yield connection
        except psycopg.Error as error:
            said = str(error).strip().splitlines()
            raise Unreachable(f"The workers' PostgreSQL does not answer: {said[0] if said else type(error).__name__}.") from None

    def prepare(self) -> None:
        """The tables are there."""
        with self._open() as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute(_TABLES)

    def put(self, data: bytes) -> str:
        """``data`` is kept; returns its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self._open() as connection:
            if connection.execute("select 1 from golive.content where sha256 = %s", (sha256,)).fetchone() is None:
                connection.execute("insert into golive.content (sha256, data) values (%s, %s) on conflict do nothing", (sha256, data))
        return sha256

    def get(self, sha256: str) -> bytes:
        """The content with that digest, checked. Raises Unreachable when it is not there whole."""
        with self._open() as connection:
            row = connection.execute("select data from golive.content where sha256 = %s", (sha256,)).fetchone()
        if row is None or hashlib.sha256(row[0]).hexdigest() != sha256:
            raise Unreachable(f"The workers' PostgreSQL has no whole content {sha256[:12]}.")
        return bytes(row[0])

    def drop(self, sha256: str) -> None:
        """Content that nobody will ask for again is gone."""
        with self._open() as connection:
            connection.execute("delete from golive.content where sha256 = %s", (sha256,))

    def announce(self, job: str) -> None:
        """The job is known, so that it can be given up before anybody took it."""
        with self._open() as connection:
            connection.execute("insert into golive.job (id) values (%s) on conflict do nothing", (job,))

    def beat(self, job: str, worker: str) -> bool:
        """``worker`` is at work on ``job``; says whether it still may: False once the controller gave the job up, or never knew of it."""
        with self._open() as connection:
            row = connection.execute(
                "update golive.job set worker = %s, beat = beat + 1 where id = %s returning given_up", (worker, job)
            ).fetchone()
        return row is not None and not row[0]

    def of(self, job: str) -> Beat | None:
        with self._open() as connection:
            row = connection.execute("select worker, beat, given_up, result, trouble from golive.job where id = %s", (job,)).fetchone()
        return None if row is None else Beat(*row)

    def end(self, job: str, *, result: str | None = None, trouble: str | None = None) -> None:
        """The job ended; the first word stands."""
        with self._open() as connection:
            connection.execute(
                "update golive.job set result = %s, trouble = %s where id = %s and result is null and trouble is null",
                (result, trouble, job),
            )

    def give_up(self, prefix: str) -> list[str]:
        """No worker begins or goes on with a job whose id begins with ``prefix``; returns those that one may still be at work on."""
        with self._open() as connection:
            rows = connection.execute(
                "update golive.job set given_up = true "
                "where starts_with(id, %s) and coalesce(result, trouble) is null returning id, worker",
                (prefix,),
            ).fetchall()
        return [job for job, worker in rows if worker is not None]

    def seen(self, env: str, site: str, name: str) -> None:
        """A worker is up."""
        with self._open() as connection:
            connection.execute(
                "insert into golive.worker (env, site, name) values (%s, %s, %s) on conflict (env, site, name) do update set seen = now()",
                (env, site, name),
            )

    def workers(self, env: str) -> list[tuple[str, str, float]]:
        """Site, name and seconds since it was last seen, of every worker that ever was up."""
        with self._open() as connection:
            rows = connection.execute(
                "select site, name, extract(epoch from now() - seen)::float8 from golive.worker where env = %s order by 1, 2", (env,)
            ).fetchall()
        return [(site, name, float(age)) for site, name, age in rows]
