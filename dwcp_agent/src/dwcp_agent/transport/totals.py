"""What was decided in all transfers that have ended on this host: a sum for each kind of decision, in the ledger's directory.

Transfers of one process are added together, and written once a second and when the process ends: a thousand small files are not a thousand
writes. Whoever is killed is not counted. Nobody waits long for another who writes: what could not be written goes with the next time.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["count", "totals", "write_pending"]

NAME = ".totals.json"
"""Hidden from who looks for transfers."""
_EVERY_S = 1.0
_TRIES, _PAUSE_S = 10, 0.01
_MOST_BYTES = 65_536

_pending: dict[Path, Counter[str]] = {}
_lock = threading.Lock()
_written = -_EVERY_S


def count(directory: Path, outcome: str, decisions: Iterable[tuple[str, str]]) -> None:
    """A transfer has ended, with these decisions as (policy, kind). Nothing is raised: what counts is the transfer."""
    global _written
    now = time.monotonic()
    with _lock:
        _pending.setdefault(directory, Counter()).update([f"ended {outcome}", *(f"{policy} {kind}" for policy, kind in decisions)])
        due = now - _written >= _EVERY_S
        if due:
            _written = now
    if due:
        write_pending()


@atexit.register
def write_pending() -> None:
    """What this process has counted is in the file, if there is a way."""
    with _lock:
        for directory in list(_pending):
            with contextlib.suppress(OSError, ValueError):
                _add(directory, _pending[directory])
                del _pending[directory]


def totals(directory: Path) -> dict[str, int]:
    """``{"<policy> <kind>" or "ended <outcome>": how many}``; empty when nothing was counted. Raises OSError, ValueError."""
    try:
        with (directory / NAME).open("rb") as file:
            told = json.loads(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return {}
    except RecursionError:
        raise ValueError(f"{directory / NAME} holds no counts") from None
    counts = told.get("counts") if isinstance(told, dict) and told.get("schema") == 1 else None
    if not isinstance(counts, dict) or any(type(each) is not int or each < 0 for each in counts.values()):
        raise ValueError(f"{directory / NAME} holds no counts")
    return counts


def _add(directory: Path, more: Counter[str]) -> None:
    with _alone(directory):
        try:
            before = totals(directory)
        except ValueError:
            before = {}  # begun anew: who reads counters knows what to do when one falls
        temporary = directory / f".{secrets.token_hex(8)}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, 0o640)
                json.dump({"schema": 1, "counts": dict(Counter(before) + more)}, file)
            temporary.replace(directory / NAME)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """No other process writes. Raises BlockingIOError when one does for a tenth of a second."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(descriptor)
