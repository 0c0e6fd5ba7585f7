"""Planted defects do what their names say, where a client sees it; a build without one has none."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest

from dwcp_agent.defects import Defects
from fixtures import Agent, Process, sha256, wait_for

FORWARDED = {"X-DWCP-Client": "OU=load,CN=load.host-2", "X-DWCP-Session": "s-1"}


async def puts(agent: Agent, count: int, who: str = "gateway", session: aiohttp.ClientSession | None = None) -> list[tuple[int, float]]:
    headers = (FORWARDED if who == "gateway" else {}) | {"X-DWCP-SHA256": sha256(b"x" * 4096)}
    session, answers = session or agent.as_(who), []
    for _ in range(count):
        started = time.time()
        async with session.put("/v1/objects/x", data=b"x" * 4096, headers=headers | {"X-Request-Start": f"t={started:.6f}"}) as response:
            await response.read()
            answers.append((response.status, time.time() - started))
    return answers


async def test_errors_hurt_the_planted_share_of_forwarded_requests_only(start_agent: Any) -> None:
    async with start_agent(defect={"errors": 0.3}) as agent:
        statuses = Counter(status for status, _ in await puts(agent, 400))
        assert set(statuses) == {201, 500} and 75 <= statuses[500] <= 165  # five standard deviations about 120
        assert {status for status, _ in await puts(agent, 50, who="load")} == {201}
        async with agent.as_("gateway").get("/ready", headers=FORWARDED) as response:
            assert response.status == 200


async def test_latency_rises_by_the_planted_share_as_the_client_sees_it(start_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handling is made slow, healthy and defective requests take turns, and the fastest of each are compared: a busy machine only adds."""
    from dwcp_agent.control import objects

    commit = objects._commit

    def slow(*arguments: Any) -> Any:
        time.sleep(0.1)
        return commit(*arguments)

    monkeypatch.setattr(objects, "_commit", slow)
    async with start_agent(defect={"latency": 0.4}) as agent:
        defects, session = agent.service.context.defects, agent.as_("gateway")
        times: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(24):
            agent.service.context.defects = defects if turn % 2 else None
            times[bool(turn % 2)] += [seconds for _, seconds in await puts(agent, 1, session=session)]
        rise = min(times[True]) / min(times[False][1:])  # the first one opened the connection
        assert 1.33 < rise < 1.5, times


def test_delay_counts_from_when_the_client_set_out_and_distrusts_nonsense() -> None:
    defects = Defects({"latency": 0.5})
    assert defects.delay_s(0.1) == pytest.approx(0.05)
    assert defects.delay_s(0.1, f"t={time.time() - 1:.6f}") == pytest.approx(0.5, rel=0.05)
    for nonsense in ("t=yesterday", "1", f"t={time.time() + 60}", f"t={time.time() - 3600}"):
        assert defects.delay_s(0.1, nonsense) == pytest.approx(0.05)


async def test_corruption_is_found_by_the_hash_of_what_was_committed(start_agent: Any) -> None:
    async with start_agent(defect={"corrupt": 0.3}) as agent:
        statuses = Counter(status for status, _ in await puts(agent, 200))
        assert set(statuses) == {201, 422} and 25 <= statuses[422] <= 95
        assert (agent.store / "load.load.host-2/x").read_bytes() == b"x" * 4096
        assert len(agent.files()) == 1
        async with agent.as_("monitor").get("/metrics") as response:
            assert f"dwcp_corruption_total {float(statuses[422])}" in await response.text()


async def test_corrupt_transfer_ends_as_corrupt(start_agent: Any) -> None:
    from dwcp_agent.errors import Refused
    from test_transfers import mixed, send

    async with start_agent(defect={"corrupt": 1.0}) as agent:
        with pytest.raises(Refused) as caught:
            await send(agent, mixed(500_000))
        assert (caught.value.code, caught.value.status) == ("corrupt", 422)
        await asyncio.to_thread(wait_for, "nothing left", lambda: not agent.files())


async def test_without_metrics_the_path_is_gone(start_agent: Any) -> None:
    async with start_agent(defect={"metrics": False}) as agent:
        async with agent.as_("monitor").get("/metrics") as response:
            assert response.status == 404
        assert {status for status, _ in await puts(agent, 5)} == {201}


CRASHING = """
import sys
from dwcp_agent import _build, config, cli
_build.DEFECT = {{"crash_after_s": 0.5}}
config._PORTS["a"] = config.Ports(control={0}, data={1}, health={2})
sys.exit(cli.main(["serve", "--config", {3!r}]))
"""


def test_crash_comes_after_the_first_forwarded_request_and_not_before(tmp_path: Any, people: Any, processes: list[Process]) -> None:
    import subprocess
    import sys

    from dwcp_agent.commands.http import parse_url, request
    from fixtures import agent_settings, context_of, free_ports, write_yaml

    config = write_yaml(tmp_path / "agent.yaml", agent_settings(tmp_path / "store", people["agent"]))
    ports = free_ports(3)
    program = tmp_path / "serve.py"
    program.write_text(CRASHING.format(*ports, str(config)))

    class Program(Process):
        def __init__(self) -> None:
            self._log = tmp_path / "log"
            self._out = self._log.open("wb")
            self.popen = subprocess.Popen([sys.executable, str(program)], stdout=self._out, stderr=subprocess.STDOUT)

    process = Program()
    processes.append(process)
    process.wait_for_event("ready")
    endpoint = parse_url(f"https://127.0.0.1:{ports[0]}")
    request(endpoint, context_of(people["load"]), "POST", "/v1/sessions", {"X-DWCP-Session": "s"})
    with pytest.raises(subprocess.TimeoutExpired):
        process.popen.wait(1.0)
    request(endpoint, context_of(people["gateway"]), "POST", "/v1/sessions", FORWARDED)
    assert process.popen.wait(10) == 70


def test_this_tree_has_no_defect() -> None:
    from dwcp_agent import _build

    assert _build.DEFECT is None
