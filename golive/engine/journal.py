"""The journal: what happened, in order, for good. The only truth about a run."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from golive.engine.chain import NOTHING_YET, Head, Record, canonical, digest, plain, wrong
from golive.engine.confidential import SecretRefused, refuse_secrets
from golive.engine.store import Store, leases, records
from golive.errors import Held, Occupied
from golive.runbook.clock import Clock

__all__ = ["Head", "Journal", "Record", "SecretRefused", "SqlJournal", "Witness", "canonical", "plain"]

JSON = dict[str, Any]


class Journal(Protocol):
    """What the engine needs of a journal."""

    def append(self, kind: str, data: Mapping[str, Any], run: str, stage: str | None = None, step: str | None = None) -> Record:
        """Writes one record; durable when it returns. Raises Occupied when someone else writes, SecretRefused, Held (disk, database)."""

    def read(self, run: str | None = None, after: int = 0) -> list[Record]:
        """All records, or those of one run, oldest first."""

    def head(self) -> Head:
        """The last record; ``seq`` 0 when there is none."""

    @property
    def identity(self) -> str:
        """The hash of the first record, by which one journal of an environment is known from another; empty before it."""

    def verify(self, anchors: Iterable[Head] = ()) -> list[str]:
        """Everything that is wrong with the chain, as sentences: edits, reorders, gaps, and cuts that one of ``anchors`` shows."""


class Witness:
    """The head of the chain in a small file beside the database: a database that was cut or replaced no longer matches it.

    It is written after every record but not synced, so after a power cut it may be older than the database; never newer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def write(self, head: Head) -> None:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self._fd, f"{head.seq:012d} {head.hash}\n".encode(), 0)

    def read(self) -> Head | None:
        """The head last seen; None when none was, or the file was torn."""
        try:
            seq, _, digest = self._path.read_text(encoding="ascii").strip().partition(" ")
            return Head(int(seq), digest) if re.fullmatch(r"[0-9a-f]{64}", digest) else None
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class SqlJournal:
    """A journal in a :class:`Store`. Without ``token`` it can only be read.

    Args:
        store: the database.
        env: environment whose chain this is.
        clock: where the times of records come from.
        token: gives the fencing token of the lease under which this process writes.
        witness: where the head is left as well.
    """

    def __init__(
        self, store: Store, env: str, clock: Clock, *, token: Callable[[], int] | None = None, witness: Witness | None = None
    ) -> None:
        self._store = store
        self._env = env
        self._clock = clock
        self._token = token
        self._witness = witness
        self._lock = threading.RLock()
        self._seen = self.head()

    def append(self, kind: str, data: Mapping[str, Any], run: str, stage: str | None = None, step: str | None = None) -> Record:
        if self._token is None:
            raise RuntimeError("this journal was opened for reading")
        text = canonical(data)
        clean: JSON = json.loads(text)
        refuse_secrets(clean)
        with self._lock:
            token, at = self._token(), self._clock.now().isoformat(timespec="microseconds")
            seq, prev = self._seen.seq + 1, self._seen.hash
            fresh = Head(seq, digest(self._env, seq, at, run, kind, stage, step, token, text, prev))
            row = {"env": self._env, "seq": seq, "at": at, "run": run, "kind": kind, "stage": stage, "step": step}
            row |= {"token": token, "data": text, "prev": prev, "hash": fresh.hash}

            def work(connection: sa.Connection) -> None:
                found = _head(connection, self._env)
                if found == fresh:
                    return  # an earlier try stands; only its answer was lost
                self._may_write(connection, token)
                self._unchanged(found)
                connection.execute(sa.insert(records).values(**row))

            self._store.write(work)
            self._seen = fresh
            if self._witness is not None:
                try:
                    self._witness.write(fresh)
                except OSError as error:
                    raise Held(
                        f"Record {seq} stands in the journal of environment {self._env}, but its head could not be kept beside it "
                        f"({error.strerror}); make room, then repeat the command."
                    ) from None
        return Record(self._env, seq, at, run, kind, stage, step, token, clean, prev, fresh.hash)

    def _may_write(self, connection: sa.Connection, token: int) -> None:
        query = sa.select(leases.c.token, leases.c.released, leases.c.owner).where(leases.c.env == self._env)
        lease = connection.execute(query).first()
        if lease is None or lease.token != token or lease.released:
            by = f" by {lease.owner}" if lease is not None and not lease.released else ""
            raise Occupied(f"The lease of environment {self._env} was taken over{by}; this process stops and changes nothing more.")

    def _unchanged(self, found: Head) -> None:
        if found.seq < self._seen.seq:
            raise Held(
                f"The journal of environment {self._env} ends with record {found.seq}, but record {self._seen.seq} stood in it: its "
                f"database lost what it confirmed (a replica that took over behind, or a restored copy). Put it right, then check it with "
                f"`./inv journal.verify --env {self._env}`."
            )
        if found != self._seen:
            raise Occupied(
                f"The journal of environment {self._env} was written by someone else after record {self._seen.seq}; "
                f"this process stops. Check it with `./inv report --env {self._env}`."
            )

    def read(self, run: str | None = None, after: int = 0) -> list[Record]:
        query = sa.select(records).where(records.c.env == self._env, records.c.seq > after).order_by(records.c.seq)
        if run is not None:
            query = query.where(records.c.run == run)
        return self._store.read(lambda connection: [_record(row) for row in connection.execute(query)])

    def head(self) -> Head:
        return self._store.read(lambda connection: _head(connection, self._env))

    @property
    def identity(self) -> str:
        query = sa.select(records.c.hash).where(records.c.env == self._env, records.c.seq == 1)
        return str(self._store.read(lambda connection: connection.execute(query).scalar()) or "")

    def rows(self, after: int = 0) -> list[Any]:
        """All records after that number as they are kept: ``data`` is text. For who checks or copies them."""
        query = sa.select(records).where(records.c.env == self._env, records.c.seq > after).order_by(records.c.seq)
        return self._store.read(lambda connection: list(connection.execute(query)))

    def verify(self, anchors: Iterable[Head] = ()) -> list[str]:
        left = [*anchors]
        seen = self._witness.read() if self._witness is not None else None
        if seen is not None:
            left.append(seen)
        query = sa.select(records).where(records.c.env == self._env).order_by(records.c.seq)
        return self._store.read(lambda connection: list(wrong(connection.execute(query), left)))


def _head(connection: sa.Connection, env: str) -> Head:
    query = sa.select(records.c.seq, records.c.hash).where(records.c.env == env).order_by(records.c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return Head(0, NOTHING_YET) if row is None else Head(row.seq, row.hash)


def _record(row: Any) -> Record:
    return Record(row.env, row.seq, row.at, row.run, row.kind, row.stage, row.step, row.token, json.loads(row.data), row.prev, row.hash)
