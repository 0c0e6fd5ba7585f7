"""One request through the gateway, from the moment it was due to the verified answer."""

from __future__ import annotations

import asyncio
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
import zstandard
from yarl import URL

from dwcp_agent.config import LoadConfig
from dwcp_agent.errors import Corrupt, Failed, Refused, Unreachable
from dwcp_agent.load.payloads import Payload
from dwcp_agent.load.plan import TRANSFER, Due
from dwcp_agent.load.samples import CONTROL, NO_RELEASE, Result
from dwcp_agent.transport.sender import Link, Sending
from dwcp_agent.transport.source import BytesSource

__all__ = ["Gateway", "Outcome"]

# Below the gateway's own: this side closes a kept connection first, so a request rarely meets one that is being closed.
KEEP_ALIVE_S = 30.0
_TRANSFER_THREADS = 8


@dataclass
class Outcome:
    """How a request ended; filled while it runs, so that a timeout still knows who had answered."""

    result: Result = "timeout"
    release: str = NO_RELEASE
    reason: str = ""


class Gateway:
    """Connections to the gateway, and to the agents that take data; all kept."""

    def __init__(self, config: LoadConfig, context: ssl.SSLContext) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_mark_sent)
        self._config = config
        self._context = context
        self._session = aiohttp.ClientSession(
            config.gateway,
            connector=aiohttp.TCPConnector(ssl=context, limit=config.max_in_flight * 2, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[trace],
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )
        # aiohttp would send a PUT again when a kept connection breaks, even when it may have arrived. Here nothing is sent twice unseen.
        self._session._retry_connection = False
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._links: dict[tuple[str, int], Link] = {}
        self._threads = ThreadPoolExecutor(_TRANSFER_THREADS, thread_name_prefix="net")

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()
        for link in self._links.values():
            link.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def do(self, due: Due, due_at: float, payload: Payload, outcome: Outcome) -> None:
        """Carries out ``due`` and fills ``outcome``; leaves ``timeout`` in it when it is cancelled."""
        headers = {"X-DWCP-Session": due.session, "X-Request-Start": f"t={due_at:.6f}"}
        if due.control:
            headers["X-DWCP-Lane"] = "control"
            outcome.release = CONTROL
        try:
            if due.op == TRANSFER:
                await self._transfer(due, headers, payload, outcome)
            else:
                await self._put(due, headers, payload, outcome)
        except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError) as error:
            outcome.result, outcome.reason = "refused", str(error)
        except (aiohttp.ClientError, OSError) as error:
            outcome.result, outcome.reason = "error", f"{type(error).__name__}: {error}"

    async def _put(self, due: Due, headers: dict[str, str], payload: Payload, outcome: Outcome) -> None:
        body, packed = payload.packed(self._compressor)
        headers["X-DWCP-SHA256"] = payload.sha256
        if packed:
            headers["Content-Encoding"] = "zstd"
        answer = await self._request("PUT", f"/v1/objects/{due.name}", headers, body, outcome)
        if answer is not None:
            outcome.result = "ok" if answer.get("sha256") == payload.sha256 else "corrupt"

    async def _transfer(self, due: Due, headers: dict[str, str], payload: Payload, outcome: Outcome) -> None:
        answer = await self._request("POST", "/v1/sessions", headers, b"", outcome)
        if answer is None:
            return
        try:
            ticket, host, port = str(answer["ticket"]), str(answer["data"]["host"]), int(answer["data"]["port"])
        except (KeyError, TypeError, ValueError):
            outcome.result, outcome.reason = "error", "the session's answer holds no ticket"
            return
        link = self._links.get((host, port))
        if link is None:
            link = self._links[host, port] = Link(host, port, self._context, self._config.timeout_s)
        sending = Sending(link, ticket, due.name, BytesSource(payload.content), streams=self._config.streams)
        running = asyncio.get_running_loop().run_in_executor(self._threads, sending.run)
        try:
            await asyncio.shield(running)
            outcome.result = "ok"
        except asyncio.CancelledError:
            sending.abort()
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        except Corrupt as error:
            outcome.result, outcome.reason = "corrupt", error.message
        except Refused as error:
            outcome.result, outcome.reason = ("corrupt" if error.code == "corrupt" else "error"), error.message
        except Unreachable as error:
            outcome.result, outcome.reason = "error", error.message
        except Failed as error:
            outcome.result, outcome.reason = "error", error.message

    async def _request(self, method: str, path: str, headers: dict[str, str], body: bytes, outcome: Outcome) -> dict[str, Any] | None:
        """The answer's JSON when it is 201; None when ``outcome`` says already how the request ended."""
        try:
            return await self._once(method, path, headers, body, outcome, sent := _Sent())
        except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError):
            raise
        except aiohttp.ClientConnectionError:
            if sent.any:
                raise
            # The kept connection was closed before a byte of this request left: nobody has seen it.
            return await self._once(method, path, headers, body, outcome, _Sent())

    async def _once(
        self, method: str, path: str, headers: dict[str, str], body: bytes, outcome: Outcome, sent: _Sent
    ) -> dict[str, Any] | None:
        async with self._session.request(method, path, headers=headers, data=body, trace_request_ctx=sent) as response:
            content = await response.read()
            outcome.release = response.headers.get("X-DWCP-Release", CONTROL if "X-DWCP-Lane" in headers else NO_RELEASE)
            try:
                answer = json.loads(content)
            except ValueError:
                answer = None
            if response.status == 421 and path.startswith("/") and (url := _other_slot(response.url, answer)):
                return await self._once(method, url, headers, body, outcome, sent)
            if not isinstance(answer, dict):
                outcome.result, outcome.reason = "error", f"{response.status} without JSON"
                return None
            if response.status != 201:
                code = answer.get("error")
                outcome.result = "corrupt" if response.status == 422 and code == "corrupt" else "error"
                outcome.reason = f"{response.status} {code}"
                return None
            return answer


def _other_slot(url: URL, answer: object) -> str | None:
    """The same request at the slot that the answer names."""
    control = answer.get("control") if isinstance(answer, dict) else None
    port = control.get("port") if isinstance(control, dict) else None
    return str(url.with_port(port)) if type(port) is int and 0 < port < 65536 else None


class _Sent:
    """Whether anything of a request may have left this machine."""

    any = False


async def _mark_sent(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: object) -> None:
    context.trace_request_ctx.any = True
