"""``GET /v1/manifests/<name>``: what the caller's own content is made of, for a sender that has another version of it."""

from __future__ import annotations

import asyncio
import os

from aiohttp import web

from dwcp_agent.control.context import CONTEXT, Context, caller
from dwcp_agent.encoding.manifest import Manifest
from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity

__all__ = ["get_manifest"]


async def get_manifest(request: web.Request) -> web.Response:
    """The hashes of all blocks, one after the other; size and id in ``X-DWCP-Size`` and ``X-DWCP-Manifest``."""
    context = request.app[CONTEXT]
    name = request.match_info["name"]
    found = await asyncio.get_running_loop().run_in_executor(context.codec, _manifest, context, caller(request), name)
    if found is None:
        raise Refused("There is no such content.", code="not-found", status=404)
    headers = {"X-DWCP-Size": str(found.size), "X-DWCP-Manifest": found.id}
    return web.Response(body=found.hashes, content_type="application/octet-stream", headers=headers)


def _manifest(context: Context, owner: Identity, name: str) -> Manifest | None:
    found = context.store.manifest(owner, name, compute=True)
    if found is None:
        return None
    os.close(found[0])
    return found[1]
