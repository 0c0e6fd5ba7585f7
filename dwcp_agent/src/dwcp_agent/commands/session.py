"""The agent that takes a transfer: its session, and the connections to its data port."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from dwcp_agent.commands.http import Connection, Endpoint, OtherSlot, as_object, is_port
from dwcp_agent.commands.known import data_port_of, remember_data_port
from dwcp_agent.encoding.manifest import BLOCK, PAGE, PAGE_HASH_BYTES, Manifest
from dwcp_agent.encoding.windows import WINDOW_LOG
from dwcp_agent.errors import BadInput, Refused, Unreachable
from dwcp_agent.telemetry.tcp import tcp_info
from dwcp_agent.transport.frame import PROTOCOL
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.wire import Wire

__all__ = ["KeptLink", "Session"]

_PAGES_TIMEOUT_S = 10.0
"""What is asked for only saves bytes, and a stream waits for it."""
_MANIFEST_TIMEOUT_S = 120.0
"""The agent may have to read all of the content first."""


class KeptLink(Link):
    """A link that outlives its transfers: a transfer's ``close`` leaves the connections for the next one, :meth:`end` closes them."""

    made_at: float | None = None
    """When the last connection was made, by ``time.monotonic``."""
    round_trip_us: int | None = None
    """The least round trip that its kernel had seen then."""

    def warm(self, count: int) -> None:
        """As many as there are not yet."""
        with self._changed:
            missing = count - len(self._idle) - self._coming
        super().warm(max(0, missing))

    def close(self) -> None:
        """Keeps what is idle."""

    def end(self) -> None:
        """Closes what is idle."""
        super().close()
        if isinstance(self._without_tls, KeptLink):
            self._without_tls.end()

    def _connect(self) -> Wire:
        wire = super()._connect()
        with contextlib.suppress(OSError):
            self.round_trip_us = tcp_info(wire.sock).min_rtt_us
        self.made_at = time.monotonic()
        return wire


class Session:
    """Opened when first needed and again for every transfer, since its ticket may be over. One transfer's at a time."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, session: str, *, for_state: bool = False) -> None:
        self.asked = endpoint
        self.endpoint = endpoint
        """Where the agent is that the session belongs to."""
        self.context = context
        self.id = session
        self.answer: dict[str, Any] = {}
        self._asked_of = ""
        """The content that the last answer speaks of."""
        self._headers = {"X-DWCP-Session": session} | ({"X-DWCP-State": "1"} if for_state else {})
        self._link: KeptLink | None = None
        self._beginning: threading.Thread | None = None
        self._failed: Exception | None = None
        self._connection = Connection(context)
        self._lock = threading.Lock()

    def begin(self, content: str, token: str) -> None:
        """Opens it on a thread of its own; :meth:`open` waits for that, and raises what it raises."""

        def run() -> None:
            try:
                self._open(content, token)
            except Exception as error:  # for whoever waits for it
                self._failed = error

        self._beginning = threading.Thread(target=run, name="session", daemon=True)
        self._beginning.start()

    def open(self, content: str = "", token: str = "") -> None:
        """Begins with a connection to the data port where it was the last time, beside the question. Raises Unreachable, Refused.

        ``content`` is what will be sent, by the transfer ``token``: an agent that can says along with the ticket what it has of them.
        """
        begun, self._beginning = self._beginning, None
        if begun is None:
            self._open(content, token)
            return
        begun.join()
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def _open(self, content: str, token: str) -> None:
        expected = data_port_of(self.asked) if self._link is None else None
        if expected is not None:
            self._link = KeptLink(*expected, self.context)
            self._link.warm(1)
        headers = {"Content-Length": "0"} | ({"X-DWCP-Content": quote(content), "X-DWCP-Token": token} if content else {})
        self.answer = as_object(self._fetch("POST", "/v1/sessions", headers)[1])
        self._asked_of = content

    def connect(self) -> tuple[Link, str]:
        """A link to the agent's data port, and a new ticket for it."""
        self.open()
        return self.link(), self.ticket()

    def link(self) -> KeptLink:
        """Connections are kept as long as the agent stays where it is."""
        host, port = self._told("data", "host"), self._told("data", "port")
        if not isinstance(host, str) or not is_port(port):
            raise Refused(f"{self.endpoint} names no place to send data to.")
        if self._link is None or (self._link.host, self._link.port) != (host, port):
            if self._link is not None:
                self._link.end()
            self._link = KeptLink(host, port, self.context)
            remember_data_port(self.asked, host, port)
        return self._link

    @property
    def kept_link(self) -> KeptLink | None:
        """The link, if there is one."""
        return self._link

    def ticket(self) -> str:
        """For data streams; of the last answer."""
        return str(self._told("ticket"))

    @property
    def protocol(self) -> int:
        """The highest version that both sides speak."""
        spoken = self.answer.get("protocol", 1)
        return min(spoken, PROTOCOL) if type(spoken) is int else 1

    @property
    def window_log(self) -> int:
        """How far back parts may refer, as a power of 2 in bytes."""
        told = self.answer.get("window")
        return told if type(told) is int and told > WINDOW_LOG else WINDOW_LOG

    @property
    def release(self) -> object:
        """What the agent says to run."""
        return self.answer.get("release")

    def baseline(self, path: str, ours: Callable[[], Manifest] | None = None) -> Manifest | None:
        """The manifest of what the agent has under this name; its hashes need not travel when it is ``ours``.

        Needs no session to be open. Raises Unreachable, Refused.
        """
        if self.is_new(path):
            return None
        what = f"/v1/manifests/{quote(path)}"
        try:
            if ours is not None:
                known, mark = self._id_of(path), None
                if known is None:
                    told, _ = self._fetch("HEAD", what, timeout_s=_MANIFEST_TIMEOUT_S)
                    known, mark = told.get("X-DWCP-Manifest"), told.get("X-DWCP-Rounded")
                if known == ours().id:
                    return replace(ours(), rounded=mark)
            told, hashes = self._fetch("GET", what, timeout_s=_MANIFEST_TIMEOUT_S)
            return Manifest(int(told.get("X-DWCP-Size", "")), hashes, told.get("X-DWCP-Rounded"))
        except Refused as error:
            if error.status == 404:
                return None
            raise
        except (ValueError, BadInput):
            raise Refused(f"{self.endpoint} answers with a manifest that is none.") from None

    def is_fresh(self, path: str) -> bool:
        """The same, and nothing is there of the transfer of which it was asked: it need not say more before it is sent."""
        return self.is_new(path) and self.answer.get("begun") is False

    def is_new(self, path: str) -> bool:
        """True when the agent said with the session that it has nothing under this name; False too when it did not say."""
        return bool(path) and path == self._asked_of and self.answer.get("content", "") is None

    def _id_of(self, path: str) -> str | None:
        content = self.answer.get("content") if path == self._asked_of else None
        found = content.get("id") if isinstance(content, dict) else None
        return found if isinstance(found, str) else None

    def pages(self, path: str, manifest: Manifest, runs: list[tuple[int, int]]) -> dict[int, bytes]:
        """The page hashes of blocks (first, count) of what the agent has under this name; nothing when that is another version by now."""
        question = json.dumps({"id": manifest.id, "blocks": runs}).encode()
        try:
            hashes = self._fetch("POST", f"/v1/manifests/{quote(path)}", timeout_s=_PAGES_TIMEOUT_S, body=question)[1]
        except (Refused, Unreachable):
            return {}  # what is asked for saves bytes, no more
        found, at = {}, 0
        for index in (index for first, count in runs for index in range(first, first + count)):
            length = -(-min(BLOCK, manifest.size - index * BLOCK) // PAGE) * PAGE_HASH_BYTES
            found[index] = hashes[at : at + length]
            at += length
        return found if at == len(hashes) else {}

    def dictionary(self, id: str) -> bytes:
        """What the agent sends as its dictionary ``id``. Raises Unreachable, Refused."""
        return self._fetch("GET", f"/v1/dictionaries/{quote(id)}")[1]

    def close(self) -> None:
        """Closes all connections."""
        if self._beginning is not None:
            self._beginning.join()
        self._connection.close()
        if self._link is not None:
            self._link.end()

    def _fetch(
        self, method: str, path: str, headers: dict[str, str] | None = None, timeout_s: float = 10.0, body: bytes | None = None
    ) -> tuple[dict[str, str], bytes]:
        headers = self._headers | (headers or {})
        with self._lock:
            try:
                return self._connection.fetch(self.endpoint, method, path, headers, timeout_s, body)
            except OtherSlot as other:
                self.endpoint = other.endpoint
                return self._connection.fetch(self.endpoint, method, path, headers, timeout_s, body)

    def _told(self, *path: str) -> Any:
        found: Any = self.answer
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            raise Refused(f"{self.endpoint} does not answer like an agent.")
        return found
