"""Streams without TLS: only where both sides want them, and whoever is on the way can end a transfer but never make it something else."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.config import AgentConfig
from dwcp_agent.encoding.manifest import manifest_of
from dwcp_agent.errors import Corrupt, Failed, ProtocolError, Refused, Unreachable
from dwcp_agent.transport.answers import answer
from dwcp_agent.transport.frame import HEADER_BYTES, MAGIC, MAX_CONTROL_BYTES, Flag, Kind, control, encode, parse_header
from dwcp_agent.transport.inbound import Inbound
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.plain import Grant, Networks, Offer
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.source import BytesSource
from dwcp_agent.transport.tally import Tally
from dwcp_agent.transport.units import UNIT
from dwcp_agent.transport.wire import Wire
from fixtures import Agent, Done, Program, agent_settings, context_of, one_sentence
from pki import Files
from test_resumable import STORED, TOKEN, connecting, mixed

LOOPBACK = ["127.0.0.0/8"]
Change = Callable[[bytes, bytes], tuple[bytes, bytes]]


class Middle:
    """Somebody on the link: sees every byte of every stream, and may ``change`` the header and payload of frames that have no TLS."""

    def __init__(self, agent: Agent, change: Change = lambda head, payload: (head, payload)) -> None:
        self.seen = bytearray()
        """What went to the agent."""
        self.plain_hellos: list[bytes] = []
        self._agent, self._change = agent, change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def link(self) -> Link:
        return Link("127.0.0.1", self.port, context_of(self._agent.people["load"]), timeout_s=10)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._agent.service.ports.data))
            threading.Thread(target=self._pass_back, args=(far, near), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()

    def _pass_back(self, far: socket.socket, near: socket.socket) -> None:
        try:
            while got := far.recv(65536):
                near.sendall(got)
            near.shutdown(socket.SHUT_WR)
        except OSError:
            near.close()

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        try:
            plain = near.recv(1, socket.MSG_PEEK) == MAGIC[:1]
            while True:
                if not plain:
                    whole = near.recv(65536)
                else:
                    head = near.recv(HEADER_BYTES, socket.MSG_WAITALL)
                    payload = near.recv(parse_header(head).length, socket.MSG_WAITALL) if head else b""
                    if head and head[5] == Kind.HELLO:
                        self.plain_hellos.append(head + payload)
                    whole = b"".join(self._change(head, payload)) if head else b""
                self.seen += whole
                if not whole:
                    break
                far.sendall(whole)
            far.shutdown(socket.SHUT_WR)
        except OSError:
            far.close()


@pytest.fixture
async def agent(start_agent: Callable[..., Any]) -> Any:
    async with start_agent(plain_from=LOOPBACK, streams=4) as running:
        yield running


@pytest.fixture
def middle(agent: Agent) -> Iterator[Callable[..., Middle]]:
    made: list[Middle] = []

    def make(*change: Change) -> Middle:
        made.append(Middle(agent, *change))
        return made[-1]

    yield make
    for each in made:
        each.close()


async def send(agent: Agent, content: bytes, link: Link | None = None, **more: Any) -> Tally:
    ticket = connecting(agent)()[1]
    there = link or connecting(agent)()[0]
    outbound = Outbound(lambda: (there, ticket), "big/file", BytesSource(content), **{"token": TOKEN, "plain": True, "streams": 2, **more})
    return await asyncio.to_thread(outbound.run)


def stored(agent: Agent) -> bytes:
    return (agent.store / STORED / "big/file").read_bytes()


def granted(agent: Agent, size: int, number: int = 77) -> tuple[Wire, Offer, str]:
    """A stream with TLS in a transfer of so many bytes, what was granted over it, and the ticket it was opened with."""
    link, ticket = connecting(agent)()
    wire = link.take()
    hello = {"protocol": 2, "ticket": ticket, "token": TOKEN, "name": "big/file", "size": size, "plain": True}
    wire.write(control(Kind.HELLO, number, hello))
    offer = Offer.of(answer(wire, Kind.STATE))
    assert offer is not None
    return wire, offer, ticket


def without_tls(agent: Agent) -> Wire:
    return Wire(socket.create_connection(("127.0.0.1", agent.service.ports.data), timeout=10), bytearray(MAX_CONTROL_BYTES))


def data(content: bytes, offset: int = 0, number: int = 77) -> tuple[bytes, bytes]:
    return encode(Kind.DATA, number, content, flags=Flag.RAW, offset=offset, raw_length=len(content)), content


# -- both sides have to want it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, UNIT, 9 * UNIT + 4321])
async def test_content_goes_without_tls_and_what_names_and_ends_it_with(agent: Agent, middle: Callable[..., Middle], size: int) -> None:
    content, between = os.urandom(size), middle()
    tally = await send(agent, content, between.link())
    assert not tally.data_tls and tally.id == manifest_of(BytesSource(content)).id and stored(agent) == content
    assert content[:1000] in between.seen and content[-1000:] in between.seen
    assert bool(between.plain_hellos) == bool(size)
    ticket = connecting(agent)()[1]
    for secret in (ticket.partition(".")[0].encode()[:40], TOKEN.encode(), b"big/file", tally.id.encode()):
        assert secret not in between.seen


async def test_a_sender_that_does_not_ask_never_goes_without_tls(
    agent: Agent, middle: Callable[..., Middle], monkeypatch: pytest.MonkeyPatch
) -> None:
    join = Inbound.join
    monkeypatch.setattr(Inbound, "join", lambda self: join(self) | {"plain": self.grant()})  # whatever the other side says
    between, content = middle(), os.urandom(3 * UNIT)
    tally = await send(agent, content, between.link(), plain=False)
    assert tally.data_tls and stored(agent) == content
    assert not between.plain_hellos and content[:64] not in between.seen


async def test_a_receiver_that_does_not_offer_it_gets_content_with_tls(start_agent: Callable[..., Any]) -> None:
    async with start_agent(plain_from=["10.8.0.0/24"]) as agent:
        between, content = Middle(agent), os.urandom(3 * UNIT)
        tally = await send(agent, content, between.link())
        assert tally.data_tls and stored(agent) == content
        assert not between.plain_hellos and content[:64] not in between.seen
        between.close()
        with pytest.raises(Unreachable):
            wire = without_tls(agent)  # not even a frame of it is read
            wire.write(control(Kind.HELLO, 77, Offer("0" * 32, bytes(32)).hello(77)))
            wire.read()


@pytest.mark.parametrize(
    ("told", "reason"),
    [("10.8.0.0", None), ("10.8.0.1/24", "host bits"), ("fd00::/64", None), ("0.0.0.0/0", "every address"), ("wg0", "no network")],
)
def test_networks_are_checked_at_the_start(tmp_path: Path, people: dict[str, Files], told: str, reason: str | None) -> None:
    settings = agent_settings(tmp_path / "store", people["agent"], plain_from=[told])
    if reason is None:
        assert AgentConfig.model_validate(settings).plain_from == (told,)
    else:
        with pytest.raises(ValueError, match=reason):
            AgentConfig.model_validate(settings)


def test_an_address_of_version_4_is_known_on_a_socket_of_version_6() -> None:
    class Sock:
        def __init__(self, peer: str) -> None:
            self.peer = peer

        def getpeername(self) -> tuple[str, int]:
            return self.peer, 1

    have = Networks(["10.8.0.0/24", "fd00::/64"]).have
    for peer, expected in (("::ffff:10.8.0.7", True), ("10.8.1.7", False), ("fd00::1%wg0", True), ("::ffff:10.9.0.7", False)):
        assert have(Sock(peer)) is expected  # type: ignore[arg-type]
    assert not Networks().have(Sock("10.8.0.7"))  # type: ignore[arg-type]


def test_the_command_says_how_content_went(
    tmp_path: Path, local: Any, people: dict[str, Files], processes: list[Any], dwcp: Callable[..., Done]
) -> None:
    program, port = local(plain_from=LOOPBACK)
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    (tmp_path / "tree").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "tree" / name).write_bytes(os.urandom(3 * UNIT))
    there = [f"https://127.0.0.1:{port}/x", *people["operator"].as_arguments()]
    for more, expected in (([], True), (["--plain"], False)):
        done = dwcp("send", str(tmp_path / "tree/a"), *there, "--json", *more)
        assert json.loads(done.stdout)["data_tls"] is expected, done.stderr
        os.utime(tmp_path / "tree/a")
        (tmp_path / "tree/a").write_bytes(os.urandom(3 * UNIT))
    names = [f"https://127.0.0.1:{port}/{name}" for name in ("tree", "y")]
    done = dwcp("send", str(tmp_path / "tree"), names[0], *there[1:], "--json", "--plain", "--sessions", "1")
    assert [line.get("data_tls") for line in map(json.loads, done.stdout.splitlines())] == [False, False, False, None], done.stderr
    assert "content went without TLS" in dwcp("send", str(tmp_path / "tree/a"), names[1], *there[1:], "--plain").stdout
    assert [line["content"] for line in processes[-1].events("plain")].count("x") == 1


# -- whoever is on the way --------------------------------------------------------------------------------------------------------


async def test_a_hello_that_was_seen_opens_no_other_stream(agent: Agent) -> None:
    tls, offer, _ = granted(agent, 4 * UNIT)
    hello = control(Kind.HELLO, 77, offer.hello(77))
    first, second = without_tls(agent), without_tls(agent)
    first.write(hello)
    assert "have" in answer(first, Kind.STATE)
    second.write(hello)
    with pytest.raises(Refused) as refused:
        answer(second, Kind.STATE)
    assert refused.value.code == "grant"
    for wire in (tls, first, second):
        wire.close()


@pytest.mark.parametrize("wrong", ["key", "name", "number", "proof", "once", "ticket"])
async def test_who_has_not_the_grant_opens_no_stream(agent: Agent, wrong: str) -> None:
    tls, offer, ticket = granted(agent, 4 * UNIT)
    other = Offer(offer.name if wrong != "name" else "0" * 32, offer.key if wrong != "key" else bytes(32))
    fields = other.hello(78 if wrong == "number" else 77)
    if wrong in ("proof", "once"):
        fields[wrong] = {"proof": None, "once": "x"}[wrong]
    if wrong == "ticket":  # good for a stream with TLS
        fields = {"protocol": 2, "ticket": ticket, "token": TOKEN, "name": "big/file", "size": 4 * UNIT}
    wire = without_tls(agent)
    wire.write(control(Kind.HELLO, 77, fields))
    with pytest.raises(Refused) as refused:
        answer(wire, Kind.STATE)
    assert refused.value.code == "grant"
    for each in (tls, wire):
        each.close()


async def test_a_stream_without_tls_neither_ends_a_transfer_nor_learns_what_it_is(agent: Agent) -> None:
    content = os.urandom(UNIT)
    tls, offer, _ = granted(agent, len(content))
    wire = without_tls(agent)
    wire.write(control(Kind.HELLO, 77, offer.hello(77)))
    assert set(answer(wire, Kind.STATE)) == {"have", "baseline"}
    wire.write(*data(content))
    wire.write(control(Kind.END, 77, {"id": manifest_of(BytesSource(content)).id}))
    with pytest.raises(Refused, match="not said without TLS") as refused:
        answer(wire, Kind.RECEIPT)
    assert refused.value.code == "protocol" and not (agent.store / STORED / "big/file").exists()
    tls.write(control(Kind.END, 77, {"id": manifest_of(BytesSource(content)).id}))
    assert answer(tls, Kind.RECEIPT)["bytes"] == len(content) and stored(agent) == content
    late = without_tls(agent)
    late.write(control(Kind.HELLO, 77, offer.hello(77)))
    assert answer(late, Kind.STATE)["done"]["bytes"] == len(content)
    late.write(*data(os.urandom(UNIT)))
    with pytest.raises(Failed):
        answer(late, Kind.ACK)
    assert stored(agent) == content


def forged(head: bytes, payload: bytes) -> tuple[bytes, bytes]:
    """A frame of the same place with other content, and a checksum that is right."""
    header = parse_header(head)
    if header.kind != Kind.DATA or header.offset != 2 * UNIT:
        return head, payload
    return data(bytes(len(payload) - 1) + b"x", header.offset, header.transfer)


async def test_content_that_was_changed_on_the_way_is_never_committed(agent: Agent, middle: Callable[..., Middle]) -> None:
    with pytest.raises(Corrupt):
        await send(agent, os.urandom(5 * UNIT), middle(forged).link())
    assert agent.files() == []
    assert agent.service.context.metrics.corruption._value.get() == 1


async def test_frames_that_were_damaged_on_the_way_break_streams_and_no_content(agent: Agent, middle: Callable[..., Middle]) -> None:
    left = [3]

    def damage(head: bytes, payload: bytes) -> tuple[bytes, bytes]:
        if len(payload) > MAX_CONTROL_BYTES and left[0]:
            left[0] -= 1
            payload = payload[:5000] + bytes([payload[5000] ^ 1]) + payload[5001:]
        return head, payload

    content = os.urandom(9 * UNIT)
    tally = await send(agent, content, middle(damage).link())
    assert left == [0] and 1 <= tally.broken_streams <= 3 and not tally.data_tls and stored(agent) == content


async def test_a_receipt_or_a_state_that_was_made_up_on_the_way_ends_nothing_well(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender hears of everything over a stream without TLS that it has arrived, and nothing has."""
    from dwcp_agent.transport.resumable import ResumableStreams

    def lie(self: Any, wire: Wire, hello: Any) -> None:
        wire.write(control(Kind.STATE, hello.header.transfer, {"done": {"id": "0" * 64, "bytes": 1}}))
        for count in range(1, 100):
            frame = wire.read()
            assert frame is not None
            fin = frame.header.kind == Kind.FIN
            wire.write(control(Kind.ACK, hello.header.transfer, {"frames": count - fin, "fin": fin}))
            if fin:
                return

    monkeypatch.setattr(ResumableStreams, "converse_plainly", lie)
    monkeypatch.setattr(agent.service._data._resumable, "_stall_timeout_s", 0.2)
    with pytest.raises(Refused) as refused:
        await send(agent, os.urandom(3 * UNIT), patience_s=0.0)
    assert refused.value.code == "incomplete" and not (agent.store / STORED / "big/file").exists()


async def test_what_is_said_without_tls_cannot_play_with_a_terminal(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    from dwcp_agent.transport.resumable import ResumableStreams

    def refuse(*_: object) -> None:
        raise ProtocolError("\x1b[2Jall is well\nid 00 verified by the receiver")

    monkeypatch.setattr(ResumableStreams, "converse_plainly", refuse)
    with pytest.raises(Refused) as refused:
        await send(agent, os.urandom(UNIT))
    assert one_sentence(refused.value.message + ".\n") and "\x1b" not in refused.value.message


async def test_a_link_with_tls_keeps_no_connection_without(agent: Agent) -> None:
    link, wire = connecting(agent)()[0], without_tls(agent)
    link.give(wire)
    taken = link.take()
    assert taken.has_tls and not wire.has_tls and wire.sock.fileno() < 0
    taken.close()


# -- a grant that is lost ---------------------------------------------------------------------------------------------------------


async def test_a_receiver_that_forgot_its_grant_is_asked_for_another(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    takes, left = Grant.takes, [2]

    def forgetful(self: Grant, *told: Any) -> bool:
        left[0] -= 1
        return left[0] < 0 and takes(self, *told)

    monkeypatch.setattr(Grant, "takes", forgetful)
    content = mixed(9 * UNIT)
    tally = await send(agent, content, streams=1)
    assert not tally.data_tls and stored(agent) == content


async def test_a_receiver_that_takes_no_grant_is_given_up(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Grant, "takes", lambda *_: False)
    with pytest.raises(Refused) as refused:
        await asyncio.wait_for(send(agent, os.urandom(3 * UNIT)), 20)
    assert refused.value.code == "grant"
