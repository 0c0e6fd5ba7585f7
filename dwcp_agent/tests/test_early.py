"""What an agent says along with a session saves round trips: whether there is content of a name, and so what need not be asked."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

from dwcp_agent.encoding.manifest import manifest_of
from dwcp_agent.errors import Refused
from dwcp_agent.transport.inbound import InboundTable
from dwcp_agent.transport.source import BytesSource
from dwcp_agent.transport.units import UNIT
from fixtures import Agent, wait_for
from test_resumable import STORED, TOKEN, begun, outbound, send, stored

NAME = "big/file"


async def told(agent: Agent, name: str | None, who: str = "load") -> Any:
    headers = {"X-DWCP-Session": "early"} | ({"X-DWCP-Content": name} if name is not None else {})
    async with agent.as_(who).post("/v1/sessions", headers=headers) as response:
        answer = await response.json()
        return (response.status, answer.get("content", "nothing was said"))


async def test_a_session_says_what_there_is_only_when_asked(agent: Agent) -> None:
    assert await told(agent, None) == (201, "nothing was said")
    assert await told(agent, NAME) == (201, None)
    content = os.urandom(UNIT + 5)
    await send(agent, content)
    assert await told(agent, NAME) == (201, {"size": UNIT + 5, "id": manifest_of(BytesSource(content)).id})
    assert await told(agent, "big%2Ffile") == await told(agent, NAME)
    assert await told(agent, NAME, who="operator") == (201, None)  # what an identity stores is its own


async def test_an_id_is_said_only_of_what_is_as_it_was_committed(agent: Agent) -> None:
    await send(agent, os.urandom(UNIT))
    with (agent.store / STORED / NAME).open("r+b") as file:
        file.write(b"other")
    assert await told(agent, NAME) == (201, {"size": UNIT, "id": None})


async def test_a_session_says_whether_a_transfer_was_begun(agent: Agent) -> None:
    await begun(agent, os.urandom(40 * UNIT), 30 * UNIT)
    for token, expected in ((TOKEN, True), ("f" * 32, False), ("../" + TOKEN, False), ("", False)):
        answer = await agent.open_session(**{"X-DWCP-Content": NAME, "X-DWCP-Token": token})
        assert (answer["content"], answer["begun"]) == (None, expected)
    other = await agent.open_session("operator", **{"X-DWCP-Content": NAME, "X-DWCP-Token": TOKEN})
    assert other["begun"] is False


@pytest.mark.parametrize("name", ["../up", "", "a//b", "big"])
async def test_a_name_that_cannot_be_is_refused(agent: Agent, name: str) -> None:
    await send(agent, b"x")  # makes the directory "big"
    status, _ = await told(agent, name)
    assert status in (400, 409)


@pytest.mark.parametrize("size", [0, 1, UNIT, 9 * UNIT + 77])
@pytest.mark.parametrize("streams", [1, 4])
async def test_content_arrives_without_a_question(agent: Agent, size: int, streams: int) -> None:
    content = os.urandom(size)
    tally = await send(agent, content, streams=streams, early=True)
    assert stored(agent) == content
    assert (tally.sent_bytes, tally.resumed_bytes) == (size, 0)
    assert agent.files() == [f"{STORED}/{NAME}"]


class Held(BytesSource):
    """Gives nothing from unit ``after`` on until told, and says when that was asked for."""

    def __init__(self, content: bytes, after: int) -> None:
        super().__init__(content)
        self._after = after
        self.reached, self.go_on = threading.Event(), threading.Event()

    def chunk(self, offset: int, length: int) -> memoryview:
        if offset >= self._after * UNIT:
            self.reached.set()
            assert self.go_on.wait(30)
        return super().chunk(offset, length)


async def test_what_is_there_after_all_is_not_sent_once_that_is_known(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(40 * UNIT)
    await begun(agent, content, 30 * UNIT)
    source, join = Held(content, 0), InboundTable.join

    def joined(*given: Any) -> Any:
        """Nothing is known before the sender has begun to read: if it waited for that, it would never begin."""
        assert source.reached.wait(3)
        source.go_on.set()
        return join(*given)

    monkeypatch.setattr(InboundTable, "join", joined)
    tally = await send(agent, source, streams=1, early=True, patience_s=1.0)
    assert stored(agent) == content
    assert tally.resumed_bytes >= 12 * UNIT
    assert tally.sent_bytes == len(content) - tally.resumed_bytes


async def test_a_transfer_that_is_done_ends_so_again(agent: Agent) -> None:
    content = os.urandom(5 * UNIT)
    first = await send(agent, content)
    before = (agent.store / STORED / NAME).stat()
    again = await send(agent, content, early=True)
    assert again.id == first.id and stored(agent) == content
    after = (agent.store / STORED / NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_a_refusal_comes_in_the_middle_of_what_is_sent(agent: Agent) -> None:
    with pytest.raises(Refused, match="does not agree"):
        holding = outbound(agent, Held(os.urandom(4 * UNIT), 2), streams=1)
        running = asyncio.get_running_loop().run_in_executor(None, holding.run)
        try:
            await asyncio.to_thread(wait_for, "the first", lambda: agent.service.context.inbound.running())
            await send(agent, os.urandom(9 * UNIT), early=True, token=TOKEN)
        finally:
            holding.abort()
            holding._units.source.go_on.set()  # type: ignore[attr-defined]
            await asyncio.gather(running, return_exceptions=True)
