"""HTTPS to hosts that stand behind a bastion: a proxy on loopback, in this process, over the connection to the bastion.

Certificates are checked end to end all the same: the proxy sees TLS pass through. It opens ways to the fleet's own hosts alone, and only
to who shows the secret that this process alone knows.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import secrets
import socket
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from golive.environment import Environment
from golive.errors import GoliveError
from golive.fleet.bastion import shared
from golive.fleet.connection import Opened
from golive.fleet.model import Bastion, Fleet

__all__ = ["proxy"]

_HEAD_BYTES = 8192
_OPEN_S = 10.0

_running: dict[tuple[str, str], tuple[Mapping[str, Bastion], str]] = {}
_guard = threading.Lock()


def proxy(env: Environment, fleet: Fleet) -> str | None:
    """The proxy's address for httpx, ``http://golive:SECRET@127.0.0.1:PORT``; None when every host is reached directly."""
    behind = {host.address: host.bastion for host in fleet.hosts if host.bastion is not None}
    if not behind:
        return None
    key = (env.name, str(env.state))
    with _guard:
        known = _running.get(key)
        if known is None or known[0] != behind:
            _running[key] = known = (behind, _Proxy(env, fleet).url)
        return known[1]


class _Proxy:
    """Speaks as much of HTTP as ``CONNECT host:port`` and ``GET http://host:port/path`` take."""

    def __init__(self, env: Environment, fleet: Fleet) -> None:
        self._behind = {host.address: host.bastion for host in fleet.hosts}
        self._bastions = shared(env.state / "keys" / "operator")
        secret = secrets.token_urlsafe(24)
        self._expected = b"Basic " + base64.b64encode(f"golive:{secret}".encode())
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://golive:{secret}@127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="tunnel", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            client.settimeout(_OPEN_S)
            try:
                way = self._open(client)
            except GoliveError as error:
                _say(client, f"502 {error.message.encode('ascii', 'replace').decode()[:300]}")
                return
            except (OSError, ValueError, KeyError):
                return
            if way is None:
                return
            client.settimeout(None)
            _joined(client, way)

    def _open(self, client: socket.socket) -> Opened | None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(_HEAD_BYTES)
            head += more
            if not more or len(head) > _HEAD_BYTES:
                return None
        first, *lines = head.split(b"\r\n\r\n")[0].split(b"\r\n")
        given = next((line.split(b":", 1)[1].strip() for line in lines if line.lower().startswith(b"proxy-authorization:")), b"")
        if not hmac.compare_digest(given, self._expected):
            _say(client, "407 Proxy Authentication Required")
            return None
        method, target, version = first.decode("ascii").split()
        # httpx asks a proxy for plain HTTP (an agent's /health) by the whole address, and for everything else by CONNECT.
        asked = urlsplit(target if method != "CONNECT" else f"//{target}")
        address, port = asked.hostname or "", asked.port or 80
        if address not in self._behind or (method != "CONNECT" and (method != "GET" or asked.scheme != "http")):
            _say(client, "403 Not a host of this fleet")
            return None
        bastion = self._behind[address]
        way: Opened = (
            socket.create_connection((address, port), timeout=_OPEN_S)
            if bastion is None
            else self._bastions.way(bastion)(address, port, _OPEN_S)
        )
        if method == "CONNECT":
            _say(client, "200 OK")
            return way
        kept = [line for line in lines if not line.lower().startswith((b"proxy-", b"connection:"))]
        path = (asked.path or "/") + (f"?{asked.query}" if asked.query else "")
        # Closed after one answer: the next request on this connection could be for another host.
        way.sendall(b"\r\n".join([f"GET {path} {version}".encode(), *kept, b"Connection: close", b"", b""]))  # type: ignore[attr-defined]
        return way


def _say(client: socket.socket, status: str) -> None:
    with contextlib.suppress(OSError):
        client.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())


def _joined(client: socket.socket, way: Opened) -> None:
    """Bytes pass both ways until either side has ended."""

    def pump(source: Opened, target: Opened) -> None:
        with contextlib.suppress(OSError, EOFError):
            while block := source.recv(65536):  # type: ignore[attr-defined]
                target.sendall(block)  # type: ignore[attr-defined]
        for end in (source, target):
            with contextlib.suppress(OSError, EOFError):
                end.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]

    back = threading.Thread(target=pump, args=(way, client), daemon=True)
    back.start()
    pump(client, way)
    back.join()
    way.close()
