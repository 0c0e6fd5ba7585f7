"""The agent as a running service: starts in the right order, drains, stops."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from dwcp_agent import features, log
from dwcp_agent.config import CONTROL_PORTS, AgentConfig, Ports, ports_of
from dwcp_agent.control.app import control_app, health_app
from dwcp_agent.control.context import Context
from dwcp_agent.errors import BadInput, Occupied
from dwcp_agent.notify import notify
from dwcp_agent.release import Release
from dwcp_agent.security.rotation import Rotating, serving
from dwcp_agent.security.tls import tell_refused
from dwcp_agent.sessions.admission import Admission
from dwcp_agent.sessions.table import SessionTable
from dwcp_agent.sessions.ticket import TicketIssuer
from dwcp_agent.store.dictionaries import Dictionaries
from dwcp_agent.store.state import StateStore
from dwcp_agent.store.store import Store
from dwcp_agent.telemetry.metrics import AgentMetrics
from dwcp_agent.telemetry.senders import ReceivingMetrics, SenderMetrics
from dwcp_agent.threads import Threads
from dwcp_agent.transport.buffers import make_buffers
from dwcp_agent.transport.inbound import InboundTable
from dwcp_agent.transport.plain import Networks
from dwcp_agent.transport.receiver import DataServer, ReceiverLimits
from dwcp_agent.transport.resumable import ResumableStreams
from dwcp_agent.transport.state import StateStreams
from dwcp_agent.transport.transfer import TransferTable

if TYPE_CHECKING:
    from dwcp_agent.defects import Defects

__all__ = ["Service", "listen", "run"]

BACKLOG = 512
# Longer than any gateway keeps its end: the one who sends decides when a kept connection ends, so a request never meets a closing door.
KEEP_ALIVE_S = 3600
TRIM_AFTER_S = 60.0
"""When no stream began for so long, memory of past ones goes back to the kernel; as much as the warm streams need stays."""
_REAP_EVERY_S = 1.0
_POLL_S = 0.02


def listen(address: str, port: int) -> socket.socket:
    """A listening socket. Raises Occupied when the port is taken, BadInput when the address is not this host's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise Occupied(f"Port {port} on {address} is taken by another process; stop that one or use the other slot.") from None
        raise BadInput(f"Cannot listen on {address} port {port}: {error.strerror}.") from None
    return sock


class Service:
    """One agent. :meth:`start` returns when every port listens and everything is warm; :meth:`drain` lets running work finish."""

    def __init__(
        self,
        config: AgentConfig,
        slot: str,
        release: Release,
        *,
        ports: Ports | None = None,
        defect: Mapping[str, float | bool] | None = None,
    ) -> None:
        self.config = config
        self.ports = ports or ports_of(slot)
        self._slot = slot
        self._release = release
        self._defects = _make_defects(defect)
        self._cleanup = contextlib.AsyncExitStack()
        self.context: Context
        self._data: DataServer
        self._certificates: Rotating
        self._stop = asyncio.Event()

    async def start(self) -> None:
        """Raises BadInput or Occupied with nothing left running."""
        try:
            await self._start()
        except BaseException:
            await self._cleanup.aclose()
            raise

    async def _start(self) -> None:
        config, limits = self.config, self.config.limits
        features.configure(config.features.disable)
        tls, self._certificates = serving(config.tls, self._certificates_changed)
        # Ports before the store: whoever holds the slot's ports owns the slot's partial files.
        control, data, health = (self._listen(port) for port in (self.ports.control, self.ports.data, self.ports.health))
        store = Store(config.store, self._slot, self._defects.spoil if self._defects and self._defects.corrupt else None)
        self._cleanup.callback(store.close)
        values = StateStore(config.store, limits.max_state_keys, limits.max_state_bytes)
        self._cleanup.callback(values.close)
        dictionaries = Dictionaries(config.store)
        dictionaries.purge()

        threads = Threads({"net": config.cpus.net, "codec": config.cpus.codec, "control": config.cpus.control})
        # Commits wait for the disk most of the time, and several that wait together share one flush of its journal.
        codecs = max(4, len(threads.allowed))
        codec = ThreadPoolExecutor(codecs, thread_name_prefix="codec", initializer=threads.join, initargs=("codec",))
        self._cleanup.callback(codec.shutdown, wait=True, cancel_futures=True)
        for warm in [codec.submit(time.sleep, 0.005) for _ in range(codecs)]:
            warm.result()
        buffers = make_buffers(config.streams)
        buffers.warm()

        boot_id = str(uuid.uuid4())
        metrics = AgentMetrics(self._release)
        tickets = TicketIssuer(boot_id, limits.ticket_ttl_s)
        self.context = Context(
            config=config,
            slot=self._slot,
            ports=self.ports,
            release=self._release,
            boot_id=boot_id,
            metrics=metrics,
            sessions=SessionTable(limits.max_sessions),
            tickets=tickets,
            transfers=TransferTable(store, limits.max_streams, limits.max_transfer_bytes),
            inbound=InboundTable(store, limits.max_streams, limits.max_transfer_bytes),
            states=StateStreams(tickets, values, dictionaries, metrics, limits.stall_timeout_s, limits.idle_timeout_s),
            store=store,
            values=values,
            dictionaries=dictionaries,
            codec=codec,
            threads=threads,
            buffers=buffers,
            admission=Admission(config.admission, self._slot, CONTROL_PORTS),
            defects=self._defects,
        )
        metrics.registry.register(SenderMetrics(config.senders))
        metrics.registry.register(ReceivingMetrics(self.context.inbound.figures))
        self._start_data(data, tls)
        tell_refused(tls, self._refused)
        # Last of the threads, since a thread inherits the mask of the one that starts it.
        threads.join("control")
        await self._serve(control_app(self.context), control, tls)
        await self._serve(health_app(self.context), health, None)
        reaper = asyncio.create_task(self._reap())
        self._cleanup.push_async_callback(_cancel, reaper)

    def _start_data(self, listener: socket.socket, tls: ssl.SSLContext) -> None:
        context, limits = self.context, self.config.limits
        delay = self._defects.hold_blocking if self._defects is not None and self._defects.latency else None
        plain = Networks(self.config.plain_from)
        self._data = DataServer(
            listener,
            tls,
            context.tickets,
            context.transfers,
            context.buffers,
            context.codec,
            context.threads,
            context.metrics,
            ReceiverLimits(self.config.streams, limits.max_streams, limits.stall_timeout_s, limits.idle_timeout_s),
            ResumableStreams(context.tickets, context.inbound, context.metrics, limits.stall_timeout_s, delay, plain),
            context.states,
            delay,
            plain,
        )
        self._data.start()
        self._cleanup.callback(self._data.close)

    def _refused(self, reason: str) -> None:
        self.context.metrics.handshake_refused("control")
        log.warn("handshake-failed", port="control", reason=reason)

    def _listen(self, port: int) -> socket.socket:
        sock = listen(self.config.listen, port)
        self._cleanup.callback(sock.close)
        return sock

    async def _serve(self, app: web.Application, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        # Content-Encoding is ours to decode, within our limits.
        runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, auto_decompress=False, handle_signals=False, shutdown_timeout=2
        )
        await runner.setup()
        self._cleanup.push_async_callback(runner.cleanup)
        await web.SockSite(runner, sock, ssl_context=tls, backlog=BACKLOG).start()

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAP_EVERY_S)
            self.context.transfers.reap(self.config.limits.stall_timeout_s)
            self.context.inbound.reap(self.config.limits.stall_timeout_s)
            self._certificates.current()  # so that what cannot be used is told before anybody connects
            if self.context.buffers.idle_s() >= TRIM_AFTER_S:
                freed = await asyncio.get_running_loop().run_in_executor(self.context.codec, self.context.buffers.trim)
                log.event("trimmed", bytes=freed)

    def _certificates_changed(self, result: str, why: str) -> None:
        self.context.metrics.certificates(result)
        if why:
            log.warn("certificates-refused", reason=why)
        else:
            log.event("certificates-taken", cert=str(self.config.tls.cert))

    def request_stop(self) -> None:
        """What SIGTERM does: :meth:`run_until_stopped` begins to drain."""
        self._stop.set()

    async def run_until_stopped(self) -> None:
        """Serves until :meth:`request_stop`, then drains and stops."""
        await self._stop.wait()
        await self.drain()

    async def drain(self) -> None:
        """Takes no new sessions, lets what runs finish within the drain timeout, then stops."""
        context, limits = self.context, self.config.limits
        context.draining = True
        context.states.drain()
        notify("STOPPING=1")
        log.event("draining", transfers=context.running(), requests=context.in_flight)
        begun = time.monotonic()
        deadline = begun + limits.drain_timeout_s
        quiet_at = begun + limits.drain_grace_s
        while time.monotonic() < deadline and (time.monotonic() < quiet_at or context.in_flight or context.running()):
            await asyncio.sleep(_POLL_S)
        cut = context.running()
        for transfers in (context.transfers, context.inbound):
            transfers.fail_all("The agent stopped before the transfer was complete.")
        log.event("stopped", cut=cut, drained_s=round(time.monotonic() - begun, 3))
        await self._cleanup.aclose()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _make_defects(defect: Mapping[str, float | bool] | None) -> Defects | None:
    if defect is None:
        return None
    from dwcp_agent.defects import Defects

    return Defects(defect)


def run(config: AgentConfig, slot: str, release: Release, defect: Mapping[str, float | bool] | None) -> None:
    """``dwcp serve``: returns after SIGTERM or SIGINT has been answered by a drain."""

    async def main() -> None:
        service = Service(config, slot, release, defect=defect)
        await service.start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.request_stop)
        log.event("ready", release=release.id, slot=slot, pid=os.getpid(), store=str(Path(config.store)))
        notify("READY=1")
        await service.run_until_stopped()

    asyncio.run(main())
