"""A message by each of its routes, journaled before and after, so that a later process knows what was sent and what may have been."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from golive.errors import GoliveError
from golive.notify.post import post
from golive.notify.routes import Route, Severity

__all__ = ["Delivered", "deliver", "sent_before"]

JSON = dict[str, Any]
Sent = Literal["sent", "sending", "failed"]

AGAIN = "(This may have reached you before: the process that sent it died before it could note that.) "


@dataclass(frozen=True)
class Delivered:
    """What became of a message on one route."""

    route: str
    sent: bool
    why: str = ""
    """Why it was not sent."""
    perhaps_twice: bool = False


def sent_before(key: str, facts: Mapping[str, Iterable[JSON]]) -> dict[str, Sent]:
    """What the journal says of the message ``key``, by route. ``sending``: nobody knows whether it went out.

    ``facts`` holds the journaled ``notice.sending``, ``notice.sent`` and ``notice.failed``.
    """
    found: dict[str, Sent] = {}
    counts: dict[str, int] = {}
    states: tuple[tuple[str, Sent], ...] = (("notice.sending", "sending"), ("notice.failed", "failed"), ("notice.sent", "sent"))
    for kind, state in states:
        for fact in facts.get(kind, ()):
            if fact.get("key") != key:
                continue
            route = str(fact.get("route"))
            if kind == "notice.sending":
                counts[route] = counts.get(route, 0) + 1
                found[route] = state
            elif kind == "notice.failed":
                counts[route] = counts.get(route, 0) - 1
                # A later attempt than the failed one may have gone out.
                found[route] = "failed" if counts[route] <= 0 else "sending"
            else:
                found[route] = state
    return found


def deliver(
    key: str,
    routes: Sequence[Route],
    text: str,
    severity: Severity,
    *,
    title: str,
    before: Mapping[str, Sent],
    note: Callable[[str, JSON], None],
    send: Callable[[str, str, str, Severity], str] = post,
) -> list[Delivered]:
    """Sends ``text`` by every route that has not sent it yet. A route that fails keeps no other from being tried; nothing is raised for it.

    ``note`` journals; what it raises ends the delivery. Only a route's name is journaled, never its address.
    """
    done = []
    for route in routes:
        known = before.get(route.route)
        if known == "sent":
            done.append(Delivered(route.route, True))
            continue
        mark = {"key": key, "route": route.route, "severity": severity}
        try:
            address = route.address()
        except GoliveError as error:
            note("notice.failed", {**mark, "why": str(error), "text": text})
            done.append(Delivered(route.route, False, str(error)))
            continue
        again = known == "sending"
        note("notice.sending", {**mark, "text": text, "again": again})
        why = send(address, title, (AGAIN if again else "") + text, severity)
        note("notice.failed" if why else "notice.sent", {**mark, "perhaps_twice": again, **({"why": why} if why else {})})
        done.append(Delivered(route.route, not why, why, perhaps_twice=again))
    return done
