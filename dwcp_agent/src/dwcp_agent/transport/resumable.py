"""What a stream of protocol 2 says to the receiver, and hears. ``docs/protocol.md`` has it in words."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from dwcp_agent import log
from dwcp_agent.encoding.manifest import ID_CHARACTERS
from dwcp_agent.encoding.rounding import is_mark
from dwcp_agent.encoding.stream import PartDecoder
from dwcp_agent.encoding.windows import WindowBudget
from dwcp_agent.errors import AgentError, Corrupt, ProtocolError
from dwcp_agent.security.identity import Identity
from dwcp_agent.sessions.ticket import TicketIssuer
from dwcp_agent.store.names import parts_of
from dwcp_agent.telemetry.metrics import AgentMetrics
from dwcp_agent.transport.frame import MAX_OFFSET, Frame, Kind, control, parse_control
from dwcp_agent.transport.inbound import Inbound, InboundTable, Intent
from dwcp_agent.transport.plain import Networks
from dwcp_agent.transport.wire import Wire

__all__ = ["ResumableStreams"]

_ACK_EVERY = 8
_TOKEN = re.compile(r"[0-9a-f]{32}")
_ID = re.compile(rf"[0-9a-f]{{{ID_CHARACTERS}}}")


class ResumableStreams:
    """The receiver's side of protocol 2."""

    def __init__(
        self,
        tickets: TicketIssuer,
        table: InboundTable,
        metrics: AgentMetrics,
        stall_timeout_s: float,
        delay: Callable[[float], None] | None,
        plain: Networks | None = None,
    ) -> None:
        self._tickets = tickets
        self._table = table
        self._metrics = metrics
        self._stall_timeout_s = stall_timeout_s
        self._delay = delay
        self._windows = WindowBudget()
        self._plain = plain or Networks()

    def converse(self, wire: Wire, hello: Frame, peer: Identity) -> None:
        """Takes part in the transfer of ``hello`` until the stream is done with it. Raises AgentError for what breaks a rule."""
        fields = parse_control(hello.payload)
        ticket, token, name, size = (fields.get(key) for key in ("ticket", "token", "name", "size"))
        baseline = fields.get("baseline", "")
        if not isinstance(ticket, str) or not isinstance(token, str) or not isinstance(name, str) or type(size) is not int:
            raise ProtocolError("HELLO lacks ticket, token, name or size.")
        if not _TOKEN.fullmatch(token) or not isinstance(baseline, str) or (baseline and not _ID.fullmatch(baseline)):
            raise ProtocolError("HELLO has a malformed token or baseline.")
        if not 0 <= size <= MAX_OFFSET:
            raise ProtocolError(f"A transfer of {size} bytes is over the limits.")
        rounded = fields.get("rounded")
        if rounded is not None and not is_mark(rounded):
            raise ProtocolError("HELLO says in a malformed way how numbers were rounded.")
        parts_of(name)
        identity = self._tickets.check(ticket, peer, time.time()).identity
        inbound, state = self._table.join(Intent(identity, token, name, size, rounded), baseline)
        decoder = PartDecoder(self._windows)
        try:
            if fields.get("plain") is True and "done" not in state and self._plain.have(wire.sock):
                state["plain"] = inbound.grant()
                log.event("plain", identity=str(identity), content=name)
            wire.write(control(Kind.STATE, hello.header.transfer, state))
            self._receive(wire, inbound, hello.header.transfer, decoder, may_end=True)
        finally:
            decoder.close()
            inbound.leave()

    def converse_plainly(self, wire: Wire, hello: Frame) -> None:
        """As :meth:`converse`, over a stream without TLS: it may only bring content of a transfer that was granted such streams."""
        if hello.header.kind != Kind.HELLO:
            raise ProtocolError("A stream begins with HELLO.")
        inbound, state = self._table.join_granted(hello.header.transfer, parse_control(hello.payload))
        decoder = PartDecoder(self._windows)
        try:
            wire.write(control(Kind.STATE, hello.header.transfer, state))
            self._receive(wire, inbound, hello.header.transfer, decoder, may_end=False)
        finally:
            decoder.close()
            inbound.leave()

    def _receive(self, wire: Wire, inbound: Inbound, number: int, decoder: PartDecoder, *, may_end: bool) -> None:
        frames = 0
        while True:
            frame = wire.read()
            assert frame is not None
            kind = frame.header.kind
            if frame.header.transfer != number:
                raise ProtocolError("A frame of another transfer came in the middle of this one.")
            if kind == Kind.DATA:
                self._metrics.received(inbound.write(frame, decoder))
                frames += 1
                if frames % _ACK_EVERY == 0:
                    wire.write(control(Kind.ACK, number, {"frames": frames}))
            elif kind == Kind.FIN:
                wire.write(control(Kind.ACK, number, {"frames": frames, "fin": True}))
                return
            elif kind == Kind.END and not may_end:
                raise ProtocolError("What a transfer has to be is not said without TLS.")
            elif kind == Kind.END:
                wanted = parse_control(frame.payload).get("id")
                if not isinstance(wanted, str) or not _ID.fullmatch(wanted):
                    raise ProtocolError("END lacks an id.")
                self._finish(wire, inbound, number, wanted)
                return
            else:
                raise ProtocolError("That frame is the receiver's to send.")

    def _finish(self, wire: Wire, inbound: Inbound, number: int, wanted: str) -> None:
        try:
            done = inbound.finish(wanted, self._stall_timeout_s)
        except AgentError as error:
            corrupt = isinstance(error, Corrupt)
            if corrupt:
                self._metrics.corruption.inc()
            self._metrics.transfer("corrupt" if corrupt else "failed", time.monotonic() - inbound.started, 422 if corrupt else 409)
            raise
        if self._delay is not None:
            self._delay(time.monotonic() - inbound.started)
        seconds = time.monotonic() - inbound.started
        self._metrics.transfer("ok", seconds, 201)
        intent = inbound.intent
        log.event("transfer", identity=str(intent.identity), content=intent.name, bytes=done.size, id=done.id, seconds=round(seconds, 4))
        wire.write(control(Kind.RECEIPT, number, {"id": done.id, "bytes": done.size}))
