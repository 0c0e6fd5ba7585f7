"""What operators ask of a run that is going on: each kind of request, and what taking it means.

**A new kind** is one function and one row: write ``def _approval(live: Live, request: Request) -> Breach | None``, journal what the
request makes true (``live.append(kind, {**said(request), ...})``: its id has to stand in the record, so that a request is taken once even
when this process dies right after the record), and add ``"approval": _approval`` to :data:`KINDS`; from another room, call
:func:`register` when it is imported. Return None when nothing is interrupted, a :class:`Breach` when the run has to go back now. To
refuse, call ``refused(live, request, why)``: whoever asked is told. What the record means to the run is a row in ``fold._CHANGES``. A
kind that no row names is refused, never taken for another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from golive.engine import decisions, requests
from golive.engine.interruptions import Breach
from golive.engine.ports import Trigger
from golive.engine.requests import Request

if TYPE_CHECKING:
    from golive.engine.running import Live

__all__ = ["KINDS", "REASONS", "Kind", "category_of", "refused", "register", "said", "take"]

JSON = dict[str, Any]
Kind = Callable[["Live", Request], Breach | None]

REASONS = {
    "outage": "users are not served",
    "breach": "more than 1 % of requests fail",
    "corruption": "content is not what it was",
    "degradation": "it is more than 20 % slower",
    "security": "someone got in, or could",
}
"""What the runbook goes back for, in the words that ``--reason`` knows."""


def category_of(reason: str) -> str:
    """Which of :data:`REASONS` a reason begins with; ``other`` when with none."""
    first = reason.strip().split(maxsplit=1)[0].rstrip(":,.;").lower() if reason.strip() else ""
    return first if first in REASONS else "other"


def take(live: Live) -> Breach | None:
    """Takes what was asked since the last look, oldest first; returns what sends the run back, an abort before anything else.

    A request is journaled before it is marked as taken, so that none is lost, and known by its id, so that none is taken twice.
    """
    waiting = requests.pending(live.store, live.name)
    if not waiting:
        return None
    causes: list[Breach] = []
    for request in waiting:
        if request.id in live.state.asked:
            continue
        run = request.data.get("run")
        if run not in (None, live.run):
            refused(live, request, f"it was about run {run}, which is over")
            continue
        cause = KINDS.get(request.kind, _unknown)(live, request)
        if cause is not None:
            causes.append(cause)
    requests.taken(live.store, live.name, [request.id for request in waiting], live.run)
    urgent = [cause for cause in causes if cause.trigger.data.get("kind") == "abort"]
    return next(iter(urgent or causes), None)


def register(kind: str, taken: Kind) -> None:
    """Adds a kind of request. Raises ValueError when there is another of that name."""
    if KINDS.setdefault(kind, taken) is not taken:
        raise ValueError(f"two kinds of request are called {kind!r}")


def said(request: Request) -> JSON:
    """Who asked for it, why and when: what every record about a request begins with."""
    return {"request": request.id, "reason": request.reason, "by": request.owner, "at": request.at}


def refused(live: Live, request: Request, why: str) -> None:
    """Journals that a request was not followed."""
    live.append("request.refused", {**said(request), "kind": request.kind, "why": why})


def _unknown(live: Live, request: Request) -> None:
    refused(live, request, f"there is no request of kind {request.kind!r}; known are {', '.join(sorted(KINDS))}")


def _rollback(live: Live, request: Request) -> Breach | None:
    category = str(request.data.get("category") or category_of(request.reason))
    data = {**said(request), "category": category}
    if live.state.rolling_back or live.state.aborting:
        live.append("rollback.requested", {**data, "already": True})
        return None
    if live.irreversible:
        live.append("rollback.refused", {**data, "why": live.irreversible})
        return None
    live.append("rollback.requested", data)
    return Breach(Trigger("operator", request.reason, request.at, {"by": request.owner, "kind": "rollback", "category": category}))


def _pause(live: Live, request: Request) -> None:
    if live.state.rolling_back or live.state.aborting:
        refused(live, request, "the run is on its way back, which is never paused")
    elif live.state.paused:
        refused(live, request, f"the run is paused already, by {live.state.paused['by']}: {live.state.paused['reason']}")
    else:
        live.append("run.paused", said(request))


def _resume(live: Live, request: Request) -> None:
    if live.state.paused:
        live.append("run.unpaused", said(request))
    else:
        refused(live, request, "the run is not paused")


def _abort(live: Live, request: Request) -> Breach | None:
    """Also on the way back: that is finished then, and the run ends as aborted."""
    if live.state.final and not live.state.rolling_back:
        refused(live, request, live.irreversible)
        return None
    again = live.state.aborting is not None
    live.append("run.aborting", said(request))
    if again or live.state.rolling_back:
        return None
    return Breach(Trigger("operator", request.reason, request.at, {"by": request.owner, "kind": "abort"}))


KINDS: dict[str, Kind] = {
    "rollback": _rollback,
    "pause": _pause,
    "resume": _resume,
    "abort": _abort,
    **dict.fromkeys(decisions.KINDS, decisions.take),
}
"""What taking a request of each kind does."""
