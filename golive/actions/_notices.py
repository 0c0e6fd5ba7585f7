"""What steps share that tell people something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from golive.actions.port import StepContext
from golive.errors import GoliveError
from golive.notify import Delivered, deliver, routes_of, sent_before
from golive.notify.routes import Severity

__all__ = ["announce", "noted"]

_KINDS = ("notice.sending", "notice.sent", "notice.failed")


def noted(ctx: StepContext, key: str) -> dict[str, Any]:
    """What the journal says of the message ``key``, by route."""
    return dict(sent_before(key, {kind: ctx.facts(kind) for kind in _KINDS}))


def announce(ctx: StepContext, key: str, to: Sequence[str], text: str, *, severity: Severity = "info") -> list[Delivered]:
    """Tells ``to`` as far as it can be done: what is wrong with a route or its file is journaled and stops nothing."""
    try:
        routes = routes_of(ctx.env)
    except GoliveError as error:
        if not any(fact.get("key") == key for fact in ctx.facts("notice.failed")):
            ctx.note("notice.failed", {"key": key, "route": "", "severity": severity, "why": str(error), "text": text})
        return [Delivered("", False, str(error))]
    missing = routes.unrouted(to)
    if missing and not any(fact.get("key") == key for fact in ctx.facts("notice.unrouted")):
        ctx.note("notice.unrouted", {"key": key, "to": missing, "text": text})
    title = f"DWCP {ctx.env.name}: {ctx.stage}"
    return deliver(key, routes.of(to, severity), text, severity, title=title, before=noted(ctx, key), note=ctx.note)
