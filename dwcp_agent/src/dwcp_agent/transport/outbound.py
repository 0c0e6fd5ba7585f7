"""Sending by protocol 2: one transfer over several streams, each of which may break, and again after both ends were killed."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dwcp_agent.congestion.kernel import MODEL_BASED, set_limit
from dwcp_agent.encoding.level import LevelChooser, Sample
from dwcp_agent.encoding.manifest import block_count
from dwcp_agent.encoding.stream import PartEncoder
from dwcp_agent.errors import AgentError, Corrupt, Failed, ProtocolError, Refused, Unreachable
from dwcp_agent.profiles.table import Profile
from dwcp_agent.telemetry.decisions import Decision, DecisionLog
from dwcp_agent.telemetry.tcp import tcp_info
from dwcp_agent.transport.answers import answer, refusal
from dwcp_agent.transport.foresight import Foresight
from dwcp_agent.transport.frame import PROTOCOL, Buffer, Flag, Kind, control, parse_control
from dwcp_agent.transport.plain import Offer
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.source import Source
from dwcp_agent.transport.steering import Steering
from dwcp_agent.transport.tally import Progress, Tally
from dwcp_agent.transport.units import UNIT, Baseline, Units
from dwcp_agent.transport.wire import Wire
from dwcp_agent.transport.work import Work

__all__ = ["Outbound"]

_GRANT = "grant"
"""The receiver does not know, any more, what it granted streams without TLS by: the transfer is entered again."""
_MOST_GRANTS = 4
_AGAIN = frozenset({_GRANT, "parked", "draining", "busy", "interrupted", "incomplete", "ticket-expired", "ticket-invalid"})
"""Refusals that a new session or a little patience may change."""
_PAUSE_S = (0.05, 2.0)
_STEER_S = 0.2
MOST_STREAMS = 64
"""Whatever was asked for or the path is worth."""
_VERIFY_BYTES_PER_S = 20e6
"""The slowest disk that a receiver is given time for to verify what arrived."""


@dataclass
class _Stream:
    wire: Wire
    encoder: PartEncoder = field(default_factory=PartEncoder)
    frames: int = 0
    receiver_limited_us: int = 0
    unacknowledged: deque[tuple[int, int]] = field(default_factory=deque)
    """(frames until then, unit)."""


class Outbound:
    """One transfer. :meth:`run` does it; :meth:`abort` ends it from another thread, and a later one with the same token goes on.

    Args:
        connect: a link to the agent and a ticket, from a session opened just now. Raises Refused, Unreachable.
        name: of the content at the receiver.
        source: what is sent.
        token: 32 hexadecimal digits, the same for the same content on its way to the same place.
        baseline: what the receiver has, when asked.
        streams: how many at once; None for as many as the path is worth, which may change.
        limit_bytes_per_s: what all streams together may put on the wire; None for no limit.
        patience_s: how long nothing may move before the transfer is given up; what arrived stays at the receiver.
        progress: told how it goes.
        log: told of what is decided, and why.
        profile: whatever the path is like; None to choose by that.
        plain: content goes without TLS if the receiver offers that, since the link is encrypted by itself.
    """

    def __init__(
        self,
        connect: Callable[[], tuple[Link, str]],
        name: str,
        source: Source,
        *,
        token: str,
        baseline: Baseline | None = None,
        streams: int | None = None,
        limit_bytes_per_s: int | None = None,
        patience_s: float = 60.0,
        progress: Progress | None = None,
        log: DecisionLog | None = None,
        profile: Profile | None = None,
        plain: bool = False,
    ) -> None:
        self._connect = connect
        self._name = name
        self._units = Units(source, baseline)
        self._token = token
        self._log = log or DecisionLog()
        self._steering = Steering(
            self._sockets,
            self._log,
            limit_bytes_per_s=limit_bytes_per_s,
            size=source.size,
            forced=profile,
            forecast=Foresight(),
            paces=lambda: self._data_link().congestion != MODEL_BASED,
        )
        self._asked_streams = streams
        self._wanted_streams = max(1, min(streams or self._steering.streams, self._units.count))
        self._limit = max(1, limit_bytes_per_s // self._wanted_streams) if limit_bytes_per_s else None
        self._patience_s = patience_s
        self._plain = plain
        self._offer: Offer | None = None
        self._grants = 0
        """That were lost since something arrived."""
        self._tell = progress
        self._number = secrets.randbits(63) | 1
        self._link, self._ticket = connect()
        self._tally = Tally(source.size)
        self._changed = threading.Condition()
        self._work = Work(0, self._wanted_streams)
        self._chooser = LevelChooser()
        self._open: set[int] = set()
        """Units that the receiver has not said to have."""
        self._held: list[int] = []
        self._differs = False
        self._there: list[tuple[int, int]] = []
        self._failure: AgentError | None = None
        self._aborted = False
        self._wires: set[Wire] = set()
        self._moved = time.monotonic()
        self._first = True
        self._sent: set[int] = set()

    def run(self) -> Tally:
        """Sends what the receiver lacks; returns when it has verified and committed the whole.

        Raises Refused, Unreachable, Corrupt, Failed. But for Corrupt, the receiver keeps what it has for the next run with this token.
        """
        pause = _PAUSE_S[0]
        self._steering.start()
        try:
            while True:
                try:
                    return self._attempt()
                except (Unreachable, Refused) as error:
                    self._go_on_or_raise(error)
                    self._first = False
                    with self._changed:
                        self._changed.wait(pause)
                    pause = min(2 * pause, _PAUSE_S[1])
        finally:
            self._steering.stop()
            for decision in self._chooser.decisions:
                self._log.add(Decision(decision.at_s, "level", "zstd level", decision.level, decision.why))
            self._link.close()

    def abort(self) -> None:
        """Ends the transfer: every stream breaks, the receiver keeps what it has."""
        with self._changed:
            self._aborted = True
            wires = list(self._wires)
            self._changed.notify_all()
        for wire in wires:
            wire.close()

    def _attempt(self) -> Tally:
        wire, state = self._enter()
        if "done" not in state:
            self._plan(state)
            self._send_all(self._data_stream(wire, state))
            if not self._differs and self._units.baseline is not None:
                self._tally.same_bytes = self._tally.size
                return self._finished(self._units.baseline.manifest.id)
            wire = self._join()
            state = {}
        manifest = self._units.manifest()
        if self._units.source.changed():
            self._drop(wire)
            raise Failed("The source was changed while it was sent, so nothing was committed; send it again when it rests.")
        if "done" in state:
            self._drop(wire)  # it is in the middle of a transfer that has nothing left to say
            told: Any = state["done"]
        else:
            wire.sock.settimeout(30 + self._tally.size / _VERIFY_BYTES_PER_S)
            wire.write(control(Kind.END, self._number, {"id": manifest.id}))
            answer(wire, Kind.STATE)
            told = answer(wire, Kind.RECEIPT)
            self._leave(wire)
        if not isinstance(told, dict) or told.get("id") != manifest.id or told.get("bytes") != manifest.size:
            raise Corrupt(f"The receiver committed something else than {manifest.id}.")
        return self._finished(manifest.id)

    def _finished(self, manifest_id: str) -> Tally:
        self._tally.id = manifest_id
        self._tally.congestion = self._data_link().congestion
        self._tally.level = self._chooser.level
        self._tally.levels = [{"level": decision.level, "why": decision.why} for decision in self._chooser.decisions]
        self._report()
        return self._tally

    def _enter(self) -> tuple[Wire, dict[str, Any]]:
        """A stream in the transfer, and what its STATE says."""
        wire = self._join(asks=self._plain)
        return wire, answer(wire, Kind.STATE)

    def _data_stream(self, wire: Wire, state: dict[str, Any]) -> Wire | None:
        """The stream that content begins to go over; None when that is to be one without TLS, and this one is left for the end."""
        self._offer = Offer.of(state) if self._plain else None
        self._tally.data_tls = self._offer is None
        if self._offer is None:
            return wire
        self._flush(_Stream(wire))
        return None

    def _data_link(self) -> Link:
        return self._link if self._offer is None else self._link.without_tls()

    def _join(self, *, asks: bool = False) -> Wire:
        """A stream with TLS that takes part, whatever is sent over it; it ``asks`` whether there may be others without."""
        hello = {"protocol": PROTOCOL, "ticket": self._ticket, "token": self._token, "name": self._name, "size": self._tally.size}
        if self._units.baseline is not None:
            hello["baseline"] = self._units.baseline.manifest.id
        if asks:
            hello["plain"] = True
        return self._begin(self._link, hello)

    def _join_to_send(self) -> Wire:
        """A stream for content."""
        return self._join() if self._offer is None else self._begin(self._data_link(), self._offer.hello(self._number))

    def _begin(self, link: Link, hello: dict[str, Any]) -> Wire:
        wire = link.take()
        if self._limit is not None:
            set_limit(wire.sock, self._limit)
        with self._changed:
            if self._aborted:
                wire.close()
                raise Unreachable("The transfer was aborted.")
            self._wires.add(wire)
        try:
            wire.write(control(Kind.HELLO, self._number, hello))
        except Unreachable:
            self._drop(wire)
            raise
        return wire

    def _leave(self, wire: Wire) -> None:
        with self._changed:
            self._wires.discard(wire)
        (self._link if wire.has_tls else self._data_link()).give(wire)

    def _drop(self, wire: Wire) -> None:
        with self._changed:
            self._wires.discard(wire)
        wire.close()

    def _plan(self, state: dict[str, Any]) -> None:
        """Everything is pending but what the receiver has. Raises ProtocolError for a state that cannot be."""
        units = self._units
        with self._changed:
            if not state.get("baseline"):
                units.baseline = None
            self._there = self._runs(state)
            # Until something differs nothing is said of what does not: when nothing does, there is nothing to send.
            self._differs = units.baseline is None or bool(self._there) or units.baseline.manifest.size != units.source.size
            if self._differs:
                self._prepare()
            self._work = Work(units.count, self._wanted_streams, MOST_STREAMS)
            self._open = set(range(units.count))
            self._held = []
            self._moved = time.monotonic()

    def _runs(self, state: dict[str, Any]) -> list[tuple[int, int]]:
        """What a STATE says to be there. Raises ProtocolError when it cannot be."""
        count = block_count(self._tally.size)
        if "done" in state:
            return [(0, count)]
        try:
            runs = [(int(first), int(length)) for first, length in state.get("have", [])]
        except (TypeError, ValueError, OverflowError):
            raise ProtocolError("The agent's state is malformed.") from None
        if any(first < 0 or length < 1 or first + length > count for first, length in runs):
            raise ProtocolError("The agent claims to have what this content has not.")
        return runs

    def _send_all(self, first: Wire | None) -> None:
        """Returns when the receiver has said that it has every unit, or none of them needs to be sent. Raises what it failed with."""
        threads: dict[int, threading.Thread] = {}
        while True:
            self._steer()
            for number in range(self._wanted_streams):
                # One that has ended before another is wanted goes on; when all have, there is nothing left to send.
                if number not in threads or (not threads[number].is_alive() and threads[0].is_alive()):
                    wire = first if not threads else None
                    threads[number] = threading.Thread(target=self._run_stream, args=(number, wire), name=f"send-{number}", daemon=True)
                    threads[number].start()
            alive = [thread for thread in threads.values() if thread.is_alive()]
            self._tally.streams = max(self._tally.streams, len(alive))
            if not alive:
                break
            alive[0].join(_STEER_S)
            self._report()
        with self._changed:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _steer(self) -> None:
        """Takes over what the path is worth now."""
        self._chooser.bounds = self._steering.profile.levels
        if self._asked_streams is None:
            with self._changed:
                self._wanted_streams = max(1, min(self._steering.streams, self._units.count, MOST_STREAMS))

    def _sockets(self) -> list[socket.socket]:
        with self._changed:
            return [wire.sock for wire in self._wires]

    def _run_stream(self, number: int, wire: Wire | None) -> None:
        stream = _Stream(wire) if wire is not None else None
        lost: list[int] = []
        pause = _PAUSE_S[0]
        while True:
            unit = -1
            try:
                if lost or (stream is None and self._tally.broken_streams):
                    stream = self._rejoin(lost)
                    lost = []
                task = self._next(number, stream)
                if task is None:
                    break
                if task < 0:
                    assert stream is not None
                    self._flush(stream)
                    stream = None
                    continue
                unit = task
                if self._settled(unit):
                    continue
                if stream is None:
                    stream = _Stream(self._join_to_send())
                self._send(stream, unit)
                unit = -1
                self._hear(stream)
                pause = _PAUSE_S[0]
            except Exception as error:  # a thread must not die silently: the transfer would wait for its units
                # A stream that cannot even begin again leaves what it had to the others.
                lost = self._lost(stream, unit, lost)
                stream = None
                if not self._may_go_on(error):
                    return
                with self._changed:
                    self._changed.wait(pause)
                pause = min(2 * pause, _PAUSE_S[1])
        if stream is not None:
            self._part(stream)

    def _rejoin(self, lost: list[int]) -> _Stream:
        """A new stream, once one broke: first of all the receiver says what arrived of what was sent; the rest is for whoever comes."""
        wire = self._join_to_send()
        try:
            runs = self._runs(answer(wire, Kind.STATE))
        except AgentError:
            self._drop(wire)
            raise
        with self._changed:
            self._moved = time.monotonic()
            self._open -= {unit for unit in self._open & (self._sent | set(lost)) if self._units.within(unit, runs)}
            self._work.put_back(lost)
            self._changed.notify_all()
        return _Stream(wire)

    def _next(self, number: int, stream: _Stream | None) -> int | None:
        """The next unit; -1 when this stream has only to hear that its last ones arrived; None when there is nothing more to do."""
        with self._changed:
            while True:
                ended = self._aborted or self._failure is not None or len(self._open) == len(self._held)
                if ended or number >= self._wanted_streams:
                    self._changed.notify_all()
                    return None
                while (unit := self._work.take(number)) is not None:
                    if unit in self._open:
                        return unit
                if stream is not None and stream.unacknowledged:
                    return -1
                # Another stream's units may come back.
                self._changed.wait(1.0)

    def _settled(self, unit: int) -> bool:
        """Hashes the unit; True when nothing has to be sent of it, now or at all."""
        self._units.hashes(unit)
        there = self._units.within(unit, self._there)
        same = self._units.same(unit)
        with self._changed:
            if there:
                self._open.discard(unit)
                self._moved = time.monotonic()
                if self._first:
                    self._tally.resumed_bytes += self._units.length(unit)
            elif not self._differs and same:
                self._held.append(unit)
            elif not self._differs:
                self._differs = True
                self._prepare()
                self._work.put_back(self._held)
                self._held = []
            self._changed.notify_all()
            return there or (same and not self._differs)

    def _prepare(self) -> None:
        """Begins with what is needed soon; who needs it first tells of what fails."""

        def prepare() -> None:
            with contextlib.suppress(AgentError):
                self._units.prepare()

        if self._units.baseline is not None:
            threading.Thread(target=prepare, name="send-prepare", daemon=True).start()

    def _send(self, stream: _Stream, unit: int) -> None:
        wire_bytes = 0
        level = self._chooser.level
        spent = time.monotonic(), time.thread_time()
        encoding_s = encoding_cpu_s = sending_s = 0.0
        for part in self._units.parts(unit, self._number, lambda chunk: stream.encoder.encode(chunk, level)):
            encoded = time.monotonic(), time.thread_time()
            self._write(stream, part.head, part.payload)
            stream.frames += 1
            wire_bytes += part.wire_bytes
            encoding_s += encoded[0] - spent[0]
            encoding_cpu_s += encoded[1] - spent[1]
            spent = time.monotonic(), time.thread_time()
            sending_s += spent[0] - encoded[0]
            with self._changed:
                self._tally.same_bytes += part.same
                if part.flags == Flag.ZERO:
                    self._tally.zero_bytes += part.length
                else:
                    self._tally.sent_bytes += part.length - part.same
        stream.unacknowledged.append((stream.frames, unit))
        self._chooser.took(Sample(encoding_s, encoding_cpu_s, sending_s, self._receiver_limited_s(stream)), self._units.length(unit))
        with self._changed:
            self._tally.wire_bytes += wire_bytes
            if unit in self._sent:
                self._tally.again_bytes += wire_bytes
            self._sent.add(unit)

    def _receiver_limited_s(self, stream: _Stream) -> float:
        """For how long the receiver's window limited this stream since this was asked last."""
        try:
            now = tcp_info(stream.wire.sock).receiver_limited_us
        except OSError:
            return 0.0
        since, stream.receiver_limited_us = now - stream.receiver_limited_us, now
        return since / 1e6

    def _write(self, stream: _Stream, head: bytes, payload: Buffer) -> None:
        try:
            stream.wire.write(head, payload)
        except Unreachable:
            # The receiver may have said why before it closed.
            if not self._aborted:
                self._hear(stream)
            raise

    def _hear(self, stream: _Stream) -> None:
        """Takes what the receiver has said until now."""
        while stream.wire.readable():
            self._take(stream)

    def _take(self, stream: _Stream) -> bool:
        """The next thing that the receiver says; True when it is its answer to FIN."""
        frame = stream.wire.read()
        assert frame is not None
        fields = parse_control(frame.payload)
        if frame.header.kind == Kind.ERROR:
            raise refusal(fields)
        if frame.header.kind == Kind.STATE:
            return False
        frames = fields.get("frames")
        if frame.header.kind != Kind.ACK or type(frames) is not int or frames > stream.frames:
            raise ProtocolError("The agent said something in the middle of a stream that is no acknowledgement.")
        with self._changed:
            while stream.unacknowledged and stream.unacknowledged[0][0] <= frames:
                self._open.discard(stream.unacknowledged.popleft()[1])
                self._grants = 0
            self._moved = time.monotonic()
            self._changed.notify_all()
        return fields.get("fin") is True

    def _flush(self, stream: _Stream) -> None:
        """The stream ends well: the receiver has said that all of it arrived."""
        self._write(stream, control(Kind.FIN, self._number, {}), b"")
        while not self._take(stream):
            pass
        if stream.unacknowledged:
            raise ProtocolError("The agent ended a stream without having all of it.")
        self._leave(stream.wire)

    def _part(self, stream: _Stream) -> None:
        """Nothing is left to do for a stream that is still in the transfer."""
        try:
            if self._aborted or self._failure is not None:
                self._drop(stream.wire)
            else:
                self._flush(stream)
        except AgentError:
            self._drop(stream.wire)

    def _lost(self, stream: _Stream | None, unit: int, before: list[int]) -> list[int]:
        """The stream is gone; what it had under way, which the receiver may have or not. What was so ``before`` is for the others now."""
        if stream is not None:
            self._drop(stream.wire)
        with self._changed:
            self._work.put_back(before)
            self._changed.notify_all()
            if stream is None:
                if unit >= 0:
                    self._work.put_back([unit])
                return []
            self._tally.broken_streams += 1
            return [each[1] for each in stream.unacknowledged] + ([unit] if unit >= 0 else [])

    def _may_go_on(self, error: Exception) -> bool:
        """False when the transfer has failed by this."""
        if not isinstance(error, AgentError):
            error = AgentError(f"A stream failed unexpectedly: {error!r}.")
        # Without the grant no stream can go on; the transfer is entered again.
        if isinstance(error, (Unreachable, Refused)) and not (isinstance(error, Refused) and error.code == _GRANT):
            try:
                self._go_on_or_raise(error)
                return True
            except AgentError as final:
                error = final
        self._fail(error)
        return False

    def _go_on_or_raise(self, error: AgentError) -> None:
        """Returns when it may be tried again, with a new ticket if that is what was missing; else raises ``error``."""
        refused = isinstance(error, Refused)
        if self._aborted or (isinstance(error, Refused) and error.code not in _AGAIN):
            raise error
        with self._changed:
            self._grants += isinstance(error, Refused) and error.code == _GRANT
            if self._grants > _MOST_GRANTS:
                raise error
            if time.monotonic() - self._moved > self._patience_s:
                raise error
        if refused:
            try:
                link, ticket = self._connect()
            except Unreachable:
                return
            except Refused as still:
                if still.code not in _AGAIN:
                    raise
                return
            with self._changed:
                self._link, self._ticket = link, ticket

    def _fail(self, error: AgentError) -> None:
        with self._changed:
            if self._failure is None or (isinstance(error, Refused) and not isinstance(self._failure, Refused)):
                self._failure = error
            wires = list(self._wires)
            self._changed.notify_all()
        for wire in wires:
            wire.close()

    def _report(self) -> None:
        if self._tell is not None:
            with self._changed:
                tally, left = self._tally, (len(self._open) - len(self._held)) * UNIT
            self._tell(max(0, tally.size - left), tally.size, tally)
