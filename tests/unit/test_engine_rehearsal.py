"""The drill before T-0: what fails in it goes back, what fails after it holds, and a killed controller changes neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from golive import engine
from golive.actions.port import StepContext
from golive.engine import Trigger
from golive.engine.fold import RunState, fold
from tests.support.run_records import Run
from tests.unit.engine_world import GOLIVE, HOSTS, World, each_point, go

DRILL = """
  - stage: rehearsal
    at: T-1d
    owner: technical-lead
    steps:
      - {id: drill-installed, uses: sim.install, with: {release: candidate}}
      - {id: drill-shift-10, uses: sim.shift, with: {candidate: 10}}
      - {id: drill-users, uses: sim.watch, with: {for: 2m}, on: {fail: rollback}}
      - {id: drill-shift-0, uses: sim.shift, with: {candidate: 0}}
      - {id: drill-over, uses: sim.over}
  - stage: ready
    at: T-1d
    owner: technical-lead
    steps: [{id: go, uses: sim.watch, with: {for: 1m}, on: {fail: rollback}}]
  - stage: deploy
"""
BOOK = GOLIVE.replace("\n  - stage: deploy\n", DRILL, 1)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))


class Watching:
    """A watcher that notes when it looks."""

    name = "looking"

    def __init__(self) -> None:
        self.log: list[str] = []
        self.at = ""

    def start(self, ctx: StepContext) -> None:
        self.log.append("start")

    def stop(self) -> None:
        self.log.append("stop")

    def poll(self) -> Trigger | None:
        return None


def drill(world: World, **given: Any) -> engine.RunState:
    return go(world, golive=BOOK, **given)


def test_after_a_finished_drill_nothing_counts_as_deployed_and_a_failure_holds(tmp_path: Path) -> None:
    world = World(tmp_path, verdicts={"go": ["FAIL"]})
    state = drill(world)
    assert (state.outcome, state.deployed, state.exposed, state.rolling_back) == ("held", False, False, False)
    assert state.rehearsed is not None and state.rehearsed["hosts"] == len(HOSTS)
    assert [world.weight(host) for host in HOSTS] == [0, 0, 0]
    assert state.max_candidate_weight == 10, "that users had it stays true"


def test_a_failure_within_the_drill_goes_back_the_normal_way_and_ends_the_run(tmp_path: Path) -> None:
    world = World(tmp_path, verdicts={"drill-users": ["FAIL"]})
    state = drill(world)
    assert (state.outcome, state.rolling_back, state.rehearsed) == ("rolled-back", True, None)
    assert [world.weight(host) for host in HOSTS] == [0, 0, 0] and world.did(HOSTS[0], "SimDeactivate")


def test_a_failure_after_the_deployment_goes_back_although_the_drill_was_over(tmp_path: Path) -> None:
    world = World(tmp_path, verdicts={"watch-50": ["FAIL"]})
    state = drill(world)
    assert (state.outcome, [world.weight(host) for host in HOSTS]) == ("rolled-back", [0, 0, 0])


def test_who_watches_users_stops_after_the_drill_and_starts_anew_with_the_next_shift(tmp_path: Path) -> None:
    watcher = Watching()
    assert drill(World(tmp_path), ports={"watchers": [watcher]}).outcome == "succeeded"
    assert watcher.log[:3] == ["start", "stop", "start"]


def test_killed_anywhere_in_a_run_with_a_drill_the_same_command_ends_it_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(point: int) -> World:
        monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / f"state-{point}"))
        directory = tmp_path / str(point)
        directory.mkdir()
        return World(directory)

    points = 0
    for point, world in each_point(make, drill):
        if point % 3:  # every third: the whole of them is walked without a drill elsewhere
            continue
        state = drill(world)
        assert state.outcome == "succeeded" and state.rehearsed is not None, point
        assert [world.weight(host) for host in HOSTS] == [100, 100, 100]
        points += 1
    assert points > 20


@pytest.mark.parametrize("after", ["rollback.started", "final"])
def test_a_late_word_of_a_finished_drill_takes_nothing_back(after: str) -> None:
    """Once it goes back, or the incumbent is being retired, what is on hosts stays so until it was seen to be gone."""
    run = Run()
    run.start()
    run.shift("canary", 10)
    if after == "final":
        run.say("step.intent", {"uses": "release.retire", "attempt": 1, "reach": "final"}, "sign-off", "retired")
    else:
        run.say(after, {"reason": "errors", "breach_at": "2030-01-01T00:00:00+00:00"})
    run.say("rehearsal.finished", {"hosts": 3}, "rehearsal", "drill-over")
    state = fold(run.records)
    assert (state.deployed, state.exposed, state.rehearsed) == (True, True, None)


def test_what_was_rehearsed_survives_being_written_and_read() -> None:
    run = Run()
    run.start()
    run.shift("rehearsal", 10)
    run.say("rehearsal.finished", {"hosts": 3}, "rehearsal", "drill-over")
    state = fold(run.records)
    assert (state.deployed, state.exposed) == (False, False)
    assert RunState.from_json(state.to_json()) == state
    run.shift("canary", 10)
    assert fold(run.records).exposed
