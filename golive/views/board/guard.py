"""Who may read the board, and what a browser may do with it."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["COOKIE", "HEADERS", "Doors", "Guard"]

COOKIE = "golive-board"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every answer, refusals too."""

_LASTS_S = 12 * 3600.0
_MOST_SESSIONS = 1000
_OPEN = ("/enter", "/static/board.css")
"""What somebody without the token gets: the place to give it."""


class Doors:
    """Lets in whoever shows the token: as a bearer, or by a cookie that was given in exchange for it, once, by :meth:`entered`."""

    def __init__(self, token: str | None) -> None:
        self._token = token.encode() if token is not None else None
        self._sessions: dict[bytes, float] = {}

    @property
    def closed(self) -> bool:
        """Whether a token is asked for at all."""
        return self._token is not None

    def entered(self, token: str) -> str | None:
        """A session's name for whoever has the token; None for whoever has not."""
        if self._token is None or not hmac.compare_digest(token.encode(errors="replace"), self._token):
            return None
        now = time.monotonic()
        self._sessions = {name: end for name, end in self._sessions.items() if end > now}
        while len(self._sessions) >= _MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        name = secrets.token_urlsafe(32)
        self._sessions[name.encode()] = now + _LASTS_S
        return name

    def admits(self, headers: Headers) -> bool:
        """Whether a request with these headers may read."""
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(errors="replace"), self._token):
            return True
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        name = found.value.encode(errors="replace") if found is not None else b""
        known = [end for session, end in self._sessions.items() if hmac.compare_digest(session, name)]
        return bool(known) and known[0] > time.monotonic()


class Guard:
    """Around the whole application: the name it is asked by, the token, and the headers of every answer.

    Args:
        app: what is guarded.
        doors: who is let in.
        names: host names by which it may be asked, besides addresses. A page of somebody else's whose name was made to point here (DNS
            rebinding) asks by that name and gets nothing; an address cannot be made to point elsewhere.
        loopback: whether only loopback addresses are ours.
    """

    def __init__(self, app: ASGIApp, doors: Doors, names: Iterable[str], *, loopback: bool) -> None:
        self._app, self._doors, self._loopback = app, doors, loopback
        self._names = {name.lower().rstrip(".") for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                message["headers"] = headers.raw
            await send(message)

        headers, path = Headers(scope=scope), scope["path"]
        if not self._named(headers.getlist("host")):
            refusal = PlainTextResponse("This board is not asked by that name.\n", 421)
            await refusal(scope, receive, guarded)
        elif not self._doors.admits(headers) and path not in _OPEN:
            if path == "/":
                await self._app({**scope, "path": "/enter", "raw_path": b"/enter"}, receive, guarded)
                return
            refusal = PlainTextResponse("The board asks for its token.\n", 401, {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _named(self, hosts: list[str]) -> bool:
        if len(hosts) != 1:
            return False
        host = hosts[0].strip().lower()
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        if name.rstrip(".") in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._loopback
