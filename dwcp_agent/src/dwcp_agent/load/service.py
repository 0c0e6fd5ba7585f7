"""``dwcp load`` as a service: offers the plan, counts, and shows what it counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
import uuid
from collections.abc import Awaitable, Callable

from aiohttp import web

from dwcp_agent import features, log
from dwcp_agent.config import LoadConfig
from dwcp_agent.errors import Refused
from dwcp_agent.load.gateway import Gateway, Outcome
from dwcp_agent.load.payloads import Payloads
from dwcp_agent.load.plan import SIZES, Due, Plan
from dwcp_agent.load.samples import CONTROL, NO_RELEASE, Samples
from dwcp_agent.notify import notify
from dwcp_agent.release import Release
from dwcp_agent.security.identity import METRICS_ROLES, from_certificate
from dwcp_agent.security.rotation import following, serving
from dwcp_agent.service import BACKLOG, listen
from dwcp_agent.telemetry.metrics import CONTENT_TYPE, render

__all__ = ["LoadClient", "run"]

MAX_SAMPLES_A_READ = 5000


class LoadClient:
    """One site's client. :meth:`start` opens its port and begins to offer; :meth:`drain` ends offering and waits for what is in flight."""

    def __init__(self, config: LoadConfig, release: Release) -> None:
        self.config = config
        self.release = release
        self.boot_id = str(uuid.uuid4())
        self.samples = Samples()
        self._draining = False
        self._in_flight: set[asyncio.Task[None]] = set()
        self._cleanup = contextlib.AsyncExitStack()
        self._gateway: Gateway
        self.offering: asyncio.Task[None]

    async def start(self) -> None:
        """Raises BadInput or Occupied with nothing left running."""
        features.configure()
        try:
            sock = listen(self.config.listen, self.config.port)
            self._cleanup.callback(sock.close)
            tls, _ = serving(self.config.tls)
            self._gateway = Gateway(self.config, following(self.config.tls))
            self._cleanup.push_async_callback(self._gateway.close)
            runner = web.AppRunner(self._app(), access_log=None, handle_signals=False, shutdown_timeout=2)
            await runner.setup()
            self._cleanup.push_async_callback(runner.cleanup)
            await web.SockSite(runner, sock, ssl_context=tls, backlog=BACKLOG).start()
        except BaseException:
            await self._cleanup.aclose()
            raise
        self.offering = asyncio.create_task(self._offer())

    async def drain(self) -> None:
        """Offers nothing more, lets requests in flight finish, closes."""
        self._draining = True
        notify("STOPPING=1")
        self.offering.cancel()
        log.event("draining", in_flight=len(self._in_flight))
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=self.config.drain_timeout_s)
        cut = len(self._in_flight)
        for task in list(self._in_flight):
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
        log.event("stopped", cut=cut)
        await self._cleanup.aclose()

    async def _offer(self) -> None:
        source = random.Random(self.config.seed)  # noqa: S311 - traffic, not a secret
        payloads = Payloads(SIZES, source)
        loop = asyncio.get_running_loop()
        # One clock for when things are due; wall time is derived from it, so that a jump of the clock bends no latency.
        due_at = loop.time()
        wall = time.time() - due_at
        for due in Plan(self.config, source):
            due_at += due.after_s
            wait = due_at - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            self.samples.offered.inc()
            if len(self._in_flight) >= self.config.max_in_flight:
                self.samples.add(wall + due_at, CONTROL if due.control else NO_RELEASE, due.op, "refused", loop.time() - due_at)
                continue
            task = asyncio.create_task(self._request(due, due_at, wall, payloads))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _request(self, due: Due, due_at: float, wall: float, payloads: Payloads) -> None:
        loop = asyncio.get_running_loop()
        outcome = Outcome()
        try:
            async with asyncio.timeout_at(due_at + self.config.timeout_s):
                await self._gateway.do(due, wall + due_at, payloads.next(due.op), outcome)
        except TimeoutError:
            outcome.result = "timeout"
        except asyncio.CancelledError:
            outcome.result = "timeout"
            raise
        except Exception:
            log.bug("request-bug", op=due.op)
            outcome.result = "error"
        finally:
            self.samples.add(wall + due_at, outcome.release, due.op, outcome.result, loop.time() - due_at)
        if outcome.result != "ok":
            log.warn("request", op=due.op, session=due.session, release=outcome.release, result=outcome.result, reason=outcome.reason)

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=1024)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", _only(self._metrics))
        app.router.add_get("/samples", _only(self._samples))
        app.on_response_prepare.append(self._name_release)
        return app

    async def _name_release(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-DWCP-Release"] = self.release.id

    async def _ready(self, request: web.Request) -> web.Response:
        body = {
            "ready": not self._draining,
            "version": self.release.version,
            "digest": self.release.digest,
            "id": self.release.id,
            "slot": None,
            "pid": os.getpid(),
            "boot_id": self.boot_id,
        }
        return _json(body, 503 if self._draining else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=render(self.samples.registry), headers={"Content-Type": CONTENT_TYPE})

    async def _samples(self, request: web.Request) -> web.Response:
        try:
            after = int(request.query.get("after", "0"))
            limit = int(request.query.get("limit", str(MAX_SAMPLES_A_READ)))
        except ValueError:
            after = limit = -1
        if after < 0 or limit < 1:
            return _json({"error": "bad-query", "message": "after and limit must be whole numbers, limit above 0."}, 400)
        following, found = self.samples.after(after, min(limit, MAX_SAMPLES_A_READ))
        return _json({"boot": self.boot_id, "next": following, "samples": found}, 200)


Answer = Callable[[web.Request], Awaitable[web.Response]]


def _only(answer: Answer) -> Answer:
    """``answer``, for those who may read metrics."""

    async def guarded(request: web.Request) -> web.Response:
        try:
            peer = from_certificate(request.transport.get_extra_info("peercert") if request.transport else None)
            if peer.ou not in METRICS_ROLES:
                raise Refused(f"OU={peer.ou} may not do this.", code="forbidden")
        except Refused as error:
            return _json({"error": error.code, "message": error.message}, error.status)
        return await answer(request)

    return guarded


def _json(body: dict[str, object], status: int) -> web.Response:
    return web.Response(status=status, content_type="application/json", text=json.dumps(body))


def run(config: LoadConfig, release: Release) -> None:
    """``dwcp load``: returns after SIGTERM or SIGINT has been answered by a drain."""

    async def main() -> None:
        client = LoadClient(config, release)
        await client.start()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        log.event("ready", release=release.id, pid=os.getpid(), gateway=config.gateway, rate_per_s=config.rate_per_s)
        notify("READY=1")
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, client.offering}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            client.offering.result()  # it never ends by itself: a client that offers nothing would look like a quiet fleet
        await client.drain()

    asyncio.run(main())
