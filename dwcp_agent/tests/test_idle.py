"""An agent that nobody uses gives memory back, and keeps what the next streams begin with."""

from __future__ import annotations

import asyncio

import pytest

from dwcp_agent.transport.frame import MAX_CHUNK
from fixtures import Agent


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
