"""The rules of the conversation about state, spoken by hand: what breaks one is refused, and nothing that came before it is lost."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
import zstandard

from dwcp_agent.errors import Refused, Unreachable
from dwcp_agent.transport.entries import MAX_VALUE_BYTES, encode_entries
from dwcp_agent.transport.frame import MAX_CHUNK, Flag, Kind, control, encode, parse_control
from dwcp_agent.transport.state import AHEAD_BYTES
from dwcp_agent.transport.wire import Wire
from fixtures import Agent
from test_state import connecting, there

TOKEN = "0123456789abcdef" * 2


class Raw:
    """A conversation about state, spoken by hand."""

    def __init__(self, agent: Agent, **changes: Any) -> None:
        link, ticket = connecting(agent)()
        self.wire: Wire = link.take()
        self.wire.write(control(Kind.HELLO, 7, {"protocol": 2, "state": True, "ticket": ticket, "token": TOKEN} | changes))

    def told(self, kind: Kind) -> dict[str, Any]:
        read = self.wire.read()
        assert read is not None and read.header.kind == kind, read
        return parse_control(read.payload)

    def put(self, payload: bytes, *, first: int = 0, flags: int = 0, raw_length: int = 0, kind: Kind = Kind.PUT, number: int = 7) -> None:
        self.wire.write(encode(kind, number, payload, flags=flags, offset=first, raw_length=raw_length or len(payload)), payload)

    def refusal(self) -> str:
        with pytest.raises(Refused) as caught:
            self.wire.answer()
        self.wire.close()
        return caught.value.code


GOOD = encode_entries([(b"a", b"1"), (b"b", b"2")])


def bomb(size: int) -> bytes:
    packed: bytes = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(size))
    return packed


HOSTILE = {
    "truncated": {"payload": GOOD[:-1]},
    "a huge count": {"payload": b"\xff\xff\xff\xff" + GOOD[4:]},
    "bad UTF-8": {"payload": encode_entries([(b"\xff", b"")])},
    "too much inside": {"payload": bomb(64 << 20), "flags": int(Flag.ZSTD), "raw_length": MAX_CHUNK},
    "less inside than said": {"payload": bomb(1000), "flags": int(Flag.ZSTD), "raw_length": 2000},
    "not zstd": {"payload": b"no zstd", "flags": int(Flag.ZSTD), "raw_length": 100},
    "no flag of a PUT": {"payload": b"", "flags": int(Flag.ZERO), "raw_length": 100},
    "over the limit": {"payload": bytes(MAX_CHUNK + 1)},
    "a gap": {"payload": GOOD, "first": 3},
    "again": {"payload": GOOD, "first": 0},
    "not about state": {"payload": GOOD, "kind": Kind.DATA},
    "another conversation's": {"payload": GOOD, "first": 2, "number": 8},
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_frame_that_breaks_a_rule_ends_the_stream_and_nothing_before_it_is_lost(agent: Agent, what: str) -> None:
    def talk() -> tuple[Any, ...]:
        raw = Raw(agent)
        raw.put(GOOD)
        raw.put(**{"first": 2} | HOSTILE[what])  # type: ignore[arg-type]
        return raw.told(Kind.STATE), raw.told(Kind.ACK), raw.refusal()

    assert await asyncio.to_thread(talk) == ({"puts": 0}, {"puts": 2}, "protocol")
    assert there(agent, "b") == (b"2", 2)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token": "short"}, "protocol"),
        ({"token": None}, "protocol"),
        ({"ticket": 7}, "protocol"),
        ({"ticket": "forged.ticket"}, "ticket-invalid"),
        ({"puts": -1}, "protocol"),
        ({"puts": True}, "protocol"),
        ({"puts": 5}, "lost"),  # what was acknowledged is not here
        ({"state": 1}, "protocol"),  # no transfer either
    ],
)
async def test_a_hello_that_cannot_be_is_refused(agent: Agent, changes: dict[str, Any], code: str) -> None:
    assert await asyncio.to_thread(lambda: Raw(agent, **changes).refusal()) == code


async def test_a_stream_of_a_token_ends_the_one_before(agent: Agent) -> None:
    def talk() -> tuple[Any, ...]:
        first, second = Raw(agent), Raw(agent)
        told = [first.told(Kind.STATE), second.told(Kind.STATE)]
        first.put(GOOD)
        told.append(first.told(Kind.ACK))
        second.put(GOOD)  # it began before the first stream's put came, and does not know of it
        told.append(second.refusal())
        third = Raw(agent, puts=2)
        told.append(third.told(Kind.STATE))
        third.put(GOOD, first=2)
        third.wire.write(control(Kind.FIN, 7, {}))
        told += [third.told(Kind.ACK), third.told(Kind.ACK)]
        first.put(GOOD, first=2)
        return (*told, first.refusal())

    *told, code = await asyncio.to_thread(talk)
    assert told == [{"puts": 0}, {"puts": 0}, {"puts": 2}, "interrupted", {"puts": 2}, {"puts": 4}, {"puts": 4, "fin": True}]
    assert code == "interrupted" and there(agent, "b") == (b"2", 4)


async def test_after_fin_the_stream_may_begin_something_else(agent: Agent) -> None:
    def talk() -> list[dict[str, Any]]:
        raw = Raw(agent)
        told = []
        for _ in range(2):
            raw.wire.write(control(Kind.FIN, 7, {}))
            told += [raw.told(Kind.STATE), raw.told(Kind.ACK)]
            ticket = connecting(agent)()[1]
            raw.wire.write(control(Kind.HELLO, 7, {"protocol": 2, "state": True, "ticket": ticket, "token": TOKEN}))
        raw.wire.close()
        return told

    assert await asyncio.to_thread(talk) == [{"puts": 0}, {"puts": 0, "fin": True}] * 2


async def test_a_receiver_that_cannot_keep_up_stops_reading(agent: Agent) -> None:
    payload = encode_entries([(b"key %d" % number, os.urandom(MAX_VALUE_BYTES - 30)) for number in range(15)])

    def talk() -> int:
        raw, sent = Raw(agent), 0
        raw.told(Kind.STATE)
        raw.wire.sock.settimeout(0.5)
        with agent.service.context.values._lock, pytest.raises(Unreachable):
            while sent < 200:
                raw.put(payload, first=15 * sent)
                sent += 1
        raw.wire.close()
        return sent * len(payload)

    # What it read ahead, and what the sockets of both ends can hold.
    assert AHEAD_BYTES < await asyncio.to_thread(talk) < 64 << 20
