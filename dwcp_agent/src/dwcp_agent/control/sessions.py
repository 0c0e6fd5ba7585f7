"""``POST /v1/sessions``: a ticket for data streams."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from dwcp_agent import log
from dwcp_agent.control.context import CONTEXT, caller
from dwcp_agent.encoding.windows import LONG_WINDOW_LOG
from dwcp_agent.errors import Refused
from dwcp_agent.sessions.ticket import check_session_id
from dwcp_agent.transport.frame import PROTOCOL, ROUNDED, STATE

__all__ = ["open_session"]


async def open_session(request: web.Request) -> web.Response:
    """Opens the session named in ``X-DWCP-Session``, or prolongs it.

    With ``X-DWCP-Content`` it says what there is under that name, and whether the transfer in ``X-DWCP-Token`` was begun;
    with ``X-DWCP-State`` what dictionary there is.
    """
    context = request.app[CONTEXT]
    session = check_session_id(request.headers.get("X-DWCP-Session", ""))
    if context.draining:
        raise Refused("This agent takes no new sessions: it is draining.", code="draining", status=503)
    now = time.time()
    identity = caller(request)
    told: dict[str, Any] = {}
    look = asyncio.get_running_loop().run_in_executor  # only for who asks: it is read from the disk
    if (asked := request.headers.get("X-DWCP-Content")) is not None:
        told["content"] = await look(context.codec, context.store.known, identity, unquote(asked))
        told["begun"] = await look(context.codec, context.store.has_begun, identity, request.headers.get("X-DWCP-Token", ""))
    if "X-DWCP-State" in request.headers:
        dictionary = await look(context.codec, context.dictionaries.latest, identity)
        told |= {"dictionary": dictionary.id} if dictionary is not None else {}
    ticket, expires = context.tickets.issue(session, identity, now)
    if context.sessions.open(identity, session, expires, now):
        log.event("session", session=session, identity=str(identity))
    body = {
        "session": session,
        "release": context.release.id,
        "ticket": ticket,
        "data": {"host": context.config.data_host, "port": context.ports.data},
        "expires": expires,
        "protocol": PROTOCOL,
        "state": STATE,
        "window": LONG_WINDOW_LOG,
        "rounded": ROUNDED,
        **told,
    }
    return web.Response(status=201, content_type="application/json", text=json.dumps(body))
