"""A controller may die at any moment; the next one brings the run to the same end, with every effect once."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine_world import HOSTS, KILLED, NEW, OLD, World, back, each_point, environment, forked, go, kill_at_records, killed_at
from golive import engine
from golive.errors import Occupied


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch):
    """Makes worlds, each with a controller state of its own. In memory where there is such a place: a killed process loses nothing that
    it wrote, synced or not, and hundreds of worlds need not wait for a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as base:

        def make(number: int = 0, **given: object) -> World:
            directory = Path(base) / str(number)
            directory.mkdir()
            monkeypatch.setenv("GOLIVE_STATE", str(directory))
            return World(directory, **given)  # type: ignore[arg-type]

        yield make


def _weights(world: World, host: str) -> list[int]:
    return [int(effect.partition(":")[2]) for name, effect in world.effects() if name == host and effect.startswith("weight:")]


def _once(world: World) -> None:
    repeated = {effect: count for effect, count in Counter(world.effects()).items() if count > 1}
    assert not repeated
    tokens = {host: [line["token"] for line in world.lines() if line["host"] == host] for host in HOSTS}
    assert all(seen == sorted(seen) for seen in tokens.values())
    assert engine.open_journal(environment()).verify() == []


def test_a_good_run_succeeds_and_the_candidate_becomes_the_incumbent(world):
    here = world()
    state = go(here)
    assert (state.outcome, state.signed_off, state.max_candidate_weight) == ("succeeded", True, 100)
    assert engine.exit_code(state) == 0
    assert engine.standing(environment()).incumbent == NEW
    assert engine.standing(environment()).holder is None
    assert all(_weights(here, host) == [10, 50, 100] for host in HOSTS)
    assert state.traffic == {host: {NEW: 100.0, OLD: 0.0} for host in HOSTS}
    _once(here)


@pytest.mark.timeout(300)
def test_killed_at_every_point_of_a_good_run_it_resumes_to_success_with_every_effect_once(world):
    points = 0
    for point, here in each_point(world):
        state = go(here)
        assert state.outcome == "succeeded", (point, state.held, state.bugs)
        assert all(_weights(here, host) == [10, 50, 100] for host in HOSTS), point
        assert engine.standing(environment()).incumbent == NEW
        # killed after its last record, the run was over, and the next command finds the release live
        assert state.already_live or state.max_candidate_weight == 100
        _once(here)
        points += 1
    assert points > 50


@pytest.mark.timeout(300)
def test_killed_at_every_point_of_a_run_that_breaches_it_ends_on_the_incumbent_with_every_effect_once(world):
    def breaching(number: int) -> World:
        return world(number, verdicts={"watch-50": ["FAIL"]})

    for point, here in each_point(breaching):
        found = engine.state(environment())
        state = go(here) if found.open or found.run is None else found
        assert state.outcome == "rolled-back", (point, state.held, state.bugs)
        assert engine.exit_code(state) == 3
        assert all(_weights(here, host) == [10, 50, 0] for host in HOSTS), point
        assert all(here.did(host, "SimDeactivate") and not here.did(host, "SimRetire") for host in HOSTS)
        assert engine.standing(environment()).incumbent == OLD
        _once(here)


def test_once_it_goes_back_no_resume_ever_goes_forward(world):
    here = world(0, verdicts={"watch-10": ["FAIL", "PASS"]})

    def dies_in_rollback() -> None:
        kill_at_records(here)
        original = here.change

        def change(host: str, effect: str, token: int) -> None:
            if effect == "weight:0":
                here.kill_at = here.points + 1
            original(host, effect, token)

        here.change = change  # type: ignore[method-assign]
        go(here)

    assert forked(dies_in_rollback) == KILLED
    seen = engine.state(environment())
    assert (seen.rolling_back, seen.outcome) == (True, "running")
    state = go(here)
    assert state.outcome == "rolled-back"
    assert all(_weights(here, host) == [10, 0] for host in HOSTS)
    assert not here.did(HOSTS[0], "weight:50")


@pytest.mark.parametrize("seed", range(8))
def test_killed_again_and_again_it_still_ends_right(world, seed):
    here = world(seed, verdicts={"watch-50": ["FAIL"]} if seed % 2 else {})
    deaths = 0
    while deaths < 5 and killed_at(here, 3 + (seed * 7 + deaths * 5) % 11):
        deaths += 1
    found = engine.state(environment())
    state = go(here) if found.open else found
    assert deaths >= 2
    assert state.outcome == ("rolled-back" if seed % 2 else "succeeded")
    _once(here)


def test_an_interrupted_watch_starts_from_zero(world):
    here = world()

    def dies_in_watch() -> None:
        def die(_: object) -> None:
            here.kill_at = here.points + 1  # after the try was counted, before it was watched to its end

        here.during["watch-10"] = die
        go(here)

    assert forked(dies_in_watch) == KILLED
    state = go(here)
    assert state.outcome == "succeeded"
    assert sum(1 for line in here.lines() if line["effect"] == "try:watch-10") == 2
    assert state.steps["canary/watch-10"].attempt == 2


def test_a_rollback_by_hand_finishes_what_a_dead_process_began(world):
    here = world()

    def dies_at_half() -> None:
        here.during["watch-50"] = lambda _: setattr(here, "kill_at", here.points + 1)
        go(here)

    assert forked(dies_at_half) == KILLED
    state = back(here, "breach")
    assert (state.outcome, state.rollback["reason"]) == ("rolled-back", "breach")
    assert state.rollback["traffic_back_at"] is not None
    assert all(_weights(here, host) == [10, 50, 0] for host in HOSTS)


@pytest.mark.timeout(300)
def test_killed_at_every_point_of_a_rollback_by_hand_the_same_command_finishes_it(world):
    def held_at_half(number: int) -> World:
        here = world(number)
        state = go(here, until_stage="half")
        assert (state.outcome, engine.exit_code(state)) == ("held", 0)
        return here

    for point, here in each_point(held_at_half, back):
        found = engine.state(environment())
        state = back(here) if found.open else found
        assert state.outcome == "rolled-back", (point, state.held, state.bugs)
        assert all(_weights(here, host) == [10, 50, 0] for host in HOSTS), point
        _once(here)


def test_a_second_golive_is_told_who_holds_the_environment(world):
    here = world()
    told: list[str] = []

    def second(_: object) -> None:
        with pytest.raises(Occupied) as caught:
            go(world_again)
        told.append(str(caught.value))

    world_again = World(here.directory)
    here.during["watch-10"] = second
    state = go(here)
    assert state.outcome == "succeeded"
    assert len(told) == 1
    assert "pid" in told[0] and "since" in told[0]
    assert len({record.run for record in engine.open_journal(environment()).read()}) == 1


@pytest.mark.parametrize("aside", [False, True])
def test_a_host_that_does_not_take_the_token_holds_the_run_unless_it_was_set_aside(world, aside):
    lost = {"host": HOSTS[2], "state": "unreachable", "reason": "no route", "by": "installed"}

    def during(ctx: Any) -> None:
        if aside:
            ctx.note("host.set-aside", lost)
        os._exit(KILLED)

    here = world(0, during={"installed": during})
    assert forked(lambda: go(here)) == KILLED
    here.during, here.unknown = {}, {HOSTS[2]: "no route"}
    state = go(here)
    assert state.outcome == "held" and state.held is not None
    # Past the fence it is the next step that says of the host what it knows: here a simulated one, which sets nobody aside.
    assert state.held["reason"].startswith("step " if aside else f"unknown on {HOSTS[2]}") and (HOSTS[2] in state.aside) is aside
