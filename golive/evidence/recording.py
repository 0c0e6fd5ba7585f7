"""Evidence made: what a check found, signed and kept."""

from __future__ import annotations

import getpass
import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from golive.environment import evidence_root
from golive.errors import GoliveError
from golive.evidence.sealing import key_made
from golive.evidence.statement import Check, Collector, Output, Result, Statement, Subject
from golive.evidence.store import Kept, Store
from golive.evidence.subjects import toolkit_source

__all__ = ["record", "store_here", "unkept"]


def store_here() -> Store:
    """The evidence of this checkout: one for all of its environments, because what a test of the sources shows holds in each."""
    return Store(evidence_root())


def record(
    *,
    check: str,
    subjects: Sequence[Subject],
    command: str,
    result: Result,
    summary: str,
    output: bytes,
    started: datetime,
    valid_for: timedelta,
    env: str | None = None,
    facts: Mapping[str, Any] | None = None,
    inputs: Sequence[Subject] = (),
) -> Kept:
    """Keeps one signed statement of what was found just now.

    Args:
        check: its name, as ``bench.core``.
        subjects: what was looked at; the statement holds as long as each of them is what it was.
        command: what to type to repeat it.
        result: ``PASS`` only when everything that was to be seen was seen, and was right.
        summary: one sentence for people.
        output: what it printed or made, kept beside the statement.
        started: when it began; it ended now.
        valid_for: how long it holds.
        env: the environment it was made in, when it was made in one.
        facts: what was found, for machines.
        inputs: files that decided what was checked.

    Raises BadInput when the disk takes no more, Refused when the store is not whole.
    """
    store = store_here()
    key = key_made(store.key_path)
    finished = datetime.now(UTC)

    def made(seq: int, previous: str | None) -> Statement:
        predicate = Check(
            check=check,
            env=env,
            collector=_collector(),
            command=command,
            inputs=list(inputs),
            result=result,
            summary=_one_line(summary),
            facts=dict(facts or {}),
            output=Output(sha256=hashlib.sha256(output).hexdigest(), size=len(output)),
            started=min(started, finished),
            finished=finished,
            valid_until=finished + valid_for,
            seq=seq,
            previous=previous,
        )
        return Statement(subject=list(subjects), predicate=predicate)

    return store.added(key, output, made)


def unkept(work: Callable[[], object]) -> str:
    """Does ``work``, which keeps evidence of what was measured; why it could not, as words to add to the result, else nothing.

    What took an hour is told whether or not it can be kept.
    """
    try:
        work()
    except GoliveError as error:
        return f"\nNot kept as evidence: {error.message}"
    return ""


@cache
def _collector() -> Collector:
    """What this process was when it began to record: code that changes under it is not what runs."""
    return Collector(source=toolkit_source().sha256, host=f"{getpass.getuser()}@{socket.gethostname()}")


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 2000 else f"{flat[:1990]} ..."
