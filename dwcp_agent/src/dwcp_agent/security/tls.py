"""TLS contexts: 1.3 only, both sides show a certificate of the environment's CA."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dwcp_agent.errors import BadInput

__all__ = ["TlsFiles", "TlsPaths", "client_context", "server_context", "tell_refused"]


class TlsPaths(Protocol):
    """Where CA, certificate and key are."""

    @property
    def ca(self) -> Path: ...
    @property
    def cert(self) -> Path: ...
    @property
    def key(self) -> Path: ...


@dataclass(frozen=True)
class TlsFiles:
    """Paths that come from no configuration."""

    ca: Path
    cert: Path
    key: Path


def server_context(tls: TlsPaths) -> ssl.SSLContext:
    """For a listening port; a client without a certificate of the CA does not get past the handshake."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls)
    # No resumption: it would save little on kept connections, and every connection shows its certificate anew.
    context.num_tickets = 0
    return context


def tell_refused(context: ssl.SSLContext, refused: Callable[[str], None]) -> None:
    """``refused`` is told why a handshake failed that asyncio serves by ``context``: it closes such a connection without a word."""

    class Telling(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                refused(error.reason or str(error))
                raise

    context.sslobject_class = Telling


def client_context(tls: TlsPaths) -> ssl.SSLContext:
    """For connecting; the server's certificate must name the host that was asked for."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, tls)
    context.check_hostname = True
    return context


def _context(protocol: int, tls: TlsPaths) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cafile=tls.ca)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"{tls.ca} cannot be used as CA: {error.strerror or error}.") from None
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"{tls.cert} and {tls.key} cannot be used as certificate and key: {error.strerror or error}.") from None
    return context
