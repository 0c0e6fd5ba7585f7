"""One change to an environment's hosts at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from golive.environment import Environment
from golive.errors import Occupied

__all__ = ["held"]


@contextmanager
def held(env: Environment, verb: str) -> Iterator[None]:
    """This process alone provisions, destroys or inspects ``env``; the kernel lets go when it ends, however it ends.

    Raises:
        Occupied: another process does; the message names it.
    """
    with (env.state / "terraform.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = _owner(lock.read())
            raise Occupied(f"Environment {env.name} is held by {owner}; wait for it to end, then run the command again.") from None
        lock.truncate(0)
        json.dump({"verb": verb, "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}, lock)
        lock.flush()
        yield


def _owner(text: str) -> str:
    try:
        owner = json.loads(text)
        return f"`inv {owner['verb']}` (pid {owner['pid']}, since {owner['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
