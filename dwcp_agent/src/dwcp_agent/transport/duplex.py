"""A data connection that one thread reads while another writes.

OpenSSL allows one call into a connection at a time, so both threads' calls take a lock, and neither waits for the network while it has
it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable

from dwcp_agent.errors import Unreachable
from dwcp_agent.transport.frame import Buffer, Frame
from dwcp_agent.transport.wire import Wire

__all__ = ["Duplex"]

_SMALL_BYTES = 4096
_LOOK_S = 0.1
"""How often who waits for a frame is asked whether to go on waiting."""


class Duplex(Wire):
    """``wire`` for two threads, until :meth:`end`. Neither direction may stand still in the middle of a frame for ``stall_timeout_s``."""

    def __init__(self, wire: Wire, stall_timeout_s: float) -> None:
        super().__init__(wire.sock, wire._buffer)
        self._stall_timeout_s = stall_timeout_s
        self._ssl = threading.Lock()
        self._writing = threading.Lock()
        self._wait: Callable[[float], None] = lambda _: None
        self.sock.settimeout(0.0)

    def read_while(self, wait: Callable[[float], None]) -> Frame | None:
        """The next frame; None when the other side closed before one.

        ``wait`` is called with the seconds waited so far, every tenth of one, while none has begun; what it raises ends the wait.
        Raises Unreachable, ProtocolError.
        """
        self._wait = wait
        return self.read(at_start=True)

    def write(self, head: bytes, payload: Buffer = b"") -> None:
        """As Wire's; frames of several threads do not mix."""
        with self._writing:
            # One record for what is small: a header alone would be a packet of its own.
            parts = [head + bytes(payload)] if len(payload) <= _SMALL_BYTES else [head, payload]
            for part in parts:
                self._send(memoryview(part))

    def cut(self) -> None:
        """Breaks the connection for both sides and wakes who waits; closing it is left to the one who reads it."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """As Wire's; waits for a call of the other thread's to return, so that none goes to another connection's descriptor."""
        self.cut()
        with self._ssl:
            super().close()

    def end(self) -> None:
        """The connection is an ordinary one again; nobody else may use this one any more."""
        with contextlib.suppress(OSError):
            self.sock.settimeout(self._stall_timeout_s)

    def _send(self, view: memoryview) -> None:
        moved = time.monotonic()
        while view:
            try:
                with self._ssl:
                    sent = self.sock.send(view)
                view = view[sent:]
                moved = time.monotonic()
            except ssl.SSLWantWriteError:
                self._until(select.POLLOUT, moved)
            except ssl.SSLWantReadError:
                self._until(select.POLLIN, moved)
            except (OSError, ValueError) as error:
                raise Unreachable(f"A data stream broke while sending: {error}.") from None

    def _fill(self, view: memoryview, may_end: bool) -> bool:
        filled, begun = 0, time.monotonic()
        moved = begun
        while filled < len(view):
            try:
                with self._ssl:
                    got = self.sock.recv_into(view[filled:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                event = select.POLLIN if isinstance(error, ssl.SSLWantReadError) else select.POLLOUT
                if may_end and not filled:
                    if not _ready(self.sock, event, _LOOK_S):
                        self._wait(time.monotonic() - begun)
                else:
                    self._until(event, moved)
                continue
            except (OSError, ValueError) as error:
                raise Unreachable(f"A data stream broke: {error}.") from None
            if not got:
                if may_end and not filled:
                    return False
                raise Unreachable("A data stream ended in the middle.")
            filled += got
            moved = time.monotonic()
        return True

    def _until(self, event: int, moved: float) -> None:
        left = moved + self._stall_timeout_s - time.monotonic()
        if left <= 0 or not _ready(self.sock, event, left):
            raise Unreachable("A data stream stalled.")


def _ready(sock: socket.socket, event: int, timeout_s: float) -> bool:
    poll = select.poll()
    try:
        poll.register(sock, event)
        return bool(poll.poll(timeout_s * 1000))
    except (OSError, ValueError) as error:
        raise Unreachable(f"A data stream broke: {error}.") from None
