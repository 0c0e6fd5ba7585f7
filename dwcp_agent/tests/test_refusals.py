"""Whoever is refused leaves a line in the log that says who and why, and a count that monitoring reads."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dwcp_agent import log
from dwcp_agent.errors import Refused
from dwcp_agent.transport.frame import Kind, control
from dwcp_agent.transport.sender import Link
from fixtures import Agent, context_of, wait_for
from pki import Authority
from test_control import put


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Any:
    """``said(event)`` is every line of that event, as the log has it, since the last time that was asked."""
    caplog.set_level(logging.INFO, logger="dwcp")  # what fuzzes has silenced it

    def read(event: str) -> list[dict[str, Any]]:
        lines = [json.loads(log._JsonLines().format(record)) for record in caplog.records if record.name == "dwcp"]
        found = [line for line in lines if line["event"] == event]
        if found:
            caplog.clear()
        return found

    return read


async def counted(agent: Agent, name: str, **labels: str) -> float:
    async with agent.as_("monitor").get("/metrics") as response:
        families = list(text_string_to_metric_families(await response.text()))
    return sum(each.value for family in families for each in family.samples if each.name == name and labels.items() <= each.labels.items())


@pytest.mark.parametrize("port", ["control", "data"])
@pytest.mark.parametrize("flaw", ["tls-1.2", "no-certificate", "foreign-ca"])
async def test_a_handshake_that_is_refused_is_logged_with_its_reason_and_counted(
    agent: Agent, tmp_path: Path, said: Any, port: str, flaw: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(agent.people["load"].ca)
    files = Authority(tmp_path / "foreign").issue("load", "load.host-2") if flaw == "foreign-ca" else agent.people["load"]
    if flaw != "no-certificate":
        context.load_cert_chain(files.cert, files.key)
    if flaw == "tls-1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await counted(agent, "dwcp_handshakes_refused_total", port=port) == 0

    def connect() -> None:
        raw = socket.create_connection(("127.0.0.1", getattr(agent.service.ports, port)), timeout=5)
        with pytest.raises((ssl.SSLError, ConnectionError)), context.wrap_socket(raw, server_hostname="localhost") as secure:
            if not secure.recv(1):
                raise ConnectionError("closed")

    await asyncio.to_thread(connect)
    lines: list[dict[str, Any]] = await asyncio.to_thread(wait_for, "a line", lambda: said("handshake-failed"))
    reason = {"tls-1.2": "UNSUPPORTED_PROTOCOL", "no-certificate": "PEER_DID_NOT_RETURN_A_CERTIFICATE"}
    assert [(line["level"], line["port"]) for line in lines] == [("warning", port)]
    assert lines[0]["reason"] == reason.get(flaw, "CERTIFICATE_VERIFY_FAILED")
    assert await counted(agent, "dwcp_handshakes_refused_total", port=port) == 1


async def test_a_handshake_that_succeeds_is_neither(agent: Agent, said: Any) -> None:
    assert (await put(agent, "load", "x"))[0] == 201
    assert await counted(agent, "dwcp_handshakes_refused_total") == 0 and said("handshake-failed") == []


async def test_who_may_not_do_what_it_asked_for_is_named_and_counted(agent: Agent, said: Any) -> None:
    assert (await put(agent, "monitor", "x"))[0] == 403
    async with agent.as_("load").get("/metrics") as response:
        assert response.status == 403
    assert (await put(agent, "load", "x", X_DWCP_Client="OU=operator,CN=operator"))[0] == 403
    assert [(line["op"], line["status"], line.get("identity")) for line in said("refused")] == [
        ("put", 403, "OU=monitor,CN=monitor.ops"),
        ("metrics", 403, "OU=load,CN=load.host-2"),
        ("put", 403, None),
    ]
    assert await counted(agent, "dwcp_requests_total", code="403", op="put") == 2
    assert await counted(agent, "dwcp_requests_total", code="403", op="metrics") == 1


async def test_a_ticket_that_is_forged_is_logged_with_who_showed_it_and_counted(agent: Agent, said: Any) -> None:
    def talk() -> str:
        link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people["load"]))
        wire = link.take()
        wire.write(control(Kind.HELLO, 7, {"ticket": "forged.ticket", "name": "x", "size": 65536, "chunk": 65536}))
        with pytest.raises(Refused) as caught:
            wire.answer()
        wire.close()
        return caught.value.code

    assert await asyncio.to_thread(talk) == "ticket-invalid"
    [line] = await asyncio.to_thread(wait_for, "a line", lambda: said("stream-refused"))
    assert (line["identity"], line["code"]) == ("OU=load,CN=load.host-2", "ticket-invalid")
    assert await counted(agent, "dwcp_requests_total", op="stream") == 1
