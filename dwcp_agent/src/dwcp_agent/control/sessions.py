"""``POST /v1/sessions``: a ticket for data streams."""

from __future__ import annotations

import asyncio
import json
import time

from aiohttp import web

from dwcp_agent import log
from dwcp_agent.control.context import CONTEXT, caller
from dwcp_agent.errors import Refused
from dwcp_agent.sessions.ticket import check_session_id
from dwcp_agent.transport.frame import PROTOCOL, ROUNDED, STATE

__all__ = ["open_session"]


async def open_session(request: web.Request) -> web.Response:
    """Opens the session named in ``X-DWCP-Session``, or prolongs it."""
    context = request.app[CONTEXT]
    session = check_session_id(request.headers.get("X-DWCP-Session", ""))
    if context.draining:
        raise Refused("This agent takes no new sessions: it is draining.", code="draining", status=503)
    now = time.time()
    identity = caller(request)
    ticket, expires = context.tickets.issue(session, identity, now)
    if context.sessions.open(identity, session, expires, now):
        log.event("session", session=session, identity=str(identity))
    dictionary = await asyncio.to_thread(context.dictionaries.latest, identity)
    body = {
        "session": session,
        "release": context.release.id,
        "ticket": ticket,
        "data": {"host": context.config.data_host, "port": context.ports.data},
        "expires": expires,
        "protocol": PROTOCOL,
        "state": STATE,
        "rounded": ROUNDED,
    }
    if dictionary is not None:
        body["dictionary"] = dictionary.id
    return web.Response(status=201, content_type="application/json", text=json.dumps(body))
