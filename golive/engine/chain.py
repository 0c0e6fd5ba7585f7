"""A chain of records: what one is, how it is hashed, and everything that can be wrong with it. Pure; knows no database."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any

__all__ = ["EMPTY", "FIELDS", "NOTHING_YET", "Head", "Record", "canonical", "digest", "plain", "wrong"]

JSON = dict[str, Any]

NOTHING_YET = "0" * 64
"""What the first record follows."""

FIELDS = ("env", "seq", "at", "run", "kind", "stage", "step", "token", "data", "prev")
"""What the hash of a record is made of, in this order; ``data`` as the canonical text."""


@dataclass(frozen=True)
class Head:
    """The last record of a chain."""

    seq: int
    hash: str


EMPTY = Head(0, NOTHING_YET)
"""The head of a journal without records."""


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


def digest(env: str, seq: int, at: str, run: str, kind: str, stage: str | None, step: str | None, token: int, data: str, prev: str) -> str:
    """The hash of a record; ``data`` is its canonical text."""
    return hashlib.sha256(canonical([env, seq, at, run, kind, stage, step, token, data, prev]).encode()).hexdigest()


def wrong(rows: Iterable[Any], anchors: Iterable[Head], after: Head = EMPTY) -> Iterator[str]:
    """Everything that is wrong with a chain, as sentences: edits, reorders, gaps, and cuts that one of ``anchors`` shows.

    Args:
        rows: the records as they are kept, oldest first, each with :data:`FIELDS` and ``hash`` as attributes.
        anchors: heads that this chain once had, seen where no one could change them with it.
        after: the record before the first of ``rows``, which was looked at already.
    """
    last, seen = after, list(anchors)
    expected: dict[int, set[str]] = {}
    for anchor in seen:
        expected.setdefault(anchor.seq, set()).add(anchor.hash)
    for row in rows:
        if type(row.seq) is not int:
            yield f"record {row.seq!r} has no number"
            continue
        if row.seq != last.seq + 1:
            missing = f"record {last.seq + 1} is" if row.seq == last.seq + 2 else f"records {last.seq + 1} to {row.seq - 1} are"
            yield f"{missing} missing" if row.seq > last.seq else f"record {row.seq} stands after record {last.seq}"
        elif row.prev != last.hash:
            yield f"record {row.seq} does not follow record {last.seq}: one of them was replaced or moved"
        if _digest_of(row) != row.hash:
            yield f"record {row.seq} ({row.kind}, {row.at}) was edited"
        if expected.get(row.seq, {row.hash}) != {row.hash}:
            yield f"record {row.seq} is not the one that was seen when it was written"
        last = Head(row.seq, row.hash)
    for cut in sorted({anchor.seq for anchor in seen if anchor.seq > last.seq}):
        yield f"the journal was cut: it ends with record {last.seq}, but record {cut} was seen"


def _digest_of(row: Any) -> str:
    try:
        return digest(*(getattr(row, name) for name in FIELDS))
    except TypeError:  # a value that no record can hold
        return ""
