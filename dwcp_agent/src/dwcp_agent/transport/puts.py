"""Sending small state: puts go as they come, in batches when they come fast, and only who asks for it waits for acknowledgements.

Each put is applied once, in order, however often streams break or the agent restarts: the receiver keeps, in the same transaction, how many
puts of this sender it has, and says so at the beginning of each stream. When the sender itself ends before a put was acknowledged, the put
may have been applied or not.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dwcp_agent import features
from dwcp_agent._build import PHASE4
from dwcp_agent.encoding.chunk import encode_chunk
from dwcp_agent.errors import AgentError, Failed, ProtocolError, Refused, Unreachable
from dwcp_agent.transport.answers import refusal
from dwcp_agent.transport.duplex import Duplex
from dwcp_agent.transport.entries import MAX_BATCH_BYTES, MAX_ENTRIES, batch_bytes, checked_key, encode_entries
from dwcp_agent.transport.frame import PROTOCOL, Kind, control, encode, parse_control
from dwcp_agent.transport.sender import Link

if TYPE_CHECKING:
    from dwcp_agent.phase4.batch import Batcher
    from dwcp_agent.transport.offered import Offered

__all__ = ["Puts"]

MOST = 256
"""Puts that go together at most. Of 1 KiB each they compress as well as more would, and take a millisecond."""
DELAY_S = 0.0005
WINDOW_BYTES = 8 << 20
"""What may be under way unacknowledged: 640 Mbit/s at 100 ms."""
_WINDOW_FRAMES = 1024
"""So that their acknowledgements fit into any socket while nobody reads them."""
_STALL_S = 20.0
_PAUSE_S = (0.05, 1.0)
_GO_ON = frozenset({"busy", "dictionary", "draining", "interrupted", "ticket-expired", "ticket-invalid"})

Done = Callable[[float], None]


@dataclass(slots=True)
class _Put:
    key: bytes
    value: bytes
    on_done: Done | None
    began: float


@dataclass(slots=True)
class _Batch:
    """One frame, until it is acknowledged."""

    first: int
    puts: list[_Put]
    frame: bytes
    bytes: int
    dictionary: str | None
    """The id of the one that the frame refers to."""
    written: bool = False

    @property
    def end(self) -> int:
        return self.first + len(self.puts)


class Puts:
    """A sender of puts to one agent. Safe from several threads; ends with :meth:`close` or :meth:`abort`.

    ``connect`` gives a link to the agent's data port and a new ticket for it; it is called on a thread of its own, and again when a stream
    broke. What it raises the first time is final. It also tells ``offered`` what the session's agent offers; without that no dictionary is
    used.
    """

    def __init__(
        self,
        connect: Callable[[], tuple[Link, str]],
        *,
        patience_s: float = 60.0,
        most: int = MOST,
        delay_s: float = DELAY_S,
        window_bytes: int = WINDOW_BYTES,
        offered: Offered | None = None,
    ) -> None:
        self._connect = connect
        self._offered = offered
        self._patience_s = patience_s
        self._window_bytes = window_bytes
        self._token = secrets.token_hex(16)
        self._number = secrets.randbits(63) | 1
        self._changed = threading.Condition()
        self._order = threading.Lock()
        self._submitted = self._next = self._acknowledged = 0
        self._pending: deque[_Batch] = deque()
        self._outstanding = 0
        self._wire: Duplex | None = None
        self._fresh = True
        self._stands = self._closing = False
        self._failure: AgentError | None = None
        self._moved = time.monotonic()
        self.batches = self.wire_bytes = self.dictionary_batches = self.broken_streams = 0
        """Frames, their bytes as they first went into TLS, and those that referred to a dictionary then; streams that broke."""
        self._batcher: Batcher[_Put] | None = None
        if PHASE4 and features.is_on("batch"):
            from dwcp_agent.phase4.batch import Batcher

            self._batcher = Batcher(self._send, most=most, delay_s=delay_s)
        self._thread = threading.Thread(target=self._run, name="puts", daemon=True)
        self._thread.start()

    def put(self, key: str, value: bytes, on_done: Done | None = None, *, began: float | None = None) -> None:
        """Sends ``value`` for ``key`` soon; waits while too much is unacknowledged.

        ``on_done`` is called on another thread with the seconds from ``began`` (a ``time.perf_counter()``; now by default) to the
        acknowledgement, and must not wait for anything here. Raises BadInput for this put alone; what Puts failed with, for good.
        """
        put = _Put(checked_key(key, value), value, on_done, time.perf_counter() if began is None else began)
        try:
            if self._batcher is not None:
                self._batcher.submit(put)
            else:
                with self._order:
                    if self._closing:
                        raise RuntimeError
                    self._send([put])
        except RuntimeError:
            self._raise_failure()
            raise Failed("No more can be put: this was closed.") from None
        with self._order:
            self._submitted += 1

    def wait(self) -> None:
        """Returns when the agent takes puts, which may be put before. Raises what Puts failed with."""
        with self._changed:
            self._changed.wait_for(lambda: self._stands or self._failure is not None)
        self._raise_failure()

    def flush(self) -> None:
        """Returns when everything that was put is durable. Raises what Puts failed with."""
        with self._order:
            submitted = self._submitted
        with self._changed:
            self._changed.wait_for(lambda: self._acknowledged >= submitted or self._failure is not None)
        self._raise_failure()

    def close(self) -> None:
        """As :meth:`flush`, and ends. Raises what Puts failed with."""
        if self._batcher is not None:
            try:
                self._batcher.close()
            except AgentError:
                self._raise_failure()
                raise
        with self._order, self._changed:
            self._closing = True
            wire = self._wire
            self._changed.notify_all()
        if wire is not None:
            self._write(wire, control(Kind.FIN, self._number, {}))
        self._thread.join()
        self._raise_failure()

    def abort(self) -> None:
        """Ends now; what was not acknowledged may be there or not."""
        self._fail(Failed("It was ended before everything was acknowledged."))
        if self._batcher is not None:
            with contextlib.suppress(AgentError):
                self._batcher.close()
        self._thread.join()

    @property
    def acknowledged(self) -> int:
        """Puts that are durable at the agent."""
        return self._acknowledged

    def _send(self, puts: list[_Put]) -> None:
        """Puts ``puts`` on their way, on the one thread that does."""
        for part in _parts(puts):
            batch = self._encoded(self._next, part)
            with self._changed:
                self._changed.wait_for(partial(self._may_go_on, batch.bytes))
                if self._failure is not None:
                    raise self._failure
                if not self._pending:
                    self._moved = time.monotonic()
                self._pending.append(batch)
                self._outstanding += batch.bytes
                self._next = batch.end
                self.batches += 1
                wire = self._wire
                self._changed.notify_all()
                if wire is not None:
                    self._count(batch)
            if wire is not None:
                self._write(wire, batch.frame)

    def _encoded(self, first: int, puts: list[_Put]) -> _Batch:
        content = encode_entries([(put.key, put.value) for put in puts])
        if self._offered is None:
            (flags, payload), dictionary = encode_chunk(content), None
        else:
            flags, payload, dictionary = self._offered.encode(content)
        head = encode(Kind.PUT, self._number, payload, flags=flags, offset=first, raw_length=len(content))
        return _Batch(first, puts, head + bytes(payload), len(content), dictionary)

    def _count(self, batch: _Batch) -> None:
        """The batch is about to go; only the first time counts."""
        if not batch.written:
            batch.written = True
            self.wire_bytes += len(batch.frame)
            self.dictionary_batches += batch.dictionary is not None

    def _may_go_on(self, more: int) -> bool:
        """There is room for so many bytes more, or nothing to wait for."""
        if self._failure is not None:
            return True
        return not self._pending or (self._outstanding + more <= self._window_bytes and len(self._pending) < _WINDOW_FRAMES)

    def _write(self, wire: Duplex, frame: bytes) -> None:
        try:
            wire.write(frame)
        except Unreachable:
            wire.cut()  # who reads it begins another stream, and everything unacknowledged goes over that

    def _run(self) -> None:
        pause = _PAUSE_S[0]
        try:
            while True:
                known = self._acknowledged
                try:
                    self._converse()
                    return
                except (Unreachable, Refused) as error:
                    pause = _PAUSE_S[0] if self._acknowledged > known else pause
                    if not self._goes_on(error, pause):
                        return
                    pause = min(2 * pause, _PAUSE_S[1])
        except AgentError as error:
            self._fail(error)
        except Exception as error:  # a thread must not die silently: whoever waits would do so for ever
            self._fail(AgentError(f"Sending puts failed unexpectedly: {error!r}."))

    def _goes_on(self, error: AgentError, pause: float) -> bool:
        """True when another stream is to be begun, some time after the last one ended with ``error``; False when all is done. Raises."""
        with self._changed:
            if self._failure is not None:
                return False
            if isinstance(error, Refused) and error.code not in _GO_ON:
                raise error
            if isinstance(error, Refused) and error.code == "dictionary" and self._offered is not None:
                self._offered.refused()
            if self._fresh:
                raise error
            self.broken_streams += 1
            # An idle stream may be closed; another is needed when there is something to send.
            self._changed.wait_for(lambda: self._pending or self._closing or self._failure is not None)
            if self._closing and not self._pending:
                return False
            if time.monotonic() - self._moved > self._patience_s:
                raise error
            self._changed.wait_for(lambda: self._failure is not None, pause)
            return self._failure is None

    def _converse(self) -> None:
        """One stream: says hello, sends what is pending, reads acknowledgements until FIN's. Raises what ended it instead."""
        link, ticket = self._connect()
        wire = Duplex(link.take(), _STALL_S)
        try:
            hello = {"protocol": PROTOCOL, "state": True, "ticket": ticket, "token": self._token, "puts": self._acknowledged}
            wire.write(control(Kind.HELLO, self._number, hello))
            fresh, self._fresh = self._fresh, False
            if fresh:
                self._go(wire)  # a new token's state is known
            self._acknowledge(self._read(wire, Kind.STATE))
            if not fresh:
                self._go(wire)
            while True:
                told = self._read(wire, Kind.ACK)
                self._acknowledge(told)
                if told.get("fin") is True:
                    break
        finally:
            with self._changed:
                self._wire = None
            wire.close()

    def _go(self, wire: Duplex) -> None:
        """Everything pending is on its way; from here on what comes goes at once."""
        sent = 0
        while True:
            with self._changed:
                if sent == len(self._pending):
                    self._wire = wire
                    closing = self._closing
                    break
                batch = self._pending[sent]
                if self._offered is not None and self._offered.used_for(batch.bytes) != batch.dictionary:
                    again = self._encoded(batch.first, batch.puts)
                    batch.frame, batch.dictionary = again.frame, again.dictionary
                self._count(batch)
            wire.write(batch.frame)
            sent += 1
        if closing:
            wire.write(control(Kind.FIN, self._number, {}))

    def _read(self, wire: Duplex, kind: Kind) -> dict[str, Any]:
        frame = wire.read_while(self._wait)
        if frame is None:
            raise Unreachable("The agent closed the stream.")
        fields = parse_control(frame.payload)
        if frame.header.kind == Kind.ERROR:
            raise refusal(fields)
        if frame.header.kind != kind:
            raise ProtocolError(f"The agent said {Kind(frame.header.kind).name} where {kind.name} was due.")
        return fields

    def _wait(self, _: float) -> None:
        with self._changed:
            if self._failure is not None:
                raise Unreachable("It was ended.")
            if self._pending and time.monotonic() - self._moved > _STALL_S:
                raise Unreachable("The agent acknowledges nothing.")

    def _acknowledge(self, told: dict[str, Any]) -> None:
        puts, now, done = told.get("puts"), time.perf_counter(), []
        if self._offered is not None and "dictionary" in told:
            self._offered.offer(told["dictionary"])
        with self._changed:
            if type(puts) is not int or not self._acknowledged <= puts <= self._next:
                raise ProtocolError(f"The agent acknowledges {puts!r} puts of {self._next}.")
            while self._pending and self._pending[0].end <= puts:
                batch = self._pending.popleft()
                self._outstanding -= batch.bytes
                done += batch.puts
            if self._pending and self._pending[0].first < puts:
                raise ProtocolError("The agent acknowledges a part of a batch.")
            self._acknowledged = puts
            self._stands = True
            self._moved = time.monotonic()
            self._changed.notify_all()
        for put in done:
            if put.on_done is not None:
                put.on_done(now - put.began)

    def _fail(self, error: AgentError) -> None:
        with self._changed:
            if self._failure is None:
                self._failure = error
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        with self._changed:
            if self._failure is not None:
                raise self._failure


def _parts(puts: list[_Put]) -> Iterator[list[_Put]]:
    """``puts`` in order, in lists that each fit into a batch."""
    part: list[_Put] = []
    size = 4
    for put in puts:
        more = batch_bytes(put.key, put.value)
        if part and (size + more > MAX_BATCH_BYTES or len(part) == MAX_ENTRIES):
            yield part
            part, size = [], 4
        part.append(put)
        size += more
    if part:
        yield part
