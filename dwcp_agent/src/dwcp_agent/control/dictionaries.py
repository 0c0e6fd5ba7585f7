"""``GET /v1/dictionaries/<id>``: a dictionary that the caller's own state was trained to."""

from __future__ import annotations

import asyncio

import zstandard
from aiohttp import web

from dwcp_agent.control.context import CONTEXT, caller
from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity
from dwcp_agent.store.dictionaries import Dictionaries

__all__ = ["get_dictionary"]


async def get_dictionary(request: web.Request) -> web.Response:
    """Its bytes as one zstd frame."""
    context = request.app[CONTEXT]
    found = await asyncio.get_running_loop().run_in_executor(
        context.codec, _packed, context.dictionaries, caller(request), request.match_info["id"]
    )
    if found is None:
        raise Refused("There is no such dictionary.", code="not-found", status=404)
    context.metrics.sent(len(found))
    return web.Response(body=found, content_type="application/octet-stream")


def _packed(dictionaries: Dictionaries, owner: Identity, id: str) -> bytes | None:
    found = dictionaries.get(owner, id)
    return None if found is None else zstandard.ZstdCompressor(level=9, write_content_size=True).compress(found.content)
