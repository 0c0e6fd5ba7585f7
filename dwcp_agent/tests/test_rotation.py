"""Certificates, keys and the CA are replaced while an agent serves and content is on its way: nobody starts anything again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent import service
from dwcp_agent.errors import BadInput
from dwcp_agent.security.rotation import _stamps, serving
from dwcp_agent.transport.units import UNIT
from fixtures import Agent, context_of, wait_for
from pki import Authority, Files
from test_resumable import Cutting, outbound, stored

PORTS = ("control", "data")
REFUSED = (ssl.SSLError, ConnectionError)


def laid(files: Files, *, ca: bytes | None = None, pair: Files | None = None) -> None:
    """Replaces files whole, one after the other, as an installation does."""
    for path, content in ((files.ca, ca), (files.cert, pair and pair.cert.read_bytes()), (files.key, pair and pair.key.read_bytes())):
        if content is not None:
            fresh = path.with_name(f".{path.name}")
            fresh.write_bytes(content)
            fresh.replace(path)


@dataclass
class Site:
    """An agent whose files are replaced, an authority that issued them, and one that will."""

    agent: Agent
    served: Files
    old: Authority
    new: Authority

    @property
    def both(self) -> bytes:
        return self.old.path.read_bytes() + self.new.path.read_bytes()

    def counted(self, result: str) -> float | None:
        return self.agent.service.context.metrics.registry.get_sample_value("dwcp_certificates_replaced_total", {"result": result})

    async def lays(self, **files: Any) -> None:
        """Until they are taken."""
        await asyncio.to_thread(self.takes, **files)

    def takes(self, **files: Any) -> None:
        laid(self.served, **files)
        wait_for("new files were taken", lambda: self.agent.service._certificates._seen == _stamps(self.served))

    async def meets(self, files: Files, port: str) -> bytes:
        """The certificate (DER) of the agent that a client with these files meets and is taken by. Raises one of REFUSED otherwise."""

        def connect() -> bytes:
            raw = socket.create_connection(("127.0.0.1", getattr(self.agent.service.ports, port)), timeout=5)
            with context_of(files).wrap_socket(raw, server_hostname="localhost") as secure:
                # With TLS 1.3 who is refused hears of it with what it reads first.
                if port == "control":
                    secure.sendall(b"GET /v1/none HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    if secure.recv(9) != b"HTTP/1.1 ":
                        raise ConnectionError("closed")
                else:
                    secure.settimeout(0.5)
                    with contextlib.suppress(TimeoutError):  # it waits for a first frame
                        if not secure.recv(1):
                            raise ConnectionError("closed")
                return secure.getpeercert(binary_form=True) or b""

        return await asyncio.to_thread(connect)


@pytest.fixture
async def site(start_agent: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(service, "_REAP_EVERY_S", 0.02)
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new", "DWCP tests CA 2")
    served = old.issue("agent", "host-1")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(old.path.read_bytes())
    served = replace(served, ca=ca)
    async with start_agent(tls=served.as_config()) as agent:
        yield Site(agent, served, old, new)


def der(files: Files) -> bytes:
    return ssl.PEM_cert_to_DER_cert(files.cert.read_text())


async def test_who_connects_next_meets_the_new_certificate_and_who_is_connected_goes_on(site: Site) -> None:
    client = site.old.issue("load", "load.host-2")
    before = der(site.served)
    assert [await site.meets(client, port) for port in PORTS] == [before] * 2
    site.agent.people = {"load": client}
    kept = site.agent.as_("load")
    async with kept.get("/v1/none") as response:
        assert response.status == 404
    await site.lays(pair=site.old.issue("agent", "host-1b"))
    after = der(site.served)
    assert after != before
    assert [await site.meets(client, port) for port in PORTS] == [after] * 2
    async with kept.get("/v1/none") as response:  # the connection from before
        assert response.status == 404
    assert (site.counted("taken") or 0) >= 1  # and refused at most once, between the two files


async def test_a_ca_that_was_taken_out_is_trusted_no_more_and_one_that_was_put_in_is(site: Site) -> None:
    ours, theirs = site.old.issue("load", "load.host-2"), site.new.issue("load", "load.host-2")
    trusting = site.served.ca.with_name("both.crt")
    trusting.write_bytes(site.both)
    ours, theirs = replace(ours, ca=trusting), replace(theirs, ca=trusting)
    for port in PORTS:
        with pytest.raises(REFUSED):
            await site.meets(theirs, port)
    await site.lays(ca=site.both)
    for port in PORTS:
        assert await site.meets(theirs, port) == await site.meets(ours, port) == der(site.served)
    await site.lays(ca=site.new.path.read_bytes())
    for port in PORTS:
        assert await site.meets(theirs, port) == der(site.served)
        with pytest.raises(REFUSED):
            await site.meets(ours, port)


async def test_files_that_do_not_belong_together_change_nothing_and_are_told_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="dwcp")
    client, before = site.old.issue("load", "load.host-2"), der(site.served)
    site.served.key.write_bytes(site.new.issue("agent", "host-1").key.read_bytes())
    await asyncio.to_thread(wait_for, "it was refused", lambda: site.counted("refused") == 1)
    await asyncio.sleep(0.2)  # ten looks
    assert (site.counted("refused"), site.counted("taken")) == (1, 0)
    assert [record.getMessage() for record in caplog.records if "certificates" in record.getMessage()] == ["certificates-refused"]
    assert [await site.meets(client, port) for port in PORTS] == [before] * 2
    site.served.ca.unlink()
    await asyncio.to_thread(wait_for, "it was refused again", lambda: site.counted("refused") == 2)
    assert [await site.meets(client, port) for port in PORTS] == [before] * 2


async def test_every_key_and_the_ca_of_both_ends_are_replaced_while_content_is_on_its_way(site: Site) -> None:
    """As an owner rotates: both CAs are trusted, both ends have new certificates, the old CA is gone; streams break at each step."""
    client = site.old.issue("load", "load.host-2")
    client = replace(client, ca=site.served.ca.with_name("client-ca.crt"))
    client.ca.write_bytes(site.old.path.read_bytes())
    mine = replace(client, cert=client.ca.with_name("client.crt"), key=client.ca.with_name("client.key"))
    laid(mine, pair=client)

    def trust_both() -> None:
        site.takes(ca=site.both)
        laid(mine, ca=site.both)

    def take_new() -> None:
        site.takes(pair=site.new.issue("agent", "host-1"))
        laid(mine, pair=site.new.issue("load", "load.host-2"))

    def trust_new() -> None:
        site.takes(ca=site.new.path.read_bytes())
        laid(mine, ca=site.new.path.read_bytes())

    steps = [trust_both, take_new, trust_new]

    class Rotated(Cutting):
        """A step at each of these units, whichever of the two streams comes to one of them first, and every stream is cut."""

        stepping, left = threading.Lock(), {3, 7, 20}

        def chunk(self, offset: int, length: int) -> memoryview:
            with self.stepping:
                if offset // UNIT in self.left:
                    self.left.discard(offset // UNIT)
                    steps.pop(0)()
                    self._at.add(offset // UNIT)
            return super().chunk(offset, length)

    site.agent.people = {"load": mine}
    content = os.urandom(24 * UNIT)
    source = Rotated(content, at=set(), every=True)
    sending = outbound(site.agent, source, streams=2)
    source.sending = sending
    tally = await asyncio.to_thread(sending.run)
    assert steps == [] and stored(site.agent) == content and tally.broken_streams >= 3
    assert await site.meets(mine, "data") == der(site.served) and der(site.served) != der(client)
    with pytest.raises(REFUSED):
        await site.meets(client, "data")


def test_what_cannot_be_used_at_all_is_refused_at_the_start(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("agent", "host-1")
    files.key.unlink()
    with pytest.raises(BadInput, match="cannot be used as certificate and key"):
        serving(files)
