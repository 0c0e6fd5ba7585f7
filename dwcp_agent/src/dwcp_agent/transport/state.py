"""The receiver's side of the conversation about small state. ``docs/protocol.md`` has it in words.

The stream's thread reads ahead, up to a limit; another one applies what has come in the meantime as one transaction, and acknowledges it.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from dataclasses import dataclass

from dwcp_agent import log
from dwcp_agent.encoding.chunk import decode_chunk
from dwcp_agent.encoding.trained import Dictionary, dictionary_number
from dwcp_agent.errors import AgentError, Failed, ProtocolError, Refused, Unreachable
from dwcp_agent.security.identity import Identity
from dwcp_agent.sessions.ticket import TicketIssuer
from dwcp_agent.store.dictionaries import Dictionaries
from dwcp_agent.store.state import StateStore
from dwcp_agent.telemetry.metrics import AgentMetrics
from dwcp_agent.transport.duplex import Duplex
from dwcp_agent.transport.entries import decode_entries
from dwcp_agent.transport.frame import MAX_OFFSET, Buffer, Flag, Frame, Kind, control, parse_control
from dwcp_agent.transport.training import Training
from dwcp_agent.transport.wire import Wire

__all__ = ["AHEAD_BYTES", "StateStreams"]

AHEAD_BYTES = 2 << 20
"""What one stream may have read and not yet applied; then it stops reading, and the sender notices."""
_ENTRY_BYTES = 160
"""What a put takes beside its bytes while it waits."""
_TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass
class _Batch:
    """Puts of one frame, and when it was there."""

    entries: list[tuple[str, bytes]]
    bytes: int
    came: float

    @property
    def held(self) -> int:
        """What it takes while it waits."""
        return self.bytes + _ENTRY_BYTES * len(self.entries)


class StateStreams:
    """The conversations about state that streams of this agent have."""

    def __init__(
        self,
        tickets: TicketIssuer,
        store: StateStore,
        dictionaries: Dictionaries,
        metrics: AgentMetrics,
        stall_timeout_s: float,
        idle_timeout_s: float,
    ) -> None:
        self._tickets = tickets
        self._store = store
        self._dictionaries = dictionaries
        self.training = Training(dictionaries)
        self._metrics = metrics
        self._stall_timeout_s = stall_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._lock = threading.Lock()
        self._running = 0
        self._draining = False

    def running(self) -> int:
        """Conversations that have not ended."""
        with self._lock:
            return self._running

    def drain(self) -> None:
        """Every conversation ends soon, with what was read of it applied and acknowledged; no other begins."""
        self._draining = True

    def converse(self, wire: Wire, hello: Frame, peer: Identity) -> None:
        """Takes puts until FIN. Raises AgentError for what breaks a rule, once what came before it is applied and acknowledged."""
        fields = parse_control(hello.payload)
        ticket, token, puts = fields.get("ticket"), fields.get("token"), fields.get("puts", 0)
        if not isinstance(ticket, str) or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise ProtocolError("HELLO lacks a ticket or a token, or has a malformed one.")
        if type(puts) is not int or not 0 <= puts <= MAX_OFFSET:
            raise ProtocolError("HELLO has a malformed number of puts.")
        identity = self._tickets.check(ticket, peer, time.time()).identity
        with self._lock:
            self._running += 1
        try:
            self._check_draining()
            known = self._store.position(identity, token)
            if known < puts:
                raise Refused(f"Of {puts} puts that were acknowledged, {known} are known here.", code="lost", status=409)
            duplex = Duplex(wire, self._stall_timeout_s)
            try:
                _Conversation(self, duplex, hello.header.transfer, identity, token, known).run()
            finally:
                duplex.end()
        finally:
            with self._lock:
                self._running -= 1

    def _check_draining(self) -> None:
        if self._draining:
            raise Refused("This agent takes no more puts: it is draining.", code="draining", status=503)


class _Conversation:
    """One stream's. The thread that calls :meth:`run` reads, one of its own applies."""

    def __init__(self, streams: StateStreams, wire: Duplex, number: int, identity: Identity, token: str, position: int) -> None:
        self._streams = streams
        self._wire = wire
        self._number = number
        self._identity = identity
        self._token = token
        self._position = position
        self._read_to = position
        self._changed = threading.Condition()
        self._waiting: deque[_Batch] = deque()
        self._ahead = 0
        self._over = False
        self._failure: AgentError | None = None
        self._dictionary: Dictionary | None = None
        latest = streams._dictionaries.latest(identity)
        self._latest = None if latest is None else latest.id
        self._offered: str | None = None

    def run(self) -> None:
        self._wire.write(control(Kind.STATE, self._number, {"puts": self._position}))
        began, first = time.monotonic(), self._position
        applying = threading.Thread(target=self._apply_all, name="state", daemon=True)
        applying.start()
        try:
            self._read_all()
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            applying.join()
            log.event("state", identity=str(self._identity), puts=self._position - first, seconds=round(time.monotonic() - began, 4))
        self._raise_failure()
        self._wire.write(control(Kind.ACK, self._number, {"puts": self._position, "fin": True}))

    def _read_all(self) -> None:
        """Returns after FIN, or when applying failed."""
        while True:
            self._streams._check_draining()
            frame = self._wire.read_while(self._go_on)
            if frame is None:
                raise Unreachable("A data stream ended in the middle.")
            header = frame.header
            if header.transfer != self._number:
                raise ProtocolError("A frame of another conversation came in the middle of this one.")
            if header.kind == Kind.FIN:
                return
            if header.kind != Kind.PUT:
                raise ProtocolError("Only PUT and FIN belong in a conversation about state.")
            if header.offset != self._read_to:
                raise ProtocolError(f"Put {header.offset} came where {self._read_to} was due.")
            entries = decode_entries(self._decoded(frame))
            self._read_to += len(entries)
            batch = _Batch(entries, header.raw_length, time.monotonic())
            with self._changed:
                self._waiting.append(batch)
                self._ahead += batch.held
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._ahead < AHEAD_BYTES or self._failure is not None)
                if self._failure is not None:
                    return

    def _decoded(self, frame: Frame) -> Buffer:
        header = frame.header
        if header.flags != Flag.TRAINED:
            payload = decode_chunk(header.flags, frame.payload, header.raw_length)
            assert payload is not None
            return payload
        number = dictionary_number(frame.payload)
        if self._dictionary is None or self._dictionary.number != number:
            self._dictionary = self._streams._dictionaries.numbered(self._identity, number)
        if self._dictionary is None:
            raise Refused("The dictionary that the batch refers to is not here.", code="dictionary", status=409)
        return self._dictionary.decode(frame.payload, header.raw_length)

    def _go_on(self, waited_s: float) -> None:
        self._raise_failure()
        self._streams._check_draining()
        if waited_s > self._streams._idle_timeout_s:
            raise Unreachable("No puts came for too long.")

    def _raise_failure(self) -> None:
        with self._changed:
            if self._failure is not None:
                raise self._failure

    def _apply_all(self) -> None:
        try:
            while batches := self._next():
                self._apply(batches)
                with self._changed:
                    self._ahead -= sum(batch.held for batch in batches)
                    self._changed.notify_all()
        except AgentError as error:
            self._fail(error)
        except Exception:  # a thread must not die silently: the reader would wait for ever
            log.bug("state-bug")
            self._fail(Failed("The receiver failed."))

    def _next(self) -> list[_Batch]:
        """Everything that has come; empty when nothing will."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._over)
            batches = list(self._waiting)
            self._waiting.clear()
            return batches

    def _apply(self, batches: list[_Batch]) -> None:
        entries = [entry for batch in batches for entry in batch.entries]
        try:
            self._position = self._streams._store.apply(self._identity, self._token, self._position, entries)
        except Refused as error:
            if error.code != "state-full" or len(batches) == 1:
                raise
            # What fits before the batch that does not is kept.
            for batch in batches:
                self._apply([batch])
            return
        metrics = self._streams._metrics
        metrics.state_puts(len(entries), time.monotonic() - batches[0].came)
        metrics.received(sum(batch.bytes for batch in batches))
        self._wire.write(control(Kind.ACK, self._number, {"puts": self._position} | self._offer()))
        for batch in batches:
            self._streams.training.saw(self._identity, batch.entries, batch.bytes)

    def _offer(self) -> dict[str, str]:
        """What ACK says of dictionaries: the newest, once."""
        newest = self._streams.training.made(self._identity) or self._latest
        if newest is None or newest == self._offered:
            return {}
        self._offered = newest
        return {"dictionary": newest}

    def _fail(self, error: AgentError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()
