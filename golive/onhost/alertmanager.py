"""Asks Alertmanager what fires about a release, with short timeouts and the host's own certificate."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from golive.onhost.failures import BadInput
from golive.onhost.watch import Alert

__all__ = ["Alertmanager", "read_answer"]

_MAX_BYTES = 4 << 20
_ACTIVE = urlencode({"active": "true", "silenced": "false", "inhibited": "false"})


@dataclass(frozen=True)
class Alertmanager:
    """One Alertmanager, asked over TLS 1.3 with a client certificate."""

    url: str
    ca: Path
    certificate: Path
    """PEM with certificate and key."""
    timeout_s: float
    watchdog: str
    """Name of the alert that always fires; without it nobody evaluates rules, and silence means nothing."""

    def about(self, release: str) -> tuple[Alert, list[str]]:
        """What fires about ``release``, with the names of the alerts or the reason why it is unknown. Never raises for a bad answer."""
        reason = ""
        for _ in range(2):
            try:
                return read_answer(
                    self._get(f"/api/v2/alerts?{_ACTIVE}"),
                    release,
                    self.watchdog,
                )
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"
        return Alert.UNKNOWN, [reason]

    def _get(self, path: str) -> Any:
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname:
            raise BadInput(f"{self.url!r} is not an https address of Alertmanager.")
        context = ssl.create_default_context(cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(str(self.certificate))
        connection = http.client.HTTPSConnection(parts.hostname, parts.port or 443, timeout=self.timeout_s, context=context)
        try:
            connection.request("GET", parts.path.rstrip("/") + path)
            response = connection.getresponse()
            body = response.read(_MAX_BYTES + 1)
            if response.status != 200:
                raise ValueError(f"Alertmanager answered {response.status}")
            if len(body) > _MAX_BYTES:
                raise ValueError("Alertmanager's answer is too long")
            return json.loads(body)
        finally:
            connection.close()


def read_answer(answer: Any, release: str, watchdog: str) -> tuple[Alert, list[str]]:
    """What Alertmanager's list of active alerts says about ``release``. Raises ValueError when it is not such a list."""
    if not isinstance(answer, list):
        raise ValueError("Alertmanager did not answer with a list")
    firing, awake = [], False
    for alert in answer:
        labels = alert.get("labels") if isinstance(alert, dict) else None
        if not isinstance(labels, dict):
            raise ValueError("Alertmanager listed an alert without labels")
        name = labels.get("alertname")
        awake = awake or name == watchdog
        if labels.get("release") == release:
            firing.append(str(name))
    if firing:
        return Alert.FIRING, sorted(set(firing))
    if not awake:
        return Alert.UNKNOWN, [f"{watchdog} does not fire: no one evaluates the rules"]
    return Alert.QUIET, []
