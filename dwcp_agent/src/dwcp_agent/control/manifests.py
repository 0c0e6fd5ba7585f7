"""``/v1/manifests/<name>``: what the caller's own content is made of, for a sender that has another version of it."""

from __future__ import annotations

import asyncio
import json
import os

from aiohttp import web

from dwcp_agent.control.context import CONTEXT, Context, caller
from dwcp_agent.encoding.manifest import BLOCK, Manifest, hash_pages
from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity

__all__ = ["MAX_BLOCKS", "get_manifest", "get_pages"]

MAX_BLOCKS = 4096
"""Of a question for pages; the answer has at most a MiB."""


async def get_manifest(request: web.Request) -> web.Response:
    """The hashes of all blocks, one after the other (of HEAD, none); size and id in ``X-DWCP-Size`` and ``X-DWCP-Manifest``."""
    context = request.app[CONTEXT]
    name = request.match_info["name"]
    found = await asyncio.get_running_loop().run_in_executor(context.codec, _manifest, context, caller(request), name)
    if found is None:
        raise Refused("There is no such content.", code="not-found", status=404)
    headers = {"X-DWCP-Size": str(found.size), "X-DWCP-Manifest": found.id}
    if found.rounded is not None:
        headers["X-DWCP-Rounded"] = found.rounded
    return web.Response(body=found.hashes, content_type="application/octet-stream", headers=headers)


async def get_pages(request: web.Request) -> web.Response:
    """The page hashes of the blocks in the question ``{"id": <manifest>, "blocks": [[first, count], ...]}``, one after the other."""
    context = request.app[CONTEXT]
    name = request.match_info["name"]
    wanted, runs = _question(await request.read())
    hashes = await asyncio.get_running_loop().run_in_executor(context.codec, _pages, context, caller(request), name, wanted, runs)
    return web.Response(body=hashes, content_type="application/octet-stream")


def _question(body: bytes) -> tuple[str, list[tuple[int, int]]]:
    try:
        fields = json.loads(body)
        wanted, runs = fields["id"], [(first, count) for first, count in fields["blocks"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Refused("The question names no id and blocks.", code="bad-request", status=400) from None
    if not isinstance(wanted, str) or any(type(number) is not int or number < 0 for run in runs for number in run):
        raise Refused("The question names no id and blocks.", code="bad-request", status=400)
    if sum(count for _, count in runs) > MAX_BLOCKS:
        raise Refused(f"A question may be for {MAX_BLOCKS} blocks.", code="too-large", status=413)
    return wanted, runs


def _manifest(context: Context, owner: Identity, name: str) -> Manifest | None:
    found = context.store.manifest(owner, name, compute=True)
    if found is None:
        return None
    os.close(found[0])
    return found[1]


def _pages(context: Context, owner: Identity, name: str, wanted: str, runs: list[tuple[int, int]]) -> bytes:
    found = context.store.manifest(owner, name, compute=False)
    if found is None:
        raise Refused("There is no such content.", code="not-found", status=404)
    descriptor, manifest = found
    try:
        if manifest.id != wanted:
            raise Refused("The content is another version by now.", code="mismatch", status=409)
        blocks = (os.pread(descriptor, BLOCK, index * BLOCK) for first, count in runs for index in range(first, first + count))
        return b"".join(hash_pages(block) for block in blocks)
    finally:
        os.close(descriptor)
