"""The journal: what happened, in order, for good. The only truth about a run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, Protocol

import sqlalchemy as sa

from golive.engine.store import Store, leases, records
from golive.errors import GoliveError, Held, Occupied
from golive.runbook.clock import Clock

__all__ = ["Head", "Journal", "Record", "SecretRefused", "SqlJournal", "Witness", "canonical", "plain"]

JSON = dict[str, Any]

_NOTHING_YET = "0" * 64


class SecretRefused(GoliveError):
    """Something that looks like a secret was about to be written down for good."""


@dataclass(frozen=True)
class Head:
    """The last record of a chain."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Record:
    """One line of the journal."""

    env: str
    seq: int
    at: str
    """RFC 3339, UTC, microseconds."""
    run: str
    kind: str
    stage: str | None
    step: str | None
    token: int
    data: JSON
    prev: str
    hash: str

    @property
    def head(self) -> Head:
        return Head(self.seq, self.hash)


class Journal(Protocol):
    """What the engine needs of a journal."""

    def append(self, kind: str, data: Mapping[str, Any], run: str, stage: str | None = None, step: str | None = None) -> Record:
        """Writes one record; durable when it returns. Raises Occupied when someone else writes, SecretRefused, Held (disk)."""

    def read(self, run: str | None = None, after: int = 0) -> list[Record]:
        """All records, or those of one run, oldest first."""

    def head(self) -> Head:
        """The last record; ``seq`` 0 when there is none."""

    def verify(self, anchors: Iterable[Head] = ()) -> list[str]:
        """Everything that is wrong with the chain, as sentences: edits, reorders, gaps, and cuts that one of ``anchors`` shows."""


_PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|AGE-SECRET-KEY-1|PuTTY-User-Key-File")
_SECRET_KEYS = re.compile(r"(?i)(^|_)(password|passwd|passphrase|secret|private_key|api_key|access_key)$")


def plain(value: Any) -> Any:
    """``value`` as JSON: times as RFC 3339, durations in seconds, enums by value, sets sorted, NaN and infinities as null."""
    if value is None or isinstance(value, str | bool | int):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json", by_alias=True))
    raise TypeError(f"{type(value).__name__} has no place in the journal")


def canonical(value: Any) -> str:
    """The one way to write ``value`` as JSON."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def refuse_secrets(value: Any, where: str = "data") -> None:
    """Raises SecretRefused when ``value`` (already plain) holds a private key, or text under a name like ``password``."""
    if isinstance(value, str):
        if _PRIVATE.search(value):
            raise SecretRefused(f"{where} looks like a private key; the journal keeps no secrets.")
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and item and _SECRET_KEYS.search(key):
                raise SecretRefused(f"{where}.{key} looks like a secret by its name; the journal keeps no secrets.")
            refuse_secrets(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            refuse_secrets(item, f"{where}[{index}]")


def _digest(env: str, seq: int, at: str, run: str, kind: str, stage: str | None, step: str | None, token: int, data: str, prev: str) -> str:
    return hashlib.sha256(canonical([env, seq, at, run, kind, stage, step, token, data, prev]).encode()).hexdigest()


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
            with self._store.writing() as connection:
                lease = connection.execute(
                    sa.select(leases.c.token, leases.c.released, leases.c.owner).where(leases.c.env == self._env)
                ).first()
                if lease is None or lease.token != token or lease.released:
                    by = f" by {lease.owner}" if lease is not None and not lease.released else ""
                    raise Occupied(f"The lease of environment {self._env} was taken over{by}; this process stops and changes nothing more.")
                head = _head(connection, self._env)
                if head != self._seen:
                    raise Occupied(
                        f"The journal of environment {self._env} was written by someone else after record {self._seen.seq}; "
                        f"this process stops. Check it with `./inv report --env {self._env}`."
                    )
                seq, prev = head.seq + 1, head.hash
                digest = _digest(self._env, seq, at, run, kind, stage, step, token, text, prev)
                row = {"env": self._env, "seq": seq, "at": at, "run": run, "kind": kind, "stage": stage, "step": step}
                connection.execute(sa.insert(records).values(**row, token=token, data=text, prev=prev, hash=digest))
            self._seen = Head(seq, digest)
            if self._witness is not None:
                try:
                    self._witness.write(self._seen)
                except OSError as error:
                    raise Held(
                        f"Record {seq} stands in the journal of environment {self._env}, but its head could not be kept beside it "
                        f"({error.strerror}); make room, then repeat the command."
                    ) from None
        return Record(self._env, seq, at, run, kind, stage, step, token, clean, prev, digest)

    def read(self, run: str | None = None, after: int = 0) -> list[Record]:
        query = sa.select(records).where(records.c.env == self._env, records.c.seq > after).order_by(records.c.seq)
        if run is not None:
            query = query.where(records.c.run == run)
        with self._store.reading() as connection:
            return [_record(row) for row in connection.execute(query)]

    def head(self) -> Head:
        with self._store.reading() as connection:
            return _head(connection, self._env)

    def verify(self, anchors: Iterable[Head] = ()) -> list[str]:
        left = [*anchors]
        seen = self._witness.read() if self._witness is not None else None
        if seen is not None:
            left.append(seen)
        with self._store.reading() as connection:
            rows = connection.execute(sa.select(records).where(records.c.env == self._env).order_by(records.c.seq))
            return list(_wrong(rows, left))


def _wrong(rows: Iterable[Any], anchors: Sequence[Head]) -> Iterator[str]:
    last = Head(0, _NOTHING_YET)
    expected = {anchor.seq: anchor.hash for anchor in anchors}
    for row in rows:
        if row.seq != last.seq + 1:
            missing = f"record {last.seq + 1} is" if row.seq == last.seq + 2 else f"records {last.seq + 1} to {row.seq - 1} are"
            yield f"{missing} missing"
        elif row.prev != last.hash:
            yield f"record {row.seq} does not follow record {last.seq}: one of them was replaced or moved"
        fields = (row.env, row.seq, row.at, row.run, row.kind, row.stage, row.step, row.token, row.data, row.prev)
        if _digest(*fields) != row.hash:
            yield f"record {row.seq} ({row.kind}, {row.at}) was edited"
        if expected.get(row.seq, row.hash) != row.hash:
            yield f"record {row.seq} is not the one that was seen when it was written"
        last = Head(row.seq, row.hash)
    for anchor in anchors:
        if anchor.seq > last.seq:
            yield f"the journal was cut: it ends with record {last.seq}, but record {anchor.seq} was seen"


def _head(connection: sa.Connection, env: str) -> Head:
    query = sa.select(records.c.seq, records.c.hash).where(records.c.env == env).order_by(records.c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return Head(0, _NOTHING_YET) if row is None else Head(row.seq, row.hash)


def _record(row: Any) -> Record:
    return Record(row.env, row.seq, row.at, row.run, row.kind, row.stage, row.step, row.token, json.loads(row.data), row.prev, row.hash)
