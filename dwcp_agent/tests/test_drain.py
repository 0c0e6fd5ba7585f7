"""An agent that stops takes with it what was not complete, however long its streams need to notice."""

from __future__ import annotations

import asyncio
import time

import pytest

from dwcp_agent.store.store import Incoming
from dwcp_agent.transport.frame import MAX_CHUNK, MIN_CHUNK, Kind, control
from dwcp_agent.transport.sender import Link
from fixtures import Agent, context_of
from pki import Files


async def test_drain_returns_when_a_cut_stream_has_cleared_away_what_it_had(
    agent: Agent, people: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    discard = Incoming.discard

    def slow(self: Incoming) -> None:
        time.sleep(0.3)
        discard(self)

    monkeypatch.setattr(Incoming, "discard", slow)
    opened = await agent.open_session()
    wire = await asyncio.to_thread(Link("127.0.0.1", opened["data"]["port"], context_of(people["load"])).take)
    wire.write(control(Kind.HELLO, 7, {"ticket": opened["ticket"], "name": "x", "size": MAX_CHUNK, "chunk": MIN_CHUNK}))
    async with asyncio.timeout(20):
        while not agent.files():
            await asyncio.sleep(0.01)
    agent.service.config = agent.service.config.model_copy(
        update={"limits": agent.service.config.limits.model_copy(update={"drain_timeout_s": 0.2})}
    )
    await agent.service.drain()
    assert agent.files() == []
    wire.close()
