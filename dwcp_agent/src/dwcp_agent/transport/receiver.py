"""The data port: a thread per stream.

A blocking thread that checks, decompresses and writes without the interpreter lock is its own backpressure, and its memory is two chunks.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import cast

from dwcp_agent import log
from dwcp_agent.encoding.chunk import decode_chunk
from dwcp_agent.errors import AgentError, BadInput, Corrupt, Failed, ProtocolError, Refused, Unreachable
from dwcp_agent.security.identity import CONTENT_ROLES, Identity, from_certificate
from dwcp_agent.sessions.ticket import TicketIssuer
from dwcp_agent.store.names import parts_of
from dwcp_agent.store.store import Receipt
from dwcp_agent.telemetry.metrics import AgentMetrics
from dwcp_agent.threads import Threads
from dwcp_agent.transport.buffers import Buffers
from dwcp_agent.transport.frame import MAGIC, MAX_CHUNK, MIN_CHUNK, PROTOCOL, Frame, Kind, control, parse_control
from dwcp_agent.transport.handover import Handover, Nothing, make_handover
from dwcp_agent.transport.plain import Networks
from dwcp_agent.transport.resumable import ResumableStreams
from dwcp_agent.transport.state import StateStreams
from dwcp_agent.transport.transfer import Opening, Transfer, TransferTable
from dwcp_agent.transport.wire import Wire

__all__ = ["DataServer", "ReceiverLimits"]

HANDSHAKE_TIMEOUT_S = 10.0
_LEAVE_S = 2.0
"""How long streams that were cut may take to clear away what they had received."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ReceiverLimits:
    """Bounds of the data port."""

    warm_streams: int
    max_streams: int
    stall_timeout_s: float
    idle_timeout_s: float


class DataServer:
    """Accepts data streams on ``listener`` until :meth:`close`."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        tickets: TicketIssuer,
        transfers: TransferTable,
        buffers: Buffers,
        codec: Executor,
        threads: Threads,
        metrics: AgentMetrics,
        limits: ReceiverLimits,
        resumable: ResumableStreams,
        states: StateStreams,
        delay: Callable[[float], None] | None = None,
        plain: Networks | None = None,
    ) -> None:
        self._listener = listener
        self._context = context
        self._tickets = tickets
        self._transfers = transfers
        self._buffers = buffers
        self._codec = codec
        self._threads = threads
        self._metrics = metrics
        self._limits = limits
        self._resumable = resumable
        self._states = states
        self._delay = delay
        self._plain = plain or Networks()
        # Every stream there may be, and the word to each worker that it may go.
        self._waiting: Handover[socket.socket | None] = make_handover(2 * (limits.max_streams + limits.warm_streams) + 2)
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._busy = 0
        self._workers = 0
        self._open: set[Wire] = set()
        self._closing = False

    def start(self) -> None:
        """Starts the accepting thread and the warm streams; returns when every one of them runs."""
        started = threading.Barrier(self._limits.warm_streams + 2)
        for index in range(self._limits.warm_streams):
            self._spawn(index, started, extra=False)
        threading.Thread(target=self._accept, args=(started,), name="net-accept", daemon=True).start()
        started.wait(timeout=30)

    def close(self) -> None:
        """Stops accepting and closes every stream; waits a moment for each to take its partial content with it."""
        with self._lock:
            self._closing = True
            wires = list(self._open)
            workers = self._workers
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in wires:
            wire.close()
        for _ in range(workers):
            self._waiting.put(None)
        with self._left:
            self._left.wait_for(lambda: self._busy == 0, timeout=_LEAVE_S)

    def _spawn(self, index: int, started: threading.Barrier | None, *, extra: bool) -> None:
        with self._lock:
            self._workers += 1
        threading.Thread(target=self._work, args=(started, extra), name=f"net-{index}", daemon=True).start()

    def _accept(self, started: threading.Barrier) -> None:
        self._threads.join("net")
        started.wait(timeout=30)
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                time.sleep(0.05)  # out of descriptors: the peer retries, a spinning thread helps nobody
                continue
            with self._lock:
                if self._busy >= self._limits.max_streams:
                    sock.close()
                    continue
                self._busy += 1
                more = self._busy > self._workers
            self._waiting.put(sock)
            if more:
                self._spawn(self._workers, None, extra=True)

    def _work(self, started: threading.Barrier | None, extra: bool) -> None:
        self._threads.join("net")
        if started:
            started.wait(timeout=30)
        try:
            while True:
                try:
                    sock = self._waiting.get(timeout=self._limits.idle_timeout_s if extra else None)
                except Nothing:
                    return
                if sock is None:
                    return
                try:
                    self._serve(sock)
                except Exception:
                    log.bug("stream-bug")
                finally:
                    sock.close()
                    self._buffers.rest()
                    with self._left:
                        self._busy -= 1
                        self._left.notify_all()
        finally:
            with self._lock:
                self._workers -= 1
            self._threads.leave()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(HANDSHAKE_TIMEOUT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            plain = self._plain.have(sock) and sock.recv(1, socket.MSG_PEEK) == MAGIC[:1]
            stream = sock if plain else self._context.wrap_socket(sock, server_side=True)
        except OSError as error:
            self._metrics.handshake_refused("data")
            log.warn("handshake-failed", port="data", reason=getattr(error, "reason", None) or str(error))
            return
        wire = Wire(stream, self._buffers.take())
        with self._lock:
            if self._closing:
                stream.close()
                return
            self._open.add(wire)
        try:
            self._converse(wire, plain=plain)
        finally:
            with self._lock:
                self._open.discard(wire)
            wire.close()

    def _converse(self, wire: Wire, *, plain: bool = False) -> None:
        """Takes part in one transfer after the other until the stream ends or breaks a rule."""
        transfer_number = 0
        peer: Identity | None = None
        try:
            if not plain:
                peer = from_certificate(cast("ssl.SSLSocket", wire.sock).getpeercert())
                if peer.ou not in CONTENT_ROLES:
                    raise Refused(f"OU={peer.ou} may not send data.", code="forbidden")
            while True:
                # Who has shown nothing yet has no longer than for a handshake.
                wire.sock.settimeout(HANDSHAKE_TIMEOUT_S if plain and not transfer_number else self._limits.idle_timeout_s)
                hello = wire.read(at_start=True)
                if hello is None:
                    return
                transfer_number = hello.header.transfer
                wire.sock.settimeout(self._limits.stall_timeout_s)
                if peer is None:
                    self._resumable.converse_plainly(wire, hello)
                    continue
                fields = parse_control(hello.payload) if hello.header.kind == Kind.HELLO else {}
                if fields.get("protocol") == PROTOCOL:
                    conversation = self._states if fields.get("state") is True else self._resumable
                    conversation.converse(wire, hello, peer)
                    continue
                transfer = self._transfers.join(self._opening(hello, peer))
                try:
                    self._receive(wire, transfer)
                except Failed as error:
                    transfer.fail(error)
                    raise
                except BaseException:
                    transfer.fail(Failed("The receiver failed."))
                    raise
                finally:
                    transfer.leave()
        except Unreachable as error:
            if transfer_number:
                log.warn("stream-lost", identity=peer, reason=error.message)
        except AgentError as error:
            code, status = _code_of(error)
            self._metrics.stream_refused(code, status)
            log.warn("stream-refused", identity=peer, code=code, reason=error.message)
            wire.refuse(transfer_number, code, error.message, status)

    def _opening(self, frame: Frame, peer: Identity) -> Opening:
        if frame.header.kind != Kind.HELLO:
            raise ProtocolError("A stream begins with HELLO.")
        fields = parse_control(frame.payload)
        ticket_text, name, size, chunk = (fields.get(key) for key in ("ticket", "name", "size", "chunk"))
        if not isinstance(ticket_text, str) or not isinstance(name, str) or type(size) is not int or type(chunk) is not int:
            raise ProtocolError("HELLO lacks ticket, name, size or chunk.")
        if not MIN_CHUNK <= chunk <= MAX_CHUNK or not 0 <= size < 1 << 62:
            raise ProtocolError(f"A transfer of {size} bytes in chunks of {chunk} is over the limits.")
        ticket = self._tickets.check(ticket_text, peer, time.time())
        parts_of(name)
        return Opening(ticket.session, ticket.identity, frame.header.transfer, name, size, chunk)

    def _receive(self, wire: Wire, transfer: Transfer) -> None:
        while True:
            frame = wire.read()
            assert frame is not None
            header = frame.header
            if header.transfer != transfer.opening.number:
                raise ProtocolError("A frame of another transfer came in the middle of this one.")
            if header.kind == Kind.DATA:
                data = decode_chunk(header.flags, frame.payload, header.raw_length)
                if transfer.write(header.offset, header.raw_length, data):
                    self._metrics.received(header.raw_length)
            elif header.kind == Kind.FIN:
                return
            elif header.kind == Kind.END:
                sha256 = parse_control(frame.payload).get("sha256")
                if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
                    raise ProtocolError("END lacks a SHA-256.")
                receipt = self._finish(transfer, sha256)
                wire.write(control(Kind.RECEIPT, header.transfer, {"sha256": receipt.sha256, "bytes": receipt.bytes}))
                return
            else:
                raise ProtocolError("That frame is the receiver's to send.")

    def _finish(self, transfer: Transfer, sha256: str) -> Receipt:
        opening = transfer.opening
        try:
            transfer.await_chunks(self._limits.stall_timeout_s)
            receipt = self._codec.submit(transfer.commit, sha256).result()
        except Failed as error:
            corrupt = isinstance(error, Corrupt)
            if corrupt:
                self._metrics.corruption.inc()
            self._metrics.transfer("corrupt" if corrupt else "failed", time.monotonic() - transfer.started, _code_of(error)[1])
            raise
        if self._delay is not None:
            self._delay(time.monotonic() - transfer.started)
        seconds = time.monotonic() - transfer.started
        self._metrics.transfer("ok", seconds, 201)
        fields = {"session": opening.session, "identity": opening.identity, "content": opening.name}
        log.event("transfer", **fields, bytes=receipt.bytes, seconds=round(seconds, 4))
        return receipt


def _code_of(error: AgentError) -> tuple[str, int]:
    if isinstance(error, Refused):
        return error.code, error.status
    if isinstance(error, Corrupt):
        return "corrupt", 422
    if isinstance(error, ProtocolError):
        return "protocol", 400
    if isinstance(error, BadInput):
        return "bad-name", 400
    return "failed", 500
