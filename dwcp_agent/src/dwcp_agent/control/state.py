"""``/health``, ``/ready``, ``/metrics`` and ``/v1/status``: what the agent says about itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

from aiohttp import web

from dwcp_agent import features
from dwcp_agent.control.context import CONTEXT, Context
from dwcp_agent.errors import Refused
from dwcp_agent.telemetry.metrics import CONTENT_TYPE, render

__all__ = ["health", "metrics", "ready", "status"]


async def health(request: web.Request) -> web.Response:
    """Alive, with what is switched on and where threads run; 503 while draining, so that a checker sends no one here."""
    context = request.app[CONTEXT]
    weight = context.admission.weight()
    body = {
        "status": "draining" if context.draining else "ok",
        "features": features.report(),
        "affinity": context.threads.report(),
        "admission": {"decides": weight is not None, "slot_b": weight or 0},
    }
    return _json(body, 503 if context.draining else 200)


async def ready(request: web.Request) -> web.Response:
    """Which release answers, in which slot; 503 and false while draining."""
    context = request.app[CONTEXT]
    return _json(_identity(context), 503 if context.draining else 200)


async def metrics(request: web.Request) -> web.Response:
    """The registry in Prometheus' text format."""
    context = request.app[CONTEXT]
    if context.defects is not None and not context.defects.metrics:
        raise Refused("There are no metrics.", code="not-found", status=404)
    context.metrics.sessions.set(context.sessions.count(time.time()))
    return web.Response(body=render(context.metrics.registry), headers={"Content-Type": CONTENT_TYPE})


async def status(request: web.Request) -> web.Response:
    """What the agent is doing."""
    context = request.app[CONTEXT]
    body = {
        **_identity(context),
        "host": context.config.host,
        "site": context.config.site,
        "status": "draining" if context.draining else "ok",
        "sessions": context.sessions.count(time.time()),
        "transfers": context.running(),
        "requests": context.in_flight,
        "features": features.report(),
        "affinity": context.threads.report(),
        "buffers": context.buffers.statistics(),
    }
    return _json(body, 200)


def _identity(context: Context) -> dict[str, object]:
    release = context.release
    return {
        "ready": not context.draining,
        "version": release.version,
        "digest": release.digest,
        "id": release.id,
        "slot": context.slot,
        "pid": os.getpid(),
        "boot_id": context.boot_id,
    }


def _json(body: Mapping[str, object], status: int) -> web.Response:
    return web.Response(status=status, content_type="application/json", text=json.dumps(body))
