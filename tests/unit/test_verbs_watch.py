"""``inv status --watch``: the run at a glance from another process, until it is over."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from golive import environment
from golive.environment import ROOT, Environment
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
    ended = threading.Thread(target=watched, args=(env, out), kwargs={"every_s": 0.01}, daemon=True)
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
    words = [sys.executable, "-c", _WATCHING]
    told = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    child = subprocess.Popen(words, stdin=terminal, stdout=terminal, stderr=terminal, env=told)
    os.close(terminal)
    try:
        seen = _until_gone(controller, b"canary", child)
        assert child.wait(10) == 42 and b"go-live lab" in seen
    finally:
        child.kill()
        child.wait()
        os.close(controller)


_WATCHING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by whoever was begun in the background, as all of theirs
from golive import environment
from golive.verbs._watch import watched
watched(environment.load("lab"), sys.stdout, every_s=0.01)
sys.exit(42)
"""


def _until_gone(controller: int, enough: bytes, child: subprocess.Popen[bytes]) -> bytes:
    """Everything that the terminal was told; Ctrl-C once ``enough`` is in it. Raises AssertionError when it says nothing any more."""
    seen, told = b"", False
    while True:
        assert select.select([controller], [], [], 60)[0], seen[-2000:]
        try:
            seen += os.read(controller, 4096)
        except OSError:  # the other end is closed
            return seen
        if not told and enough in seen:
            child.send_signal(signal.SIGINT)
            told = True


def test_where_no_run_was_started_there_is_nothing_to_wait_for(env: Environment) -> None:
    assert status(env, watch=True).data["outcome"] == "none"
