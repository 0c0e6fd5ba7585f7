"""More than an agent is allowed to take on: it says so at once, keeps every promise that it gave, and is none the worse afterwards."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

from fixtures import Agent, sha256

LIMIT, OFFERED = 4, 400
CONTENTS = {f"o/{number}": os.urandom(48 << 10) for number in range(OFFERED)}


async def put(client: Any, name: str, content: bytes) -> tuple[int, str]:
    headers = {"X-DWCP-SHA256": sha256(content), "X-DWCP-Session": "s-1"}
    async with client.put(f"/v1/objects/{name}", data=content, headers=headers) as response:
        return response.status, (await response.json()).get("error", "")


async def overloaded(agent: Agent) -> dict[str, tuple[int, str]]:
    """What each of ``OFFERED`` puts is told that are begun at once, a hundred times as many as may be in flight."""
    client = agent.as_("load")
    answers = await asyncio.wait_for(asyncio.gather(*(put(client, name, content) for name, content in CONTENTS.items())), 50)
    return dict(zip(CONTENTS, answers, strict=True))


async def test_requests_beyond_the_limit_are_told_so_and_every_promise_is_kept(start_agent: Any) -> None:
    async with start_agent(limits={"max_requests": LIMIT}) as agent:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, agent.service.context.puts)
                async with client.get(agent.health + "/health") as response:
                    assert response.status == 200, "it is alive to whoever asks"
                await asyncio.sleep(0)

        client = agent.as_("monitor")
        watching = asyncio.create_task(watch())
        answers = await overloaded(agent)
        assert not watching.done(), "the health port answered all the time"
        watching.cancel()
        counted = Counter(answers.values())
        assert counted.keys() == {(201, ""), (503, "busy")}, counted
        assert counted[201, ""] >= LIMIT and counted[503, "busy"] >= OFFERED // 10 and most <= LIMIT
        promised = {name for name, (status, _) in answers.items() if status == 201}
        assert set(agent.files()) == {f"load.load.host-2/{name}" for name in promised}, "what was refused left nothing"
        assert all((agent.store / "load.load.host-2" / name).read_bytes() == CONTENTS[name] for name in promised)
        async with agent.as_("monitor").get("/metrics") as response:
            text = await response.text()
        assert f'dwcp_requests_total{{code="503",op="put"}} {counted[503, "busy"]}.0' in text


async def test_after_an_overload_it_answers_as_before(start_agent: Any) -> None:
    async with start_agent(limits={"max_requests": LIMIT}) as agent:
        for _ in range(3):
            assert 503 in {status for status, _ in (await overloaded(agent)).values()}
        assert agent.service.context.puts == 0
        client = agent.as_("load")
        for name, content in list(CONTENTS.items())[:50]:
            assert await put(client, f"after/{name}", content) == (201, "")
        async with agent.as_("monitor").get("/ready") as response:
            assert response.status == 200
