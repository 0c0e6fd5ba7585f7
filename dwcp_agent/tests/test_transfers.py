"""Transfers over real TLS streams: what arrives is verified and whole, or nothing is there."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.errors import AgentError, Failed, Refused, Unreachable
from dwcp_agent.security.identity import Identity
from dwcp_agent.sessions.ticket import TicketIssuer
from dwcp_agent.transport import frame
from dwcp_agent.transport.frame import HEADER_BYTES, Flag, Kind, control, encode
from dwcp_agent.transport.sender import Link, Sending, Sent
from dwcp_agent.transport.source import BytesSource, open_source
from dwcp_agent.transport.wire import Wire
from fixtures import Agent, context_of, sha256, wait_for

CHUNK = frame.MIN_CHUNK


def mixed(size: int) -> bytes:
    """Text, zeros and random bytes, so that every kind of frame is sent."""
    parts = [b"a line of text\n" * 10_000, bytes(300_000), os.urandom(200_000)]
    content = b"".join(parts) * (size // 650_000 + 1)
    return content[:size]


async def send(agent: Agent, content: bytes, name: str = "big/file", *, who: str = "load", streams: int = 3, **changes: Any) -> Sent:
    ticket = changes.pop("ticket", None) or (await agent.open_session(who))["ticket"]
    link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people[changes.pop("as_", who)]), timeout_s=10)
    try:
        return await asyncio.to_thread(Sending(link, ticket, name, BytesSource(content), streams=streams, chunk=CHUNK).run)
    finally:
        link.close()


def nothing_left(agent: Agent) -> None:
    wait_for("no file and no temporary file", lambda: not agent.files())
    wait_for("no transfer", lambda: not agent.service.context.transfers.running())


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK, 5_000_001])
@pytest.mark.parametrize("streams", [1, 4])
async def test_content_arrives_whole_and_verified(agent: Agent, size: int, streams: int) -> None:
    content = mixed(size)
    sent = await send(agent, content, streams=streams)
    assert (sent.sha256, sent.bytes) == (sha256(content), size)
    assert (agent.store / "load.load.host-2/big/file").read_bytes() == content
    assert agent.files() == ["load.load.host-2/big/file"]


async def test_text_shrinks_and_zeros_cost_nothing(agent: Agent) -> None:
    assert (await send(agent, b"the same line\n" * 500_000)).wire_bytes < 100_000
    zeros = await send(agent, bytes(10 * CHUNK))
    assert zeros.wire_bytes == 10 * HEADER_BYTES
    random = await send(agent, os.urandom(4 * CHUNK))
    assert random.wire_bytes == 4 * (CHUNK + HEADER_BYTES)


async def test_connections_are_kept_between_transfers(agent: Agent) -> None:
    ticket = (await agent.open_session())["ticket"]
    link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people["load"]))
    for number in range(5):
        await asyncio.to_thread(Sending(link, ticket, f"n{number}", BytesSource(mixed(4 * CHUNK)), streams=2, chunk=CHUNK).run)
    assert len(link._idle) == 2
    link.close()


async def test_mapped_and_read_files_are_sent_alike(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dwcp_agent import features

    path = tmp_path / "source"
    path.write_bytes(mixed((1 << 20) + 17))
    for disabled, expected in (((), "mmap"), (("zerocopy",), "read")):
        features.configure(disabled)
        source = open_source(path)
        assert source.path_name == expected
        ticket = (await agent.open_session())["ticket"]
        link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people["load"]))
        sent = await asyncio.to_thread(Sending(link, ticket, expected, source, streams=2, chunk=CHUNK).run)
        assert sent.sha256 == sha256(path.read_bytes())
        link.close()
        source.close()


class Raw:
    """A data stream spoken by hand."""

    def __init__(self, agent: Agent, who: str = "load") -> None:
        sock = socket.create_connection(("127.0.0.1", agent.service.ports.data), timeout=10)
        self.wire = Wire(context_of(agent.people[who]).wrap_socket(sock, server_hostname="127.0.0.1"), bytearray(frame.MAX_CHUNK))

    def hello(self, ticket: str, number: int = 7, **changes: Any) -> None:
        fields = {"ticket": ticket, "name": "raw", "size": 4 * CHUNK, "chunk": CHUNK} | changes
        self.wire.write(control(Kind.HELLO, number, fields))

    def data(self, index: int, content: bytes = b"x" * CHUNK, number: int = 7) -> None:
        self.wire.write(encode(Kind.DATA, number, content, offset=index * CHUNK, raw_length=len(content)), content)

    def refusal(self) -> str:
        with pytest.raises(Refused) as caught:
            self.wire.answer()
        self.wire.close()
        return caught.value.code


async def on_wire(agent: Agent, talk: Callable[[Raw], Any], who: str = "load") -> Any:
    def run() -> Any:
        raw = Raw(agent, who)
        try:
            return talk(raw)
        finally:
            raw.wire.close()

    return await asyncio.to_thread(run)


async def test_interrupted_stream_leaves_nothing(agent: Agent) -> None:
    ticket = (await agent.open_session())["ticket"]

    def talk(raw: Raw) -> None:
        raw.hello(ticket)
        raw.data(0)
        wait_for("a partial file", lambda: agent.files())

    await on_wire(agent, talk)
    await asyncio.to_thread(nothing_left, agent)


async def test_cut_stream_ends_the_transfer_on_the_others_too(agent: Agent) -> None:
    ticket = (await agent.open_session())["ticket"]

    def talk(first: Raw) -> str:
        second = Raw(agent)
        for raw in (first, second):
            raw.hello(ticket)
            raw.data(0)
        second.wire.close()
        wait_for(
            "the failure",
            lambda: agent.service.context.transfers._transfers and next(iter(agent.service.context.transfers._transfers.values()))._failure,
        )
        first.data(1)
        return first.refusal()

    assert await on_wire(agent, talk) == "interrupted"
    await asyncio.to_thread(nothing_left, agent)


async def test_aborting_sender_gets_an_error_and_leaves_nothing(agent: Agent) -> None:
    ticket = (await agent.open_session())["ticket"]
    link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people["load"]))

    class Slow(BytesSource):
        def chunk(self, offset: int, length: int) -> memoryview:
            if offset >= 8 * CHUNK:
                sending.abort()
            return super().chunk(offset, length)

    sending = Sending(link, ticket, "aborted", Slow(os.urandom(32 * CHUNK)), streams=2, chunk=CHUNK)
    with pytest.raises(Unreachable):
        await asyncio.to_thread(sending.run)
    await asyncio.to_thread(nothing_left, agent)


async def test_source_that_changes_while_it_is_sent_is_found_by_the_hash(agent: Agent) -> None:
    class Changing(BytesSource):
        calls = 0

        def chunk(self, offset: int, length: int) -> bytes:  # type: ignore[override]
            self.calls += 1
            return os.urandom(length)

    ticket = (await agent.open_session())["ticket"]
    link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people["load"]))
    with pytest.raises(Refused) as caught:
        await asyncio.to_thread(Sending(link, ticket, "x", Changing(bytes(4 * CHUNK)), streams=2, chunk=CHUNK).run)
    assert caught.value.code == "corrupt"
    await asyncio.to_thread(nothing_left, agent)
    async with agent.as_("monitor").get("/metrics") as response:
        assert 'dwcp_transfers_total{result="corrupt"} 1.0' in await response.text()


async def test_silent_stream_stalls_out(start_agent: Any) -> None:
    async with start_agent(limits={"stall_timeout_s": 0.3}) as agent:
        ticket = (await agent.open_session())["ticket"]

        def talk(raw: Raw) -> None:
            raw.hello(ticket)
            raw.data(0)
            raw.wire.write(control(Kind.FIN, 7, {}))
            wait_for("a partial file", lambda: agent.files())
            nothing_left(agent)

        await on_wire(agent, talk)


async def test_missing_chunks_are_not_committed(start_agent: Any) -> None:
    async with start_agent(limits={"stall_timeout_s": 0.3}) as agent:
        ticket = (await agent.open_session())["ticket"]

        def talk(raw: Raw) -> str:
            raw.hello(ticket)
            for index in (0, 1, 3):
                raw.data(index)
            raw.wire.write(control(Kind.END, 7, {"sha256": sha256(b"x" * 4 * CHUNK)}))
            return raw.refusal()

        assert await on_wire(agent, talk) == "incomplete"
        await asyncio.to_thread(nothing_left, agent)


async def test_chunk_that_comes_twice_is_written_once(agent: Agent) -> None:
    ticket = (await agent.open_session())["ticket"]

    def talk(raw: Raw) -> dict[str, Any]:
        raw.hello(ticket)
        for index in (0, 1, 2, 3):
            raw.data(index)
        raw.data(2, b"y" * CHUNK)
        raw.wire.write(control(Kind.END, 7, {"sha256": sha256(b"x" * 4 * CHUNK)}))
        return frame.parse_control(raw.wire.answer().payload)

    assert await on_wire(agent, talk) == {"sha256": sha256(b"x" * 4 * CHUNK), "bytes": 4 * CHUNK}


async def test_wrong_and_expired_tickets_are_refused(start_agent: Any) -> None:
    async with start_agent(limits={"ticket_ttl_s": 0.2}) as agent:
        good = (await agent.open_session())["ticket"]
        forged = TicketIssuer("other", 60).issue("s-1", Identity("load", "load.host-2"), time.time())[0]
        tampered = ("A" if good[5] != "A" else "B").join([good[:5], good[6:]])
        for ticket in (forged, tampered, "", "a.b", "é.é", "x" * 5000):
            assert await on_wire(agent, lambda raw, ticket=ticket: (raw.hello(ticket), raw.refusal())[1]) == "ticket-invalid", ticket
        assert await on_wire(agent, lambda raw: (raw.hello(good), raw.refusal())[1], who="other") == "ticket-identity"
        await asyncio.sleep(0.25)
        assert await on_wire(agent, lambda raw: (raw.hello(good), raw.refusal())[1]) == "ticket-expired"
        assert agent.files() == []


@pytest.mark.parametrize("who", ["monitor", "gateway"])
async def test_roles_without_content_may_not_send(agent: Agent, who: str) -> None:
    assert await on_wire(agent, lambda raw: raw.refusal(), who=who) == "forbidden"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\0b", ".x", "", "a//b", "x" * 2000])
async def test_names_cannot_escape(agent: Agent, name: str) -> None:
    ticket = (await agent.open_session())["ticket"]
    assert await on_wire(agent, lambda raw: (raw.hello(ticket, name=name), raw.refusal())[1]) == "bad-name"
    assert agent.files() == []


@pytest.mark.parametrize(
    "changes",
    [{"size": -1}, {"size": 1 << 63}, {"size": "4"}, {"size": True}, {"chunk": 1}, {"chunk": 1 << 30}, {"ticket": 1}, {"name": None}],
)
async def test_hello_over_the_limits_is_refused(agent: Agent, changes: dict[str, Any]) -> None:
    ticket = changes.get("ticket") or (await agent.open_session())["ticket"]
    fields = {key: value for key, value in changes.items() if key != "ticket"}
    assert await on_wire(agent, lambda raw: (raw.hello(ticket, **fields), raw.refusal())[1]) == "protocol"
    assert agent.files() == []


async def test_transfer_over_the_size_limit_is_refused(start_agent: Any) -> None:
    async with start_agent(limits={"max_transfer_bytes": CHUNK}) as agent:
        with pytest.raises(Refused) as caught:
            await send(agent, bytes(CHUNK + 1))
        assert caught.value.code == "too-large"
        assert agent.files() == []


async def test_streams_of_one_transfer_must_agree(agent: Agent) -> None:
    ticket = (await agent.open_session())["ticket"]

    def talk(raw: Raw) -> str:
        raw.hello(ticket)
        raw.data(0)
        wait_for("the transfer", lambda: agent.service.context.transfers.running())
        other = Raw(agent)
        other.hello(ticket, size=5 * CHUNK)
        return other.refusal()

    assert await on_wire(agent, talk) == "mismatch"


def bad_frames() -> dict[str, Callable[[], bytes]]:
    chunk = b"x" * CHUNK
    good = encode(Kind.DATA, 7, chunk, offset=0, raw_length=CHUNK)

    def repack(offset: int, value: bytes) -> bytes:
        return good[:offset] + value + good[offset + len(value) :]

    return {
        "not a frame": lambda: b"GET / HTTP/1.1\r\nHost: there\r\n\r\n" + bytes(100),
        "version": lambda: repack(4, b"\x09"),
        "type": lambda: repack(5, b"\x63"),
        "flags": lambda: repack(6, b"\x00\x08"),
        "length over the limit": lambda: repack(24, b"\xff\xff\xff\xff"),
        "raw length over the limit": lambda: repack(28, b"\x7f\xff\xff\xff"),
        "offset over the limit": lambda: repack(16, b"\xff" * 8),
        "payload damaged": lambda: good + b"y" + chunk[1:],
        "header damaged": lambda: repack(16, (CHUNK).to_bytes(8, "big")) + chunk,
        "not a chunk of this transfer": lambda: encode(Kind.DATA, 7, chunk, offset=1, raw_length=CHUNK) + chunk,
        "beyond the end": lambda: encode(Kind.DATA, 7, chunk, offset=4 * CHUNK, raw_length=CHUNK) + chunk,
        "another transfer's": lambda: encode(Kind.DATA, 8, chunk, raw_length=CHUNK) + chunk,
        "not zstd": lambda: encode(Kind.DATA, 7, b"garbage", flags=Flag.ZSTD, raw_length=CHUNK) + b"garbage",
        "receipt": lambda: control(Kind.RECEIPT, 7, {}),
        "hello in the middle": lambda: control(Kind.HELLO, 7, {}),
        "no json": lambda: encode(Kind.END, 7, b"{") + b"{",
        "no hash": lambda: control(Kind.END, 7, {"sha256": "x"}),
    }


@pytest.mark.parametrize("flaw", sorted(bad_frames()))
async def test_bad_frame_ends_the_stream_with_an_error_and_leaves_nothing(start_agent: Any, flaw: str) -> None:
    async with start_agent(limits={"stall_timeout_s": 1.0}) as agent:
        ticket = (await agent.open_session())["ticket"]

        def talk(raw: Raw) -> str:
            raw.hello(ticket)
            if flaw == "no hash":
                for index in range(4):
                    raw.data(index)
            raw.wire.write(bad_frames()[flaw]())
            return raw.refusal()

        assert await on_wire(agent, talk) == "protocol"
        await asyncio.to_thread(nothing_left, agent)


async def test_compressed_frame_cannot_blow_up(agent: Agent) -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    ticket = (await agent.open_session())["ticket"]

    def talk(raw: Raw) -> str:
        raw.hello(ticket)
        raw.wire.write(encode(Kind.DATA, 7, bomb, flags=Flag.ZSTD, raw_length=CHUNK), bomb)
        return raw.refusal()

    assert await on_wire(agent, talk) == "protocol"


async def test_streams_beyond_the_limit_are_closed_and_the_others_work(start_agent: Any) -> None:
    async with start_agent(limits={"max_streams": 2}) as agent:
        ticket = (await agent.open_session())["ticket"]

        def talk(first: Raw) -> None:
            second = Raw(agent)
            for raw in (first, second):
                raw.hello(ticket)
            wait_for("both streams", lambda: agent.service._data._busy == 2)
            with pytest.raises((OSError, ssl.SSLError, AgentError)):
                third = Raw(agent)
                third.hello(ticket)
                third.wire.answer()
            for index in range(4):
                first.data(index)
            first.wire.write(control(Kind.END, 7, {"sha256": sha256(b"x" * 4 * CHUNK)}))
            assert first.wire.answer()
            second.wire.close()

        await on_wire(agent, talk)


async def test_more_streams_than_warm_ones_are_served(agent: Agent) -> None:
    assert (await send(agent, mixed(32 * CHUNK), streams=12)).streams == 12


async def test_receiver_that_dies_is_an_error_for_the_sender(start_agent: Any) -> None:
    async with start_agent() as agent:
        ticket = (await agent.open_session())["ticket"]
        link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people["load"]), timeout_s=5)

        class Closing(BytesSource):
            def chunk(self, offset: int, length: int) -> memoryview:
                if offset == 4 * CHUNK:
                    agent.service._data.close()
                return super().chunk(offset, length)

        with pytest.raises(Failed):
            await asyncio.to_thread(Sending(link, ticket, "x", Closing(os.urandom(64 * CHUNK)), streams=2, chunk=CHUNK).run)


async def test_disk_full_is_said_and_leaves_nothing(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Refused) as caught:
        await send(agent, os.urandom(3 * CHUNK))
    assert caught.value.code == "disk-full"
    monkeypatch.undo()
    await asyncio.to_thread(nothing_left, agent)


async def test_log_names_session_and_identity_and_holds_no_ticket(agent: Agent, capfd: pytest.CaptureFixture[str]) -> None:
    from dwcp_agent import log

    log.setup()
    answer = await agent.open_session(session="s-logged")
    await send(agent, b"content", ticket=answer["ticket"])
    await asyncio.sleep(0)
    out = capfd.readouterr().out
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["event"] for line in lines} >= {"session", "transfer"}
    assert all(
        line["session"] == "s-logged" and line["identity"] == "OU=load,CN=load.host-2" for line in lines if line["event"] == "transfer"
    )
    assert answer["ticket"] not in out and answer["ticket"].split(".")[1] not in out
