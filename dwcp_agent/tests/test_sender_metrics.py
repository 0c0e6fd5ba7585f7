"""What was decided for transfers, as a scrape of the agent beside the sender shows it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dwcp_agent.telemetry.senders import KINDS
from dwcp_agent.transport import totals
from dwcp_agent.transport.ledger import Ledger
from fixtures import Agent, Done, Host

Scraped = dict[tuple[str, ...], float]


async def scraped(agent: Agent) -> Scraped:
    """Every sample by its name and the values of its labels."""
    async with agent.as_("monitor").get("/metrics") as response:
        assert response.status == 200
        text = await response.text()
    return {
        (sample.name, *sample.labels.values()): sample.value for family in text_string_to_metric_families(text) for sample in family.samples
    }


def of_senders(found: Scraped) -> Scraped:
    return {key: value for key, value in found.items() if key[0].startswith("dwcp_sender_")}


async def test_what_a_command_decided_is_counted_once_it_has_ended(
    start_agent: Callable[..., Any], dwcp: Callable[..., Done], host: Host, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "x").write_bytes(os.urandom(100_000))
    async with start_agent(senders=str(cache / "senders")) as agent:
        assert of_senders(await scraped(agent)) == {("dwcp_sender_ledger_up",): 0}
        for name in ("a", "b"):
            assert dwcp("send", str(tmp_path / "x"), *host.to(f"counted/{name}")).returncode == 0
        assert dwcp("send", str(tmp_path / "x"), "https://127.0.0.1:9/x", *host.identity.as_arguments()).returncode == 4
        totals.write_pending()
        found = await scraped(agent)
        assert found["dwcp_sender_ledger_up",] == 1 and found["dwcp_sender_transfers",] == 0
        assert {result: found["dwcp_sender_ended_total", result] for result in ("sent", "failed", "interrupted")} == {
            "sent": 2,
            "failed": 1,
            "interrupted": 0,
        }
        records = [json.loads(path.read_text()) for path in (cache / "transfers").iterdir()]
        decided = Counter(KINDS[f"{each['policy']} {each['what']}"] for record in records for each in record["decisions"])
        assert decided["baseline", "baseline"] == 2
        decisions: Any = {key: value for key, value in found.items() if key[0] == "dwcp_sender_decisions_total"}
        assert {(policy, kind): value for (name, kind, policy), value in decisions.items()} == {
            labels: decided[labels] for labels in KINDS.values()
        }


async def test_a_transfer_on_its_way_is_seen_at_both_ends(
    start_agent: Callable[..., Any], authority: Any, people: Any, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "x").write_bytes(os.urandom(20_000_000))
    async with start_agent(senders=str(cache / "senders")) as agent:
        url = f"https://127.0.0.1:{agent.service.ports.control}/x"
        arguments = ["send", str(tmp_path / "x"), url, *people["operator"].as_arguments(), "--limit", "16mbit", "--json"]
        sender = await asyncio.create_subprocess_exec(sys.executable, "-m", "dwcp_agent", *arguments, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not (found := await scraped(agent)).get(("dwcp_sender_cap_bytes_per_second",)):
            assert time.monotonic() < deadline and sender.returncode is None
            await asyncio.sleep(0.05)
        assert found["dwcp_sender_transfers",] == 1 and found["dwcp_sender_streams",] >= 1
        assert found["dwcp_sender_cap_bytes_per_second",] == 2e6 and found["dwcp_sender_capped_transfers",] == 1
        assert sum(found["dwcp_sender_profile_transfers", name] for name in ("low-latency", "balanced", "high-throughput")) == 1
        assert found["dwcp_sender_level_least",] >= 1
        assert found["dwcp_receiving_transfers", "none"] == 1 and found["dwcp_receiving_streams",] >= 1
        sender.kill()
        await sender.wait()
        found = await scraped(agent)
        assert found["dwcp_sender_transfers",] == 0 and ("dwcp_sender_level_least",) not in found


async def test_whatever_stands_in_the_ledger_no_label_is_made_of_it(start_agent: Callable[..., Any], tmp_path: Path) -> None:
    own = Ledger(tmp_path)
    own.tell({"profile": "\n# HELP evil", "streams": "many", "level": float("nan"), "bytes_per_s": -1, "cap_bytes_per_s": True, "evil": 1})
    counts = {"profile profile": 3, "evil evil": 4, "ended evil": 5}
    (tmp_path / totals.NAME).write_text(json.dumps({"schema": 1, "counts": counts}))
    async with start_agent(senders=str(tmp_path)) as agent:
        found = of_senders(await scraped(agent))
    assert not any("evil" in part for key in found for part in key)
    assert found["dwcp_sender_decisions_total", "profile", "profile"] == 3
    assert sum(found.values()) == 3 + 1 + 1  # that, the ledger, the transfer
    own.close()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"schema": 1}', b'{"schema": 1, "counts": {"a b": -1}}', b'{"schema": 1, "counts": {"a b": 0.5}}']
)
async def test_totals_that_are_none_are_no_zero_and_begun_anew(start_agent: Callable[..., Any], tmp_path: Path, content: bytes) -> None:
    (tmp_path / totals.NAME).write_bytes(content)
    async with start_agent(senders=str(tmp_path)) as agent:
        assert of_senders(await scraped(agent)) == {("dwcp_sender_ledger_up",): 0}
        totals.count(tmp_path, "sent", [("profile", "profile")])
        totals.write_pending()
        assert (await scraped(agent))["dwcp_sender_ended_total", "sent"] == 1


def test_nothing_is_lost_when_several_count_at_once(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from dwcp_agent.transport import totals\n"
    code += "for _ in range(50): totals.count(Path(sys.argv[1]), 'sent', [('a', 'b')]); totals.write_pending()"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert totals.totals(tmp_path) == {"ended sent": 200, "a b": 200}
    assert [path.name for path in tmp_path.iterdir()] == [totals.NAME]
