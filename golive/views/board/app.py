"""The board as a web application: one page, its picture, what changes in it, and the journal's lines. Reads only."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from golive.views.board.feed import Feed
from golive.views.board.guard import COOKIE, Doors, Guard

__all__ = ["Board"]

JSON = dict[str, Any]

_STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_LONGEST_FORM = 4096


class Board:
    """The application (``app``) over a feed.

    Args:
        feed: what is shown.
        doors: who may read.
        names: host names by which it may be asked.
        loopback: whether it is bound to a loopback address.
        every_s: how often the sources are looked at while somebody looks at the page.
        beat_s: how often a page hears that nothing changed.
    """

    def __init__(
        self,
        feed: Feed,
        doors: Doors,
        *,
        names: tuple[str, ...] = ("localhost",),
        loopback: bool = True,
        every_s: float = 0.25,
        beat_s: float = 10.0,
    ) -> None:
        self._feed, self._doors, self._every_s, self._beat_s = feed, doors, every_s, beat_s
        self._changed, self._ended = asyncio.Event(), False
        self._watchers = 0
        # A dozen small files, read once: a page is drawn from memory, and from nothing that was not there at the start.
        self._files = {str(path.relative_to(_STATIC)): path.read_bytes() for path in sorted(_STATIC.rglob("*")) if path.suffix in _TYPES}
        routes = [
            Route("/", self._page, methods=["GET"]),
            Route("/picture", self._picture, methods=["GET"]),
            Route("/events", self._events, methods=["GET"]),
            Route("/lines", self._lines, methods=["GET"]),
            Route("/enter", self._enter, methods=["GET", "POST"]),
            Route("/static/{name:path}", self._static, methods=["GET"]),
        ]
        guard = Middleware(Guard, doors=doors, names=names, loopback=loopback)
        self.app = Starlette(routes=routes, middleware=[guard], lifespan=self._living)

    def end(self) -> None:
        """Pages that wait for a change are let go, so that the server can end. May be called in a signal handler."""
        self._ended = True
        self._changed.set()

    @contextlib.asynccontextmanager
    async def _living(self, _: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self.end()
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _watch(self) -> None:
        """Looks at the sources as long as somebody looks at a page."""
        while not self._ended:
            if self._watchers:
                await self._refresh()
            await asyncio.sleep(self._every_s)

    async def _refresh(self) -> None:
        if await asyncio.to_thread(self._feed.refresh):
            # Whoever waits holds the old event: it is set for good, and those who come wait for the next.
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _file(self, name: str, status: int = 200) -> Response:
        return Response(self._files[name], status, media_type=_TYPES[Path(name).suffix], headers={"Cache-Control": "no-cache"})

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        return self._file(name) if name in self._files else PlainTextResponse("There is no such file.\n", 404)

    async def _page(self, _: Request) -> Response:
        return self._file("board.html")

    async def _picture(self, _: Request) -> Response:
        await self._refresh()
        return _json(await asyncio.to_thread(self._feed.whole))

    async def _lines(self, request: Request) -> Response:
        before, most = (request.query_params.get(name, "") for name in ("before", "most"))
        if not (before.isdecimal() and most.isdecimal() and len(before) < 16 and 0 < len(most) < 6):
            return PlainTextResponse("/lines takes before=NUMBER and most=NUMBER.\n", 400)
        return _json(self._feed.before(int(before), int(most)))

    async def _events(self, request: Request) -> Response:
        last = request.headers.get("last-event-id") or request.query_params.get("after", "")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._stream(last), media_type="text/event-stream", headers=headers)

    async def _stream(self, last: str) -> AsyncIterator[bytes]:
        self._watchers += 1
        try:
            yield b"retry: 1000\n\n"
            await self._refresh()
            while not self._ended:
                changed = self._changed
                for change in await asyncio.to_thread(self._feed.since, last):
                    last = change["id"]
                    yield f"id: {last}\nevent: change\ndata: {_text(change)}\n\n".encode()
                try:
                    async with asyncio.timeout(self._beat_s):
                        await changed.wait()
                except TimeoutError:
                    yield b"event: beat\ndata: {}\n\n"
        finally:
            self._watchers -= 1

    async def _enter(self, request: Request) -> Response:
        """The token, once, for a cookie that only this browser has."""
        if not self._doors.closed:
            return RedirectResponse("/", 303)
        if request.method != "POST":
            return self._file("enter.html", 401)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_FORM:
                return PlainTextResponse("That is no token.\n", 413)
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        session = self._doors.entered(given)
        if session is None:
            await asyncio.sleep(0.5)
            return self._file("enter.html", 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=request.url.scheme == "https", path="/")
        return answer


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _json(value: Any) -> Response:
    return Response(_text(value), media_type="application/json")
