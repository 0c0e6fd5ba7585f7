"""Runs of the real runbook on simulated hosts end right whatever strikes them; and what ends wrong is seen."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from golive import engine, environment
from golive.actions import _world, release_activate, release_install
from golive.chaos import postgres, rounds
from golive.chaos.checks import after, lost_s
from golive.chaos.controller import Place
from golive.chaos.faults import FAULTS
from golive.chaos.rounds import GOOD, Plan, Row, drawn
from golive.errors import BadInput, Unprepared
from golive.sim import hosts_of
from golive.verbs import chaos as verb
from golive.verbs._ports import _bare
from golive.verbs.dry_run import dry_run

HOSTS = "sim:5"
KILL, INSIDE = "kill -9 controller at a record", "kill -9 controller inside a step"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with rounds.ground(HOSTS) as made:
        yield made


def play(root: Path, number: int, kind: str, at: Place, candidate: str = GOOD) -> Row:
    return rounds.struck(root, HOSTS, Plan(number, kind, at, 3, candidate, str(number)))


# Fixed: each a place where a run has died wrongly once, or where most is under way.
@pytest.mark.parametrize(
    ("number", "kind", "at", "candidate"),
    [
        (2, INSIDE, Place("deploy", "command", 3), GOOD),
        (3, KILL, Place("canary", "record", 6), GOOD),
        (4, KILL, Place("sign-off", "record", 6), GOOD),
        (5, KILL, Place("rollback:traffic-back", "record", 2), "3.0.1+defect.errors"),
        (7, "cut a host", Place("rollback:candidate-out", "record", 2), "3.0.1+defect.corrupt"),
        (8, "fill the backups' storage", Place("pre-deployment", "record", 4), GOOD),
        (9, "another operator pauses, and resumes", Place("canary", "record", 3), GOOD),
        (10, INSIDE, Place("pre-deployment", "command", 20), GOOD),
        (15, "kill PostgreSQL", Place("canary", "record", 4), GOOD),  # it comes back by itself
        (16, "kill PostgreSQL", Place("deploy", "record", 5), GOOD),  # it does not
        (17, "kill PostgreSQL", Place("rollback:candidate-out", "record", 2), "3.0.1+defect.errors"),
    ],
)
def test_a_run_that_was_struck_ends_right(root: Path, number: int, kind: str, at: Place, candidate: str) -> None:
    row = play(root, number, kind, at, candidate)
    assert row.struck and row.ok, row
    assert row.end == ("succeeded" if candidate == GOOD else "rolled-back")
    assert row.recovery_s is not None and row.recovery_s < 10


def test_a_run_that_another_operator_aborts_is_taken_the_whole_way_back(root: Path) -> None:
    row = play(root, 11, "another operator aborts", Place("half", "record", 3))
    assert row.struck and row.ok and row.end == "aborted", row


def test_what_a_kill_at_a_record_leaves_is_gone_on_with(root: Path) -> None:
    drill, early = 120, 2
    assert len(rounds.kill_points(root, HOSTS, only=(early, drill))) > 250
    for number in (early, drill):
        row = rounds.resumed(root, HOSTS, number)
        assert row.ok and row.end == "succeeded", row


def test_releases_that_are_not_put_on_every_host_end_wrong(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = _world.hosts_for
    for module in (release_activate, release_install):
        monkeypatch.setattr(module, "hosts_for", lambda ctx, role: list(every(ctx, role))[: None if role == "load" else -1])
    row = play(root, 20, KILL, Place("readiness", "record", 1))
    assert not row.ok
    assert any("still held" in sentence or "was skipped" in sentence for sentence in row.wrong), row


def test_an_action_whose_probe_lies_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from golive.actions.port import Finding, Found
    from golive.actions.traffic_shift import TrafficShift

    monkeypatch.setattr(TrafficShift, "probe", lambda self, ctx: {"traffic": Finding(Found.DONE, "as I say", {})})
    row = play(root, 21, KILL, Place("readiness", "record", 1))
    assert not row.ok, row


@pytest.fixture(scope="module")
def finished(root: Path) -> Iterator[environment.Environment]:
    """A world in which a good candidate went live, to be spoilt."""
    one = rounds._Round(root, HOSTS, "finished", GOOD)
    assert one.start().stopped(200) is False
    assert one.last().outcome == "succeeded"
    yield one.env


def test_a_host_is_bare_with_nothing_on_it_when_it_says_so_itself(finished: environment.Environment) -> None:
    host = hosts_of(finished).world.host(hosts_of(finished).world.fleet.agents[0].name)
    assert _bare(finished) == {}
    kept, there = host.root.with_name("kept"), host.condition
    host.root.rename(kept)
    try:
        assert set(_bare(finished)) == {host.name}
        host.put(replace(there, cut=True))
        assert _bare(finished) == {}
    finally:
        host.put(there)
        shutil.rmtree(host.root, ignore_errors=True)
        kept.rename(host.root)


def said(env: environment.Environment, *, may_lose: bool = True) -> list[str]:
    return after(hosts_of(env).world, engine.standing(env).last, may_hold=False, may_lose=may_lose)


def test_a_dry_run_changes_nothing_on_simulated_hosts(finished: environment.Environment) -> None:
    world = hosts_of(finished).world

    def there() -> dict[str, bytes]:
        every = world.directory.rglob("*")
        return {str(path): path.read_bytes() for path in every if path.is_file() and path.name not in ("clock", "guard-alive.json")}

    host = world.host(world.fleet.agents[1].name)
    (host.places.etc / "host.json").write_text("drifted")
    before, records = there(), engine.open_journal(finished).read()
    told = dry_run(finished, release="3.0.1+defect.errors")
    assert told.exit_code == 0 and f"base.yml would change 1 things on {host.name}" in told.text, told.text
    assert there() == before and engine.open_journal(finished).read() == records


def test_what_was_spoilt_after_a_run_that_ended_right_is_named(finished: environment.Environment) -> None:
    """One after the other on one world: each adds a sentence of its own."""
    world = hosts_of(finished).world
    assert said(finished, may_lose=False) == []
    assert not any(lost_s(world).values())

    agent = world.fleet.agents[0]
    host = world.host(agent.name)
    unit = next(name for name, unit in host.ledger.read().units.items() if unit.on and name.startswith("dwcp-agent@"))
    host.ledger.write(world.clock.world(), "start", unit=unit, slot="b")
    assert f"{agent.name}: {unit} was started twice" in said(finished)

    with host.places.effects.open("a") as file:
        effect = {"at": "", "token": 99, "run": "x", "verb": "weight set", "args": {}, "result": {"changed": True}}
        file.write(json.dumps(effect) + "\n")
    assert any("no step of that token meant it" in sentence for sentence in said(finished))

    agent = world.fleet.agents[-1]
    site = [world.host(server.name) for server in world.servers(agent.site)]
    for server in site:
        server.ledger.write(world.clock.world(), "stop", unit=unit)
    world.clock.advance(10)
    assert any(f"{agent.site}: users got no answer for" in sentence for sentence in said(finished, may_lose=False))
    assert any("was skipped" in sentence for sentence in said(finished))

    with sqlite3.connect(finished.state / "journal.db") as raw:
        raw.execute("DROP TRIGGER records_keep_update")
        raw.execute("UPDATE records SET data = '{}' WHERE seq = 1")
    raw.close()
    assert any("journal: record 1" in sentence and "edited" in sentence for sentence in said(finished))


def test_a_held_run_without_a_reason_or_after_everything_was_mended_is_a_wrong_end(finished: environment.Environment) -> None:
    world = hosts_of(finished).world
    state = engine.RunState(env=finished.name, outcome="held", held={"reason": "", "do": ""})
    assert any("does not say why" in sentence for sentence in after(world, state, may_hold=True, may_lose=True))
    state.held = {"reason": "x", "do": "y"}
    assert any("still held" in sentence for sentence in after(world, state, may_hold=False, may_lose=True))


def test_the_same_seed_draws_the_same_rounds_and_another_others() -> None:
    assert [drawn(5, n) for n in range(1, 60)] == [drawn(5, n) for n in range(1, 60)]
    assert [drawn(5, n) for n in range(1, 60)] != [drawn(6, n) for n in range(1, 60)]
    assert {drawn(5, n).kind for n in range(1, len(FAULTS) + 1)} == {fault.name for fault in FAULTS}


def test_a_wrong_end_is_the_exit_code_and_stands_in_the_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    env = environment.load("lab", HOSTS)

    def struck(root: Path, hosts: str, plan: Plan) -> Row:
        return Row(plan.round, plan.kind, str(plan.at), "succeeded", plan.round != 2, 0.5, wrong=["x"] if plan.round == 2 else [])

    # Here, not in processes: those of these tests have threads, and a process that has some is not to be forked for long.
    monkeypatch.setattr(verb, "_side_by_side", lambda root, hosts, plans: (struck(root, hosts, plan) for plan in plans))
    kept = tmp_path / "kept.json"
    result = verb.chaos(env, seed=3, count=3, keep=str(kept), quiet=True)
    assert result.exit_code == 1 and "3 rounds, 1 wrong ends" in result.text
    assert json.loads(kept.read_text()) == result.data
    assert set(result.data) >= {"schema", "seed", "rounds", "rows"}
    assert set(result.data["rows"][0]) >= {"round", "fault", "at", "end", "ok", "recovery_s"}
    assert verb.chaos(env, seed=3, count=1, quiet=True).exit_code == 0


def test_no_round_begins_where_a_database_that_is_to_be_killed_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "_DEBIAN", tmp_path)
    with pytest.raises(Unprepared, match="PostgreSQL is not installed"):
        verb.chaos(environment.load("lab", HOSTS), count=len(FAULTS))


def test_no_round_is_played_in_a_database_that_others_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    monkeypatch.setenv("GOLIVE_JOURNAL", "postgresql://golive@db.example/golive")
    for hosts in (HOSTS, ""):
        with pytest.raises(BadInput, match="unset GOLIVE_JOURNAL"):
            verb.chaos(environment.load("lab", hosts), count=1)


def test_only_hosts_that_the_toolkit_makes_are_struck(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    for owners in ("staging", "prod"):
        with pytest.raises(BadInput, match="sim:200"):
            verb.chaos(environment.load(owners), quiet=True)
    for hosts in ("sim:4", "sim:x", "lab:6", "sim:9999"):
        with pytest.raises(BadInput):
            environment.load("lab", hosts)
    with pytest.raises(BadInput):
        environment.load("prod", "sim:6")


def test_simulated_hosts_keep_everything_apart_from_the_lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    env = environment.load("lab", "sim:6")
    assert env.state == tmp_path / "sim-6" / "sim-6"
    assert Path(os.environ["GOLIVE_STATE"]) == tmp_path / "sim-6"
    assert environment.load("sim-6").state == env.state  # again, and by its own name: the same place


def test_the_clock_jumps_alone_and_waits_in_no_time(tmp_path: Path) -> None:
    from golive.sim.clock import SimClock

    one, other = SimClock(tmp_path / "clock"), SimClock(tmp_path / "clock")
    before = other.now()
    one.sleep(7 * 86400)
    assert 7 * 86400 <= (other.now() - before).total_seconds() < 7 * 86400 + 60
    one.jump(-3600)
    assert -3601 < (one.now() - other.now()).total_seconds() < -3599
    assert not one.sleep(10, lambda: True)


def test_a_simulated_environment_refuses_what_needs_machines_and_is_destroyed_whole(tmp_path: Path) -> None:
    state = {**os.environ, "GOLIVE_STATE": str(tmp_path)}

    def inv(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "golive.program", "--search-root", str(environment.ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, env=state, check=False)

    refused = inv("drift", "--env", "sim-6")
    assert refused.returncode == 2 and "needs machines" in refused.stderr
    assert inv("provision", "--env", "sim-6").returncode == 0
    assert "sim-6-s0-1: bare" in inv("status", "--env", "sim-6").stdout
    held = inv("golive", "--env", "lab", "--hosts", "sim:6", "--until", "readiness", "--json")
    assert held.returncode == 0 and json.loads(held.stdout)["env"] == "sim-6", held.stderr
    gone = inv("destroy", "--env", "sim-6")
    assert gone.returncode == 0, gone.stderr
    assert not (tmp_path / "sim-6" / "sim-6" / "world" / "hosts").exists()
