"""One host of a site keeps a bundle for the others: ``dwcp-host cache serve`` there, ``dwcp-host install --from`` on the rest.

HTTPS with the fleet's certificates, both ways. Whoever fetches knows the bundle's SHA-256 from the controller, and checks signature and
hashes afterwards as always: a cache can withhold a release, not change it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import os
import re
import shutil
import socket
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from golive.onhost.command import Call, verb
from golive.onhost.failures import BadInput, Refused
from golive.onhost.places import Places

__all__ = ["PORT", "fetch", "server"]

PORT = 7465
_NAME = re.compile(r"/([0-9a-f]{64})\.tar")
_ROLES = {"agent", "load"}
_SILENCE_S = 30.0
"""Longest time without a byte: a whole bundle may take as long as it needs."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SILENCE_S

    def setup(self) -> None:
        # Here, in the connection's own thread: a client that does not finish its handshake holds up nobody else.
        self.request.settimeout(_SILENCE_S)
        self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        match = _NAME.fullmatch(self.path)
        if _role(self.request) not in _ROLES:
            self.send_error(403, "only hosts of the fleet fetch here")
            return
        try:
            if match is None:
                raise FileNotFoundError
            content = (self.server.directory / f"{match[1]}.tar").open("rb")
        except OSError:
            self.send_error(404, "no such bundle")
            return
        with content:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-tar")
            self.send_header("Content-Length", str(os.fstat(content.fileno()).st_size))
            self.end_headers()
            shutil.copyfileobj(content, self.wfile, 1 << 20)

    def log_message(self, format: str, *args: Any) -> None:
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext, directory: Path) -> None:
        self.tls = tls
        self.directory = directory
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        return self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        return None  # a client that went away is its own to tell


def _role(connection: ssl.SSLSocket) -> str:
    subject = (connection.getpeercert() or {}).get("subject", ())
    return next((str(value) for part in subject for key, value in part if key == "organizationalUnitName"), "")  # type: ignore[str-unpack]


def _own(places: Places) -> tuple[Path, Path]:
    for role in ("agent", "load"):
        if (places.tls / f"{role}.crt").exists():
            return places.tls / f"{role}.crt", places.tls / f"{role}.key"
    raise Refused(f"{places.tls} holds neither an agent's nor a load client's certificate; run the base play.")


def server(places: Places, listen: str, port: int, directory: Path) -> _Server:
    """A server of the bundles in ``directory``, not yet serving. Raises Refused without this host's certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.verify_mode = ssl.CERT_REQUIRED
    try:
        tls.load_verify_locations(str(places.tls / "ca.crt"))
        tls.load_cert_chain(*map(str, _own(places)))
    except (OSError, ssl.SSLError) as error:
        raise Refused(f"This host's certificate cannot be used ({error}); run the base play.") from None
    return _Server((listen, port), tls, directory)


def fetch(places: Places, source: str, digest: str, target: Path) -> None:
    """``target`` holds the bundle with that SHA-256, from ``host:port``; whole or not at all. Raises Refused, naming the cache."""
    host, _, port = source.rpartition(":")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    fresh = target.with_name(target.name + ".fetched")
    seen = hashlib.sha256()
    try:
        tls.load_verify_locations(str(places.tls / "ca.crt"))
        tls.load_cert_chain(*map(str, _own(places)))
        with contextlib.closing(http.client.HTTPSConnection(host, int(port), timeout=_SILENCE_S, context=tls)) as connection:
            connection.request("GET", f"/{digest}.tar")
            answer = connection.getresponse()
            if answer.status != 200:
                raise Refused(f"The cache {source} does not give the bundle: {answer.status} {answer.reason}.")
            left = int(answer.headers.get("Content-Length") or 0)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as out:
                while block := answer.read(min(1 << 20, left)) if left else b"":
                    left -= len(block)
                    seen.update(block)
                    out.write(block)
        if left or seen.hexdigest() != digest:
            raise Refused(f"What the cache {source} gave is not the bundle that the controller named; nothing was installed.")
        fresh.replace(target)
    except (OSError, ssl.SSLError, http.client.HTTPException) as error:
        raise Refused(
            f"The bundle could not be fetched from the cache {source}: {error or type(error).__name__}; nothing was installed. "
            "Open that port within the site, or set site_cache: false."
        ) from None
    finally:
        fresh.unlink(missing_ok=True)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", type=Path, required=True, help="where bundles lie, each as its SHA-256 and .tar")
    parser.add_argument("--listen", default="")
    parser.add_argument("--port", type=int, default=PORT)


@verb("cache serve", help="give bundles to the hosts of this site until it is stopped", changes=False, arguments=_arguments)
def _serve(call: Call) -> dict[str, Any]:
    if not call.options.directory.is_dir():
        raise BadInput(f"{call.options.directory} is no directory.")
    with server(call.places, call.options.listen, call.options.port, call.options.directory) as serving:
        serving.serve_forever()
    return {}
