"""One change at a time, and none by a controller that has been replaced.

A controller's lease carries a fencing token, a number that only grows. Every verb that changes the host brings it, waits for
the host's lock, and is refused when a higher one has been here before, or the same one for another run. The lock's descriptor is
inherited by every child (`Lock.run`): when this process is killed, the lock stays held until what it started has ended too, so
that a new controller's ``fence`` returns only when nothing of the old one runs any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from golive.onhost import durable, machine
from golive.onhost.failures import Refused
from golive.onhost.places import Places
from golive.onhost.values import Value

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

__all__ = ["Lock", "Token", "admit", "locked", "now", "read", "record_effect"]

_POLL_S = 0.05


class Token(Value):
    """The highest fencing token this host has seen, and the run that brought it."""

    def __init__(self, number: int, owner: str) -> None:
        self.number = number
        self.owner = owner


class Lock:
    """The host's lock, held."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Like ``subprocess.run`` with captured text, for a child that keeps the lock should this process die."""
        import subprocess

        kept = (*options.pop("pass_fds", ()), self.descriptor)
        options.setdefault("stdin", subprocess.DEVNULL)
        return machine.here().run(command, pass_fds=kept, capture_output=True, text=True, errors="replace", check=False, **options)


@contextmanager
def locked(places: Places, wait_s: float) -> Iterator[Lock]:
    """Holds the host's lock. Raises Refused when another holds it for longer than ``wait_s`` seconds."""
    places.lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Refused(
                        f"Another dwcp-host has held {places.lock} over {wait_s:g} s; see `fuser -v {places.lock}`, then run again."
                    ) from None
                time.sleep(_POLL_S)
        yield Lock(descriptor)
    finally:
        # Closing releases the lock, unless a child that is still running holds the same open file.
        os.close(descriptor)


def read(places: Places) -> Token | None:
    """The recorded token, or None on a host that never saw one. Raises Refused when the record cannot be read: unknown is not "none"."""
    try:
        data = json.loads(places.fence.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Refused(f"{places.fence} cannot be read ({error}), so no token can be compared; look at it before anything else.") from None
    number, owner = (data.get("token"), data.get("owner")) if isinstance(data, dict) else (None, None)
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(owner, str):
        raise Refused(f"{places.fence} does not hold a token and an owner, so no token can be compared; look at it before anything else.")
    return Token(number, owner)


def admit(places: Places, token: int, run: str) -> bool:
    """Run ``run`` may change this host with ``token``; says whether the token was new here and is now recorded.

    Call it with the lock held. Raises Refused for a token lower than the recorded one, and for the same one with another owner.
    """
    known = read(places)
    if known is not None and token < known.number:
        raise Refused(f"Token {token} of run {run} is stale: run {known.owner} has taken over with token {known.number}.")
    if known is not None and token == known.number:
        if run != known.owner:
            raise Refused(f"Token {token} belongs to run {known.owner}, not to run {run}; two controllers share a token.")
        return False
    durable.write_json(places.fence, {"token": token, "owner": run})
    return True


def record_effect(places: Places, token: int, run: str, verb: str, args: Any, result: Any) -> None:
    """``effects.jsonl`` says, durably, what ``verb`` did."""
    durable.append_line(places.effects, {"at": now(), "token": token, "run": run, "verb": verb, "args": args, "result": result})


def now() -> str:
    """The time as RFC 3339, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
