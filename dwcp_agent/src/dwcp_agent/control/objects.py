"""``PUT`` and ``GET /v1/objects/<name>``: content small enough to travel inside a request."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re

from aiohttp import web

from dwcp_agent.control.context import CONTEXT, Context, caller
from dwcp_agent.encoding.chunk import decompress
from dwcp_agent.errors import Corrupt, Refused
from dwcp_agent.security.identity import Identity
from dwcp_agent.sessions.ticket import check_session_id
from dwcp_agent.store.names import parts_of
from dwcp_agent.store.store import Receipt

__all__ = ["MAX_OBJECT_BYTES", "get_object", "put_object"]

MAX_OBJECT_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def put_object(request: web.Request) -> web.Response:
    """Commits the body under the caller's name; the hash in the answer is of the file, read back."""
    context = request.app[CONTEXT]
    if "X-DWCP-Session" in request.headers:
        check_session_id(request.headers["X-DWCP-Session"])
    name = request.match_info["name"]
    parts_of(name)
    sha256 = request.headers.get("X-DWCP-SHA256", "").lower()
    if not _SHA256.fullmatch(sha256):
        raise Refused("X-DWCP-SHA256 must be the content's SHA-256.", code="bad-hash", status=400)
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "zstd"):
        raise Refused(f"Content-Encoding {encoding} is not spoken here, only zstd.", code="bad-encoding", status=415)
    if context.puts >= context.config.limits.max_requests:
        raise Refused("Too many requests are in flight.", code="busy", status=503)
    context.puts += 1
    try:
        body = await request.read()
        receipt = await asyncio.get_running_loop().run_in_executor(
            context.codec, _commit, context, caller(request), name, body, encoding == "zstd", sha256
        )
    except Corrupt:
        context.metrics.corruption.inc()
        raise
    finally:
        context.puts -= 1
    context.metrics.received(receipt.bytes)
    answer = {"name": name, "sha256": receipt.sha256, "bytes": receipt.bytes}
    return web.Response(status=201, content_type="application/json", text=json.dumps(answer))


async def get_object(request: web.Request) -> web.Response:
    """Content of the caller's own object, with its hash in ``X-DWCP-SHA256``."""
    context = request.app[CONTEXT]
    name = request.match_info["name"]
    found = await asyncio.get_running_loop().run_in_executor(context.codec, _read, context, caller(request), name)
    if found is None:
        raise Refused("There is no such object.", code="not-found", status=404)
    content, sha256 = found
    context.metrics.sent(len(content))
    return web.Response(body=content, content_type="application/octet-stream", headers={"X-DWCP-SHA256": sha256})


def _commit(context: Context, owner: Identity, name: str, body: bytes, packed: bool, sha256: str) -> Receipt:
    content = decompress(body, MAX_OBJECT_BYTES) if packed else body
    incoming = context.store.begin(owner, name)
    try:
        incoming.write(0, content)
        return incoming.commit(sha256)
    finally:
        incoming.discard()


def _read(context: Context, owner: Identity, name: str) -> tuple[bytes, str] | None:
    content = context.store.read(owner, name, MAX_OBJECT_BYTES)
    return None if content is None else (content, hashlib.sha256(content).hexdigest())
