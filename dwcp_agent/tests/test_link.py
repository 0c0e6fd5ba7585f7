"""Connections that a sender keeps, and those that are on their way."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from dwcp_agent.commands.http import Endpoint
from dwcp_agent.commands.known import data_port_of, remember_data_port
from dwcp_agent.commands.session import Session
from dwcp_agent.errors import Unreachable
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.receiver import DataServer
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.source import BytesSource
from dwcp_agent.transport.units import UNIT
from fixtures import Agent, context_of, wait_for


class Connection:
    """Takes the place of a wire."""

    def __init__(self) -> None:
        self.closed = False

    def readable(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Connecting(Link):
    """Connections come when they are let, as many of them as ``fail`` says not at all."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 1, None)  # type: ignore[arg-type]
        self.let = threading.Semaphore(0)
        self.made: list[Connection] = []
        self.tried = 0
        self.fail = 0
        self._counting = threading.Lock()

    def _connect(self) -> Any:
        with self._counting:
            self.tried += 1
        assert self.let.acquire(timeout=10)
        with self._counting:
            if self.fail:
                self.fail -= 1
                raise Unreachable("no")
            self.made.append(Connection())
            return self.made[-1]


@pytest.fixture
def takers() -> Any:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_who_takes_a_connection_waits_for_the_one_on_its_way(takers: ThreadPoolExecutor) -> None:
    link = Connecting()
    link.warm(2)
    taken = [takers.submit(link.take) for _ in range(2)]
    wait_for("a taker or a connection", lambda: link._waiting == 2)
    link.let.release(2)
    assert {id(each.result(10)) for each in taken} == {id(made) for made in link.made}
    assert link.tried == 2


def test_who_comes_when_all_on_their_way_are_promised_makes_another(takers: ThreadPoolExecutor) -> None:
    link = Connecting()
    link.warm(1)
    taken = [takers.submit(link.take) for _ in range(2)]
    wait_for("a taker or a connection", lambda: link.tried == 2)
    link.let.release(2)
    assert len({id(each.result(10)) for each in taken}) == 2


def test_who_waited_for_one_that_does_not_come_makes_its_own(takers: ThreadPoolExecutor) -> None:
    link = Connecting()
    link.fail = 1
    link.warm(1)
    taken = takers.submit(link.take)
    wait_for("a taker or a connection", lambda: link._waiting == 1)
    link.let.release(2)
    assert taken.result(10) is link.made[0]
    assert link.tried == 2


def test_one_that_comes_after_the_link_was_closed_is_closed() -> None:
    link = Connecting()
    link.warm(1)
    wait_for("a taker or a connection", lambda: link.tried == 1)
    link.close()
    link.let.release()
    wait_for("a taker or a connection", lambda: bool(link.made) and link.made[0].closed)


def test_one_that_the_other_side_closed_is_not_given_out() -> None:
    link = Connecting()
    link.let.release(2)
    first = link.take()
    link.give(first)
    first.close()
    assert link.take() is not first


# -- where the data port was the last time ----------------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dwcp/agents"


def test_where_the_data_port_was_is_known_the_next_time(cached: Path) -> None:
    one, other = Endpoint("a.example", 7400, "x"), Endpoint("b.example", 7400, "x")
    assert data_port_of(one) is None
    remember_data_port(one, "10.0.0.1", 7401)
    remember_data_port(one, "10.0.0.2", 7402)
    assert data_port_of(Endpoint("a.example", 7400, "another/file")) == ("10.0.0.2", 7402)
    assert data_port_of(other) is None
    assert len(list(cached.iterdir())) == 1


@pytest.mark.parametrize(
    "spoilt", [b"", b"[]", b"\xff", b'{"host": 1, "port": 2}', b'{"host": "a", "port": 0}', b'{"host": "a", "port": true}']
)
def test_what_is_spoilt_is_not_known(cached: Path, spoilt: bytes) -> None:
    endpoint = Endpoint("a.example", 7400, "x")
    remember_data_port(endpoint, "10.0.0.1", 7401)
    next(cached.iterdir()).write_bytes(spoilt)
    assert data_port_of(endpoint) is None


async def test_a_data_port_that_moved_is_found_all_the_same(agent: Agent, cached: Path, tmp_path: Path) -> None:
    files = agent.people["operator"]
    endpoint = Endpoint("127.0.0.1", agent.service.ports.control, "one")
    nobody = socket.create_server(("127.0.0.1", 0))
    port = nobody.getsockname()[1]
    nobody.close()
    remember_data_port(endpoint, "127.0.0.1", port)

    def send(name: str) -> int:
        session = Session(endpoint, context_of(files), "s-1")
        try:
            session.open()
            link, ticket = session.link(), session.ticket()
            again = iter([(link, ticket)])
            source = BytesSource(name.encode() * 1000)
            Outbound(lambda: next(again, None) or session.connect(), name, source, token=blake3(name.encode()).hexdigest(16)).run()
            # The same once more over the same connection: it is done, and the connection is not spoilt by that.
            Outbound(session.connect, name, source, token=blake3(name.encode()).hexdigest(16)).run()
            Outbound(session.connect, name + "2", source, token=blake3(name.encode() + b"2").hexdigest(16)).run()
        finally:
            session.close()
        return link.port

    assert await asyncio.to_thread(send, "one") == agent.service.ports.data
    assert data_port_of(endpoint) == ("127.0.0.1", agent.service.ports.data)
    assert await asyncio.to_thread(send, "two") == agent.service.ports.data
    assert {path.name for path in (agent.store / "operator.operator").iterdir()} == {"one", "one2", "two", "two2"}


# -- connections as they are open -------------------------------------------------------------------------------------------------


async def test_both_ends_of_a_connection_send_at_once_and_notice_a_peer_that_is_gone(agent: Agent) -> None:
    link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people["load"]))
    wire = await asyncio.to_thread(link.take)
    there = await asyncio.to_thread(wait_for, "the other end", lambda: list(agent.service._data._open))
    for end in (wire, *there):
        assert end.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert end.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    wire.close()
    link.close()


async def test_five_transfers_go_over_the_connections_of_the_first(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted, serve = [], DataServer._serve

    def counted(self: DataServer, sock: socket.socket) -> None:
        accepted.append(sock.getpeername())
        serve(self, sock)

    def send() -> None:
        session = Session(Endpoint("127.0.0.1", agent.service.ports.control, ""), context_of(agent.people["operator"]), "s-1")
        try:
            for number in range(5):
                source = BytesSource(os.urandom(4 * UNIT))
                tally = Outbound(session.connect, f"n{number}", source, token=f"{number:032x}", streams=2).run()
                assert tally.streams == 2
                assert (agent.store / f"operator.operator/n{number}").read_bytes() == source.chunk(0, 4 * UNIT)
        finally:
            session.close()

    monkeypatch.setattr(DataServer, "_serve", counted)
    await asyncio.to_thread(send)
    assert len(accepted) == 2
