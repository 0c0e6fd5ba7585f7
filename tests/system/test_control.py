"""What operators ask of a run, on the lab: a dry run, a return to the earlier release with a pause in it, an abort.

The tests go on from one another, and from whatever is live; where nothing is, a go-live comes first.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from golive import engine
from golive.fleet.inventory import read_fleet
from golive.fleet.ssh import Shell
from golive.views.view import version_of
from tests.system.test_golive import GATEWAYS, inv, lab, on, records, serving, started

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    if (
        len({"2.9.0", "3.0.0"} & {version_of(release) for release in (engine.standing(lab()).incumbent, *engine.standing(lab()).earlier)})
        < 2
    ):
        code, _, said = inv("golive", "--env", "lab")
        assert code == 0, said[-3000:]
    env = lab()
    with Shell(env, read_fleet(env)) as opened:
        yield opened


def _earlier() -> str:
    """The version that was live before the one that is."""
    live = engine.standing(lab())
    return next(str(version_of(release)) for release in live.earlier if "defect" not in release and release != live.incumbent)


def _snapshot(shell: Shell) -> dict[str, str]:
    """What a run leaves on hosts: effects, tokens, units, releases, weights."""
    seen = {}
    for host in read_fleet(lab()).hosts:
        told = on(
            shell,
            host.name,
            "sh",
            "-c",
            "cat /var/lib/dwcp/host/effects.jsonl /var/lib/dwcp/host/fence.json; find /etc/dwcp -type f | sort | xargs sha256sum",
        )
        if host.role != "ops":
            releases = json.loads(on(shell, host.name, "dwcp-host", "status"))["releases"]
            told += json.dumps([(entry["id"], entry["active"], entry["enabled"], entry["invocation_id"]) for entry in releases])
        if host.name in GATEWAYS:
            told += str(json.loads(on(shell, host.name, "dwcp-host", "weight", "get"))["slot_b"])
        seen[host.name] = hashlib.sha256(told.encode()).hexdigest()
    return seen


def _until(process: subprocess.Popen[str], reached: Callable[[engine.RunState], bool], deadline_s: float = 420) -> engine.RunState:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        state = engine.state(lab())
        if state.outcome == "running" and reached(state):
            return state
        assert process.poll() is None, f"the controller ended by itself with {process.returncode}: {state.outcome}, {state.held}"
        time.sleep(0.2)
    process.kill()
    raise AssertionError("the run never came to that point")


def test_a_dry_run_says_everything_and_changes_nothing(shell: Shell) -> None:
    before, head = _snapshot(shell), engine.open_journal(lab()).head()
    code, data, said = inv("golive", "--env", "lab", "--release", _earlier(), "--dry-run")
    assert code == 0, (data.get("trouble"), said[-2000:])
    told = {row["step"]: "\n".join(row["lines"]) for row in data["steps"]}
    assert "Nothing to do" in told["provision"]
    assert "base.yml would change nothing" in told["base"]
    assert "to do on dwcp-lab-" in told["candidate-active"]
    assert "error rate" in told["watch-10"] and all(row["owner"] and row["due"] for row in data["steps"])
    assert (_snapshot(shell), engine.open_journal(lab()).head()) == (before, head)


def test_the_earlier_release_comes_live_again_with_a_pause_in_its_watch(shell: Shell) -> None:
    earlier, live = _earlier(), serving()
    words = ("rollback", "--env", "lab", "--to", earlier, "--reason", "degradation: as a rehearsal", "--pace", "rehearsal")
    process = started(*words)
    _until(process, lambda state: state.step == "watch-100")
    code, data, said = inv("pause", "--env", "lab", "--reason", "a look at the dashboards")
    assert code == 0 and data["paused"], said
    end = time.monotonic() + 120
    while not (known := engine.state(lab()).step_state("full", "watch-100")) or not known.passed:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.5)
    head = engine.open_journal(lab()).head()
    time.sleep(5)
    assert engine.open_journal(lab()).head() == head and process.poll() is None, "it stands, and lives"
    code, status, _ = inv("status", "--env", "lab")
    assert (code, status["paused"]["reason"].startswith("a look")) == (0, True)
    assert all(weights[earlier] == 100 for weights in status["traffic"].values())
    assert inv("resume", "--env", "lab")[0] == 0
    assert process.wait(timeout=300) == 0
    assert version_of(serving()) == earlier and serving() != live
    code, _, said = inv(*words)
    assert code == 0, said


def test_an_abort_takes_the_candidate_off_and_ends_the_run(shell: Shell) -> None:
    candidate = _earlier()
    process = started("golive", "--env", "lab", "--release", candidate)
    state = _until(process, lambda state: state.step == "watch-10" and state.max_candidate_weight >= 10)
    assert inv("pause", "--env", "lab", "--reason", "A looks")[0] == 0
    code, status, said = inv("abort", "--env", "lab", "--reason", "B has seen enough")
    assert (code, status["outcome"]) == (4, "aborted"), said[-2000:]
    assert process.wait(timeout=60) == 4
    assert all(weights[candidate] == 0 for weights in status["traffic"].values())
    assert engine.state(lab()).run == state.run
    took = (engine.state(lab()).rollback or {})["seconds_to_traffic_back"]
    assert took < 5, took
    assert not [record for record in records(state.run or "") if record.kind == "rollback.overrun"]
    for host in read_fleet(lab()).agents:
        running = [entry["id"] for entry in json.loads(on(shell, host.name, "dwcp-host", "status"))["releases"] if entry["active"]]
        assert running == [serving()]
