"""The agent that takes a transfer: its session, and the connections to its data port."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from typing import Any
from urllib.parse import quote

from dwcp_agent.commands.http import Connection, Endpoint, OtherSlot, as_object
from dwcp_agent.encoding.manifest import Manifest
from dwcp_agent.errors import BadInput, Refused
from dwcp_agent.telemetry.tcp import tcp_info
from dwcp_agent.transport.frame import PROTOCOL
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.wire import Wire

__all__ = ["KeptLink", "Session"]

_MANIFEST_TIMEOUT_S = 120.0
"""The agent may have to read all of the content first."""


class KeptLink(Link):
    """A link that outlives its transfers: a transfer's ``close`` leaves the connections for the next one, :meth:`end` closes them."""

    made_at: float | None = None
    """When the last connection was made, by ``time.monotonic``."""
    round_trip_us: int | None = None
    """The least round trip that its kernel had seen then."""

    def warm(self) -> None:
        """Makes the first connection, unless there is one."""
        if not self._idle:
            super().warm()

    def close(self) -> None:
        """Keeps what is idle."""

    def end(self) -> None:
        """Closes what is idle."""
        super().close()

    def _connect(self) -> Wire:
        wire = super()._connect()
        with contextlib.suppress(OSError):
            self.round_trip_us = tcp_info(wire.sock).min_rtt_us
        self.made_at = time.monotonic()
        return wire


class Session:
    """Opened when first needed and again for every transfer, since its ticket may be over. One thread's at a time."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, session: str) -> None:
        self.asked = endpoint
        self.endpoint = endpoint
        """Where the agent is that the session belongs to."""
        self.context = context
        self.id = session
        self.answer: dict[str, Any] = {}
        self._headers = {"X-DWCP-Session": session}
        self._link: KeptLink | None = None
        self._connection = Connection(context)

    def open(self) -> None:
        """Raises Unreachable, Refused."""
        self.answer = as_object(self._fetch("POST", "/v1/sessions", {"Content-Length": "0"})[1])

    def connect(self) -> tuple[Link, str]:
        """A link to the agent's data port, and a new ticket for it."""
        self.open()
        return self.link(), self.ticket()

    def link(self) -> KeptLink:
        """Connections are kept as long as the agent stays where it is."""
        host, port = self._told("data", "host"), self._told("data", "port")
        if self._link is None or (self._link.host, self._link.port) != (host, port):
            if self._link is not None:
                self._link.end()
            self._link = KeptLink(str(host), int(port), self.context)
        return self._link

    @property
    def kept_link(self) -> KeptLink | None:
        """The link, if there is one."""
        return self._link

    def warm(self) -> None:
        """Begins to make the first connection, beside whatever comes before it is needed."""
        threading.Thread(target=self.link().warm, daemon=True).start()

    def ticket(self) -> str:
        """For data streams; of the last answer."""
        return str(self._told("ticket"))

    @property
    def protocol(self) -> int:
        """The highest version that both sides speak."""
        spoken = self.answer.get("protocol", 1)
        return min(spoken, PROTOCOL) if type(spoken) is int else 1

    @property
    def release(self) -> object:
        """What the agent says to run."""
        return self.answer.get("release")

    def baseline(self, path: str) -> Manifest | None:
        """The manifest of what the agent has under this name. Needs no session to be open. Raises Unreachable, Refused."""
        try:
            told, hashes = self._fetch("GET", f"/v1/manifests/{quote(path)}", timeout_s=_MANIFEST_TIMEOUT_S)
            return Manifest(int(told.get("X-DWCP-Size", "")), hashes)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        except (ValueError, BadInput):
            raise Refused(f"{self.endpoint} answers with a manifest that is none.") from None

    def close(self) -> None:
        """Closes all connections."""
        self._connection.close()
        if self._link is not None:
            self._link.end()

    def _fetch(
        self, method: str, path: str, headers: dict[str, str] | None = None, timeout_s: float = 10.0
    ) -> tuple[dict[str, str], bytes]:
        headers = self._headers | (headers or {})
        try:
            return self._connection.fetch(self.endpoint, method, path, headers, timeout_s)
        except OtherSlot as other:
            self.endpoint = other.endpoint
            return self._connection.fetch(self.endpoint, method, path, headers, timeout_s)

    def _told(self, *path: str) -> Any:
        found: Any = self.answer
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            raise Refused(f"{self.endpoint} does not answer like an agent.")
        return found
