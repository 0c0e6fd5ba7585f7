"""Asks the monitoring host what fires about a release, with short timeouts and this host's own certificate.

Alertmanager says what fires and what a person silenced. Its silence is worth something only while Prometheus evaluates the rules, so
Prometheus is asked too: when it last did, by its own clock, and whether it has an alert that never arrived at Alertmanager.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from golive.onhost.failures import BadInput
from golive.onhost.watch import Alert

__all__ = ["Monitoring", "judge"]

_MAX_BYTES = 8 << 20
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Monitoring:
    """Alertmanager and Prometheus, asked over TLS 1.3 with a client certificate."""

    alertmanager: str
    prometheus: str
    ca: Path
    certificate: Path
    """PEM with certificate and key."""
    timeout_s: float
    stale_s: float
    """Rules that were last evaluated longer ago than this say nothing."""

    def about(self, release: str) -> tuple[Alert, list[str]]:
        """What fires about ``release``, with the names of the alerts, or the reason why it is unknown. A bad answer never raises."""
        reason = ""
        for _ in range(2):
            try:
                alerts, _date = self._get(self.alertmanager, "/api/v2/alerts?active=true&silenced=true&inhibited=true")
                rules, date = self._get(self.prometheus, "/api/v1/rules?type=alert")
                return judge(alerts, rules, date, release, self.stale_s)
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
                reason = f"{type(error).__name__}: {error}"
        return Alert.UNKNOWN, [reason]

    def _get(self, url: str, path: str) -> tuple[Any, str]:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise BadInput(f"{url!r} is not an https address.")
        context = ssl.create_default_context(cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(str(self.certificate))
        connection = http.client.HTTPSConnection(parts.hostname, parts.port or 443, timeout=self.timeout_s, context=context)
        try:
            connection.request("GET", parts.path.rstrip("/") + path)
            response = connection.getresponse()
            body = response.read(_MAX_BYTES + 1)
            if response.status != 200:
                raise ValueError(f"{url} answered {response.status}")
            if len(body) > _MAX_BYTES:
                raise ValueError(f"the answer of {url} is too long")
            return json.loads(body), response.headers.get("Date", "")
        finally:
            connection.close()


def judge(alerts: Any, rules: Any, date: str, release: str, stale_s: float) -> tuple[Alert, list[str]]:
    """What the two answers together say about ``release``.

    Args:
        alerts: Alertmanager's ``/api/v2/alerts``.
        rules: Prometheus's ``/api/v1/rules``.
        date: the ``Date`` header of the answer with the rules: Prometheus's own clock, so that the two hosts' clocks need not agree.
        release: id of the candidate.
        stale_s: how old the last evaluation of a rule group may be.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: an answer has not the shape it should have.
    """
    if not isinstance(alerts, list):
        raise ValueError("Alertmanager did not answer with a list")
    # Every alert is read, also those about others: one without sense makes the whole answer worth nothing.
    states = [(_labels(alert), alert["status"]["state"]) for alert in alerts]
    about = [(labels.get("alertname"), state) for labels, state in states if labels.get("release") == release]
    active = {str(name) for name, state in about if state == "active"}
    known = {name for name, _ in about}
    now = parsedate_to_datetime(date)
    groups = rules["data"]["groups"]
    lost, stale = set(), []
    for group in groups:
        age_s = (now - _instant(group["lastEvaluation"])).total_seconds()
        if age_s > stale_s:
            stale.append(f"{group['name']} was last evaluated {age_s:.0f} s ago")
        for rule in group["rules"]:
            fires = any(alert["state"] == "firing" and _labels(alert).get("release") == release for alert in rule.get("alerts", []))
            if fires and rule["name"] not in known:
                lost.add(str(rule["name"]))
    if active or lost:
        return Alert.FIRING, sorted(active | lost)
    if not groups:
        return Alert.UNKNOWN, ["Prometheus has no rules"]
    if stale:
        return Alert.UNKNOWN, stale
    return Alert.QUIET, []


def _labels(alert: Mapping[str, Any]) -> Mapping[str, Any]:
    labels = alert["labels"]
    if not isinstance(labels, dict):
        raise TypeError("an alert without labels")
    return labels


def _instant(text: str) -> datetime:
    found = _RFC3339.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a time")
    return datetime.fromisoformat(found[1] + ("+00:00" if found[2] == "Z" else found[2]))
