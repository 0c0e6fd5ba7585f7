"""The terminal shows what it is told, in lines or in a panel, and cannot hold the run up."""

from __future__ import annotations

import io
import os
import threading
import time
from typing import Any

from rich.console import Console

from golive.gates.judge import Judge
from golive.gates.spec import parse_spec
from golive.views.terminal import Screen, Terminal
from tests.support.run_records import Run
from tests.unit.test_gates_judge import _CANARY, _LOOSER, _window


def _events() -> list[tuple[str, dict[str, Any]]]:
    run = Run()
    run.start()
    run.shift("canary", 10)
    run.say("step.intent", {"uses": "gate.metrics", "attempt": 1}, "canary", "watch-10")
    return [(record.kind, {**record.data, "stage": record.stage, "step": record.step}) for record in run.records]


def _look() -> dict[str, Any]:
    look = Judge(parse_spec(_CANARY), _LOOSER).look(_window())
    return {"gate": "watch-10", "left_s": 12.0, "of_s": 30.0, **look.to_json()}


def _drawn(screen: Screen, now: float) -> str:
    out = io.StringIO()
    Console(file=out, width=120, color_system=None).print(screen.draw(now))
    return out.getvalue()


def test_the_panel_shows_stage_step_time_left_figures_of_both_weights_and_lines() -> None:
    screen = Screen(env="lab")
    for kind, data in _events():
        screen.take(kind, data, 100.0)
    screen.take("gate.look", _look(), 100.0)
    shown = _drawn(screen, 105.0)
    for asked in (
        "3.0.0 against 2.9.0",
        "canary (technical-lead)",
        "watch-10",
        "7 s left",
        "candidate",
        "incumbent",
        "ms",
        "ams-1",
        "3.0.0 10 %",
    ):
        assert asked in shown, asked
    assert "nobody" not in shown


def test_time_left_never_counts_below_zero_and_is_gone_with_the_step() -> None:
    screen = Screen(env="lab")
    screen.take("gate.look", _look(), 100.0)
    assert " 0 s left" in _drawn(screen, 500.0)
    screen.take("step.outcome", {"verdict": "PASS", "summary": "fine", "stage": "canary", "step": "watch-10"}, 501.0)
    assert "left" not in _drawn(screen, 502.0)


def test_without_a_terminal_there_is_one_line_an_event_and_looks_do_not_flood() -> None:
    out = io.StringIO()
    with Terminal("lab", out) as terminal:
        for kind, data in _events():
            terminal(kind, data)
        for _ in range(50):
            terminal("gate.look", _look())
        terminal("run.finished", {"outcome": "succeeded"})
    lines = out.getvalue().splitlines()
    assert lines[-1].endswith("run ended: succeeded") and len(lines) < 12
    assert any("nyc-1: 2.9.0 90 %, 3.0.0 10 %" in line for line in lines)
    assert "\x1b" not in out.getvalue()


def test_a_reader_that_does_not_read_holds_nothing_up() -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    terminal = Terminal("lab", stream)
    terminal.__enter__()
    began = time.monotonic()
    for number in range(20_000):
        terminal("run.held", {"reason": "x" * 200, "do": str(number)})
    assert time.monotonic() - began < 5
    os.close(reading)
    terminal.__exit__(None, None, None)
    assert time.monotonic() - began < 15


def test_a_terminal_that_is_gone_is_forgotten() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with Terminal("lab", Gone()) as terminal:
        for kind, data in _events():
            terminal(kind, data)
    assert not [thread for thread in threading.enumerate() if thread.name == "terminal"]


def test_events_of_unknown_kinds_or_with_holes_are_survived() -> None:
    screen = Screen(env="lab")
    for kind in ("run.started", "stage.started", "step.intent", "step.outcome", "gate.look", "traffic.set", "play.task", "something.new"):
        screen.take(kind, {}, 0.0)
    assert _drawn(screen, 1.0)


def test_what_operators_ask_is_told_as_lines() -> None:
    screen = Screen(env="lab")
    assert screen.take("run.paused", {"by": "ann@desk", "reason": "lunch"}, 0) == "paused by ann@desk: lunch"
    assert screen.outcome == "paused"
    assert screen.take("run.unpaused", {"by": "ann@desk", "reason": "back"}, 0) == "let go on by ann@desk: back"
    assert screen.outcome == "running"
    standing = str(screen.take("run.standing", {"by": "ann@desk", "reason": "lunch"}, 0))
    assert "paused by ann@desk: lunch" in standing and "./inv resume --env lab" in standing
    assert "explode refused" in str(screen.take("request.refused", {"kind": "explode", "why": "unknown"}, 0))
    assert "enough" in str(screen.take("run.aborting", {"reason": "enough"}, 0)) and screen.outcome == "ends"
    assert "it goes on" in str(screen.take("rollback.overrun", {"stage": "rollback:verify", "seconds": 400.0}, 0))
