"""A disk that is full or not ours, and words an operator got wrong, are no bugs: an ERROR with one sentence, and nothing is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from engine_world import HOSTS, World, actions, environment, go
from golive import engine
from golive.engine.journal import Head, Witness
from golive.errors import BadInput, Held


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return World(tmp_path)


def _fails(number: int, path: str | None = None) -> Any:
    def raised(ctx: object) -> None:
        raise OSError(number, os.strerror(number), *([path] if path else []))

    return raised


@pytest.mark.parametrize(
    ("number", "path", "said"),
    [
        (errno.ENOSPC, "/x/log", "/x/log cannot be written on this machine: No space left on device"),
        (errno.EDQUOT, None, "a file of sim.base cannot be written on this machine: Disk quota exceeded"),
        (errno.EROFS, "/x", "/x cannot be written on this machine: Read-only file system"),
        (errno.EACCES, "/x", "/x cannot be used on this machine: Permission denied"),
        (errno.EIO, "/x", "/x cannot be used on this machine: Input/output error"),
    ],
)
def test_a_disk_that_takes_nothing_holds_the_run_and_is_no_bug(world: World, number: int, path: str | None, said: str) -> None:
    world.during["base"] = _fails(number, path)
    state = go(world)
    assert (state.outcome, engine.exit_code(state), state.bugs) == ("held", 4, [])
    assert state.held is not None and f"ERROR: {said}" in state.held["reason"]
    world.during.clear()
    assert go(world).outcome == "succeeded"


def test_another_error_of_the_system_is_still_a_bug(world: World) -> None:
    world.during["base"] = _fails(errno.ENOENT, "/x")
    state = go(world)
    assert (state.outcome, len(state.bugs)) == ("failed", 1)


def _no_directories(monkeypatch: pytest.MonkeyPatch, *steps: str) -> None:
    """The working directories of ``steps`` cannot be made."""
    mkdir = Path.mkdir

    def full(self: Path, *args: Any, **kwargs: Any) -> None:
        if self.name in steps:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", full)


def test_a_step_without_room_for_its_directory_is_an_error_of_that_step(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        _no_directories(patch, "look")
        state = go(world)
    assert (state.outcome, state.bugs) == ("held", [])
    assert state.held is not None and "step look of stage prepare: ERROR: " in state.held["reason"]
    assert "/look cannot be written on this machine: No space left on device" in state.held["reason"]
    assert go(world).outcome == "succeeded"


def test_traffic_goes_back_from_a_machine_whose_disk_is_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.verdicts["watch-50"] = ["FAIL"]
    _no_directories(monkeypatch, "shift-0", "stopped", "serves")
    assert go(world).outcome == "rolled-back"
    assert all(world.weight(host) == 0 for host in HOSTS)


def _probe_of(world: World, name: str, error: Exception) -> dict[str, Any]:
    changed = actions(world)

    def probe(ctx: object) -> Any:
        raise error

    changed[name].probe = probe
    return changed


def test_bad_input_that_a_probe_finds_is_said_as_it_is(world: World) -> None:
    changed = _probe_of(world, "sim.base", BadInput("policies/lab.yaml: gates: not a number."))
    state = go(world, ports={"actions": changed})
    assert (state.outcome, state.bugs) == ("held", [])
    assert state.held is not None and "step base of stage prepare: ERROR: policies/lab.yaml: gates: not a number." in state.held["reason"]
    assert "unknown on" not in state.held["reason"] and "inventory" not in state.held["do"]
    assert engine.open_journal(environment()).verify() == []


def test_anything_else_that_a_probe_raises_is_still_not_known(world: World) -> None:
    state = go(world, ports={"actions": _probe_of(world, "sim.base", Held("nothing answers"))})
    assert state.held is not None and "unknown on environment: nothing answers" in state.held["reason"]


def test_bad_input_that_a_probe_finds_on_the_way_back_does_not_keep_users_on_the_candidate(world: World) -> None:
    world.verdicts["watch-50"] = ["FAIL"]
    changed = actions(world)
    probe = changed["sim.shift"].probe

    def back_wrong(ctx: Any) -> Any:
        if ctx.params["candidate"] == 0 and world.weight(HOSTS[0]) != 0:
            raise BadInput("unusable")
        return probe(ctx)

    changed["sim.shift"].probe = back_wrong
    real = changed["sim.shift"].apply
    changed["sim.shift"].apply = lambda ctx, todo: real(ctx, dict.fromkeys(HOSTS) if "environment" in todo else todo)
    assert go(world, ports={"actions": changed}).outcome == "rolled-back"
    assert all(world.weight(host) == 0 for host in HOSTS)


def test_a_head_that_cannot_be_kept_holds_the_run_and_the_next_process_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Witness.write

    def full(self: Witness, head: Head) -> None:
        if head.seq == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, head)

    monkeypatch.setattr(Witness, "write", full)
    with pytest.raises(Held, match=r"Record 4 stands in the journal .*No space left on device"):
        go(world)
    assert engine.state(environment()).bugs == []
    monkeypatch.setattr(Witness, "write", write)
    assert go(world).outcome == "succeeded"
    assert engine.open_journal(environment()).verify() == []
