"""Whether a run that stands would go on by itself: what a timer asks, every minute, for days."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from golive.engine.api import Standing

__all__ = ["Due", "due"]

_ENDED_BY_THE_MACHINE = ("SIGTERM", "SIGHUP")
"""Signals by which a machine that goes down, or a terminal that closes, ends a process. SIGINT is a person's Ctrl-C."""

_LIFTING = {"resume", "rollback", "abort"}
"""Kinds of request after which a paused run stands no longer."""


@dataclass(frozen=True)
class Due:
    """``now``: whether the run is to be continued at this moment; ``why``, or why not."""

    now: bool
    why: str


def due(standing: Standing, now: datetime, *, asked: Collection[str] = ()) -> Due:
    """Whether the environment's run is to be continued at ``now`` without anyone saying so.

    It is when it waited for a time that has come, and when its process died or was ended by the machine. It is not when a process works
    on it, or when it waits for a person: paused, held with a reason, stopped where it was told to, ended with Ctrl-C. What people have
    ``asked`` meanwhile (kinds of requests) and no process took is an answer: then it is.

    A process on another machine that was not heard of for as long as its lease lasts may be dead: whoever continues asks for the lease,
    and is refused it by a living one.
    """
    last = standing.last
    if not last.open:
        return Due(False, "no run is open")
    holder = standing.holder
    if holder is not None and not (holder.alive is None and abs(now.timestamp() - holder.beat_at) > holder.ttl_s):
        return Due(False, f"{holder.sentence} works on it")
    if last.paused is not None and not _LIFTING & set(asked):
        return Due(False, f"it is paused by {last.paused.get('by')}")
    if asked:
        return Due(True, f"no process took what was asked of it: {', '.join(asked)}")
    held = last.held
    if held is None:
        return Due(True, "the process that worked on it died")
    until = held.get("waiting_until")
    if until:
        there = datetime.fromisoformat(until) <= now
        return Due(there, f"stage {last.stage} {'is due since' if there else 'is not due before'} {until}")
    if held.get("interrupted") and held.get("signal") in _ENDED_BY_THE_MACHINE:
        return Due(True, f"the process that worked on it was ended by {held['signal']}")
    return Due(False, f"it waits for a person: {held.get('reason')}")
