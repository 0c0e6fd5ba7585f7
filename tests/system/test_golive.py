"""The whole product on the lab: from bare hosts to 100 % of traffic, through a kill, and back from a bad candidate.

The tests of this file go on from one another, in order, and leave the lab standing with a release live. It takes some fifteen minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from golive import engine, environment
from golive.environment import ROOT
from golive.fleet.inventory import read_fleet
from golive.fleet.ssh import Shell

pytestmark = pytest.mark.timeout(1800)

GATEWAYS = ("dwcp-lab-ams-1", "dwcp-lab-nyc-1", "dwcp-lab-sgp-1")


def inv(*words: str, timeout_s: float = 1200) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON on stdout, and what a person saw on stderr."""
    done = subprocess.run([str(ROOT / "inv"), *words, "--json"], cwd="/", capture_output=True, text=True, timeout=timeout_s, check=False)
    data = json.loads(done.stdout) if done.stdout.strip() else {}
    return done.returncode, data, done.stderr


def lab() -> environment.Environment:
    return environment.load("lab")


def serving() -> str:
    """The release that is live."""
    live = engine.live(lab())
    assert live is not None
    return live.release


@pytest.fixture
def shell() -> Iterator[Shell]:
    env = lab()
    with Shell(env, read_fleet(env)) as opened:
        yield opened


def on(shell: Shell, name: str, *argv: str) -> str:
    env = lab()
    done = shell.run(read_fleet(env).named(name), list(argv), timeout_s=60)
    assert done.rc == 0, done.stderr.decode()
    return done.stdout.decode()


def invocations(shell: Shell) -> dict[str, dict[str, str]]:
    """Per agent host, the systemd invocation of every agent unit: changes whenever a unit is started again."""
    seen = {}
    for host in read_fleet(lab()).agents:
        status = json.loads(on(shell, host.name, "dwcp-host", "status"))
        seen[host.name] = {entry["id"]: entry["invocation_id"] for entry in status["releases"] if entry["active"]}
    return seen


def effects(shell: Shell, name: str, run: str) -> list[dict[str, Any]]:
    """What ``dwcp-host`` did on a host for one run, oldest first."""
    lines = on(shell, name, "cat", "/var/lib/dwcp/host/effects.jsonl").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["run"] == run]


def history(shell: Shell, gateway: str, run: str) -> list[int]:
    """The weights of slot b that a run has set at a gateway after its drill, oldest first."""
    entries = json.loads(on(shell, gateway, "dwcp-host", "weight", "history"))["history"]
    return [int(entry["slot_b"]) for entry in entries if entry.get("run") == run and entry.get("stage") != "rehearsal"]


def test_a_bare_lab_goes_live_on_the_first_try() -> None:
    code, _, said = inv("destroy", "--env", "lab")
    assert code == 0, said
    began = time.monotonic()
    code, status, said = inv("golive", "--env", "lab")
    print(f"go-live of a bare lab took {time.monotonic() - began:.0f} s")
    assert code == 0, said[-3000:]
    assert status["outcome"] == "succeeded"
    assert status["release"] == "3.0.0"
    assert set(status["traffic"]) == set(GATEWAYS)
    for weights in status["traffic"].values():
        assert weights == {"3.0.0": 100, "2.9.0": 0}
    assert len(status["hosts"]) == 7
    assert status["max_candidate_weight"] == 100
    assert status["requests"]["total"] > 1000
    assert status["requests"]["failed"] < 0.001 * status["requests"]["total"]


def test_every_check_on_the_hosts_passes() -> None:
    code, data, said = inv("verify", "--env", "lab")
    assert code == 0, said[-3000:]
    assert data["checks"] >= 60
    assert data["failed"] == []


def planted(shell: Shell, name: str, break_it: list[str], mend_it: list[str], expected: Callable[[str], bool]) -> None:
    """Verify fails on what was planted, and names it."""
    on(shell, name, *break_it)
    try:
        code, data, _ = inv("verify", "--env", "lab")
    finally:
        on(shell, name, *mend_it)
    assert code == 4
    assert any(name in failed["check"] and expected(failed["check"]) for failed in data["failed"]), data["failed"]


def test_verify_finds_a_stopped_unit(shell: Shell) -> None:
    live = serving()
    unit = f"dwcp-agent@{live}.service"
    planted(shell, "dwcp-lab-nyc-2", ["systemctl", "stop", unit], ["systemctl", "start", unit], lambda check: "unit" in check)


def test_verify_finds_a_changed_affinity(shell: Shell) -> None:
    live = serving()
    pid = on(shell, "dwcp-lab-ams-2", "systemctl", "show", f"dwcp-agent@{live}.service", "--property=MainPID", "--value").strip()
    before = on(shell, "dwcp-lab-ams-2", "taskset", "-cp", pid).rsplit(":", 1)[1].strip()
    change = ["taskset", "-acp", "0", pid]
    planted(shell, "dwcp-lab-ams-2", change, ["systemctl", "restart", f"dwcp-agent@{live}.service"], lambda check: "cpus" in check)
    assert before != "0"


def test_verify_finds_an_open_port(shell: Shell) -> None:
    start = ["systemd-run", "--collect", "--unit=planted", "socat", "TCP-LISTEN:4444,fork,reuseaddr", "EXEC:/bin/true"]
    planted(shell, "dwcp-lab-sgp-2", start, ["systemctl", "stop", "planted.service"], lambda check: "ports" in check)


def test_a_second_golive_changes_nothing() -> None:
    code, status, said = inv("golive", "--env", "lab")
    assert code == 0, said[-3000:]
    state = engine.state(lab())
    assert state.already_live
    assert {key: step.changed for key, step in state.steps.items() if step.changed} == {}
    assert status["outcome"] == "succeeded"


def test_a_removed_host_is_named_and_comes_back_alone() -> None:
    gone = "dwcp-lab-nyc-2"
    subprocess.run(["podman", "rm", "--force", "--time", "0", gone], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    code, data, said = inv("drift", "--env", "lab")
    assert code == 6, said
    assert gone in json.dumps(data)
    assert inv("provision", "--env", "lab")[0] == 0
    code, _, said = inv("golive", "--env", "lab")
    assert code == 0, said[-3000:]
    state = engine.state(lab())
    installed = next(step for key, step in state.steps.items() if key.endswith("/incumbent-installed"))
    assert installed.changed == 1
    code, data, said = inv("verify", "--env", "lab")
    assert code == 0, data.get("failed")


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(ROOT / "inv"), *words], cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )


def still_runs(process: subprocess.Popen[str]) -> None:
    """Fails with what the run's last gate said when the controller has ended by itself."""
    if process.poll() is not None:
        state = engine.state(lab())
        gates = [record.data for record in records(state.run or "") if record.kind == "gate"]
        raise AssertionError(f"the controller ended by itself with {process.returncode}; {state.outcome}; last gate: {gates[-1:]}")


def killed_when(process: subprocess.Popen[str], reached: Callable[[engine.RunState], bool], deadline_s: float = 700) -> engine.RunState:
    """Ends the controller with SIGKILL as soon as its journal shows ``reached``."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        still_runs(process)
        state = engine.state(lab())
        if state.outcome == "running" and reached(state):
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
            return engine.state(lab())
        time.sleep(0.05)
    process.kill()
    raise AssertionError("the run never came to the point at which it was to be killed")


def killed_at(process: subprocess.Popen[str], kind: str, step: str, deadline_s: float = 700) -> engine.RunState:
    """Ends the controller with SIGKILL as soon as the newest record of its journal is of ``kind`` and ``step``.

    Looks often enough to catch a step between its intent and its outcome, on one connection: opening the store each time takes a
    sixth of a core from the users whose latency the run is watching.
    """
    end = time.monotonic() + deadline_s
    with contextlib.closing(sqlite3.connect(f"file:{lab().state / 'journal.db'}?mode=ro", uri=True, timeout=10)) as store:
        while time.monotonic() < end:
            still_runs(process)
            if store.execute("SELECT kind, step FROM records ORDER BY seq DESC LIMIT 1").fetchone() == (kind, step):
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=30)
                return engine.state(lab())
            time.sleep(0.004)
    process.kill()
    raise AssertionError(f"no {kind} of {step} was ever the newest record")


def records(run: str) -> list[Any]:
    return list(engine.open_journal(lab()).read(run))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_killed_in_ansible_in_a_shift_and_in_a_watch_the_same_command_goes_on_to_the_end(shell: Shell) -> None:
    """Also takes the earlier incumbent live again: incumbent and candidate are roles, not versions."""
    words = ("golive", "--env", "lab", "--release", "2.9.0")
    incumbents = invocations(shell)

    state = killed_at(started(*words), "process.started", "base")
    orphans = [process for process in state.left if running(process.pid)]
    assert orphans, "ansible-playbook outlives its controller, or there is nothing to test"

    state = killed_at(started(*words), "step.intent", "shift-50")
    assert not any(running(process.pid) for process in orphans)
    told = [record.kind for record in records(state.run or "")]
    resumed = told.index("run.resumed")
    # The orphaned playbook was seen dead, and the hosts fenced, before anything was applied again.
    seen_dead = next(number for number in range(resumed, len(told)) if told[number] in ("process.ended", "leftovers.ended"))
    assert seen_dead < told.index("fenced") < told.index("step.intent", resumed)
    before = invocations(shell)

    state = killed_at(started(*words), "step.intent", "watch-50")
    code, status, said = inv(*words)
    assert code == 0, said[-3000:]
    assert status["run"] == state.run
    assert status["release"] == "2.9.0"

    after = invocations(shell)
    live = state.release or ""
    for host in read_fleet(lab()).agents:
        assert {key: before[host.name][key] for key in incumbents[host.name]} == incumbents[host.name]
        assert after[host.name] == {live: before[host.name][live]}
        activated = [e for e in effects(shell, host.name, state.run or "") if e["verb"] == "activate" and e["result"].get("changed")]
        assert len(activated) == 2, f"once for the drill, once for good: {activated}"
    for gateway in GATEWAYS:
        weights = history(shell, gateway, state.run or "")
        assert len(set(weights)) >= 3
        assert weights == sorted(weights, reverse=weights[0] > weights[-1]), weights
    assert len([record for record in records(state.run or "") if record.kind == "run.resumed"]) == 3


def test_a_candidate_with_errors_is_rolled_back_and_nobody_stays_on_it() -> None:
    code, package, said = inv("package", "--env", "lab", "--release", "3.0.1", "--defect", "errors=2%")
    assert code == 0, said
    code, status, said = inv("golive", "--env", "lab", "--release", package["releases"][0]["version"])
    assert code == 3, said[-3000:]
    assert status["outcome"] == "rolled-back"
    assert status["max_candidate_weight"] >= 10
    assert all(weights[status["release"]] == 0 for weights in status["traffic"].values())
    assert status["requests"]["failed"] >= 1
    state = engine.state(lab())
    assert state.rollback is not None
    assert state.rollback["seconds_to_traffic_back"] < 5


def test_alone_with_a_bad_candidate_the_guard_takes_it_to_zero(shell: Shell) -> None:
    code, package, said = inv("package", "--env", "lab", "--release", "3.0.1", "--defect", "errors=20%")
    assert code == 0, said
    # Without the drill, which such a candidate does not survive.
    process = started("golive", "--env", "lab", "--release", package["releases"][0]["version"], "--from", "pre-deployment")
    state = killed_when(process, lambda s: s.step == "watch-10" and s.max_candidate_weight >= 10)
    deadline = time.monotonic() + 180
    left = set(GATEWAYS)
    while left and time.monotonic() < deadline:
        for gateway in sorted(left):
            seen = json.loads(on(shell, gateway, "dwcp-host", "weight", "get"))
            lease = seen["lease"]
            candidate = seen["slot_b"] if lease["candidate_slot"] == "b" else 100 - seen["slot_b"]
            if candidate == 0 and seen["guard"]:
                left.discard(gateway)
        time.sleep(1)
    assert not left, f"still on the candidate: {left}"
    code, status, said = inv("golive", "--env", "lab", "--release", package["releases"][0]["version"])
    assert code == 3, said[-3000:]
    assert status["run"] == state.run


def test_the_report_of_the_last_run_is_written() -> None:
    code, data, said = inv("report", "--env", "lab")
    assert code == 0, said
    for name in ("markdown", "html"):
        assert os.path.getsize(data[name]) > 2000  # noqa: PTH202


def test_no_process_of_a_run_is_left() -> None:
    left = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:  # noqa: PTH123
                    if b"GOLIVE_MARK=lab/" in file.read():
                        left.append(entry)
            except OSError:
                continue
    assert left == []
