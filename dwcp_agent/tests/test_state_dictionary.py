"""Puts by a trained dictionary: offered, fetched, used; a receiver or a sender that lacks it; agents that never heard of any."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.commands import shelf
from dwcp_agent.commands.http import parse_url
from dwcp_agent.commands.session import Session
from dwcp_agent.commands.shelf import CachedShelf
from dwcp_agent.encoding.trained import Dictionary
from dwcp_agent.transport.frame import MAX_CHUNK, Flag, Kind
from dwcp_agent.transport.offered import Offered
from dwcp_agent.transport.puts import Puts
from dwcp_agent.transport.training import SAMPLES
from fixtures import Agent, Done, Program, context_of, wait_for
from pki import Files
from test_state import LOAD, connecting, there
from test_state_rules import Raw, bomb
from test_trained import payloads, records, trained

FOR_STATE = {"X-DWCP-State": "1"}


class Shelf:
    """Dictionaries in memory; what is ``far`` has to be fetched."""

    def __init__(self, here: list[Dictionary] | None = None, far: list[Dictionary] | None = None) -> None:
        self.here = {one.id: one for one in here or []}
        self.far = {one.id: one for one in far or []}
        self.fetched: list[str] = []

    def find(self, id: str) -> Dictionary | None:
        return self.here.get(id)

    def fetch(self, id: str) -> Dictionary | None:
        self.fetched.append(id)
        return self.far.get(id)


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return trained()


def offering(agent: Agent, offered: Offered, id: object) -> Callable[[], Any]:
    """As if the session's answer had named ``id``."""

    def connect() -> Any:
        offered.begin(id)
        return connecting(agent)()

    return connect


def put_one_by_one(puts: Puts, entries: list[tuple[str, bytes]]) -> None:
    for key, value in entries:
        puts.put(key, value)
        puts.flush()


def are_there(agent: Agent, entries: list[tuple[str, bytes]]) -> bool:
    return all(there(agent, key)[0] == value for key, value in dict(entries).items())


async def test_a_dictionary_that_is_offered_and_here_is_used_from_the_first_put_on(agent: Agent, dictionary: Dictionary) -> None:
    agent.service.context.dictionaries.keep(LOAD, dictionary)
    entries = records(20, seed=2)
    sizes = []
    for known in ([dictionary], []):
        offered = Offered(Shelf(known))
        puts = Puts(offering(agent, offered, dictionary.id), offered=offered)
        await asyncio.to_thread(put_one_by_one, puts, entries)
        await asyncio.to_thread(puts.close)
        assert puts.dictionary_batches == (puts.batches if known else 0) and puts.broken_streams == 0
        assert are_there(agent, entries)
        sizes.append(puts.wire_bytes)
    assert sizes[0] < 0.6 * sizes[1]


async def test_the_receiver_trains_one_and_offers_it_in_the_middle_of_the_conversation(agent: Agent) -> None:
    far = Shelf()
    offered = Offered(far)
    puts = Puts(connecting(agent), offered=offered)
    entries = records(SAMPLES + 1)
    await asyncio.to_thread(put_one_by_one, puts, entries)
    made = await asyncio.to_thread(wait_for, "a dictionary", lambda: agent.service.context.dictionaries.latest(LOAD))
    assert puts.dictionary_batches == 0
    far.far[made.id] = made
    more = records(50, seed=7)
    await asyncio.to_thread(put_one_by_one, puts, more)
    await asyncio.to_thread(puts.close)
    assert far.fetched == [made.id] and 0 < puts.dictionary_batches <= 50
    assert are_there(agent, more)


async def test_a_receiver_that_lacks_it_says_so_and_gets_everything_without(agent: Agent, dictionary: Dictionary) -> None:
    offered = Offered(Shelf([dictionary]))
    puts = Puts(offering(agent, offered, dictionary.id), offered=offered)
    entries = records(30, seed=2)
    await asyncio.to_thread(put_one_by_one, puts, entries)
    await asyncio.to_thread(puts.close)
    assert puts.broken_streams == 1 and are_there(agent, entries)
    assert there(agent, entries[-1][0])[1] == 30, "something was applied twice"


async def test_what_was_encoded_for_one_agent_is_encoded_again_for_the_next(
    start_agent: Any, dictionary: Dictionary, tmp_path: Path
) -> None:
    """The dictionary is gone, as is the agent that had it; what it was not acknowledged for must not be lost."""
    entries = records(40, seed=2)
    offered = Offered(Shelf([dictionary]))
    async with start_agent() as first:
        first.service.context.dictionaries.keep(LOAD, dictionary)
        now: list[Any] = [offering(first, offered, dictionary.id)]
        puts = Puts(lambda: now[0](), offered=offered, patience_s=10)
        await asyncio.to_thread(put_one_by_one, puts, entries[:10])
        assert puts.dictionary_batches == puts.batches
    for path in (tmp_path / "store" / ".state" / "dictionaries").rglob("*"):
        if path.is_file():
            path.unlink()
    for key, value in entries[10:]:
        puts.put(key, value)
    async with start_agent() as second:
        now[0] = offering(second, offered, None)
        await asyncio.to_thread(puts.close)
        assert are_there(second, entries) and there(second, entries[-1][0])[1] == 40


async def test_restart_keeps_the_dictionary_and_the_session_offers_it_to_its_owner_alone(start_agent: Any, dictionary: Dictionary) -> None:
    async with start_agent() as agent:
        assert "dictionary" not in await agent.open_session(**FOR_STATE)
        agent.service.context.dictionaries.keep(LOAD, dictionary)
    async with start_agent() as agent:
        assert (await agent.open_session(**FOR_STATE))["dictionary"] == dictionary.id
        assert "dictionary" not in await agent.open_session()  # nobody who has no use for it waits for a disk
        for who in ("operator", "other"):
            assert "dictionary" not in await agent.open_session(who, "s-2", **FOR_STATE)
            async with agent.as_(who).get(f"/v1/dictionaries/{dictionary.id}") as response:
                assert response.status == 404
        async with agent.as_("monitor").get(f"/v1/dictionaries/{dictionary.id}") as response:
            assert response.status == 403


async def test_a_damaged_one_is_offered_no_more_and_puts_go_on(agent: Agent, dictionary: Dictionary) -> None:
    agent.service.context.dictionaries.keep(LOAD, dictionary)
    path = agent.store / ".state" / "dictionaries" / LOAD.directory / dictionary.id
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    offered = Offered(Shelf([dictionary]))
    puts = Puts(offering(agent, offered, dictionary.id), offered=offered)
    entries = records(5, seed=2)
    await asyncio.to_thread(put_one_by_one, puts, entries)
    await asyncio.to_thread(puts.close)
    assert are_there(agent, entries) and puts.broken_streams == 1 and not path.exists()
    assert "dictionary" not in await agent.open_session(**FOR_STATE)


HOSTILE: dict[str, Callable[[Dictionary], dict[str, Any]]] = {
    "no zstd": lambda _: {"payload": b"nothing", "raw_length": 100},
    "names no dictionary": lambda _: {"payload": bomb(1000), "raw_length": 1000},
    "less inside than said": lambda one: {"payload": one.encode(b"x" * 90), "raw_length": 100},
    "more inside than said": lambda one: {"payload": one.encode(bytes(64 << 20)), "raw_length": MAX_CHUNK},
    "no batch inside": lambda one: {"payload": one.encode(b"x" * 90), "raw_length": 90},
}


@pytest.mark.parametrize("what", [*HOSTILE, "another's"])
async def test_a_frame_that_breaks_a_rule_ends_the_stream(agent: Agent, dictionary: Dictionary, what: str) -> None:
    agent.service.context.dictionaries.keep(LOAD, dictionary)
    good = payloads(records(1))[0]
    if what == "another's":
        hostile, code = {"payload": trained(seed=5).encode(good), "raw_length": len(good)}, "dictionary"
    else:
        hostile, code = HOSTILE[what](dictionary), "protocol"

    def talk() -> tuple[Any, ...]:
        raw = Raw(agent)
        raw.put(dictionary.encode(good), flags=int(Flag.TRAINED), raw_length=len(good))
        raw.put(first=1, flags=int(Flag.TRAINED), **hostile)
        return raw.told(Kind.STATE), raw.told(Kind.ACK), raw.refusal()

    assert await asyncio.to_thread(talk) == ({"puts": 0}, {"puts": 1, "dictionary": dictionary.id}, code)


async def test_a_sender_that_knows_nothing_of_dictionaries_is_served_as_before(agent: Agent, dictionary: Dictionary) -> None:
    agent.service.context.dictionaries.keep(LOAD, dictionary)
    puts = Puts(connecting(agent))
    entries = records(10)
    await asyncio.to_thread(put_one_by_one, puts, entries)
    await asyncio.to_thread(puts.close)
    assert are_there(agent, entries) and puts.dictionary_batches == 0


@pytest.mark.parametrize("offer", [None, 7, "short", ["a"], "g" * 64])
async def test_an_agent_that_offers_none_or_nonsense_is_sent_none(agent: Agent, dictionary: Dictionary, offer: object) -> None:
    at = Shelf([dictionary])
    offered = Offered(at)
    puts = Puts(offering(agent, offered, offer), offered=offered)
    await asyncio.to_thread(put_one_by_one, puts, records(5))
    await asyncio.to_thread(puts.close)
    assert puts.dictionary_batches == 0 and puts.broken_streams == 0 and not at.fetched


async def test_what_is_fetched_is_checked_and_cached(agent: Agent, dictionary: Dictionary, cache: Path) -> None:
    agent.service.context.dictionaries.keep(LOAD, dictionary)

    def run() -> None:
        session = Session(parse_url(agent.control), context_of(agent.people["load"]), "s-1")
        at = CachedShelf(session)
        assert at.find(dictionary.id) is None and at.fetch("0" * 64) is None
        found = at.fetch(dictionary.id)
        assert found is not None and found.content == dictionary.content
        path = cache / "dictionaries" / dictionary.id
        assert path.stat().st_mode & 0o077 == 0
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        assert at.find(dictionary.id) is None and not path.exists()
        for number in range(shelf.KEPT + 3):
            (cache / "dictionaries" / f"{number:064x}").write_bytes(b"")
        assert at.fetch(dictionary.id) is not None and at.find(dictionary.id) is not None
        assert len(list((cache / "dictionaries").iterdir())) == shelf.KEPT
        session.dictionary = lambda _: b"nonsense"  # type: ignore[method-assign]
        assert at.fetch(dictionary.id) is None
        session.close()

    await asyncio.to_thread(run)


def test_the_command_uses_one_from_its_second_run_on(
    dwcp: Callable[..., Done], local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Any]
) -> None:
    program, port = local()
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    arguments = ["put", f"https://127.0.0.1:{port}", *people["operator"].as_arguments(), "--json", "--from", str(tmp_path / "lines")]

    def put(count: int, seed: int, **more: str) -> dict[str, Any]:
        lines = [json.dumps({"key": key, "value": json.loads(value)}) for key, value in records(count, seed)]
        (tmp_path / "lines").write_text("\n".join(lines))
        done = dwcp(*arguments, **more)
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    assert put(SAMPLES + 1, 1, DWCP_DISABLE="batch")["dictionary_batches"] == 0
    wait_for("a dictionary", lambda: [event for event in processes[-1].events("dictionary") if event["kept"]])
    first, second = put(1, 2), put(1, 2)
    assert (first["dictionary_batches"], second["dictionary_batches"]) == (0, 1)
    assert second["wire_bytes"] < 0.7 * first["wire_bytes"]
