"""The load client: open loop, counted at the client, nothing sent twice unseen."""

from __future__ import annotations

import asyncio
import random
import socket
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import aiohttp
import pytest
import zstandard

from dwcp_agent.config import LoadConfig
from dwcp_agent.load.payloads import Payloads
from dwcp_agent.load.plan import SIZES, Plan
from dwcp_agent.load.samples import Samples
from dwcp_agent.load.service import LoadClient
from dwcp_agent.security.tls import server_context
from fixtures import RELEASE, Agent, context_of, free_ports, sha256
from pki import Files


def settings(people: dict[str, Files], gateway: str, **more: Any) -> LoadConfig:
    (port,) = free_ports(1)
    base = {"schema": 1, "host": "host-2", "site": "ams", "gateway": gateway, "tls": people["load"].as_config(), "listen": "127.0.0.1"}
    return LoadConfig.model_validate(base | {"rate_per_s": 100, "port": port, "seed": 1, "max_in_flight": 1000} | more)


@asynccontextmanager
async def running(config: LoadConfig) -> AsyncIterator[LoadClient]:
    client = LoadClient(config, RELEASE)
    await client.start()
    try:
        yield client
    finally:
        await client.drain()


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def results(client: LoadClient) -> Counter[tuple[str, str]]:
    return Counter((release, result) for _, _, release, _, result, _ in client.samples.after(0, 10_000)[1])


def total(client: LoadClient) -> int:
    return sum(results(client).values())


async def test_every_request_is_sent_verified_and_counted(agent: Agent, people: dict[str, Files]) -> None:
    config = settings(people, agent.control, mix={"put_4k": 5, "put_64k": 3, "transfer_1m": 2}, objects=20, timeout_s=30, rate_per_s=40)
    async with running(config) as client:
        await until(lambda: total(client) >= 150)
    assert set(results(client)) == {(RELEASE.id, "ok")}
    offered = client.samples.offered._value.get()
    assert total(client) == offered  # nothing due was left uncounted
    ops = Counter(op for _, _, _, op, _, _ in client.samples.after(0, 10_000)[1])
    assert set(ops) == set(SIZES)
    names = [name.split("/", 1)[1] for name in agent.files()]
    assert len(names) == len(set(names)) and Counter(name.split("/")[0] for name in names)["transfer_1m"] <= 2
    assert len(names) <= 20 + 20 + 2


async def test_samples_and_metrics_are_served_to_monitors_only(agent: Agent, people: dict[str, Files]) -> None:
    async with running(settings(people, agent.control)) as client:
        await until(lambda: total(client) >= 30)
        base = f"https://127.0.0.1:{client.config.port}"
        async with aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(ssl=context_of(people["monitor"]))) as monitor:
            async with monitor.get("/samples?limit=10") as response:
                first = await response.json()
            assert first["boot"] == client.boot_id and first["next"] == 10
            assert [sample[0] for sample in first["samples"]] == list(range(1, 11))
            _, at, release, op, result, latency = first["samples"][0]
            assert abs(at - time.time()) < 30 and (release, result) == (RELEASE.id, "ok") and op in SIZES and 0 < latency < 5
            async with monitor.get("/samples?after=10&limit=5") as response:
                assert [sample[0] for sample in (await response.json())["samples"]] == list(range(11, 16))
            async with monitor.get("/samples?after=1000000") as response:
                assert (await response.json())["samples"] == []
            for query in ("after=-1", "after=x", "limit=0"):
                async with monitor.get(f"/samples?{query}") as response:
                    assert response.status == 400
            async with monitor.get("/metrics") as response:
                text = await response.text()
            assert f'dwcp_load_requests_total{{release="{RELEASE.id}",result="ok"}}' in text
            assert f'dwcp_load_latency_seconds_bucket{{le="0.1",release="{RELEASE.id}"}}' in text
            assert "dwcp_load_offered_total" in text
            async with monitor.get("/ready") as response:
                assert (await response.json())["id"] == RELEASE.id
        async with aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(ssl=context_of(people["load"]))) as load:
            for path, status in (("/samples", 403), ("/metrics", 403), ("/ready", 200)):
                async with load.get(path) as response:
                    assert response.status == status


async def test_nobody_there_is_refused_and_has_no_release(people: dict[str, Files]) -> None:
    (port,) = free_ports(1)
    async with running(settings(people, f"https://127.0.0.1:{port}")) as client:
        await until(lambda: total(client) >= 20)
    assert set(results(client)) == {("none", "refused")}


async def test_defects_are_counted_at_the_client(start_agent: Any, people: dict[str, Files]) -> None:
    async with start_agent(defect={"corrupt": 0.5}) as agent, running(settings(people, agent.control)) as client:
        await until(lambda: total(client) >= 60)
    assert set(results(client)) == {(RELEASE.id, "ok"), (RELEASE.id, "corrupt")}


@asynccontextmanager
async def pretender(
    people: dict[str, Files], answer: Callable[[bytes, asyncio.StreamWriter], Any]
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Something in a gateway's place that answers as told; the request heads it saw."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append(head)
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                await answer(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    from dwcp_agent.config import Tls

    files = people["gateway"]
    tls = server_context(Tls(ca=files.ca, cert=files.cert, key=files.key))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()


def respond(writer: asyncio.StreamWriter, status: str, body: bytes) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nX-DWCP-Release: r-1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


PUTS_ONLY = {"put_4k": 1, "put_64k": 0, "transfer_1m": 0}


async def test_wrong_hash_error_and_silence_are_told_apart(people: dict[str, Files]) -> None:
    turn = 0

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        turn += 1
        if turn % 4 == 0:
            respond(writer, "201 Created", b'{"sha256": "' + sha256(b"other").encode() + b'"}')
        elif turn % 4 == 1:
            respond(writer, "503 Service Unavailable", b"<html>no server</html>")
        elif turn % 4 == 2:
            respond(writer, "422 Unprocessable", b'{"error": "corrupt"}')
        else:
            await asyncio.sleep(30)

    async with pretender(people, answer) as (gateway, _), running(settings(people, gateway, mix=PUTS_ONLY, timeout_s=0.5)) as client:
        await until(lambda: total(client) >= 60)
        counted = results(client)
    assert set(counted) == {("r-1", "corrupt"), ("r-1", "error"), ("none", "timeout")}
    slow = [latency for *_, result, latency in client.samples.after(0, 10_000)[1] if result == "timeout"]
    assert all(0.45 < latency < 1.5 for latency in slow[: counted["none", "timeout"]])


async def test_request_that_may_have_arrived_is_not_sent_again(people: dict[str, Files]) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if b"X-DWCP-SHA256" in head and len([h for h in seen if h]) % 3 == 0:
            writer.transport.abort()  # taken, and cut before an answer
        else:
            respond(writer, "500 Oops", b'{"error": "internal"}')

    async with pretender(people, answer) as (gateway, seen), running(settings(people, gateway, mix=PUTS_ONLY)) as client:
        await until(lambda: total(client) >= 60)
    starts = [head.split(b"X-Request-Start: ")[1].split(b"\r\n")[0] for head in seen]
    assert len(starts) == len(set(starts))
    assert results(client)["none", "error"] > 5


async def test_latency_counts_from_when_a_request_was_due_and_the_cap_is_counted(people: dict[str, Files]) -> None:
    """A server that answers one at a time, slower than requests come: an open loop shows the queue."""
    lock = asyncio.Lock()

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        async with lock:
            await asyncio.sleep(0.03)
        respond(writer, "500 Oops", b'{"error": "internal"}')

    config = settings(people, "https://x", mix=PUTS_ONLY, max_in_flight=10, rate_per_s=100)
    async with pretender(people, answer) as (gateway, _), running(config.model_copy(update={"gateway": gateway})) as client:
        await until(lambda: total(client) >= 120)
    counted = results(client)
    assert counted["none", "refused"] > 20
    waited = [latency for *_, result, latency in client.samples.after(0, 10_000)[1] if result == "error"][30:]
    assert statistics.median(waited) > 0.15


def test_samples_are_bounded_and_numbered_without_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    from dwcp_agent.load import samples as module

    monkeypatch.setattr(module, "KEPT", 100)
    samples = Samples()
    assert samples.after(0, 10) == (0, [])
    for number in range(250):
        samples.add(1000.0 + number, "r", "put_4k", "ok", 0.01)
    following, found = samples.after(0, 1000)
    assert (following, found[0][0], len(found)) == (250, 151, 100)
    assert [sample[0] for sample in samples.after(200, 3)[1]] == [201, 202, 203]
    assert samples.after(250, 10) == (250, [])
    # A reader that remembers a number from before a restart begins anew.
    assert samples.after(10**9, 10) == (250, [])


def test_plan_keeps_rate_mix_and_sessions(people: dict[str, Files]) -> None:
    config = settings(people, "https://x", rate_per_s=60)
    plan = list(islice(Plan(config, random.Random(3)), 20_000))
    assert statistics.mean(due.after_s for due in plan) == pytest.approx(1 / 60, rel=0.05)
    assert statistics.pstdev(due.after_s for due in plan) == pytest.approx(1 / 60, rel=0.05)  # of an exponential: its mean
    shares = {op: count / len(plan) for op, count in Counter(due.op for due in plan).items()}
    assert shares == pytest.approx({"put_4k": 0.70, "put_64k": 0.25, "transfer_1m": 0.05}, abs=0.02)
    uses = Counter(due.session for due in plan)
    single = sum(1 for count in uses.values() if count == 1)
    kept = [count for count in uses.values() if count > 1]
    assert single / len(plan) == pytest.approx(0.3, abs=0.03)
    assert statistics.mean(kept) == pytest.approx(40, rel=0.2)
    assert Counter(len({due.name for due in plan if due.op == op}) for op in SIZES) == Counter([200, 200, 20])


def test_plan_adds_the_control_lane_to_the_rate_with_sessions_of_its_own(people: dict[str, Files]) -> None:
    config = settings(people, "https://x", rate_per_s=60, control_share=0.1)
    plan = list(islice(Plan(config, random.Random(3)), 20_000))
    control, users = ([due for due in plan if due.control is lane] for lane in (True, False))
    seconds = sum(due.after_s for due in plan)
    assert len(users) / seconds == pytest.approx(60, rel=0.05)
    assert len(control) / seconds == pytest.approx(6, rel=0.1)
    assert not {due.session for due in control} & {due.session for due in users}
    assert Counter(due.op for due in control)["put_4k"] / len(control) == pytest.approx(0.70, abs=0.04)
    assert not any(due.control for due in islice(Plan(settings(people, "https://x"), random.Random(3)), 1000))


async def test_a_request_on_the_control_lane_that_nobody_answered_is_counted_apart(people: dict[str, Files]) -> None:
    (closed,) = free_ports(1)
    async with running(settings(people, f"https://127.0.0.1:{closed}", control_share=1)) as client:
        await until(lambda: total(client) > 40)
        assert set(results(client)) == {("control", "refused"), ("none", "refused")}


def test_payloads_differ_and_shrink_like_state_does() -> None:
    payloads = Payloads(SIZES, random.Random(5))
    for op, size in SIZES.items():
        made = [payloads.next(op) for _ in range(20)]
        assert {len(payload.content) for payload in made} == {size}
        assert len({payload.sha256 for payload in made}) == 20
        assert made[0].sha256 == sha256(made[0].content)
        compressor = zstandard.ZstdCompressor(level=1)
        ratio = 20 * size / sum(len(compressor.compress(payload.content)) for payload in made)
        assert 1.5 < ratio < 6, (op, ratio)


async def test_taken_port_is_one_sentence(people: dict[str, Files]) -> None:
    from dwcp_agent.errors import Occupied

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        client = LoadClient(settings(people, "https://x", port=taken.getsockname()[1]), RELEASE)
        with pytest.raises(Occupied):
            await client.start()
