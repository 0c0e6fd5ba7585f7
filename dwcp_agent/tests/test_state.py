"""Small state over data streams: every put once, in order and durable; limits, streams that break, agents that go."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from dwcp_agent import features
from dwcp_agent.errors import AgentError, BadInput, Failed, Refused, Unreachable
from dwcp_agent.security.identity import Identity
from dwcp_agent.transport.entries import MAX_VALUE_BYTES
from dwcp_agent.transport.puts import Puts
from dwcp_agent.transport.sender import Link
from fixtures import Agent, context_of, wait_for

NAMES = {"load": "load.host-2", "operator": "operator", "monitor": "monitor.ops"}
LOAD = Identity("load", "load.host-2")


@pytest.fixture(params=["batch", "one by one"])
def either(request: pytest.FixtureRequest) -> Iterator[str]:
    """With batches and without."""
    if request.param != "batch":
        features.configure(["batch"])
    yield request.param
    features.configure()


def connecting(agent: Agent, who: str = "load") -> Callable[[], tuple[Link, str]]:
    def connect() -> tuple[Link, str]:
        link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people[who]), timeout_s=10)
        return link, agent.service.context.tickets.issue("s", Identity(who, NAMES[who]), time.time())[0]

    return connect


async def get(agent: Agent, key: str, who: str = "load") -> tuple[int, bytes, int]:
    async with agent.as_(who).get(f"/v1/state/{quote(key, safe='')}") as response:
        return response.status, await response.read(), int(response.headers.get("X-DWCP-Version", 0))


def there(agent: Agent, key: str) -> tuple[bytes, int]:
    found = agent.service.context.values.get(LOAD, key)
    assert found is not None, key
    return found.value, found.version


async def test_what_is_put_is_there_with_its_version_and_only_for_its_owner(start_agent: Any, either: str) -> None:
    async with start_agent(features={"disable": [] if either == "batch" else ["batch"]}) as agent:
        puts, taken = Puts(connecting(agent)), []
        for number in range(300):
            puts.put(f"key/{number % 100}", b"value %d" % number, taken.append)
        await asyncio.to_thread(puts.flush)
        assert len(taken) == puts.acknowledged == 300 and all(0 < seconds < 10 for seconds in taken)
        assert puts.batches == 300 if either != "batch" else puts.batches <= 300
        status, value, version = await get(agent, "key/7")
        assert (status, value) == (200, b"value 207") and version == 208
        odd = "a b/%2F?#ä../:"
        puts.put(odd, b"\0\xff")
        puts.put("empty", b"")
        await asyncio.to_thread(puts.close)
        assert (await get(agent, odd))[:2] == (200, b"\0\xff") and (await get(agent, "empty"))[:2] == (200, b"")
        assert (await get(agent, "key/7", "operator"))[0] == (await get(agent, "no such key"))[0] == 404
        assert (await get(agent, "key/7", "monitor"))[0] == 403
        async with agent.as_("operator").delete("/v1/state/empty") as response:
            assert response.status == 404
        async with agent.as_("load").delete("/v1/state/empty") as response:
            assert response.status == 204
        assert (await get(agent, "empty"))[0] == 404
        async with agent.as_("monitor").get("/metrics") as response:
            text = await response.text()
        assert "dwcp_state_puts_total 302.0" in text and 'dwcp_request_seconds_count{op="state"}' in text


async def test_the_session_says_that_state_is_taken(agent: Agent) -> None:
    assert (await agent.open_session())["state"] == 1


async def test_a_put_over_a_limit_is_refused_alone(agent: Agent, either: str) -> None:
    puts = Puts(connecting(agent))
    for key, value in (("", b""), ("a\nb", b""), ("k", bytes(MAX_VALUE_BYTES + 1))):
        with pytest.raises(BadInput):
            puts.put(key, value)
    large = [(f"large {number}", os.urandom(MAX_VALUE_BYTES)) for number in range(40)]  # more than one frame may have
    for key, value in large:
        puts.put(key, value)
    await asyncio.to_thread(puts.close)
    assert all(there(agent, key)[0] == value for key, value in large)
    with pytest.raises(Failed):
        puts.put("late", b"")


async def test_streams_that_break_lose_and_repeat_nothing(agent: Agent, either: str) -> None:
    puts = Puts(connecting(agent))

    def go() -> None:
        for number in range(2000):
            puts.put("counter", b"%d" % number)
            if number % 400 == 200:
                wire, broken = wait_for("a stream", lambda: puts._wire), puts.broken_streams
                wire.cut()
                wait_for("its end", lambda broken=broken: puts.broken_streams > broken)
        puts.close()

    await asyncio.to_thread(go)
    # A put that was applied twice would show in the version, one that came late in the value.
    assert there(agent, "counter") == (b"1999", 2000) and puts.broken_streams == 5


async def test_an_agent_that_is_drained_is_followed_by_the_next(start_agent: Any) -> None:
    async with start_agent() as first:
        agents, puts = [first], None
        puts = Puts(lambda: connecting(agents[-1])(), patience_s=10)
        for number in range(500):
            puts.put("counter", b"%d" % number)
        await asyncio.to_thread(puts.flush)
    # The first is gone: what it was acknowledged by is on its disk, and its tickets are worth nothing.
    async with start_agent() as second:
        agents.append(second)
        for number in range(500, 1000):
            puts.put("counter", b"%d" % number)
        await asyncio.to_thread(puts.close)
        assert there(second, "counter") == (b"999", 1000)


async def test_draining_ends_a_busy_stream_with_what_it_read_applied(agent: Agent) -> None:
    puts = Puts(connecting(agent), patience_s=0.5)
    stop = threading.Event()
    errors: list[AgentError] = []

    def go() -> None:
        try:
            for number in range(1_000_000):
                if stop.is_set():
                    return
                puts.put("counter", b"%d" % number)
        except AgentError as error:
            errors.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    await asyncio.to_thread(wait_for, "puts", lambda: puts.acknowledged > 100)
    agent.service.context.states.drain()
    try:
        await asyncio.to_thread(wait_for, "the end", lambda: agent.service.context.states.running() == 0)
        await asyncio.to_thread(wait_for, "an error", lambda: errors)
    finally:
        stop.set()
        thread.join()
    assert isinstance(errors[0], Refused) and errors[0].code == "draining"
    assert there(agent, "counter") == (b"%d" % (puts.acknowledged - 1), puts.acknowledged)


async def test_who_puts_waits_while_too_much_is_unacknowledged(agent: Agent, either: str) -> None:
    puts = Puts(connecting(agent), window_bytes=100_000)
    sent = [0]

    def go() -> None:
        for number in range(8000):
            puts.put(f"{number}", bytes(1000))
            sent[0] = number + 1

    with agent.service.context.values._lock:  # as a disk that stands still
        thread = threading.Thread(target=go)
        thread.start()

        def stands_still() -> bool:
            before = sent[0]
            time.sleep(0.3)
            return 0 < sent[0] == before

        await asyncio.to_thread(wait_for, "a standstill", stands_still)
        # The window, the batcher's queue, and the batches between them.
        assert puts.acknowledged == 0 and sent[0] <= 100 + (4096 + 2 * 256 if either == "batch" else 1)
    await asyncio.to_thread(thread.join)
    await asyncio.to_thread(puts.close)
    assert puts.acknowledged == 8000


async def test_an_idle_stream_is_closed_and_another_begun_when_needed(start_agent: Any) -> None:
    async with start_agent(limits={"idle_timeout_s": 0.2}) as agent:
        puts = Puts(connecting(agent), patience_s=5)
        puts.put("a", b"1")
        await asyncio.to_thread(puts.flush)
        await asyncio.to_thread(wait_for, "the end", lambda: agent.service.context.states.running() == 0)
        puts.put("a", b"2")
        await asyncio.to_thread(puts.flush)
        await asyncio.to_thread(wait_for, "the end", lambda: agent.service.context.states.running() == 0)
        await asyncio.to_thread(puts.close)
        assert there(agent, "a") == (b"2", 2)


async def test_full_state_ends_it_and_what_came_before_is_kept(start_agent: Any, either: str) -> None:
    async with start_agent(limits={"max_state_keys": 10}) as agent:
        puts = Puts(connecting(agent), most=4)

        def go() -> None:
            for number in range(100):
                puts.put(f"{number}", b"")
            puts.flush()

        with pytest.raises(Refused) as caught:
            await asyncio.to_thread(go)
        assert (caught.value.code, caught.value.status) == ("state-full", 507)
        assert 8 <= puts.acknowledged <= 10
        await asyncio.to_thread(puts.abort)
        assert there(agent, "7")[0] == b"" and agent.service.context.values.get(LOAD, "10") is None


async def test_patience_ends_and_a_wrong_role_is_final(agent: Agent) -> None:
    for connect, error in (
        (connecting(agent, "monitor"), Refused),
        (lambda: (Link("127.0.0.1", 9, context_of(agent.people["load"])), "x"), Unreachable),
    ):
        puts = Puts(connect, patience_s=0.3)
        with pytest.raises(error):
            await asyncio.to_thread(puts.close)
    puts = Puts(reachable_once(agent), patience_s=0.3)
    puts.put("a", b"")
    await asyncio.to_thread(puts.flush)
    assert puts._wire is not None
    puts._wire.cut()
    puts.put("b", b"")
    with pytest.raises(Unreachable, match="away"):
        await asyncio.to_thread(puts.flush)


async def test_who_was_acknowledged_everything_needs_the_agent_no_more(agent: Agent) -> None:
    puts = Puts(reachable_once(agent), patience_s=0.3)
    puts.put("a", b"")
    await asyncio.to_thread(puts.flush)
    assert puts._wire is not None
    puts._wire.cut()
    await asyncio.to_thread(wait_for, "its end", lambda: puts.broken_streams)
    await asyncio.to_thread(puts.close)


def reachable_once(agent: Agent) -> Callable[[], tuple[Link, str]]:
    answers = [connecting(agent)]

    def once() -> tuple[Link, str]:
        if not answers:
            raise Unreachable("away")
        return answers.pop()()

    return once


async def test_damaged_state_is_said_and_transfers_go_on(start_agent: Any, tmp_path: Any) -> None:
    (tmp_path / "store/.state").mkdir(parents=True)
    (tmp_path / "store/.state/state.db").write_bytes(b"damaged" * 1000)
    async with start_agent() as agent:
        puts = Puts(connecting(agent))
        with pytest.raises(Refused, match="state is damaged") as caught:
            await asyncio.to_thread(puts.close)
        assert caught.value.code == "state-damaged"
        status, body, _ = await get(agent, "a")
        assert status == 500 and b"state-damaged" in body
        from test_control import put

        assert (await put(agent, "load", "object"))[0] == 201
