"""Short HTTPS requests of the commands: blocking, one at a time."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit

from dwcp_agent.errors import BadInput, Refused, Unreachable
from dwcp_agent.security.rotation import following
from dwcp_agent.security.tls import TlsFiles

__all__ = ["Connection", "Endpoint", "OtherSlot", "as_object", "is_port", "parse_url", "request", "tls_of"]

_NO_HOST = re.compile(r"[\x00-\x20\x7f]")
"""What ``http.client`` raises an error of its own for."""
_MOST_BYTES = 1 << 30
"""Of an answer: the hashes of a file of 2 TiB."""
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Endpoint:
    """Where a URL leads: ``path`` without the leading slash, decoded."""

    host: str
    port: int
    path: str

    def __str__(self) -> str:
        return f"https://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class OtherSlot(Refused):
    """The session belongs to the agent at ``endpoint``, on the same host."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(f"The session belongs to the agent at {endpoint}.", code="other-slot", status=421)
        self.endpoint = endpoint


def parse_url(text: str) -> Endpoint:
    """The parts of ``https://HOST:PORT/path``. Raises BadInput."""
    try:
        parts = urlsplit(text)
        port = parts.port
        (parts.hostname or "").encode("idna")  # what connecting does first
    except ValueError:
        raise BadInput(f"{text!r} is not a URL like https://HOST:PORT/NAME.") from None
    if parts.scheme != "https" or not parts.hostname or not port or parts.query or parts.fragment or parts.username:
        raise BadInput(f"{text!r} is not a URL like https://HOST:PORT/NAME.")
    if _NO_HOST.search(parts.hostname):
        raise BadInput(f"{text!r} names no host.")
    return Endpoint(parts.hostname, port, unquote(parts.path.lstrip("/")))


def is_port(value: object) -> TypeGuard[int]:
    """True for a number that a connection can be made to."""
    return type(value) is int and 0 < value < 1 << 16


def tls_of(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """A client context of these files, also when they are replaced meanwhile. Raises BadInput."""
    return following(TlsFiles(ca=ca, cert=cert, key=key))


class Connection:
    """A connection to one agent or gateway that is kept for the next request, as long as the other side keeps it too."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._kept: tuple[Endpoint, http.client.HTTPSConnection] | None = None

    def fetch(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        timeout_s: float = 10.0,
        body: bytes | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of a good answer. Raises as :func:`request` does."""
        for kept in (True, False):
            connection = self._take(endpoint, timeout_s) if kept else None
            again = connection is not None
            connection = connection or http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=timeout_s, context=self._context)
            try:
                connection.request(method, path, body, headers or {})
                response = connection.getresponse()
                status, answer, told = response.status, _body(response), dict(response.headers.items())
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if again:
                    continue  # it was closed meanwhile, which a kept connection may be at any time
                reason = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
                raise Unreachable(f"{endpoint} did not answer: {reason}.") from None
            if response.will_close:
                connection.close()
            else:
                self._kept = (endpoint, connection)
            return _good(endpoint, status, told, answer)
        raise AssertionError("the second connection is never a kept one")

    def close(self) -> None:
        """Closes what is kept."""
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    def _take(self, endpoint: Endpoint, timeout_s: float) -> http.client.HTTPSConnection | None:
        kept, self._kept = self._kept, None
        if kept is None or kept[0] != endpoint:
            return None
        if kept[1].sock is not None:
            kept[1].sock.settimeout(timeout_s)
        return kept[1]


def _body(response: http.client.HTTPResponse) -> bytes:
    """All of it, without making room for what it only announces. Raises HTTPException when it is cut short or too long, OSError."""
    body = bytearray()
    while piece := response.read(_PIECE_BYTES):
        body += piece
        if len(body) > _MOST_BYTES:
            raise http.client.HTTPException(f"its answer has more than {_MOST_BYTES} bytes")
    if response.length:  # of which nothing is said when less is asked for than all
        raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)


def request(
    endpoint: Endpoint, context: ssl.SSLContext, method: str, path: str, headers: dict[str, str] | None = None, timeout_s: float = 10.0
) -> dict[str, Any]:
    """The JSON object of the answer. Raises Unreachable when none came, Refused with the answer's code and message when it is an error."""
    connection = Connection(context)
    try:
        return as_object(connection.fetch(endpoint, method, path, headers, timeout_s)[1])
    finally:
        connection.close()


def _good(endpoint: Endpoint, status: int, told: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    if status < 400:
        return told, body
    fields = as_object(body)
    if status == 421 and isinstance(control := fields.get("control"), dict) and is_port(port := control.get("port")):
        raise OtherSlot(Endpoint(endpoint.host, port, endpoint.path))
    code, message = str(fields.get("error", "http")), str(fields.get("message", f"HTTP {status}"))
    raise Refused(f"{endpoint} refused ({code}, {status}): {message}", code=code, status=status)


def as_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``; empty when there is none."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
