"""A sender's side of one stream of protocol 2: frames go out, acknowledgements come in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from dwcp_agent.encoding.stream import PartEncoder
from dwcp_agent.errors import ProtocolError, Unreachable
from dwcp_agent.telemetry.tcp import tcp_info
from dwcp_agent.transport.answers import refusal
from dwcp_agent.transport.frame import Buffer, Kind, control, parse_control
from dwcp_agent.transport.units import Part
from dwcp_agent.transport.wire import Wire

__all__ = ["OutStream"]


class OutStream:
    """Not safe from several threads.

    Args:
        wire: in transfer ``number`` since its HELLO.
        window_log: how far back what it sends may refer, as a power of 2 in bytes.
        arrived: told the units that the receiver says to have, whenever it says anything.
        learnt: told of its STATE, when that comes after the stream has begun.
    """

    def __init__(
        self,
        wire: Wire,
        number: int,
        window_log: int,
        arrived: Callable[[list[int]], None],
        learnt: Callable[[dict[str, Any]], None],
    ) -> None:
        self.wire = wire
        self.encoder = PartEncoder(window_log)
        self._number = number
        self._arrived = arrived
        self._learnt = learnt
        self._frames = 0
        self._under_way: deque[tuple[int, int]] = deque()
        """(frames until then, unit)."""
        self._receiver_limited_us = 0

    @property
    def under_way(self) -> list[int]:
        """Units that were sent whole, and of which the receiver has not said that it has them."""
        return [unit for _, unit in self._under_way]

    def write(self, part: Part) -> None:
        """Sends a frame of a unit. Raises Unreachable, or what the receiver said before the stream broke."""
        self._write(part.head, part.payload)
        self._frames += 1

    def wrote(self, unit: int) -> None:
        """All frames of it are written."""
        self._under_way.append((self._frames, unit))

    def hear(self) -> None:
        """Takes what the receiver has said until now. Raises Refused, Corrupt, ProtocolError, Unreachable."""
        while self.wire.readable():
            self._take()

    def finish(self) -> None:
        """Ends the stream well: the receiver has said that all of it arrived. Raises as :meth:`hear` does."""
        self._write(control(Kind.FIN, self._number, {}), b"")
        while not self._take():
            pass
        if self._under_way:
            raise ProtocolError("The agent ended a stream without having all of it.")

    def receiver_limited_s(self) -> float:
        """For how long the receiver's window limited this stream since this was asked last."""
        try:
            now = tcp_info(self.wire.sock).receiver_limited_us
        except OSError:
            return 0.0
        since, self._receiver_limited_us = now - self._receiver_limited_us, now
        return since / 1e6

    def _write(self, head: bytes, payload: Buffer) -> None:
        try:
            self.wire.write(head, payload)
        except Unreachable:
            self.hear()  # the receiver may have said why before it closed
            raise

    def _take(self) -> bool:
        """The next thing that the receiver says; True when it is its answer to FIN."""
        frame = self.wire.read()
        assert frame is not None
        fields = parse_control(frame.payload)
        if frame.header.kind == Kind.ERROR:
            raise refusal(fields)
        if frame.header.kind == Kind.STATE:
            self._learnt(fields)
            return False
        frames = fields.get("frames")
        if frame.header.kind != Kind.ACK or type(frames) is not int or frames > self._frames:
            raise ProtocolError("The agent said something in the middle of a stream that is no acknowledgement.")
        units = []
        while self._under_way and self._under_way[0][0] <= frames:
            units.append(self._under_way.popleft()[1])
        self._arrived(units)
        return fields.get("fin") is True
