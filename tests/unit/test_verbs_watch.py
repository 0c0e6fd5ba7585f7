"""``inv status --watch``: the run at a glance from another process, until it is over."""

from __future__ import annotations

import io
import os
import pty
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from golive import environment
from golive.environment import Environment
from golive.verbs._watch import Watch, watched
from golive.verbs.status import status
from tests.support.board_world import START, BoardWorld


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return environment.load("lab")


@pytest.fixture
def world(env: Environment) -> Iterator[BoardWorld]:
    made = BoardWorld(env)
    yield made
    made.close()


def _drawn(watch: Watch) -> str:
    out = io.StringIO()
    Console(file=out, width=140, color_system=None).print(watch.screen.draw(0.0))
    return out.getvalue()


def test_it_shows_what_a_watch_sees_now_though_the_journal_does_not_hold_it(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("canary")
    world.say("step.intent", {"uses": "gate.metrics", "attempt": 1}, "canary", "watch-10")
    watch = Watch(env)
    watch.look()
    assert "640" not in _drawn(watch)
    world.look("watch-10", START, START + 15)
    watch.look()
    drawn = _drawn(watch)
    assert "watch-10" in drawn and "640.0" in drawn and "INCONCLUSIVE" in drawn
    watch.close()


def test_it_reads_each_record_once_and_begins_anew_with_another_run(world: BoardWorld, env: Environment) -> None:
    world.start()
    watch = Watch(env)
    assert len(watch.look()) == 1
    assert watch.look() == []
    world.say("run.finished", {"outcome": "aborted"})
    assert watch.look() == ["run ended: aborted"] and not watch.state.open
    watch.close()


def test_without_a_terminal_it_prints_lines_and_ends_with_the_run(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("canary")
    out = io.StringIO()
    ended = threading.Thread(target=watched, args=(env, out), kwargs={"every_s": 0.01})
    ended.start()
    world.stage("half")
    world.say("run.finished", {"outcome": "succeeded"})
    ended.join(timeout=20)
    assert not ended.is_alive()
    lines = [line.partition(" ")[2] for line in out.getvalue().splitlines()]
    assert lines[-2:] == ["stage half (technical-lead)", "run ended: succeeded"] and "\x1b" not in out.getvalue()


def test_a_run_that_nobody_works_on_is_said_to_be_that_and_watched_on(world: BoardWorld, env: Environment) -> None:
    world.start()
    watch = Watch(env)
    watch.look()
    world.lease.release()
    assert watch.look() == ["no process works on the run: `./inv golive --env lab` continues it"]
    assert watch.look() == [] and watch.state.open
    watch.close()


def test_on_a_terminal_it_draws_a_panel_and_ctrl_c_ends_it_well(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("canary")
    controller, terminal = pty.openpty()
    child = os.fork()
    if child == 0:
        with os.fdopen(terminal, "w") as out:
            watched(env, out, every_s=0.01)
        os._exit(42)
    os.close(terminal)
    seen = _until_gone(controller, lambda so_far: b"canary" in so_far, child)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42 and b"go-live lab" in seen


def _until_gone(controller: int, enough: Callable[[bytes], bool], child: int) -> bytes:
    """Everything that the terminal was told; Ctrl-C once it is ``enough``."""
    seen, told = b"", False
    while True:
        try:
            seen += os.read(controller, 4096)
        except OSError:  # the other end is closed
            return seen
        if not told and enough(seen):
            os.kill(child, signal.SIGINT)
            told = True


def test_where_no_run_was_started_there_is_nothing_to_wait_for(env: Environment) -> None:
    assert status(env, watch=True).data["outcome"] == "none"
