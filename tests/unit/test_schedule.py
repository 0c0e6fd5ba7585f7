"""Days between stages without a process: the run is left when nothing needs one, and a timer goes on with it when it is due."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine_world import NEW, TIMING, World, environment, forked, go, pause
from golive import engine
from golive.environment import Environment
from golive.errors import BadInput, Held, Occupied, Unprepared
from golive.runbook import FakeClock, Pace
from golive.verbs import schedule as verb
from golive.verbs._units import cron_line, units
from golive.verbs.golive import golive
from golive.verbs.schedule import schedule


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return World(tmp_path)


def _leaving(world: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, leave_after: object = "15m") -> engine.RunState:
    env = environment()
    left = env.model_copy(update={"policy": {**env.policy, "leave_after": leave_after}})
    monkeypatch.setattr("engine_world.environment", lambda: left)
    return go(world, pace=Pace(), ports={"clock": clock})


def test_a_run_leaves_while_nobody_is_on_the_candidate_and_stays_once_somebody_is(world, monkeypatch):
    clock = FakeClock()
    state = _leaving(world, clock, monkeypatch)
    assert (state.outcome, state.stage, engine.exit_code(state)) == ("held", "deploy", 0)
    assert state.held["waiting_until"] == "2030-01-02T00:00:00+00:00"
    assert "schedule" in state.held["do"]
    assert engine.standing(environment()).holder is None
    assert not world.effects() or not world.did("ams-1", f"SimInstall:{NEW}")
    again = _leaving(world, clock, monkeypatch)
    assert (again.outcome, again.held["waiting_until"]) == ("held", state.held["waiting_until"]), "too early changes nothing"
    clock.jump(86400)
    state = _leaving(world, clock, monkeypatch)
    assert (state.stage, state.deployed, state.exposed) == ("canary", True, False)
    clock.jump(3600)
    # From here on users are on the candidate: 22 hours until sign-off, and the process stays through all of them.
    state = _leaving(world, clock, monkeypatch)
    assert (state.outcome, state.attempts) == ("succeeded", 4)
    assert sum(1 for record in engine.open_journal(environment()).read() if record.kind == "run.held") == 3


def test_without_the_policy_a_process_stays_however_long_it_takes(world, monkeypatch):
    state = _leaving(world, FakeClock(), monkeypatch, None)
    assert (state.outcome, state.attempts) == ("succeeded", 1)


def test_a_policy_that_says_no_duration_is_refused_before_anything_happens(world, monkeypatch):
    with pytest.raises(BadInput, match=r"policies/lab\.yaml: leave_after"):
        _leaving(world, FakeClock(), monkeypatch, "soon")
    assert engine.state(environment()).run is None


_NOW = datetime(2030, 1, 5, 12, tzinfo=UTC)


def _standing(holder: object = None, **state: Any) -> engine.Standing:
    return engine.Standing(None, engine.RunState(**{"env": "sim", "run": "r", "outcome": "held", "stage": "deploy", **state}), holder)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("standing", "now", "why"),
    [
        (_standing(outcome="none", run=None), False, "no run is open"),
        (_standing(outcome="succeeded"), False, "no run is open"),
        (_standing(held={"waiting_until": "2030-01-05T12:00:01+00:00"}), False, "not due before"),
        (_standing(held={"waiting_until": "2030-01-05T11:59:00+00:00"}), True, "is due since"),
        (_standing(held={"waiting_until": "2030-01-05T11:59:00+00:00"}, paused={"by": "ann"}), False, "paused by ann"),
        (_standing(held={"reason": "nyc-1 is gone"}), False, "waits for a person: nyc-1 is gone"),
        (_standing(held={"asked": True, "reason": "stopped, as asked"}), False, "waits for a person"),
        (_standing(held={"interrupted": True, "signal": "SIGINT", "reason": "interrupted by SIGINT"}), False, "waits for a person"),
        (_standing(held={"interrupted": True, "signal": "SIGTERM", "reason": "interrupted by SIGTERM"}), True, "ended by SIGTERM"),
        (_standing(outcome="running"), True, "died"),
        (_standing(outcome="running", rolling_back=True), True, "died"),
        (
            _standing(SimpleNamespace(alive=True, sentence="ann (pid 7)", beat_at=0, ttl_s=30), outcome="running"),
            False,
            "ann .* works on it",
        ),
        (
            _standing(SimpleNamespace(alive=None, sentence="b", beat_at=_NOW.timestamp() - 5, ttl_s=30), outcome="running"),
            False,
            "b works on it",
        ),
        (_standing(SimpleNamespace(alive=None, sentence="b", beat_at=_NOW.timestamp() - 60, ttl_s=30), outcome="running"), True, "died"),
    ],
)
def test_only_what_waits_for_no_person_is_due(standing, now, why):
    due = engine.due(standing, _NOW)
    assert due.now is now
    import re

    assert re.search(why, due.why), due.why


def test_what_was_asked_and_no_process_took_is_an_answer(world):
    go(world, until_stage="canary")
    assert not engine.due(engine.standing(environment()), _NOW, asked=engine.unanswered(environment())).now
    pause(world)
    standing = engine.standing(environment())
    assert not engine.due(standing, _NOW, asked=["approval"]).now, "an answer lifts no pause"
    engine.request_rollback(environment(), "outage")
    assert engine.unanswered(environment()) == ["rollback"]
    assert engine.due(standing, _NOW, asked=engine.unanswered(environment())).now


@pytest.mark.parametrize(("number", "goes_on"), [(signal.SIGTERM, True), (signal.SIGHUP, True), (signal.SIGINT, False)])
def test_what_the_machine_ended_goes_on_by_itself_and_what_a_person_stopped_does_not(world, number, goes_on):
    def first() -> None:
        def ended(ctx: Any) -> None:
            os.kill(os.getpid(), number)
            ctx.sleep(30)

        world.during["watch-10"] = ended
        go(world, until_stage="canary")

    assert forked(first) == 0
    standing = engine.standing(environment())
    assert (standing.last.outcome, standing.last.held["signal"]) == ("held", number.name)
    assert engine.due(standing, datetime.now(UTC)).now is goes_on


def test_a_run_that_stands_paused_is_ended_by_a_signal_and_stays_paused(world):
    def first() -> None:
        def asked(ctx: Any) -> None:
            threading.Thread(target=pause, args=(world,), daemon=True).start()
            while not engine.state(environment()).paused:
                time.sleep(0.01)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()

        world.during["watch-10"] = asked
        go(world)

    assert forked(first) == 0
    standing = engine.standing(environment())
    assert (standing.last.outcome, standing.last.paused["reason"], standing.holder) == ("held", "lunch", None)
    assert not engine.due(standing, datetime.now(UTC)).now
    assert not world.did("ams-1", "weight:50")


@pytest.fixture
def verbs(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """`golive --continue` over the simulated world."""
    real = engine.run

    def run(env: Environment, forward: object, back: object, **words: Any) -> engine.RunState:
        from engine_world import actions, books

        ports = engine.Ports(fence=world.fence, actions=actions(world), timing=TIMING)
        state = real(environment(), *books(world), **{**words, "ports": ports, "pace": Pace.named("rehearsal", environment().policy)})
        return state

    monkeypatch.setattr("golive.verbs.golive.engine.run", run)
    monkeypatch.setattr("golive.verbs.golive.keys.ensure", lambda env: None)
    monkeypatch.setattr("golive.verbs.golive._ids", lambda env, release: (NEW, "2.9.0-aaaaaaaaaaaa", "1.1.0-dddddddddddd"))
    monkeypatch.setattr("golive.verbs.golive.ports_of", lambda env: engine.Ports(timing=TIMING))
    monkeypatch.setattr("golive.verbs.golive.people_ready", lambda *given: None)
    monkeypatch.setattr("golive.verbs._run.status", lambda env: SimpleNamespace(data={"outcome": engine.state(env).outcome}))
    return lambda: golive(environment(), going_on=True, quiet=True)


def test_the_timer_starts_nothing_and_says_nothing_when_there_is_nothing_to_do(verbs, world):
    result = verbs()
    assert (result.exit_code, result.text, result.data["continued"]) == (0, "", False)
    assert not (world.directory / "sim" / "journal.db").exists(), "not even a journal is made"
    go(world)
    before = engine.open_journal(environment()).head()
    assert (verbs().text, engine.open_journal(environment()).head()) == ("", before)


def test_the_timer_leaves_a_run_that_waits_for_a_person_or_is_paused_alone(verbs, world):
    go(world, until_stage="deploy")
    before = engine.open_journal(environment()).head()
    assert "waits for a person" in verbs().data["why"]
    assert engine.open_journal(environment()).head() == before
    pause(world)
    paused = engine.open_journal(environment()).head()
    assert "paused" in verbs().data["why"] and engine.open_journal(environment()).head() == paused


def test_the_timer_goes_on_with_a_run_whose_process_died(verbs, world):
    def dies() -> None:
        world.during["watch-10"] = lambda ctx: os._exit(137)
        go(world)

    assert forked(dies) == 137
    world.during.clear()
    assert verbs().data["outcome"] == "succeeded"


def test_the_timer_leaves_a_living_process_alone_and_loses_a_race_quietly(verbs, world, monkeypatch):
    came, leave = threading.Event(), threading.Event()

    def watch(ctx: Any) -> None:
        came.set()
        leave.wait(20)

    world.during["watch-10"] = watch
    running = threading.Thread(target=go, args=(world,), daemon=True)
    running.start()
    assert came.wait(20)
    result = verbs()
    assert (result.exit_code, result.text) == (0, "") and "works on it" in result.data["why"]
    monkeypatch.setattr("golive.verbs.golive.engine.due", lambda *_, **__: engine.Due(True, "it looked dead"))
    result = verbs()
    assert (result.exit_code, result.text) == (0, "") and "is held by" in result.data["why"]
    leave.set()
    running.join(30)
    assert engine.state(environment()).outcome == "succeeded"


def test_a_run_that_ended_meanwhile_is_not_begun_anew_by_the_timer(verbs, world, monkeypatch):
    go(world)
    before = engine.open_journal(environment()).head()
    monkeypatch.setattr("golive.verbs.golive.engine.due", lambda *_, **__: engine.Due(True, "it was open when it was looked at"))
    verbs()
    assert engine.open_journal(environment()).head() == before


def test_the_timer_takes_a_run_as_it_is(verbs):
    for word in ({"release": "3.0.0"}, {"from_stage": "deploy"}, {"until_stage": "deploy"}):
        with pytest.raises(BadInput, match="--continue"):
            golive(environment(), going_on=True, quiet=True, **word)


def test_another_process_in_the_way_is_an_error_for_who_asked_to_go_live(verbs, world, monkeypatch):
    def occupied(*_: object, **__: object) -> None:
        raise Occupied("somebody")

    monkeypatch.setattr("golive.verbs.golive.engine.run", occupied)
    with pytest.raises(Occupied):
        golive(environment(), quiet=True)


@pytest.mark.parametrize("of_root", [True, False])
@pytest.mark.parametrize("place", ["plain", "with a space and 100%"])
def test_systemd_takes_the_units_as_they_are_meant(tmp_path: Path, of_root: bool, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / place / "state"))
    program = tmp_path / place / "inv"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = units(environment(), of_root=of_root, program=program)
    for name, text in made.files.items():
        (tmp_path / name).write_text(text)
    words = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in made.files)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "dwcp-golive-sim" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
    assert ("User=root" in made.service) is of_root


def test_systemd_refuses_units_that_are_wrong(tmp_path: Path) -> None:
    """So that the test above can fail."""
    made = units(environment(), of_root=True, program=tmp_path / "nowhere" / "inv")
    (tmp_path / f"{made.name}.service").write_text(made.service)
    words = ["systemd-analyze", "verify", "--man=no", str(tmp_path / f"{made.name}.service")]
    assert subprocess.run(words, capture_output=True, text=True, timeout=60).returncode != 0


def test_the_line_for_a_crontab_runs_what_it_says_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "it's 100% state"))
    (environment().state).mkdir(exist_ok=True)
    program = tmp_path / "check out" / "inv"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$GOLIVE_STATE" "$PWD" "$@" > {shlex.quote(str(tmp_path / "ran"))}\n')
    program.chmod(0o755)
    line = cron_line(environment(), program=program)
    fields, command = line.split(maxsplit=5)[:5], line.split(maxsplit=5)[5]
    assert fields == ["*"] * 5
    assert "%" not in command.replace(r"\%", "")
    subprocess.run(["sh", "-c", command.replace(r"\%", "%")], check=True, timeout=20)
    said = (tmp_path / "ran").read_text().strip()
    assert said == f"{tmp_path}/it's 100% state {tmp_path}/check out golive --env sim --continue"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's systemd, as far as `systemctl` on PATH is one: what it was told stands in `told`."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\ntest ! -e {tmp_path}/broken || {{ echo "no bus" >&2; exit 1; }}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(verb, "_BOOTED", tmp_path)
    monkeypatch.setattr(verb, "_root", lambda: False)
    return tmp_path


def test_the_timer_is_installed_twice_as_once_and_taken_away(machine):
    directory = machine / "config/systemd/user"
    for _ in range(2):
        result = schedule(environment())
        assert result.data["installed"] and "enable-linger" in result.text
    assert sorted(path.name for path in directory.iterdir()) == ["dwcp-golive-sim.service", "dwcp-golive-sim.timer"]
    assert "--user enable --now dwcp-golive-sim.timer" in (machine / "told").read_text()
    assert "is gone" in schedule(environment(), remove=True).text
    assert list(directory.iterdir()) == []
    assert "was not there" in schedule(environment(), remove=True).text


def test_a_systemd_that_says_no_is_told_and_printing_needs_none(machine, monkeypatch):
    (machine / "broken").touch()
    with pytest.raises(Held, match="no bus"):
        schedule(environment())
    monkeypatch.setattr(verb, "_BOOTED", machine / "nowhere")
    with pytest.raises(Unprepared, match=r"\* \* \* \* \* cd .* --continue"):
        schedule(environment())
    told = (machine / "told").read_text()
    shown = schedule(environment(), only_say=True)
    assert "OnCalendar=minutely" in shown.text and "* * * * *" in shown.text
    assert (machine / "told").read_text() == told
