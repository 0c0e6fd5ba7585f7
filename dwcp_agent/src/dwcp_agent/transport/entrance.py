"""The connections of one transfer by protocol 2: each enters it with a HELLO and the ticket of the day, and leaves it or breaks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from dwcp_agent.congestion.kernel import set_limit
from dwcp_agent.errors import Unreachable
from dwcp_agent.transport.frame import Kind, control
from dwcp_agent.transport.plain import Offer
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.wire import Wire

__all__ = ["Entrance"]


class Entrance:
    """Safe from several threads.

    Args:
        connect: a link to the agent and a ticket, from a session opened just now. Raises Refused, Unreachable; so does this.
        number: of the transfer in its frames.
        limit_bytes_per_s: of each connection from its beginning; None for none.
    """

    def __init__(self, connect: Callable[[], tuple[Link, str]], number: int, limit_bytes_per_s: int | None) -> None:
        self._connect = connect
        self._number = number
        self._limit = limit_bytes_per_s
        self._lock = threading.Lock()
        self._link, self._ticket = connect()
        self._offer: Offer | None = None
        self._wires: set[Wire] = set()
        self._shut = False

    @property
    def congestion(self) -> str:
        """The congestion control of its connections for content."""
        return (self._link if self._offer is None else self._link.without_tls()).congestion

    @property
    def host(self) -> str:
        """Where its connections go."""
        return self._link.host

    def renew(self) -> None:
        """Opens the session again. Raises Refused, Unreachable."""
        link, ticket = self._connect()
        with self._lock:
            self._link, self._ticket = link, ticket

    @property
    def has_tls(self) -> bool:
        """Whether content goes with TLS."""
        return self._offer is None

    def goes_plainly(self, offer: Offer | None) -> None:
        """What content goes over from now on has no TLS, by this offer of the receiver; without one it has."""
        self._offer = offer

    def enter(self, hello: dict[str, Any]) -> Wire:
        """A connection with TLS that has said HELLO with these fields and the ticket. Raises Unreachable."""
        with self._lock:
            link, ticket = self._link, self._ticket
        return self._begin(link, {"ticket": ticket, **hello})

    def enter_to_send(self, hello: dict[str, Any]) -> Wire:
        """A connection for content, without TLS if that was offered. Raises Unreachable."""
        offer = self._offer
        return self.enter(hello) if offer is None else self._begin(self._link.without_tls(), offer.hello(self._number))

    def _begin(self, link: Link, hello: dict[str, Any]) -> Wire:
        wire = link.take()
        if self._limit is not None:
            set_limit(wire.sock, self._limit)
        with self._lock:
            shut = self._shut
            self._wires.add(wire)
        try:
            if shut:
                raise Unreachable("The transfer was aborted.")
            wire.write(control(Kind.HELLO, self._number, hello))
        except Unreachable:
            self.drop(wire)
            raise
        return wire

    def leave(self, wire: Wire) -> None:
        """It is free for another transfer."""
        with self._lock:
            self._wires.discard(wire)
            link = self._link
        (link if wire.has_tls else link.without_tls()).give(wire)

    def drop(self, wire: Wire) -> None:
        """It is in the middle of something, or broken."""
        with self._lock:
            self._wires.discard(wire)
        wire.close()

    def sockets(self) -> list[socket.socket]:
        """Of all that take part."""
        with self._lock:
            return [wire.sock for wire in self._wires]

    def cut(self) -> None:
        """Every connection that takes part breaks, whatever its thread waits for."""
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            wire.close()

    def shut(self) -> None:
        """The same, and none comes in any more."""
        with self._lock:
            self._shut = True
        self.cut()

    def close(self) -> None:
        """Closes what is idle."""
        self._link.close()
