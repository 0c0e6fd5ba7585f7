"""The board's server: one address, until it is told to end."""

from __future__ import annotations

import ipaddress
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from golive.errors import BadInput
from golive.views.board.app import Board
from golive.views.board.feed import Feed
from golive.views.board.guard import Doors
from golive.views.board.sources import Sources

__all__ = ["PORT", "served", "token_in"]

PORT = 8650
_SHORTEST = 20


def token_in(path: Path) -> str:
    """The token in a file that only its owner can read. Raises BadInput for a file that is no such thing."""
    try:
        found = path.stat()
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise BadInput(f"The token file {path} cannot be read ({why}); `head -c 24 /dev/urandom | base64 > {path}` makes one.") from None
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise BadInput(f"The token file {path} can be read by others than its owner; `chmod 600 {path}`, then run it again.")
    if len(text) < _SHORTEST or not text.isascii() or not text.isprintable():
        raise BadInput(f"The token in {path} is one line of at least {_SHORTEST} characters; `head -c 24 /dev/urandom | base64` makes one.")
    return text


def served(sources: Sources, *, host: str, port: int, token: str | None, ready: Callable[[str], None]) -> str:
    """Serves the board until SIGINT or SIGTERM; calls ``ready`` with the URL once it listens, and returns it in the end.

    Raises BadInput when the address is none of this machine's or is taken, or others could reach it without a token.
    """
    import uvicorn

    bound = _bound(host, port)
    address = ipaddress.ip_address(bound.getsockname()[0])
    if not address.is_loopback and token is None:
        bound.close()
        raise BadInput(
            f"{host} can be reached from other machines, and the board tells all of a run: give it --token-file FILE, or leave it on "
            f"127.0.0.1 and open it through `ssh -L` (docs/board.md)."
        )
    name = f"[{address}]" if address.version == 6 else str(address)
    url = f"http://{name}:{bound.getsockname()[1]}/"
    names = ("localhost",) if address.is_loopback else ("localhost", host, socket.gethostname(), socket.getfqdn())
    feed = Feed(sources)
    feed.refresh()
    board = Board(feed, Doors(token), names=names, loopback=address.is_loopback)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            board.end()
            super().handle_exit(sig, frame)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready(url)

    config = uvicorn.Config(
        board.app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        limit_concurrency=500,
    )
    # uvicorn raises the signal that ended it once more when it is done; that one has nobody to stop.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        Server(config).run(sockets=[bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        bound.close()
    return url


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise BadInput(f"--port takes a number from 0 to 65535, not {port}.")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BadInput(f"--host {host!r} is no address or name that this machine knows ({error.strerror}).") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno == 98:
            raise BadInput(f"Port {port} of {host} is taken by another process; choose another with --port, or 0 for any.") from None
        raise BadInput(f"The board cannot listen on {host}, port {port}: {error.strerror}; choose others with --host and --port.") from None
    return made
