"""Sending by protocol 2: one transfer over several streams, each of which may break, and again after both ends were killed."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dwcp_agent.congestion.kernel import MODEL_BASED
from dwcp_agent.encoding.level import LevelChooser, Sample
from dwcp_agent.encoding.manifest import block_count
from dwcp_agent.encoding.windows import LONG_WINDOW_LOG, WINDOW_LOG
from dwcp_agent.errors import AgentError, Corrupt, Failed, ProtocolError, Refused, Unreachable
from dwcp_agent.profiles.table import Profile
from dwcp_agent.telemetry.decisions import Decision, DecisionLog
from dwcp_agent.transport.answers import answer
from dwcp_agent.transport.backlog import Backlog, Runs
from dwcp_agent.transport.entrance import Entrance
from dwcp_agent.transport.foresight import Foresight
from dwcp_agent.transport.frame import PROTOCOL, Flag, Kind, control
from dwcp_agent.transport.outstream import OutStream
from dwcp_agent.transport.plain import Offer
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.setbacks import LONG_WINDOW, Setbacks
from dwcp_agent.transport.sharing import Sharing
from dwcp_agent.transport.source import Source
from dwcp_agent.transport.steering import Steering
from dwcp_agent.transport.tally import Progress, Tally
from dwcp_agent.transport.units import UNIT, Baseline, Units
from dwcp_agent.transport.wire import Wire

__all__ = ["Outbound"]

_PAUSE_S = (0.05, 2.0)
_STEER_S = 0.2
_LONG_WINDOWS = 8
"""With more streams than this, each refers back less far: their windows together are what costs memory, at both ends."""
MOST_STREAMS = 64
"""Whatever was asked for or the path is worth."""
_VERIFY_BYTES_PER_S = 20e6
"""The slowest disk that a receiver is given time for to verify what arrived."""


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
        window_log: the longest window that the receiver has memory for, as a power of 2 in bytes.
        early: sends before the receiver has said what it has, since it is known to have nothing and to allow it.
        ledger: directory in which transfers of this host find each other, to share a link; None to take no notice of others.
        weight: who has twice the weight gets twice as much of a link that is shared.
        plain: content goes without TLS if the receiver offers that, since the link is encrypted by itself.
        rounded: the mark of a source whose numbers are rounded.
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
        window_log: int = WINDOW_LOG,
        early: bool = False,
        ledger: Path | None = None,
        weight: float = 1.0,
        rounded: str | None = None,
        plain: bool = False,
    ) -> None:
        self._units = Units(source, baseline)
        self._hello: dict[str, Any] = {"protocol": PROTOCOL, "token": token, "name": name, "size": source.size}
        self._rounded = rounded
        if rounded is not None:
            self._hello["rounded"] = rounded
        self._log = log or DecisionLog()
        self._foresight = Foresight()
        self._steering = Steering(
            lambda: self._entrance.sockets(),
            self._log,
            limit_bytes_per_s=limit_bytes_per_s,
            size=source.size,
            forced=profile,
            forecast=self._foresight,
            paces=lambda: self._entrance.congestion != MODEL_BASED,
            sharing=Sharing(ledger, lambda: self._entrance.host, weight, figures=self._figures) if ledger is not None else None,
        )
        self._asked_streams = streams
        self._wanted_streams = max(1, min(streams or self._steering.streams, self._units.count))
        self._plain = plain
        self._tell = progress
        self._number = secrets.randbits(63) | 1
        limit = max(1, limit_bytes_per_s // self._wanted_streams) if limit_bytes_per_s else None
        self._entrance = Entrance(connect, self._number, limit)
        self._tally = Tally(source.size)
        self._backlog = Backlog()
        self._changed = self._backlog.changed
        self._setbacks = Setbacks(self._entrance.renew, self._entrance.cut, lambda: self._backlog.still_s, self._changed, patience_s)
        self._chooser = LevelChooser()
        self._first = True
        self._window_log = min(window_log, LONG_WINDOW_LOG)
        self._early = early and baseline is None and not plain

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
                    self._setbacks.go_on_or_raise(error)
                    self._first = False
                    with self._changed:
                        self._changed.wait(pause)
                    pause = min(2 * pause, _PAUSE_S[1])
        finally:
            self._steering.stop()
            for decision in self._chooser.decisions:
                self._log.add(Decision(decision.at_s, "level", "zstd level", decision.level, decision.why))
            self._entrance.close()

    def abort(self) -> None:
        """Ends the transfer: every stream breaks, the receiver keeps what it has."""
        self._setbacks.abort()
        self._entrance.shut()

    def _attempt(self) -> Tally:
        wire = self._join(asks=self._plain)
        state: dict[str, Any] = {} if self._early and self._first else answer(wire, Kind.STATE)
        if "done" not in state:
            self._plan(state)
            self._send_all(self._data_stream(wire, state))
            if not self._backlog.differs and self._units.baseline is not None:
                self._tally.same_bytes = self._tally.size
                return self._finished(self._units.baseline.manifest.id)
            wire = self._join()
            state = {}
        manifest = self._units.manifest()
        if self._units.source.changed():
            self._entrance.drop(wire)
            raise Failed("The source was changed while it was sent, so nothing was committed; send it again when it rests.")
        if "done" in state:
            self._entrance.drop(wire)  # it is in the middle of a transfer that has nothing left to say
            told: Any = state["done"]
        else:
            wire.sock.settimeout(30 + self._tally.size / _VERIFY_BYTES_PER_S)
            wire.write(control(Kind.END, self._number, {"id": manifest.id}))
            answer(wire, Kind.STATE)
            told = answer(wire, Kind.RECEIPT)
            self._entrance.leave(wire)
        if not isinstance(told, dict) or told.get("id") != manifest.id or told.get("bytes") != manifest.size:
            raise Corrupt(f"The receiver committed something else than {manifest.id}.")
        return self._finished(manifest.id)

    def _finished(self, manifest_id: str) -> Tally:
        self._tally.id = manifest_id
        self._tally.congestion = self._entrance.congestion
        self._tally.level = self._chooser.level
        self._tally.levels = [{"level": decision.level, "why": decision.why} for decision in self._chooser.decisions]
        self._report()
        return self._tally

    def _data_stream(self, wire: Wire, state: dict[str, Any]) -> Wire | None:
        """The stream that content begins to go over; None when that is to be one without TLS, and this one is left for the end."""
        offer = Offer.of(state) if self._plain else None
        self._entrance.goes_plainly(offer)
        self._tally.data_tls = offer is None
        if offer is None:
            return wire
        self._finish(self._stream(wire))
        return None

    def _join(self, *, asks: bool = False) -> Wire:
        """A stream with TLS that takes part, whatever is sent over it; it ``asks`` whether there may be others without."""
        return self._entrance.enter(self._fields() | ({"plain": True} if asks else {}))

    def _fields(self) -> dict[str, Any]:
        baseline = self._units.baseline
        return self._hello | ({"baseline": baseline.manifest.id} if baseline is not None else {})

    def _plan(self, state: dict[str, Any]) -> None:
        """Everything is pending but what the receiver has. Raises ProtocolError for a state that cannot be."""
        units, there = self._units, self._runs(state)
        if not state.get("baseline"):
            units.baseline = None
        # Until something differs nothing is said of what does not: when nothing does, there is nothing to send.
        was = units.baseline.manifest if units.baseline is not None else None
        differs = was is None or bool(there) or (was.size, was.rounded) != (units.source.size, self._rounded)
        if differs:
            self._prepare()
        self._backlog.begin(units.count, there, self._wanted_streams, MOST_STREAMS, differs=differs)

    def _runs(self, state: dict[str, Any]) -> Runs:
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
        self._setbacks.raise_failure()

    def _steer(self) -> None:
        """Takes over what the path is worth now."""
        self._chooser.bounds = self._steering.profile.levels
        if self._asked_streams is None:
            with self._changed:
                self._wanted_streams = max(1, min(self._steering.streams, self._units.count, MOST_STREAMS))

    def _figures(self) -> dict[str, Any]:
        forecast, steering = self._foresight.forecast, self._steering
        foreseen = forecast.bytes_per_s if forecast is not None and forecast.enough else None
        figures = {"streams": steering.streams, "profile": steering.profile.name, "level": self._chooser.level}
        return figures | {"forecast_bytes_per_s": foreseen, "forecast_error": self._foresight.error}

    def _run_stream(self, number: int, wire: Wire | None) -> None:
        stream = self._stream(wire) if wire is not None else None
        lost: list[int] = []
        pause = _PAUSE_S[0]
        while True:
            unit = -1
            try:
                if lost or (stream is None and self._tally.broken_streams):
                    stream = self._rejoin(lost)
                    lost = []
                # With nothing under way it can only wait for what another has; else it has to hear first that its last units arrived.
                waits = stream is None or not stream.under_way
                task = self._backlog.take(number, lambda: self._ended(number), waits=waits)
                if task is None:
                    break
                if task < 0:
                    assert stream is not None
                    self._finish(stream)
                    stream = None
                    continue
                unit = task
                if self._settled(unit):
                    self._units.release(unit)
                    continue
                if stream is None:
                    stream = self._stream(self._entrance.enter_to_send(self._fields()))
                self._send(stream, unit)
                self._units.release(unit)
                unit = -1
                stream.hear()
                pause = _PAUSE_S[0]
            except Exception as error:  # a thread must not die silently: the transfer would wait for its units
                # A stream that cannot even begin again leaves what it had to the others.
                lost = self._lost(stream, unit, lost)
                stream = None
                if isinstance(error, Refused) and error.code == LONG_WINDOW:
                    self._window_log = WINDOW_LOG
                if not self._setbacks.may_go_on(error):
                    return
                with self._changed:
                    self._changed.wait(pause)
                pause = min(2 * pause, _PAUSE_S[1])
        if stream is not None:
            self._part(stream)

    def _stream(self, wire: Wire) -> OutStream:
        window_log = self._window_log if self._wanted_streams <= _LONG_WINDOWS else WINDOW_LOG
        return OutStream(wire, self._number, window_log, self._arrived, self._learnt)

    def _arrived(self, units: list[int]) -> None:
        if units:
            self._setbacks.something_arrived()
        self._backlog.arrived(units)

    def _learnt(self, state: dict[str, Any]) -> None:
        """What the receiver has after all is not sent, as far as it has not been yet."""
        if self._early:
            self._early = False  # what later ones say to be there came with this run
            self._backlog.there = self._runs(state)

    def _ended(self, number: int) -> bool:
        """The stream of this number is to stop, whatever is left."""
        return self._setbacks.ended or number >= self._wanted_streams

    def _rejoin(self, lost: list[int]) -> OutStream:
        """A new stream, once one broke: first of all the receiver says what arrived of what was sent; the rest is for whoever comes."""
        wire = self._entrance.enter_to_send(self._fields())
        try:
            runs = self._runs(answer(wire, Kind.STATE))
        except AgentError:
            self._entrance.drop(wire)
            raise
        self._backlog.rejoined(lost, lambda unit: self._units.within(unit, runs))
        return self._stream(wire)

    def _settled(self, unit: int) -> bool:
        """Hashes the unit; True when nothing has to be sent of it, now or at all."""
        self._units.hashes(unit)
        if self._units.within(unit, self._backlog.there):
            if self._first:
                with self._changed:
                    self._tally.resumed_bytes += self._units.length(unit)
            self._backlog.is_there(unit)
            return True
        if self._units.same(unit):
            return self._backlog.hold(unit)
        if not self._backlog.differs and self._backlog.found_difference():
            self._prepare()
        return False

    def _prepare(self) -> None:
        """Begins with what is needed soon; who needs it first tells of what fails."""

        def prepare() -> None:
            with contextlib.suppress(AgentError):
                self._units.prepare()

        if self._units.baseline is not None:
            threading.Thread(target=prepare, name="send-prepare", daemon=True).start()

    def _send(self, stream: OutStream, unit: int) -> None:
        wire_bytes = 0
        level = self._chooser.level
        spent = time.monotonic(), time.thread_time()
        encoding_s = encoding_cpu_s = sending_s = 0.0
        for part in self._units.parts(unit, self._number, lambda chunk: stream.encoder.encode(chunk, level)):
            encoded = time.monotonic(), time.thread_time()
            stream.write(part)
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
        stream.wrote(unit)
        self._chooser.took(Sample(encoding_s, encoding_cpu_s, sending_s, stream.receiver_limited_s()), self._units.length(unit))
        again = self._backlog.goes(unit)
        with self._changed:
            self._tally.wire_bytes += wire_bytes
            if again:
                self._tally.again_bytes += wire_bytes

    def _finish(self, stream: OutStream) -> None:
        """The stream ends well, and its connection is kept."""
        stream.finish()
        self._entrance.leave(stream.wire)

    def _part(self, stream: OutStream) -> None:
        """Nothing is left to do for a stream that is still in the transfer."""
        try:
            if self._setbacks.ended:
                self._entrance.drop(stream.wire)
            else:
                self._finish(stream)
        except AgentError:
            self._entrance.drop(stream.wire)

    def _lost(self, stream: OutStream | None, unit: int, before: list[int]) -> list[int]:
        """The stream is gone; what it had under way, which the receiver may have or not. What was so ``before`` is for the others now."""
        self._backlog.put_back(before)
        mine = [unit] if unit >= 0 else []
        if stream is None:
            self._backlog.put_back(mine)
            return []
        self._entrance.drop(stream.wire)
        with self._changed:
            self._tally.broken_streams += 1
        return stream.under_way + mine

    def _report(self) -> None:
        if self._tell is not None:
            self._tell(max(0, self._tally.size - self._backlog.left * UNIT), self._tally.size, self._tally)
