"""An agent that nobody uses gives memory back, and keeps what the next streams begin with."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity
from dwcp_agent.store.store import Store
from dwcp_agent.transport.frame import MAX_CHUNK, MIN_CHUNK
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.transfer import Opening, TransferTable
from dwcp_agent.transport.units import UNIT
from fixtures import Agent, context_of
from pki import Files
from test_resumable import send, stored


async def test_a_stream_that_ends_puts_its_buffers_where_others_find_them(
    agent: Agent, people: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    rested: list[str] = []
    kind = type(agent.service.context.buffers)
    rest = kind.rest

    def seen(self: Any) -> None:
        rested.append(threading.current_thread().name)
        rest(self)

    monkeypatch.setattr(kind, "rest", seen)
    opened = await agent.open_session()
    wire = await asyncio.to_thread(Link("127.0.0.1", opened["data"]["port"], context_of(people["load"])).take)
    assert not rested
    wire.close()
    async with asyncio.timeout(20):
        while not rested:
            await asyncio.sleep(0.01)
    assert rested[0].startswith("net-")


def test_a_failed_transfer_keeps_the_reason_and_not_the_frames_that_hold_buffers(tmp_path: Path) -> None:
    store = Store(tmp_path, "a")
    transfer = TransferTable(store, 4, 1 << 20).join(Opening("s", Identity("load", "x"), 1, "n", MIN_CHUNK, MIN_CHUNK))
    try:
        raise Refused("No.", code="busy", status=503)
    except Refused as error:
        transfer.fail(error)
        kept = transfer._failure
    assert isinstance(kept, Refused) and (kept.message, kept.code, kept.status) == ("No.", "busy", 503)
    assert kept.__traceback__ is None and kept.__context__ is None
    transfer.leave()
    store.close()


async def test_memory_of_past_streams_goes_back_to_the_kernel(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    buffers = agent.service.context.buffers

    def as_a_stream() -> None:
        taken = [buffers.take() for _ in range(20)]
        for buffer in taken:
            memoryview(buffer)[:] = bytes(MAX_CHUNK)
        del taken, buffer
        buffers.rest()

    await asyncio.to_thread(as_a_stream)
    full = buffers.statistics()["resident"]
    monkeypatch.setattr("dwcp_agent.service.TRIM_AFTER_S", 0.2)
    async with asyncio.timeout(20):
        while full - buffers.statistics()["resident"] < 16 * (MAX_CHUNK - 8192):
            await asyncio.sleep(0.05)
    assert buffers.statistics()["resident"] >= agent.service.config.streams * MAX_CHUNK


async def test_as_many_streams_as_are_configured_find_all_their_buffers_ready(start_agent: Any) -> None:
    """What is kept warm is as large and as many as the first transfer's streams take: none is made for them."""
    async with start_agent(streams=4) as agent:
        before = agent.service.context.buffers.statistics()
        assert before["resident"] >= 4 * MAX_CHUNK
        content = os.urandom(32 * UNIT)
        tally = await send(agent, content, streams=4)
        after = agent.service.context.buffers.statistics()
        assert tally.streams == 4 and stored(agent) == content
        assert after["from_shared"] + after["from_thread"] >= before["from_shared"] + before["from_thread"] + 4
        assert after["from_fresh"] == before["from_fresh"]
