"""Sending: one transfer over several streams of a link."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import socket
import ssl
import threading
from dataclasses import dataclass

from dwcp_agent.congestion.kernel import prefer
from dwcp_agent.encoding.chunk import encode_chunk
from dwcp_agent.errors import AgentError, Corrupt, Failed, ProtocolError, Refused, Unreachable
from dwcp_agent.transport.frame import MAX_CONTROL_BYTES, Buffer, Kind, control, encode, parse_control
from dwcp_agent.transport.source import Source
from dwcp_agent.transport.wire import Wire

__all__ = ["DEFAULT_CHUNK", "Link", "Sending", "Sent"]

DEFAULT_CHUNK = 256 * 1024
_HASH_BLOCK = 1 << 20
_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h
_UNSENT_BYTES = 512 * 1024
"""What the kernel may hold that it cannot send yet. More would only be late, and be sent again by another stream when this one breaks."""
_HASH_INLINE_BYTES = 4 << 20
"""Up to here hashing takes a few milliseconds and a thread for it is not worth starting."""


class Link:
    """Data connections to one agent, kept between transfers. Safe from several threads."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, timeout_s: float = 20.0) -> None:
        self.host = host
        self.port = port
        self._context = context
        self._timeout_s = timeout_s
        self._idle: list[Wire] = []
        self._coming = 0
        """How many connections are being made for whoever takes one."""
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        self._without_tls: Link | None = None
        self.congestion = ""
        """Congestion control of the connection that was made last."""

    def take(self) -> Wire:
        """A connection: kept, on its way, or new. Raises Unreachable."""
        while True:
            with self._changed:
                self._closed = False
                if not self._idle and self._coming:
                    self._waiting += 1
                    self._changed.wait_for(lambda: self._idle or self._waiting > self._coming)
                    self._waiting -= 1
                wire = self._idle.pop() if self._idle else None
            if wire is None:
                return self._connect()
            if not wire.readable():
                return wire
            wire.close()  # the other side has closed it or said something out of turn: nothing of ours was sent on it

    def warm(self, count: int) -> None:
        """Begins with this many connections at once, for whoever takes them; when one cannot be made, who takes one then is told why."""
        with self._changed:
            self._coming += count
        for _ in range(count):
            threading.Thread(target=self._warm, name="send-connect", daemon=True).start()

    def give(self, wire: Wire) -> None:
        """Keeps a connection whose transfer ended well."""
        with self._changed:
            # Whoever takes one from a link with TLS says things that must not be read on the way.
            if not self._closed and (self._context is None or wire.has_tls):
                self._idle.append(wire)
                self._changed.notify()
                return
        wire.close()

    def close(self) -> None:
        """Closes the idle connections, and those on their way when they come."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            without_tls = self._without_tls
        for wire in idle:
            wire.close()
        if without_tls is not None:
            without_tls.close()

    def without_tls(self) -> Link:
        """Connections to the same place that nobody encrypts; kept as this link's are. Only for a transfer that was granted them."""
        with self._changed:
            if self._without_tls is None:
                self._without_tls = type(self)(self.host, self.port, None, self._timeout_s)
            return self._without_tls

    def _warm(self) -> None:
        try:
            with contextlib.suppress(Unreachable):
                self.give(self._connect())
        finally:
            with self._changed:
                self._coming -= 1
                self._changed.notify_all()

    def _connect(self) -> Wire:
        where = f"{self.host} port {self.port}"
        try:
            sock = socket.create_connection((self.host, self.port), timeout=self._timeout_s)
        except OSError as error:
            raise Unreachable(f"The agent's data port at {where} cannot be reached: {error.strerror or error}.") from None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
            stream = self._context.wrap_socket(sock, server_hostname=self.host) if self._context is not None else sock
        except (OSError, ValueError) as error:
            sock.close()
            raise Unreachable(
                f"TLS with the agent's data port at {where} failed: {getattr(error, 'verify_message', '') or error}."
            ) from None
        self.congestion = prefer(stream)
        return Wire(stream, bytearray(MAX_CONTROL_BYTES))  # receipts and errors are all that comes back


@dataclass(frozen=True)
class Sent:
    """A transfer the receiver has verified and committed."""

    sha256: str
    bytes: int
    wire_bytes: int
    """Payload and headers as they went into TLS."""
    streams: int


class Sending:
    """One transfer. :meth:`run` does it; :meth:`abort` ends it from another thread."""

    def __init__(self, link: Link, ticket: str, name: str, source: Source, *, streams: int = 4, chunk: int = DEFAULT_CHUNK) -> None:
        self._link = link
        self._ticket = ticket
        self._name = name
        self._source = source
        self._chunk = chunk
        chunks = -(-source.size // chunk)
        self._streams = max(1, min(streams, chunks))
        self._number = secrets.randbits(63) | 1
        self._next = 0
        self._lock = threading.Lock()
        self._wires: list[Wire] = []
        self._failures: list[AgentError] = []
        self._aborted = False
        self._wire_bytes = 0
        self._sha256 = ""

    def run(self) -> Sent:
        """Sends everything and returns what the receiver committed.

        Raises Refused, Unreachable, Corrupt, Failed; the receiver keeps nothing then.
        """
        others = [threading.Thread(target=self._side_stream, name=f"send-{i}", daemon=True) for i in range(1, self._streams)]
        hashing = threading.Thread(target=self._hash, name="send-hash", daemon=True)
        for thread in others:
            thread.start()
        if self._source.size > _HASH_INLINE_BYTES:
            hashing.start()
        else:
            self._hash()
        wire: Wire | None = None
        try:
            wire = self._open()
            self._send_chunks(wire)
            for thread in (*others, hashing):
                if thread.ident is not None:
                    thread.join()
            self._raise_failure()
            if self._source.changed():
                raise Failed("The source was changed while it was sent, so nothing was committed; send it again when it rests.")
            self._write(wire, control(Kind.END, self._number, {"sha256": self._sha256}))
            receipt = parse_control(wire.answer().payload)
        except AgentError as error:
            self._fail(error)
        finally:
            for thread in (*others, hashing):
                if thread.ident is not None:
                    thread.join()
        self._raise_failure()
        assert wire is not None
        if receipt.get("sha256") != self._sha256 or receipt.get("bytes") != self._source.size:
            wire.close()
            raise Corrupt(f"The receiver committed content with SHA-256 {receipt.get('sha256')}, not {self._sha256}.")
        self._link.give(wire)
        return Sent(self._sha256, self._source.size, self._wire_bytes, self._streams)

    def abort(self) -> None:
        """Ends the transfer: every stream breaks, the receiver discards what it has."""
        with self._lock:
            self._aborted = True
            wires = list(self._wires)
        for wire in wires:
            wire.close()

    def _open(self) -> Wire:
        wire = self._link.take()
        with self._lock:
            self._wires.append(wire)
            aborted = self._aborted
        if aborted:
            wire.close()
            raise Unreachable("The transfer was aborted.")
        hello = {"ticket": self._ticket, "name": self._name, "size": self._source.size, "chunk": self._chunk}
        self._write(wire, control(Kind.HELLO, self._number, hello))
        return wire

    def _side_stream(self) -> None:
        try:
            wire = self._open()
            self._send_chunks(wire)
            self._write(wire, control(Kind.FIN, self._number, {}))
        except AgentError as error:
            self._fail(error)
        except Exception as error:  # a thread must not die silently: the transfer would wait for its chunks
            self._fail(AgentError(f"A stream failed unexpectedly: {error!r}."))
        else:
            with self._lock:
                self._wires.remove(wire)
            self._link.give(wire)

    def _send_chunks(self, wire: Wire) -> None:
        source, sent = self._source, 0
        while (offset := self._claim()) is not None:
            if wire.readable():
                wire.answer()
                raise ProtocolError("The agent sent a receipt before the end.")
            length = min(self._chunk, source.size - offset)
            try:
                chunk = source.chunk(offset, length)
            except OSError as error:
                raise Failed(f"The source cannot be read any more: {error.strerror or error}.") from None
            flags, payload = encode_chunk(chunk)
            head = encode(Kind.DATA, self._number, payload, flags=flags, offset=offset, raw_length=length)
            self._write(wire, head, payload)
            sent += len(head) + len(payload)
        with self._lock:
            self._wire_bytes += sent

    def _claim(self) -> int | None:
        with self._lock:
            offset = self._next
            if offset >= self._source.size or self._failures:
                return None
            self._next = offset + self._chunk
            return offset

    def _write(self, wire: Wire, head: bytes, payload: Buffer = b"") -> None:
        try:
            wire.write(head, payload)
        except Unreachable:
            # The receiver may have said why before it closed.
            if not self._aborted and wire.readable():
                wire.answer()
            raise

    def _hash(self) -> None:
        digest = hashlib.sha256()
        try:
            for offset in range(0, self._source.size, _HASH_BLOCK):
                digest.update(self._source.chunk(offset, min(_HASH_BLOCK, self._source.size - offset)))
        except OSError as error:
            self._fail(Failed(f"The source cannot be read any more: {error.strerror or error}."))
        self._sha256 = digest.hexdigest()

    def _fail(self, error: AgentError) -> None:
        with self._lock:
            self._failures.append(error)
        self.abort()

    def _raise_failure(self) -> None:
        """Raises the failure that says most: what the receiver answered before what merely broke."""
        with self._lock:
            failures = list(self._failures)
        if failures:
            raise next((error for error in failures if isinstance(error, Refused)), failures[0])
