"""Who takes a run over first has every host refuse the dead controller; a host that is off is made again before, while that is harmless."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine_world import GOLIVE, KILLED, World, forked, go
from golive.actions.port import StepContext


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return World(tmp_path)


GROUNDED = GOLIVE.replace("steps: [{id: base, uses: sim.base}", "steps: [{id: hosts, uses: sim.ground}, {id: base, uses: sim.base}")


def _dies_with_a_host_off(world: World, step: str) -> None:
    def dies(ctx: StepContext) -> None:
        os._exit(KILLED)

    world.unknown["nyc-1"] = "no route to host"
    world.during[step] = dies
    assert forked(lambda: go(world, golive=GROUNDED)) == KILLED
    del world.during[step]


def test_a_host_that_is_off_is_made_again_by_the_next_process_and_takes_its_token_before_anything_else(world):
    _dies_with_a_host_off(world, "hosts")
    state = go(world, golive=GROUNDED)
    assert state.outcome == "succeeded"
    effects = [line["effect"] for line in world.lines() if line["host"] == "nyc-1"]
    assert effects[:3] == ["made", "fence", "SimBase"]


def test_a_host_that_stays_silent_when_hosts_were_made_stops_the_run_before_anything_else(world):
    _dies_with_a_host_off(world, "hosts")
    world.during["hosts"] = lambda ctx: world.unknown.update({"ams-1": "timed out"})
    state = go(world, golive=GROUNDED)
    assert state.outcome == "held" and state.held["reason"] == "unknown on ams-1: timed out"
    assert not [effect for _, effect in world.effects() if effect == "SimBase"]


def test_once_hosts_were_made_the_next_process_waits_for_one_that_is_silent(world):
    world.during["base"] = lambda ctx: os._exit(KILLED)
    assert forked(lambda: go(world, golive=GROUNDED)) == KILLED
    del world.during["base"]
    world.unknown["nyc-1"] = "no route to host"
    state = go(world, golive=GROUNDED)
    assert state.outcome == "held" and state.held["reason"] == "unknown on nyc-1: no route to host"
    assert state.held["do"].startswith("Make nyc-1 answer, or take it out of the inventory; then `./inv golive")
    assert not [effect for _, effect in world.effects() if effect in ("made", "SimBase")]


def test_a_candidate_on_hosts_is_not_left_behind_on_one_that_is_off(world):
    """Who makes hosts anew is only asked while nothing of the candidate is on any."""
    world.during["active"] = lambda ctx: os._exit(KILLED)
    late = GOLIVE.replace("steps:\n      - {id: shift-10,", "steps:\n      - {id: hosts, uses: sim.ground}\n      - {id: shift-10,")
    assert late != GOLIVE and forked(lambda: go(world, golive=late)) == KILLED
    del world.during["active"]
    world.unknown["nyc-1"] = "no route to host"
    state = go(world, golive=late)
    assert state.outcome == "held" and "unknown on nyc-1" in state.held["reason"] and not world.did("nyc-1", "made")
