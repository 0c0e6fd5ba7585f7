"""Rounds on real hosts: what is drawn, when it strikes, what is typed next, that all of it is lifted, and that a wrong end is seen."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golive import environment
from golive.chaos import lab_faults, lab_rounds
from golive.chaos.clock import WallClock
from golive.chaos.lab_checks import after
from golive.chaos.lab_faults import FAULTS, Fault, Scene
from golive.chaos.lab_port import Facts, HostFacts, Seen
from golive.chaos.lab_process import marked
from golive.chaos.lab_rounds import Countdown, Moment, Plan, drawn, next_words, struck
from golive.engine import Record, RunState
from golive.errors import BadInput, Unprepared
from golive.fleet.model import Fleet, Host
from golive.verbs import chaos as verb

NEW, OLD = "3.0.0-aaaaaaaaaaaa", "2.9.0-bbbbbbbbbbbb"


def fleet() -> Fleet:
    def host(name: str, role: str, **more: Any) -> Host:
        return Host(name=name, site="ams", address="10.77.1.11", role=role, host_key="ssh-ed25519 AAAA", **more)  # type: ignore[arg-type]

    return Fleet(env="lab", hosts=(host("one", "agent", gateway=True), host("two", "agent", load=True), host("ops", "ops")))


def serving(name: str, **what: Any) -> HostFacts:
    """A host as it is after a right end: the old release serves, the new one is installed and off."""
    releases = (
        {"id": OLD, "active": True, "enabled": True, "invocation_id": "i1"},
        {"id": NEW, "active": False, "enabled": False, "invocation_id": ""},
    )
    weight = {"slot_b": 0, "runtime": 0, "consistent": True, "slots": {"a": {"release": OLD}, "b": {"release": None}}, "lease": None}
    return replace(HostFacts(name, True, name == "one", (), releases, weight if name == "one" else None), **what)


def facts(**what: Any) -> Facts:
    return replace(Facts((serving("one"), serving("two"), HostFacts("ops", agent=False)), requests=100), **what)


def record(seq: int, kind: str, data: dict[str, Any] | None = None, token: int = 7, run: str = "r") -> Record:
    at = "2026-01-01T00:00:00.000000+00:00"
    return Record(env="lab", seq=seq, at=at, run=run, kind=kind, stage="deploy", step="s", token=token, data=data or {}, prev="", hash="")


RECORDS = [record(1, "step.intent", {"uses": "release.install"}), record(2, "step.intent", {"uses": "release.activate"})]
RIGHT = RunState(env="lab", run="r", outcome="rolled-back", release=NEW, incumbent=OLD)


def effect(verb: str, token: int = 7, changed: bool = True, **more: Any) -> dict[str, Any]:
    return {"run": "r", "token": token, "verb": verb, "args": more.pop("args", {}), "result": {"changed": changed, **more}}


def two(*effects: dict[str, Any]) -> Facts:
    return facts(hosts=(serving("one"), serving("two", effects=effects), HostFacts("ops", agent=False)))


# -- checks -----------------------------------------------------------------------------------------------------------------------


def test_a_right_end_is_right() -> None:
    done = two(effect("install", id=NEW), effect("activate", id=NEW))
    assert after(RIGHT, RECORDS, facts(), done) == []


@pytest.mark.parametrize(
    ("what", "state", "now"),
    [
        ("ended running", replace(RIGHT, outcome="running"), facts()),
        ("ended failed", replace(RIGHT, outcome="failed"), facts()),
        ("does not say why", replace(RIGHT, outcome="held", held={"reason": "", "do": ""}), facts()),
        ("still held", replace(RIGHT, outcome="held", held={"reason": "x", "do": "y"}), facts()),
        ("two was skipped", RIGHT, facts(hosts=(serving("one"), serving("two", releases=())))),
        (
            "still runs",
            RIGHT,
            facts(hosts=(serving("two", releases=(*serving("two").releases[:1], {"id": NEW, "active": True, "enabled": True})),)),
        ),
        ("slot b has 10 %", RIGHT, facts(hosts=(serving("one", weight={**(serving("one").weight or {}), "runtime": 10}),))),
        ("HAProxy does not answer", RIGHT, facts(hosts=(serving("one", weight={"runtime": None, "problem": "down"}),))),
        ("still open", RIGHT, facts(hosts=(serving("one", weight={**(serving("one").weight or {}), "lease": {"run": "r"}}),))),
        ("does not answer after", RIGHT, facts(hosts=(serving("two", why="timed out"),))),
        ("was started again", RIGHT, facts(hosts=(serving("two", releases=({**serving("two").releases[0], "invocation_id": "i2"},)),))),
        ("answered by nobody", RIGHT, facts(nobody=3)),
        ("could not be read", RIGHT, facts(unread=("two",))),
        ("the chain", RIGHT, facts(journal=("the chain is broken",))),
        ("installed twice", RIGHT, two(effect("install", id=NEW), effect("install", id=NEW))),
        ("activated twice", RIGHT, two(effect("activate", id=NEW), effect("activate", id=NEW))),
        ("no step of that token meant it", RIGHT, two(effect("install", token=8, id=NEW))),
        ("no step of that token meant it", RIGHT, two(effect("weight set", args={"slot_b": 10}))),
    ],
)
def test_a_wrong_end_is_named(what: str, state: RunState, now: Facts) -> None:
    assert any(what in sentence for sentence in after(state, RECORDS, facts(), now))


def test_what_the_fault_itself_does_is_not_held_against_the_run() -> None:
    now = facts(nobody=3, hosts=(serving("two", releases=({**serving("two").releases[0], "invocation_id": "i2"},)),))
    assert after(RIGHT, RECORDS, facts(), now, may_lose=True, restarts=True) == []


def test_coming_back_after_it_went_is_not_twice() -> None:
    records = [*RECORDS, record(3, "step.intent", {"uses": "release.deactivate"})]
    now = two(
        effect("activate", id=NEW), effect("deactivate", id=NEW), effect("activate", id=NEW), effect("install", changed=False, id=NEW)
    )
    assert after(RIGHT, records, facts(), now) == []


# -- drawing ----------------------------------------------------------------------------------------------------------------------


def test_a_seed_draws_the_same_rounds_and_another_seed_others() -> None:
    assert [drawn(4, n) for n in range(1, 40)] == [drawn(4, n) for n in range(1, 40)]
    assert [drawn(4, n) for n in range(1, 40)] != [drawn(5, n) for n in range(1, 40)]


def test_the_first_rounds_take_each_fault_once_and_kill_points_kill_every_time() -> None:
    assert [drawn(1, n).kind for n in range(1, len(FAULTS) + 1)] == [fault.name for fault in FAULTS]
    kills = [drawn(1, n, kills_only=True) for n in range(1, 31)]
    assert all(plan.fault.kills for plan in kills) and len({plan.at for plan in kills}) > 15
    assert {plan.at.stage.startswith("rollback:") for plan in kills} == {True, False}


def test_a_round_strikes_only_stages_that_it_plays() -> None:
    books = lab_rounds.__dict__["_PARTS"]
    for number in range(1, 300):
        plan = drawn(2, number)
        allowed = {"ground": {"infrastructure"}, "deploy": {"deploy", "validate"}, "canary": {"pre-deployment", "deploy", "canary"}}[
            plan.part
        ]
        assert plan.part in books
        assert plan.at.stage in allowed or plan.at.stage.startswith("rollback:")


def test_who_takes_seconds_to_strike_begins_with_the_way_back() -> None:
    slow = [plan for number in range(1, 400) if (plan := drawn(2, number)).fault.slow and plan.at.stage.startswith("rollback:")]
    assert slow and {str(plan.at) for plan in slow} == {"rollback:traffic-back+1 records"}


def test_a_moment_is_counted_from_its_stage_and_steps_by_their_beginnings() -> None:
    seen = [Seen(1, "stage.started", "deploy"), Seen(2, "step.intent", "deploy", "a"), Seen(3, "wave.done", "deploy", "a")]
    assert not Countdown(Moment("validate", "record", 1)).reached(seen)
    assert Countdown(Moment("deploy", "record", 2)).reached(seen)
    assert not Countdown(Moment("deploy", "step", 2)).reached(seen)
    parts = Countdown(Moment("deploy", "step", 2))
    assert [parts.reached([one]) for one in (*seen, Seen(4, "step.intent", "deploy", "b"))] == [False, False, False, True]


# -- what is typed next -------------------------------------------------------------------------------------------------------------


def plan(kind: str = FAULTS[0].name, **what: Any) -> Plan:
    return replace(Plan(1, kind, Moment("deploy", "record", 1), "deploy", "3.0.0", 0.0, "s"), **what)


def test_the_operator_types_what_the_run_says_is_to_be_done() -> None:
    running = replace(RIGHT, outcome="running", deployed=True)
    assert next_words("lab", plan(), running, False) == ("golive", "--env", "lab", "--until", "validate")
    asked = replace(running, outcome="held", held={"asked": True, "do": "`./inv golive --env lab` goes on"})
    assert next_words("lab", plan(), asked, False)[0] == "rollback"
    back = replace(running, outcome="held", rolling_back=True, held={"do": "then `./inv rollback --env lab` (or `./inv golive --env lab`)"})
    assert next_words("lab", plan(), back, False)[0] == "rollback"
    stuck = replace(running, outcome="held", held={"do": "`./inv golive --env lab` continues the run"})
    assert next_words("lab", plan(), stuck, False)[0] == "golive"
    assert next_words("lab", plan(), stuck, True)[0] == "rollback"


# -- a whole round, on a stage of paper -----------------------------------------------------------------------------------------------


class Paper:
    """A stage whose commands are little programs and whose journal is a list."""

    env_name = "lab"

    def __init__(self, states: Sequence[RunState], live_s: float = 30.0) -> None:
        self.states, self.live_s, self.typed, self.mends = list(states), live_s, list[tuple[str, ...]](), 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def type(self, words: Sequence[str], clock: WallClock | None = None) -> Any:
        self.typed.append(tuple(words))
        alive = self.live_s if len(self.typed) == 1 else 0.0
        return Typed(self, [sys.executable, "-c", f"import time; time.sleep({alive})"])

    def appeared(self) -> list[Seen]:
        return [Seen(1, "stage.started", "deploy"), Seen(2, "step.intent", "deploy")] if self.typed else []

    def records(self, after: int) -> list[Record]:
        return RECORDS

    def state(self) -> RunState:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def facts(self, since: float | None) -> Facts:
        return facts()

    def mend(self) -> list[str]:
        self.mends += 1
        return []


class Typed:
    killed, said = False, ""

    def __init__(self, stage: Paper, argv: list[str]) -> None:
        self.process = subprocess.Popen(argv)
        stage.processes.append(self.process)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def status(self) -> int | None:
        return self.process.poll()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.status is None:
            self.killed = True
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        self.kill()

    def waited(self, timeout_s: float) -> int | None:
        return self.process.wait(timeout_s)


def states(*outcomes: str) -> list[RunState]:
    return [replace(RIGHT, outcome=outcome, seq=seq) for seq, outcome in enumerate(outcomes)]


def play(stage: Paper, tmp_path: Path, which: Plan) -> lab_rounds.LabRow:
    return struck(environment.load("lab"), fleet(), stage, which, WallClock(tmp_path))


def test_a_killed_controller_is_followed_by_the_next_command_until_the_run_is_over(tmp_path: Path) -> None:
    stage = Paper(states("none", "running", "rolled-back"))
    row = play(stage, tmp_path, plan())
    assert (row.ok, row.struck, row.end, row.commands) == (True, True, "rolled-back", 2), row.wrong
    assert stage.typed[0][:3] == ("golive", "--env", "lab") and "--from" in stage.typed[0] and "--from" not in stage.typed[1]
    assert stage.mends


def test_a_run_that_never_ends_is_a_wrong_end(tmp_path: Path) -> None:
    row = play(Paper(states("none", "running", "running")), tmp_path, plan())
    assert not row.ok and any("ended running" in sentence for sentence in row.wrong)


def test_a_fault_is_lifted_and_no_command_lives_on_when_the_round_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[str]()

    def strike(scene: Scene) -> Any:
        done.append("struck")
        return lambda: done.append("lifted")

    monkeypatch.setattr(lab_faults, "FAULTS", (Fault("test", strike),))
    stage = Paper(states("none", "running", "rolled-back"))

    def look(play: Any, controller: Any) -> None:
        if done:
            raise KeyboardInterrupt
        original(play, controller)

    original = lab_rounds._Play._look
    monkeypatch.setattr(lab_rounds._Play, "_look", look)
    with pytest.raises(KeyboardInterrupt):
        play(stage, tmp_path, plan("test"))
    assert done == ["struck", "lifted"] and stage.mends
    assert all(process.poll() is not None for process in stage.processes)


def test_a_fault_that_lasts_is_lifted_while_the_controller_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lifted = list[bool]()

    def strike(scene: Scene) -> Any:
        controller = scene.controller
        assert controller is not None

        def lift() -> None:
            lifted.append(controller.status is None)
            controller.send(signal.SIGKILL)

        return lift

    monkeypatch.setattr(lab_faults, "FAULTS", (Fault("test", strike),))
    play(Paper(states("none", "rolled-back")), tmp_path, plan("test", lasts_s=0.1))
    assert lifted == [True]


def test_programs_of_a_run_are_found_by_their_mark_and_no_others(tmp_path: Path) -> None:
    sleeper = tmp_path / "ansible-playbook"
    sleeper.write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    started = []
    for mark in ("lab/r/3", "other/r/3", ""):
        variables = {**os.environ, environment.MARK: mark} if mark else dict(os.environ)
        process = subprocess.Popen([sys.executable, str(sleeper)], env=variables, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        started.append(process)
    try:
        found = marked("lab", "ansible-playbook")
        assert started[0].pid in found and not {started[1].pid, started[2].pid} & set(found)
        assert started[0].pid not in marked("lab", "terraform")
    finally:
        for process in started:
            process.kill()
            process.communicate()


class Answering(Paper):
    """A stage on which the next command ends at once, with a status."""

    def __init__(self, answer: int, outcome: str) -> None:
        super().__init__(states(outcome))
        self.answer = answer

    def type(self, words: Sequence[str], clock: WallClock | None = None) -> Any:
        return Typed(self, [sys.executable, "-c", f"raise SystemExit({self.answer})"])


@pytest.mark.parametrize(
    ("verb", "answer", "outcome", "first_ended", "said"),
    [
        ("golive", 5, "running", False, "struck"),
        ("golive", 0, "running", False, "wrong"),
        ("golive", 4, "held", True, "missed"),
        ("rollback", 3, "rolled-back", True, "struck"),
        ("rollback", 3, "running", False, "struck"),
        ("rollback", 2, "rolled-back", False, "missed"),
        ("rollback", 2, "running", False, "wrong"),
        ("rollback", 0, "running", False, "wrong"),
    ],
)
def test_what_a_second_operator_is_told_counts_when_it_was_told_in_time(
    tmp_path: Path, verb: str, answer: int, outcome: str, first_ended: bool, said: str
) -> None:
    stage = Answering(answer, outcome)
    first = Typed(stage, [sys.executable, "-c", "pass" if first_ended else "import time; time.sleep(60)"])
    if first_ended:
        first.waited(20)
    scene = Scene(environment.load("lab"), fleet(), stage, random.Random(1), WallClock(tmp_path), fleet().hosts[0], first, (verb,))
    try:
        lab_faults.named("two operators").strike(scene)
        assert (bool(scene.missed), bool(scene.wrong)) == (said == "missed", said == "wrong")
    finally:
        first.end()


class Told:
    """A process that tells its clocks when asked, and the first words of what went wrong in a wait."""

    PROGRAM = """
import subprocess, sys, time
from datetime import UTC, datetime
for _ in sys.stdin:
    time.sleep(0.01)
    child = subprocess.run([sys.executable, "-c", "import time; time.sleep(0.01); print(time.time())"], capture_output=True, timeout=60)
    print(time.time(), datetime.now(UTC).timestamp(), float(child.stdout), time.monotonic(), flush=True)
"""

    def __init__(self, clock: WallClock) -> None:
        argv, variables = [sys.executable, "-c", self.PROGRAM], {**os.environ, **clock.variables}
        self.process = subprocess.Popen(argv, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid, self.status = self.process.pid, None

    def clocks(self) -> tuple[float, ...]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return tuple(map(float, self.process.stdout.readline().split()))

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_clock_that_jumps_is_that_of_the_controller_and_its_children_while_they_wait(tmp_path: Path, seed: int) -> None:
    clock = WallClock(tmp_path)
    told = Told(clock)
    scene = Scene(environment.load("lab"), fleet(), Paper(states("none")), random.Random(seed), clock, fleet().hosts[0], told)  # type: ignore[arg-type]
    try:
        *walls, steady = told.clocks()
        assert len(walls) == 3 and all(abs(wall - time.time()) < 5 for wall in walls)
        lift = lab_faults.named("clock of the controller jumps").strike(scene)
        offset = int((tmp_path / "clock").read_text())
        assert offset in (3600, -3600, 30, -30) and not scene.wrong
        *jumped, on = told.clocks()
        assert len(jumped) == 3 and all(abs(wall - offset - time.time()) < 5 for wall in jumped), jumped
        assert 0 <= on - steady < 60
        lift()
        assert all(abs(wall - time.time()) < 5 for wall in told.clocks()[:3])
    finally:
        told.end()


def test_a_clock_that_the_controller_does_not_run_under_is_no_jump(tmp_path: Path) -> None:
    running = Paper(states("none")).type(("golive",))
    scene = Scene(environment.load("lab"), fleet(), Paper(states("none")), random.Random(1), WallClock(tmp_path), fleet().hosts[0], running)
    try:
        lab_faults.named("clock of the controller jumps").strike(scene)
        assert scene.wrong == ["the controller does not run under the clock that was to jump"]
    finally:
        running.end()


def test_no_round_begins_where_no_clock_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = tmp_path / "a place"
    spaced.mkdir()
    with pytest.raises(Unprepared, match="has a space"):
        WallClock(spaced)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unprepared, match=r"could not be made with gcc: .*No such file"):
        WallClock(tmp_path)


# -- the verb -------------------------------------------------------------------------------------------------------------------------


def test_hosts_of_an_owner_are_never_struck() -> None:
    with pytest.raises(BadInput, match="not for the hosts of prod"):
        verb.chaos(environment.load("prod"), count=1)


def test_the_result_has_the_form_of_the_simulated_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [lab_rounds.LabRow(1, "f", "deploy+1 records", "rolled-back", True, 1.0), lab_rounds.LabRow(2, "f", "x", "held", False, None)]
    monkeypatch.setattr(verb, "lab_rounds_of", lambda *_, **__: iter(rows))
    result = verb.chaos(environment.load("lab"), seed=3, count=2, keep=str(tmp_path / "kept"), quiet=True)
    assert result.exit_code == 1
    assert {"schema", "seed", "rounds", "rows"} <= set(result.data)
    assert json.loads((tmp_path / "kept").read_text()) == result.data
