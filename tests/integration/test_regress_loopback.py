"""Two releases of this tree on this machine, over loopback: a planted delay is seen, an equal one is not, and nothing is left running."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from golive import environment, releases
from golive.environment import ROOT
from golive.lab import keys
from golive.regress.ground import Ground
from golive.regress.loopback import loopback
from golive.regress.measures import Extent, compared
from golive.regress.tolerances import read_policy
from golive.releases import Release
from golive.validate.end_to_end import end_to_end

NEW = "3.0.0"
SMALL = Extent(pairs=6, sizes_mib=(1,), connections=(10,), switches=False, requests=400)
MORE = Extent(pairs=8, sizes_mib=(1,), connections=(10,), switches=False, requests=1000)


@pytest.fixture(scope="module")
def built() -> dict[str, Release]:
    """This tree's release and the same with a planted defect; the incumbent is this tree's, too, so that both differ in nothing else."""
    env = environment.load("lab")
    keys.ensure(env)
    slow = releases.build(env, NEW, defect="latency=+150%")
    return {"good": releases.build(env, NEW), "slow": slow}


def measured(pair: tuple[Release, Release], only: str, extent: Extent = SMALL) -> dict[str, dict[str, Any]]:
    with loopback(*pair) as ground:
        return {row.criterion.id: row.to_json() for row in compared(ground, read_policy(), extent, lambda line: None, only=only)}


@pytest.mark.alone
def test_a_candidate_that_takes_two_and_a_half_times_as_long_fails_by_its_latency(built: dict[str, Release]) -> None:
    rows = measured((built["good"], built["slow"]), "requests", MORE)
    assert rows["latency-mean-10"]["verdict"] == "FAIL" and rows["latency-mean-10"]["interval"][1] < 1 / 1.10
    assert len(rows["latency-mean-10"]["samples_ours"]) == 8 and rows["errors"]["failed_ours"] == 0


@pytest.mark.alone
def test_the_same_release_on_both_sides_fails_in_no_row(built: dict[str, Release]) -> None:
    rows = measured((built["good"], built["good"]), "")
    assert [row["id"] for row in rows.values() if row["verdict"] == "FAIL"] == []
    assert rows["compression"]["ratio"] == 1.0 and rows["compression"]["verdict"] == "PASS"
    assert {"latency-mean-10", "latency-p99-10", "connect-10", "throughput-1MiB", "cpu-sender", "memory-transfer", "errors"} <= rows.keys()
    assert rows["state-put-rate"]["samples_ours"], "both have small state"


def test_what_an_agent_refuses_is_counted_against_it_alone(built: dict[str, Release]) -> None:
    with loopback(built["good"], built["good"]) as ground:
        crooked = _with_another_name(ground)
        rows = {row.criterion.id: row.to_json() for row in compared(crooked, read_policy(), SMALL, lambda line: None, only="requests")}
    assert rows["latency-mean-10"]["verdict"] == "UNKNOWN" and "/ready: 200 by" in rows["latency-mean-10"]["note"]
    assert rows["errors"]["failed_ours"] == rows["errors"]["of_ours"] > 0 == rows["errors"]["failed_peer"]
    assert rows["errors"]["verdict"] == "FAIL"


def _with_another_name(ground: Ground) -> Ground:
    """The candidate's port is answered by another release than was asked for."""
    from dataclasses import replace

    return replace(ground, candidate=replace(ground.candidate, release="9.9.9-000000000000"))


def test_nothing_of_it_runs_or_lies_about_afterwards(built: dict[str, Release]) -> None:
    with loopback(built["good"], built["slow"]) as ground:
        pids = [int(side.process["pid"]) for side in (ground.incumbent, ground.candidate)]
        place = Path(ground.work).parent
        assert place.is_dir() and all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not place.exists() and not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture
def ground(built: dict[str, Release]) -> Iterator[Ground]:
    with loopback(built["good"], built["good"]) as made:
        yield made


@pytest.mark.alone
def test_the_whole_moves_what_it_says_and_the_hosts_own_sums_agree(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.validate.end_to_end.CONNECTIONS", (10,))
    monkeypatch.setattr("golive.validate.end_to_end._IMAGE_MIB", 8)
    rows = {row["id"]: row for row in end_to_end(ground, read_policy().end_to_end, lambda line: None, long=False)}
    for name in ("volume-1MiB", "volume-10MiB", "memory", "disk", "connections-10", "operations"):
        row = rows[f"end-to-end-{name}"]
        assert row["verdict"] in ("PASS", "FAIL") and len(row["samples_ours"]) == 3 and min(row["samples_ours"]) > 0, row
        assert "other content" not in row["note"] and "failed" not in row["note"]


def test_the_verb_prints_one_object_and_writes_the_table(built: dict[str, Release], tmp_path: Path) -> None:
    report = tmp_path / "table.md"
    words = ["regress", "--env", "lab", "--release", built["slow"].version, "--local", "--pairs", "6", "--only", "transfer-1"]
    done = subprocess.run([str(ROOT / "inv"), *words, "--report", str(report), "--json"], capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert done.returncode in (0, 4), done.stderr
    assert (done.returncode == 4) == (told["counts"]["FAIL"] > 0)
    assert told["schema"] == 1 and told["candidate"] == built["slow"].id and "loopback" in told["machine"]
    assert "| metric | incumbent | candidate | change | allowed | verdict | note |" in report.read_text()


def _agents_of(parent: int) -> list[int]:
    """Agents that the process started, by /proc."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            mine = f"PPid:\t{parent}\n" in status.read_text()
            if mine and b"golive-regress-" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def test_ended_by_sigterm_it_stops_its_agents_and_ends_with_130(built: dict[str, Release]) -> None:
    words = [sys.executable, "-P", "-m", "golive.program", "regress", "--env", "lab", "--local", "--json"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as verb:
        deadline = time.monotonic() + 120
        while len(agents := _agents_of(verb.pid)) < 2:
            assert verb.poll() is None and time.monotonic() < deadline, "the agents were not started"
            time.sleep(0.1)
        verb.terminate()
        out, _ = verb.communicate(timeout=120)
    assert verb.returncode == 130 and "Interrupted" in json.loads(out)["error"]["message"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in agents)


def test_pairs_that_decide_nothing_are_refused() -> None:
    done = subprocess.run(
        [str(ROOT / "inv"), "regress", "--env", "lab", "--local", "--pairs", "2", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "--pairs" in json.loads(done.stdout)["error"]["message"]
