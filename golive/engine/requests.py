"""What other processes ask of the one that holds the lease: left in a table of its own, outside the chain, taken by the running loop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from golive.engine.process import owner
from golive.engine.store import Store, requests
from golive.runbook.clock import Clock

__all__ = ["Request", "ask", "pending", "taken"]


@dataclass(frozen=True)
class Request:
    """One thing asked for and not yet taken."""

    id: int
    kind: str
    reason: str
    owner: str
    at: str
    data: dict[str, Any] = field(default_factory=dict)
    """What the kind needs besides, as plain JSON."""


def ask(store: Store, env: str, kind: str, reason: str, clock: Clock, data: Mapping[str, Any] | None = None) -> int:
    """Leaves a request for whoever holds ``env``; returns its id."""
    at = clock.now().isoformat(timespec="microseconds")
    reason = reason.encode("utf-8", "replace").decode()  # what a shell passes on may be no text that a database takes
    values = {"env": env, "kind": kind, "reason": reason, "owner": owner(), "at": at, "data": json.dumps(dict(data or {}))}
    with store.writing() as connection:
        key = connection.execute(sa.insert(requests).values(**values)).inserted_primary_key
    return int(key[0]) if key else 0


def pending(store: Store, env: str) -> list[Request]:
    """Requests that no run has taken, oldest first."""
    query = sa.select(requests).where(requests.c.env == env, requests.c.taken.is_(None)).order_by(requests.c.id)
    rows = store.read(lambda connection: list(connection.execute(query)))
    return [Request(row.id, row.kind, row.reason, row.owner, row.at, _data(row.data)) for row in rows]


def _data(text: str | None) -> dict[str, Any]:
    """What was left with a request; nothing when that is no object: what it lacks is found missing by whoever takes it."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def taken(store: Store, env: str, ids: list[int], run: str) -> None:
    """Marks requests as taken by ``run``. Called after the journal has them, so that none is lost; one taken twice does no harm."""
    marked = sa.update(requests).where(requests.c.env == env, requests.c.id.in_(ids)).values(taken=run)
    store.write(lambda connection: connection.execute(marked))
