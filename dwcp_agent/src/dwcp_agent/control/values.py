"""``GET`` and ``DELETE /v1/state/<key>``: small state, one key at a time. Puts come over data streams."""

from __future__ import annotations

import asyncio

from aiohttp import web

from dwcp_agent.control.context import CONTEXT, caller
from dwcp_agent.errors import Refused

__all__ = ["delete_value", "get_value"]


async def get_value(request: web.Request) -> web.Response:
    """What the caller's own key has, with its version and the Unix time of its put."""
    context = request.app[CONTEXT]
    key = request.match_info["key"]
    found = await asyncio.get_running_loop().run_in_executor(context.codec, context.values.get, caller(request), key)
    if found is None:
        raise Refused("There is no such key.", code="not-found", status=404)
    context.metrics.sent(len(found.value))
    headers = {"X-DWCP-Version": str(found.version), "X-DWCP-Time": f"{found.time_s:.3f}"}
    return web.Response(body=found.value, content_type="application/octet-stream", headers=headers)


async def delete_value(request: web.Request) -> web.Response:
    """The caller's own key is gone."""
    context = request.app[CONTEXT]
    key = request.match_info["key"]
    if not await asyncio.get_running_loop().run_in_executor(context.codec, context.values.delete, caller(request), key):
        raise Refused("There is no such key.", code="not-found", status=404)
    return web.Response(status=204)
