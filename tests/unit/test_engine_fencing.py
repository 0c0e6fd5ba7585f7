"""Who takes a run over first has every host refuse the dead controller; a host that is off is made again before, while that is harmless."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine_world import GOLIVE, KILLED, World, forked, go
from golive.actions.port import StepContext
from golive.errors import Unreachable


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
    # By the fence, and not only by the probe of the next step, which may ask other hosts.
    assert state.outcome == "held" and state.held["reason"] == "unknown on nyc-1: no route to host" and not world.did("nyc-1", "made")


def test_a_host_that_is_another_machine_by_now_has_nothing_to_be_taken_back(world):
    """What acts on the way back goes on without it, from the next try on; and the record says which host, and why."""
    world.verdicts["watch-10"] = ["FAIL"]
    asked = []

    def shift(ctx: StepContext) -> None:
        if not ctx.facts("host.set-aside"):
            raise Unreachable("nyc-1: dwcp-host: command not found", host="nyc-1")

    def bare() -> dict[str, str]:
        asked.append(1)
        return {"nyc-1": "nothing is on it"}

    world.during["shift-0"] = shift
    state = go(world, ports={"bare": bare})
    assert state.outcome == "rolled-back" and len(asked) == 1
    assert {name: state.aside["nyc-1"][name] for name in ("state", "reason", "by")} == {
        "state": "bare",
        "reason": "nothing is on it",
        "by": "shift-0",
    }


@pytest.mark.parametrize("asked", ["answers", "does not answer", "is broken"])
def test_a_host_that_is_not_known_to_be_bare_still_holds_the_way_back(world, asked):
    world.verdicts["watch-10"] = ["FAIL"]

    def shift(ctx: StepContext) -> None:
        raise Unreachable("nyc-1 does not answer", host="nyc-1")

    def bare() -> dict[str, str]:
        if asked == "is broken":
            raise ValueError("a bug")
        if asked == "does not answer":
            raise Unreachable("no host answers")
        return {}

    world.during["shift-0"] = shift
    state = go(world, ports={"bare": bare})
    assert state.outcome == "held" and "nyc-1 does not answer" in state.held["reason"] and not state.aside
