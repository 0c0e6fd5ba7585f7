"""``dwcp send FILE https://HOST:PORT/NAME``: one file, through a gateway or straight to an agent."""

from __future__ import annotations

import argparse
import json
import secrets
import time

from dwcp_agent import features
from dwcp_agent.commands.http import OtherSlot, parse_url, request, tls_of
from dwcp_agent.errors import BadInput, Refused
from dwcp_agent.sessions.ticket import check_session_id
from dwcp_agent.store.names import parts_of
from dwcp_agent.transport.sender import Link, Sending
from dwcp_agent.transport.source import open_source

__all__ = ["send"]


def send(arguments: argparse.Namespace) -> None:
    """Opens a session, sends the file, prints what the receiver verified and committed."""
    features.configure()
    endpoint = parse_url(arguments.url)
    parts_of(endpoint.path)
    session = arguments.session or f"send-{secrets.token_hex(8)}"
    try:
        check_session_id(session)
    except Refused as error:
        raise BadInput(error.message.replace("X-DWCP-Session", "--session")) from None
    if not 1 <= arguments.streams <= 64:
        raise BadInput("--streams must be between 1 and 64.")
    context = tls_of(arguments.ca, arguments.cert, arguments.key)
    source = open_source(arguments.file)
    try:
        started = time.monotonic()
        headers = {"X-DWCP-Session": session, "Content-Length": "0"}
        try:
            opened = request(endpoint, context, "POST", "/v1/sessions", headers)
        except OtherSlot as other:
            opened = request(other.endpoint, context, "POST", "/v1/sessions", headers)
        try:
            ticket, host, port = str(opened["ticket"]), str(opened["data"]["host"]), int(opened["data"]["port"])
        except (KeyError, TypeError, ValueError):
            raise Refused(f"{endpoint} does not answer like an agent.") from None
        link = Link(host, port, context)
        try:
            sent = Sending(link, ticket, endpoint.path, source, streams=arguments.streams).run()
        finally:
            link.close()
        seconds = time.monotonic() - started
    finally:
        source.close()
    ratio = sent.bytes / sent.wire_bytes if sent.wire_bytes else 1.0
    report = {
        "schema": 1,
        "name": endpoint.path,
        "session": session,
        "release": opened.get("release"),
        "bytes": sent.bytes,
        "wire_bytes": sent.wire_bytes,
        "seconds": round(seconds, 6),
        "bytes_per_s": round(sent.bytes / seconds),
        "ratio": round(ratio, 4),
        "streams": sent.streams,
        "source": source.path_name,
        "sha256": sent.sha256,
        "verified": True,
    }
    if arguments.json:
        print(json.dumps(report))
    else:
        rate = sent.bytes / seconds / 1e6
        print(f"{endpoint.path}: {sent.bytes} bytes in {seconds:.3f} s ({rate:.1f} MB/s), ratio {ratio:.2f}, {sent.streams} streams")
        print(f"taken by release {report['release']}")
        print(f"sha256 {sent.sha256} verified by the receiver")
