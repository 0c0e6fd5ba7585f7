"""Reading and writing frames on a blocking socket, with TLS or without."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from typing import TYPE_CHECKING

from dwcp_agent.errors import ProtocolError, Refused, Unreachable
from dwcp_agent.transport.frame import HEADER_BYTES, Buffer, Frame, Kind, check_payload, control, parse_control, parse_header

if TYPE_CHECKING:
    from typing_extensions import Buffer as Writable

__all__ = ["Wire"]

_LINGER_S = 1.0
_LINGER_BYTES = 64 << 20


class Wire:
    """One data connection. ``buffer`` (at least ``MAX_CHUNK`` bytes) holds the payload of the last frame read, until the next."""

    def __init__(self, sock: socket.socket, buffer: Writable) -> None:
        self.sock = sock
        self._header = memoryview(bytearray(HEADER_BYTES))
        self._buffer = memoryview(buffer)

    def read(self, *, at_start: bool = False) -> Frame | None:
        """The next frame; None when the other side closed and ``at_start`` allows it. Raises Unreachable, ProtocolError."""
        if not self._fill(self._header, at_start):
            return None
        try:
            header = parse_header(self._header)
            payload = self._buffer[: header.length]
            self._fill(payload, False)
            check_payload(header, payload)
        except ProtocolError as error:
            if self.has_tls:
                raise
            # What turned on the way breaks a connection with TLS; without, here is where it is noticed, and may be sent again.
            raise Unreachable(f"A data stream was damaged on its way: {error.message}") from None
        return Frame(header, payload)

    def write(self, head: bytes, payload: Buffer = b"") -> None:
        """Sends a header and its payload. Raises Unreachable when the connection is gone or stalls."""
        try:
            self.sock.sendall(head)
            if len(payload):
                self.sock.sendall(payload)
        except (OSError, ValueError) as error:
            raise Unreachable(f"A data stream broke while sending: {_reason(error)}.") from None

    def answer(self) -> Frame:
        """The other side's RECEIPT. Raises Refused with the code and message of an ERROR."""
        frame = self.read()
        if frame is None or frame.header.kind not in (Kind.RECEIPT, Kind.ERROR):
            raise ProtocolError("The agent answered with something that is neither a receipt nor an error.")
        if frame.header.kind == Kind.ERROR:
            fields = parse_control(frame.payload)
            status = fields.get("status")
            raise Refused(
                str(fields.get("message", "no reason given")),
                code=str(fields.get("error", "refused")),
                status=status if isinstance(status, int) else 403,
            )
        return frame

    @property
    def has_tls(self) -> bool:
        return isinstance(self.sock, ssl.SSLSocket)

    def readable(self) -> bool:
        """True when something has come (an answer, or the end) that nobody has read yet."""
        if self.sock.fileno() < 0:
            return False  # closed on this side, by another thread
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def refuse(self, transfer: int, code: str, message: str, status: int) -> None:
        """Sends an ERROR and gives the other side time to read it before the connection goes."""
        with contextlib.suppress(OSError, ValueError, Unreachable):
            self.sock.settimeout(_LINGER_S)
            self.write(control(Kind.ERROR, transfer, {"error": code, "message": message[:1000], "status": status}))
            # Closing with unread input would reset the connection and could take the ERROR with it.
            drained = 0
            while drained < _LINGER_BYTES and (got := self.sock.recv_into(self._buffer)):
                drained += got

    def close(self) -> None:
        """Closes the connection; wakes a thread that is blocked on it."""
        with contextlib.suppress(OSError):
            # The plain socket's: SSLSocket's own would leave a reader on another thread reading ciphertext.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        self.sock.close()

    def _fill(self, view: memoryview, may_end: bool) -> bool:
        filled, wanted = 0, len(view)
        while filled < wanted:
            try:
                got = self.sock.recv_into(view[filled:])
            except TimeoutError:
                raise Unreachable("A data stream stalled.") from None
            except (OSError, ValueError) as error:
                raise Unreachable(f"A data stream broke: {_reason(error)}.") from None
            if not got:
                if may_end and not filled:
                    return False
                raise Unreachable("A data stream ended in the middle.")
            filled += got
        return True


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason and "ALERT" in error.reason and "CERTIFICATE" in error.reason:
        # With TLS 1.3 who connects hears of it only when it reads.
        return "the other side does not accept this certificate: it is of another CA, or by that side's clock over or not valid yet"
    return str(getattr(error, "strerror", None) or error or type(error).__name__).rstrip(".")
