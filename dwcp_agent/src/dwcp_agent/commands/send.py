"""``dwcp send FILE https://HOST:PORT/NAME``: one file, through a gateway or straight to an agent; run again, it goes on."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from blake3 import blake3

from dwcp_agent import features
from dwcp_agent.commands.http import Connection, Endpoint, OtherSlot, as_object, is_port, parse_url, tls_of
from dwcp_agent.encoding.manifest import Manifest, manifest_of
from dwcp_agent.errors import BadInput, Failed, Refused
from dwcp_agent.sessions.ticket import check_session_id
from dwcp_agent.store.manifests import load_manifest, save_manifest
from dwcp_agent.store.names import parts_of
from dwcp_agent.transport.frame import PROTOCOL
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.sender import Link, Sending
from dwcp_agent.transport.source import Source, open_source
from dwcp_agent.transport.tally import Tally
from dwcp_agent.transport.units import Baseline

__all__ = ["send"]

_MANIFEST_TIMEOUT_S = 120.0
"""The agent may have to read all of the content first."""
_READERS = 2


class _Session:
    """The agent that takes the transfer: opened when first needed and again when its ticket is over."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, session: str) -> None:
        self.endpoint = endpoint
        self.context = context
        self.headers = {"X-DWCP-Session": session}
        self.answer: dict[str, Any] = {}
        self._link: Link | None = None
        self._connection = Connection(context)

    def open(self) -> None:
        """Raises Unreachable, Refused."""
        headers = self.headers | {"Content-Length": "0"}
        try:
            self.answer = as_object(self._connection.fetch(self.endpoint, "POST", "/v1/sessions", headers)[1])
        except OtherSlot as other:
            self.endpoint = other.endpoint
            self.answer = as_object(self._connection.fetch(self.endpoint, "POST", "/v1/sessions", headers)[1])

    def connect(self) -> tuple[Link, str]:
        """A link to the agent's data port, and a new ticket for it."""
        self.open()
        return self.link(), self.ticket()

    def link(self) -> Link:
        """Connections are kept as long as the agent stays where it is."""
        host, port = self._told("data", "host"), self._told("data", "port")
        if not isinstance(host, str) or not is_port(port):
            raise Refused(f"{self.endpoint} names no place to send data to.")
        if self._link is None or (self._link.host, self._link.port) != (host, port):
            self._link = Link(host, port, self.context)
        return self._link

    def ticket(self) -> str:
        return str(self._told("ticket"))

    def baseline(self, path: str) -> Manifest | None:
        """The manifest of what the agent has under this name."""
        try:
            told, hashes = self._connection.fetch(
                self.endpoint, "GET", f"/v1/manifests/{quote(path)}", self.headers, timeout_s=_MANIFEST_TIMEOUT_S
            )
            return Manifest(int(told.get("X-DWCP-Size", "")), hashes)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        except (ValueError, BadInput):
            raise Refused(f"{self.endpoint} answers with a manifest that is none.") from None

    def _told(self, *path: str) -> Any:
        found: Any = self.answer
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            raise Refused(f"{self.endpoint} does not answer like an agent.")
        return found


def send(arguments: argparse.Namespace) -> None:
    """Opens a session, sends the file, prints what the receiver verified and committed."""
    features.configure()
    endpoint = parse_url(arguments.url)
    parts_of(endpoint.path)
    if arguments.session:
        try:
            check_session_id(arguments.session)
        except Refused as error:
            raise BadInput(error.message.replace("X-DWCP-Session", "--session")) from None
    if not 1 <= arguments.streams <= 64:
        raise BadInput("--streams must be between 1 and 64.")
    context = tls_of(arguments.ca, arguments.cert, arguments.key)
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(contextlib.closing(open_source(arguments.file)))
        old = opened.enter_context(contextlib.closing(open_source(arguments.baseline))) if arguments.baseline else None
        token = _token(arguments.file, endpoint)
        session = _Session(endpoint, context, arguments.session or f"send-{token[:16]}")
        started = time.monotonic()
        session.open()
        try:
            by = _by_protocol_2(arguments, session, source, old, token) if _speaks(session) else _by_protocol_1(arguments, session, source)
        except Failed as error:
            if source.changed():
                message = f"{arguments.file} was changed while it was sent, so nothing was committed; send it again when it rests."
                raise Failed(message) from error
            raise
        seconds = time.monotonic() - started
    ratio = by["bytes"] / by["wire_bytes"] if by["wire_bytes"] else None
    report = {
        "schema": 2,
        "name": endpoint.path,
        "session": session.headers["X-DWCP-Session"],
        "release": session.answer.get("release"),
        **by,
        "seconds": round(seconds, 6),
        "bytes_per_s": round(by["bytes"] / seconds),
        "ratio": round(ratio, 4) if ratio else None,
        "source": source.path_name,
        "verified": True,
    }
    print(json.dumps(report) if arguments.json else _in_words(report, seconds))


def _speaks(session: _Session) -> bool:
    spoken = session.answer.get("protocol", 1)
    return isinstance(spoken, int) and spoken >= PROTOCOL


def _by_protocol_1(arguments: argparse.Namespace, session: _Session, source: Source) -> dict[str, Any]:
    link = session.link()
    try:
        sent = Sending(link, session.ticket(), session.endpoint.path, source, streams=arguments.streams).run()
    finally:
        link.close()
    return {"protocol": 1, "bytes": sent.bytes, "wire_bytes": sent.wire_bytes, "streams": sent.streams, "sha256": sent.sha256}


def _by_protocol_2(arguments: argparse.Namespace, session: _Session, source: Source, old: Source | None, token: str) -> dict[str, Any]:
    link = session.link()
    first = iter([(link, session.ticket())])
    warming = threading.Thread(target=link.warm, daemon=True)
    warming.start()
    known = session.baseline(session.endpoint.path)
    baseline = None
    if known is not None:
        # Only if what is here is what is there can the one be told by the other.
        same = old is not None and old.size == known.size and _manifest_of(arguments.baseline, old).id == known.id
        baseline = Baseline(known, old if same else None)
    with _progress(arguments) as tell:
        tally = Outbound(
            lambda: next(first, None) or session.connect(),
            session.endpoint.path,
            source,
            token=token,
            baseline=baseline,
            streams=arguments.streams,
            limit_bytes_per_s=arguments.limit,
            patience_s=arguments.patience,
            progress=tell,
        ).run()
    fields = (
        "wire_bytes",
        "sent_bytes",
        "same_bytes",
        "zero_bytes",
        "resumed_bytes",
        "again_bytes",
        "streams",
        "broken_streams",
        "congestion",
        "level",
        "levels",
        "id",
    )
    told = "none" if baseline is None else "both sides" if baseline.source is not None else "receiver"
    return {"protocol": 2, "bytes": tally.size, "baseline": told, **{name: getattr(tally, name) for name in fields}}


def _token(path: Path, endpoint: Endpoint) -> str:
    """The same for the same version of a file on its way to the same place, so that a later run goes on with it."""
    status = path.stat()
    what = [str(endpoint), endpoint.path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
    return blake3(json.dumps(what).encode()).hexdigest(16)


def _manifest_of(path: Path, source: Source) -> Manifest:
    """A manifest of a file on this side; kept in the user's cache, since a baseline is used again and again."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dwcp"
    with contextlib.ExitStack() as opened, ThreadPoolExecutor(_READERS) as readers:
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, directory)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(os.close, descriptor)
        except OSError:
            return manifest_of(source, readers)
        found = load_manifest(directory, str(path.resolve()), descriptor)
        if found is None:
            found = manifest_of(source, readers)
            save_manifest(directory, str(path.resolve()), descriptor, found)
        return found


@contextlib.contextmanager
def _progress(arguments: argparse.Namespace) -> Iterator[Any]:
    """One line on a terminal, rewritten; nothing elsewhere."""
    if arguments.json or not sys.stderr.isatty():
        yield None
        return
    begun = time.monotonic()

    def tell(done: int, size: int, tally: Tally) -> None:
        elapsed = time.monotonic() - begun
        rate = done / elapsed if elapsed else 0.0
        left = f"{(size - done) / rate:.0f} s left" if rate and done < size else "verifying"
        ratio = f", ratio {done / tally.wire_bytes:.1f}" if tally.wire_bytes else ""
        share = 100 * done / size if size else 100.0
        sys.stderr.write(f"\r\x1b[K{share:5.1f} %  {rate / 1e6:.1f} MB/s{ratio}, {left}")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        sys.stderr.write("\r\x1b[K")


def _in_words(report: dict[str, Any], seconds: float) -> str:
    rate = report["bytes_per_s"] / 1e6
    ratio = f"ratio {report['ratio']:.2f}" if report["ratio"] else "nothing had to be sent"
    lines = [f"{report['name']}: {report['bytes']} bytes in {seconds:.3f} s ({rate:.1f} MB/s), {ratio}, {report['streams']} streams"]
    if report.get("resumed_bytes"):
        lines.append(f"{report['resumed_bytes']} bytes were there from an earlier run")
    if report.get("same_bytes"):
        lines.append(f"{report['same_bytes']} bytes are as in the version that was there")
    lines.append(f"taken by release {report['release']}")
    hashed = f"sha256 {report['sha256']}" if "sha256" in report else f"id {report['id']}"
    return "\n".join([*lines, f"{hashed} verified by the receiver"])
