"""``dwcp status https://HOST:PORT``: which release answers there, and what it is doing."""

from __future__ import annotations

import argparse
import json
from typing import Any

from dwcp_agent.commands.http import Endpoint, parse_url, request, tls_of
from dwcp_agent.errors import Refused

__all__ = ["status"]


def status(arguments: argparse.Namespace) -> None:
    """Asks /ready and, when the certificate may, /v1/status."""
    endpoint = parse_url(arguments.url)
    context = tls_of(arguments.ca, arguments.cert, arguments.key)
    report: dict[str, Any] = {"schema": 1, "ready": request(endpoint, context, "GET", "/ready")}
    try:
        report["status"] = request(endpoint, context, "GET", "/v1/status")
    except Refused as error:
        if error.code != "forbidden":
            raise
        report["status"] = None
    if arguments.json:
        print(json.dumps(report))
    else:
        _show(endpoint, report)


def _show(endpoint: Endpoint, report: dict[str, Any]) -> None:
    ready, state = report["ready"], report["status"]
    readiness = "ready" if ready.get("ready") else "not ready"
    print(f"{endpoint}: release {ready.get('id')}, slot {ready.get('slot')}, pid {ready.get('pid')}, {readiness}")
    if state is None:
        print("details need a certificate with OU operator, monitor or agent")
    else:
        counts = ", ".join(f"{state.get(name)} {name}" for name in ("sessions", "transfers", "requests"))
        print(f"{state.get('status')}: {counts}")
