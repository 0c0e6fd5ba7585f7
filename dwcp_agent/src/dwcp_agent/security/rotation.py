"""Certificates that are replaced in use: whoever connects next is met with the new ones, and what is connected goes on."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from dwcp_agent.errors import BadInput
from dwcp_agent.security.tls import TlsPaths, client_context, server_context

__all__ = ["Rotating", "following", "serving"]


class _Stamp(NamedTuple):
    """Tells a file from what lay in its place before."""

    inode: int
    size: int
    written_ns: int


class Rotating:
    """The context of the files as they are now. Safe from several threads.

    A whole context is made and takes the place of the one before: a CA that was taken out of its file is trusted by no later handshake, and
    files that do not belong together, as between two writes, change nothing.

    Args:
        told: hears ``taken``, or ``refused`` with the reason, once for each time that the files changed.

    Raises BadInput when the files cannot be used to begin with.
    """

    def __init__(self, tls: TlsPaths, make: Callable[[TlsPaths], ssl.SSLContext], told: Callable[[str, str], None] | None = None) -> None:
        self._tls = tls
        self._make = make
        self._told = told or (lambda result, why: None)
        self._lock = threading.Lock()
        # Stamps first: what is written while a context is made is another stamp, and looked at again.
        self._seen = _stamps(tls)
        self._current = make(tls)

    def current(self) -> ssl.SSLContext:
        """Made anew when the files changed; the one before as long as they cannot be used."""
        stamps = _stamps(self._tls)
        with self._lock:
            if stamps == self._seen:
                return self._current
            self._seen = stamps
            try:
                self._current = self._make(self._tls)
            except BadInput as error:
                result, why = "refused", str(error)
            else:
                result, why = "taken", ""
            current = self._current
        self._told(result, why)
        return current


def serving(tls: TlsPaths, told: Callable[[str, str], None] | None = None) -> tuple[ssl.SSLContext, Rotating]:
    """The context of a listening port, which hands each handshake over to the one that its Rotating has then. Raises BadInput."""
    rotating = Rotating(tls, server_context, told)
    entrance = server_context(tls)

    def hand_over(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = rotating.current()

    # Called for each handshake, with or without a name that is asked for.
    entrance.sni_callback = hand_over
    return entrance, rotating


class _Following(ssl.SSLContext):
    """Connects by the context that a Rotating has then; has nothing of its own."""

    rotating: Rotating

    def wrap_socket(self, *args: Any, **named: Any) -> ssl.SSLSocket:
        return self.rotating.current().wrap_socket(*args, **named)

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        return self.rotating.current().wrap_bio(*args, **named)


def following(tls: TlsPaths) -> ssl.SSLContext:
    """For connecting, more than once and for long. Raises BadInput."""
    context = _Following(ssl.PROTOCOL_TLS_CLIENT)
    context.rotating = Rotating(tls, client_context)
    return context


def _stamps(tls: TlsPaths) -> tuple[_Stamp | None, ...]:
    found: list[_Stamp | None] = []
    for path in (tls.ca, tls.cert, tls.key):
        try:
            seen = path.stat()
            found.append(_Stamp(seen.st_ino, seen.st_size, seen.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)
