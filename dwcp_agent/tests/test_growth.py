"""Eight times as much costs about eight times as much: what grows faster is found here, by processor time and not by the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from dwcp_agent.transport.puts import Puts
from fixtures import Agent
from test_resumable import mixed, send, stored
from test_state import connecting

TIMES = 8
ALLOWED = 1.5
"""How much dearer a byte, or a put, of the larger amount may be. What grows with the square would be eight times as dear."""


async def cheapest(work: Callable[[int], Awaitable[None]]) -> float:
    """Processor time of the cheapest of three; other work on the machine can only add."""
    spent = []
    for number in range(3):
        began = time.process_time()
        await work(number)
        spent.append(time.process_time() - began)
    return min(spent)


async def test_processor_time_of_a_transfer_grows_no_faster_than_its_content(agent: Agent) -> None:
    small, large = mixed(16 << 20), mixed(TIMES * 16 << 20)

    async def transfer(content: bytes, name: str) -> None:
        await send(agent, content, name, token=name.encode().hex()[:32].ljust(32, "0"))
        assert (agent.store / "load.load.host-2" / name).stat().st_size == len(content)

    await transfer(small, "warm")
    one = await cheapest(lambda number: transfer(small, f"s{number}"))
    many = await cheapest(lambda number: transfer(large, f"l{number}"))
    assert stored(agent, "l2") == large
    assert many < one * TIMES * ALLOWED, f"{many:.2f} s for {TIMES} times what takes {one:.3f} s"


@pytest.mark.parametrize("few", [2000])
async def test_processor_time_of_puts_grows_no_faster_than_their_number(agent: Agent, few: int) -> None:
    async def put(count: int, name: str) -> None:
        puts = Puts(connecting(agent))

        def go() -> None:
            for number in range(count):
                puts.put(f"{name}/{number}", b"value %d" % number)
            puts.close()

        await asyncio.to_thread(go)
        assert puts.acknowledged == count

    await put(few, "warm")
    one = await cheapest(lambda number: put(few, f"f{number}"))
    many = await cheapest(lambda number: put(TIMES * few, f"m{number}"))
    assert many < one * TIMES * ALLOWED, f"{many:.2f} s for {TIMES} times what takes {one:.3f} s"
