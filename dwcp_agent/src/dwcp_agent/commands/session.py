"""The session of a command: the agent that takes what is sent, and a link to its data port."""

from __future__ import annotations

import ssl
from typing import Any

from dwcp_agent.commands.http import Connection, Endpoint, OtherSlot, as_object
from dwcp_agent.errors import Refused
from dwcp_agent.transport.sender import Link

__all__ = ["Session"]


class Session:
    """Opened with :meth:`open`, and again when its ticket is over; a session that belongs to the host's other slot is opened there."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, session: str) -> None:
        self.endpoint = endpoint
        self.name = session
        self.answer: dict[str, Any] = {}
        self._context = context
        self._link: Link | None = None
        self._connection = Connection(context)

    def open(self) -> None:
        """Raises Unreachable, Refused."""
        try:
            self._open()
        except OtherSlot as other:
            self.endpoint = other.endpoint
            self._open()

    def link(self) -> tuple[Link, str]:
        """A link to the agent's data port, and the ticket for it. Connections are kept as long as the agent stays where it is."""
        host, port = self._told("data", "host"), self._told("data", "port")
        if self._link is None or (self._link.host, self._link.port) != (host, port):
            self._link = Link(str(host), int(port), self._context)
        return self._link, str(self._told("ticket"))

    def _open(self) -> None:
        headers = {"X-DWCP-Session": self.name, "Content-Length": "0"}
        self.answer = as_object(self._connection.fetch(self.endpoint, "POST", "/v1/sessions", headers)[1])

    def _told(self, *path: str) -> Any:
        found: Any = self.answer
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            raise Refused(f"{self.endpoint} does not answer like an agent.")
        return found
