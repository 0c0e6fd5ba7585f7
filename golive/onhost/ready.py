"""Asks a release on this host whether it is ready, and who it is: over its own TLS, with this host's agent certificate."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from golive.onhost import machine
from golive.onhost.failures import Refused
from golive.onhost.places import Places

__all__ = ["CONTROL", "LOAD_PORT", "ask", "over_tls", "wait"]

CONTROL: Mapping[str, int] = {"a": 7400, "b": 7410}
"""Control port by slot."""
LOAD_PORT = 7450
_MAX_BYTES = 64 << 10
_POLL_S = 0.1


class _Connection(http.client.HTTPSConnection):
    """Connects to an address while the certificate is checked for the host's name."""

    def __init__(self, address: str, port: int, name: str, context: ssl.SSLContext, timeout_s: float) -> None:
        super().__init__(name, port, timeout=timeout_s, context=context)
        self._address = address
        self._tls = context
        self._seconds = timeout_s

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), timeout=self._seconds)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def ask(places: Places, port: int, timeout_s: float = 5.0) -> dict[str, Any]:
    """The answer of ``/ready`` at ``port``. Raises OSError, ValueError or HTTPException when there is none."""
    return machine.here().ready(places, port, timeout_s)


def over_tls(places: Places, port: int, timeout_s: float) -> dict[str, Any]:
    """Like ``ask``, of the machine that this process runs on."""
    host = json.loads((places.etc / "host.json").read_text(encoding="utf-8"))
    context = ssl.create_default_context(cafile=str(places.tls / "ca.crt"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(str(places.tls / "agent.crt"), str(places.tls / "agent.key"))
    connection = _Connection(host["address"], port, host["name"], context, timeout_s)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        body = response.read(_MAX_BYTES)
        if response.status != 200:
            raise ValueError(f"/ready answered {response.status}")
        answer = json.loads(body)
    finally:
        connection.close()
    if not isinstance(answer, dict):
        raise ValueError("/ready answered no JSON object")
    return answer


def wait(places: Places, port: int, release: str, digest: str, deadline_s: float) -> None:
    """Returns when ``/ready`` at ``port`` names ``release`` and ``digest``. Raises Refused when it does not in time, saying what came."""
    end = machine.here().monotonic() + deadline_s
    while True:
        try:
            answer = ask(places, port, timeout_s=max(0.5, min(5.0, end - machine.here().monotonic())))
            if answer.get("ready") is True and (answer.get("id"), answer.get("digest")) == (release, digest):
                return
            seen = f"it answered for {answer.get('id')!r}, ready={answer.get('ready')!r}"
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            seen = f"{type(error).__name__}: {error}"
        if machine.here().monotonic() >= end:
            raise Refused(f"Port {port} did not say within {deadline_s:g} s that {release} is ready ({seen}).")
        machine.here().sleep(_POLL_S)
