"""``dwcp-host backup serve``: restic's REST protocol over mutual TLS, one repository a host, to which is only added.

https://restic.readthedocs.io/en/v0.14.0/100_references.html#rest-backend. A host's certificate (OU agent) opens the repository that bears
its name and no other. What is there is never overwritten, and nothing but locks is removed: a host that was taken over cannot spoil
what it saved before. A file is checked against its name, its SHA-256, before it gets it. The layout is restic's own, so that
``restic -r DIRECTORY/HOST`` reads it on this machine, without this program.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from golive.onhost.durable import sync_directory

__all__ = ["RepositoryServer", "Tls", "serve"]

_TYPES = ("data", "keys", "locks", "snapshots", "index")
_NAME = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_V2 = "application/vnd.x.restic.rest.v2"
_CHUNK = 1 << 20
_MOST_BYTES = 1 << 30
"""Of one file; restic's own are some 20 MB."""
_IDLE_S = 60.0
_HANDSHAKE_S = 10.0


class Tls:
    """Certificate, key and CA in a directory; read anew when they were replaced, so that a renewal needs no restart."""

    def __init__(self, directory: Path, name: str) -> None:
        self._files = (directory / f"{name}.crt", directory / f"{name}.key", directory / "ca.crt")
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._context: ssl.SSLContext | None = None
        self.context()

    def context(self) -> ssl.SSLContext:
        """Of what is there now; what cannot be read leaves the last one in use. Raises OSError when there never was one."""
        with self._lock:
            try:
                stamp = tuple(path.stat().st_mtime_ns for path in self._files)
                if stamp != self._stamp:
                    fresh = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    fresh.minimum_version = ssl.TLSVersion.TLSv1_3
                    fresh.load_cert_chain(self._files[0], self._files[1])
                    fresh.load_verify_locations(self._files[2])
                    fresh.verify_mode = ssl.CERT_REQUIRED
                    self._context, self._stamp = fresh, stamp
            except OSError:
                if self._context is None:
                    raise
            assert self._context is not None
            return self._context


class RepositoryServer(ThreadingHTTPServer):
    """Repositories below ``directory``. ``tls`` None: without TLS, for tests of the protocol; then no one is asked who he is."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, directory: Path, address: tuple[str, int], tls: Tls | None) -> None:
        self.directory = directory
        self.tls = tls
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or is nobody, is no event."""


def serve(directory: Path, address: tuple[str, int], *, tls: Path, certificate: str) -> None:
    """Serves until the process ends; tells systemd when it does."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for partial in directory.rglob(".*"):  # what a server that was killed had half received
        partial.unlink()
    with RepositoryServer(directory, address, Tls(tls, certificate)) as server:
        _ready()
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RepositoryServer

    def setup(self) -> None:
        """The handshake is the client's own time: nobody else waits for it."""
        if self.server.tls is not None:
            self.request.settimeout(_HANDSHAKE_S)
            self.request = self.server.tls.context().wrap_socket(self.request, server_side=True)
        self.request.settimeout(_IDLE_S)
        super().setup()

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged; restic says what failed."""

    def do_HEAD(self) -> None:
        self._answered(self._get)

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def do_DELETE(self) -> None:
        self._answered(self._delete)

    def _answered(self, work: Any) -> None:
        path, _, query = self.path.partition("?")
        host, *rest = [part for part in path.split("/") if part] or [""]
        try:
            if not _HOST.fullmatch(host) or not self._may(host):
                self._say(HTTPStatus.FORBIDDEN, close=True)
            else:
                work(self.server.directory / host, rest, query)
        except FileNotFoundError:
            self._say(HTTPStatus.NOT_FOUND, close=True)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            self._say(HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.INTERNAL_SERVER_ERROR, close=True)

    def _may(self, host: str) -> bool:
        if self.server.tls is None:
            return True
        subject = {key: value for part in (self.connection.getpeercert() or {}).get("subject", ()) for key, value in part}
        return subject.get("organizationalUnitName") == "agent" and subject.get("commonName") == host

    def _get(self, home: Path, rest: list[str], query: str) -> None:
        if len(rest) == 1 and rest[0] in _TYPES:
            self._list(home / rest[0])
            return
        path = _file(home, rest)
        if path is None:
            self._say(HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin, end, code = 0, size, HTTPStatus.OK
            asked = _RANGE.fullmatch(self.headers.get("Range", ""))
            if asked:
                begin, code = int(asked[1]), HTTPStatus.PARTIAL_CONTENT
                end = min(size, int(asked[2]) + 1) if asked[2] else size
                if begin >= end:
                    self._say(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                    return
            self.send_response(code)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(end - begin))
            if asked:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            self.end_headers()
            if self.command == "GET":
                file.seek(begin)
                left = end - begin
                while left and (data := file.read(min(_CHUNK, left))):
                    self.wfile.write(data)
                    left -= len(data)

    def _list(self, directory: Path) -> None:
        entries = [path for path in sorted(directory.rglob("*")) if _NAME.fullmatch(path.name) and path.is_file()]
        second = _V2 in self.headers.get("Accept", "")
        told: list[Any] = [{"name": p.name, "size": p.stat().st_size} for p in entries] if second else [p.name for p in entries]
        self._say(HTTPStatus.OK, json.dumps(told).encode(), _V2 if second else "application/vnd.x.restic.rest.v1")

    def _post(self, home: Path, rest: list[str], query: str) -> None:
        length = self.headers.get("Content-Length", "")
        if not rest:
            if query != "create=true":
                self._say(HTTPStatus.BAD_REQUEST, close=True)
                return
            for name in _TYPES:
                (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._say(HTTPStatus.OK)
            return
        path = _file(home, rest)
        if path is None or not length.isdigit() or int(length) > _MOST_BYTES:
            self._say(HTTPStatus.BAD_REQUEST, close=True)
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < int(length):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        partial = path.parent / f".{secrets.token_hex(8)}"
        try:
            code = self._put(partial, path, int(length))
        finally:
            partial.unlink(missing_ok=True)
        self._say(code, close=code is HTTPStatus.BAD_REQUEST)

    def _put(self, partial: Path, path: Path, length: int) -> HTTPStatus:
        if not self._received(partial, length, path.name if path.name != "config" else None):
            return HTTPStatus.BAD_REQUEST
        try:
            os.link(partial, path)  # fails where there is one already: what is there stays
        except FileExistsError:
            return HTTPStatus.FORBIDDEN
        sync_directory(path.parent)
        return HTTPStatus.OK

    def _received(self, partial: Path, length: int, sha256: str | None) -> bool:
        """All of the body is on disk in ``partial``, and is what its name says."""
        digest, left = hashlib.sha256(), length
        with partial.open("xb") as file:
            while left:
                data = self.rfile.read(min(_CHUNK, left))
                if not data:
                    return False
                digest.update(data)
                file.write(data)
                left -= len(data)
            file.flush()
            os.fsync(file.fileno())
        return sha256 is None or digest.hexdigest() == sha256

    def _delete(self, home: Path, rest: list[str], query: str) -> None:
        path = _file(home, rest)
        if path is None or rest[0] != "locks":
            self._say(HTTPStatus.FORBIDDEN)
            return
        path.unlink()
        self._say(HTTPStatus.OK)

    def _say(self, code: HTTPStatus, body: bytes = b"", kind: str = "text/plain", *, close: bool = False) -> None:
        """``close``: the request's body may not have been read, so what follows on the connection is no request."""
        with contextlib.suppress(ConnectionError):
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if close:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)


def _file(home: Path, rest: list[str]) -> Path | None:
    """Where a file of the repository is; None when there can be none of that name."""
    if rest == ["config"]:
        return home / "config"
    if len(rest) != 2 or rest[0] not in _TYPES or not _NAME.fullmatch(rest[1]):
        return None
    kind, name = rest
    return home / kind / name[:2] / name if kind == "data" else home / kind / name


def _ready() -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(b"READY=1")
