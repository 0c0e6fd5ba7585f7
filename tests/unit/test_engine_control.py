"""What operators ask of a run: pause, resume, abort, rollback. Taken once, in the right order, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine_world import HOSTS, NEW, OLD, TIMING, World, abort, actions, back, each_point, environment, forked, go, pause, resume
from golive import engine
from golive.actions.port import StepContext
from golive.engine import control, requests
from golive.engine.store import Store
from golive.errors import BadInput, Held
from golive.runbook import RealClock


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch):
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as base:

        def make(number: int = 0, **given: object) -> World:
            directory = Path(base) / str(number)
            directory.mkdir()
            monkeypatch.setenv("GOLIVE_STATE", str(directory))
            return World(directory, **given)  # type: ignore[arg-type]

        yield make


def _records(*kinds: str) -> list[engine.Record]:
    return [record for record in engine.open_journal(environment()).read() if record.kind in kinds]


def _until(true: Callable[[], Any], what: str, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


def _ask(kind: str, reason: str = "why", **data: Any) -> int:
    store = Store(environment().state / "journal.db")
    try:
        return requests.ask(store, "sim", kind, reason, RealClock(), data)
    finally:
        store.close()


def _once(world: World) -> None:
    repeated = {effect: count for effect, count in Counter(world.effects()).items() if count > 1}
    assert not repeated
    assert engine.open_journal(environment()).verify() == []


class Running:
    """A `golive` on a thread of its own."""

    def __init__(self, world: World, **given: Any) -> None:
        self.states: list[engine.RunState] = []
        self.thread = threading.Thread(target=lambda: self.states.append(go(world, **given)), daemon=True)
        self.thread.start()

    def state(self) -> engine.RunState:
        self.thread.join(30)
        assert self.states, "the run did not end"
        return self.states[0]


def _at(world: World, step: str) -> tuple[threading.Event, threading.Event]:
    """An event that is set when ``step`` is applied, and one that lets it go on."""
    came, leave = threading.Event(), threading.Event()

    def here(ctx: StepContext) -> None:
        came.set()
        while not leave.wait(0.005):
            ctx.check()

    world.during[step] = here
    return came, leave


def test_a_request_of_a_kind_that_nobody_knows_is_refused_and_taken_for_no_other(worlds):
    world = worlds()
    world.during["watch-10"] = lambda ctx: (_ask("explode"), ctx.sleep(0.05))
    state = go(world)
    assert state.outcome == "succeeded"
    refused = _records("request.refused")
    assert [record.data["kind"] for record in refused] == ["explode"]
    assert "explode" in refused[0].data["why"]
    assert state.triggers == []


def test_a_kind_of_another_room_is_taken_by_its_own_function(worlds, monkeypatch):
    monkeypatch.setattr(control, "KINDS", dict(control.KINDS))
    control.register("consent", lambda live, request: live.append("request.seen", control.said(request)) and None)
    with pytest.raises(ValueError, match="two kinds"):
        control.register("consent", lambda live, request: None)
    world = worlds()
    world.during["watch-10"] = lambda ctx: (_ask("consent", "GO"), ctx.sleep(0.05))
    state = go(world)
    assert (state.outcome, [record.data["reason"] for record in _records("request.seen")]) == ("succeeded", ["GO"])


def test_a_paused_run_finishes_its_step_begins_no_other_and_goes_on_when_resumed(worlds):
    world = worlds()
    came, leave = _at(world, "watch-10")
    running = Running(world)
    assert came.wait(20)
    state = pause(world, "lunch")
    assert (state.outcome, state.paused["reason"]) == ("running", "lunch")
    leave.set()
    _until(lambda: engine.state(environment()).steps["canary/watch-10"].passed, "the running step is finished")
    seen = engine.open_journal(environment()).head().seq
    time.sleep(0.3)
    assert engine.open_journal(environment()).head().seq == seen, "nothing begins"
    assert all(world.weight(host) == 10 for host in HOSTS)
    with pytest.raises(Held, match=r"paused already, by .*lunch"):
        pause(world, "again")
    assert resume(world).paused is None
    assert running.state().outcome == "succeeded"
    with pytest.raises(BadInput, match="nothing to pause"):
        pause(world)
    _once(world)


def test_alerts_still_send_a_paused_run_back(worlds):
    class Alert:
        name = "alert"
        fires = False

        def start(self, ctx: StepContext) -> None: ...

        def stop(self) -> None: ...

        def poll(self) -> engine.Trigger | None:
            return engine.Trigger("alert", "corruption") if self.fires else None

    world, alert = worlds(), Alert()
    came, leave = _at(world, "watch-10")
    running = Running(world, ports={"watchers": [alert]})
    assert came.wait(20)
    pause(world)
    leave.set()
    _until(lambda: engine.state(environment()).steps["canary/watch-10"].passed, "the running step is finished")
    alert.fires = True
    state = running.state()
    assert (state.outcome, state.rollback["reason"], state.paused) == ("rolled-back", "corruption", None)


def test_a_paused_run_goes_back_when_asked_to(worlds):
    world = worlds()
    came, leave = _at(world, "watch-10")
    running = Running(world)
    assert came.wait(20)
    pause(world)
    leave.set()
    assert back(world, "outage: nobody gets in").outcome == "rolled-back"
    state = running.state()
    assert (state.outcome, state.rollback["category"]) == ("rolled-back", "outage")
    assert all(world.weight(host) == 0 for host in HOSTS)
    _once(world)


def test_two_operators_one_pauses_and_the_other_aborts(worlds):
    world = worlds()
    came, leave = _at(world, "watch-50")
    running = Running(world)
    assert came.wait(20)
    pause(world, "A wants to look")
    leave.set()
    assert abort(world, "B has seen enough").outcome == "aborted"
    state = running.state()
    assert (state.outcome, engine.exit_code(state)) == ("aborted", 4)
    assert state.rollback["reason"] == "B has seen enough"
    assert all(world.did(host, "SimDeactivate") and world.weight(host) == 0 for host in HOSTS)
    assert engine.standing(environment()).incumbent == OLD
    _once(world)


def test_an_abort_goes_before_a_rollback_that_was_asked_at_the_same_time(worlds):
    world = worlds()
    assert go(world, until_stage="canary").outcome == "held"
    _ask("rollback", "outage")
    _ask("abort", "no more")
    state = go(world)
    assert (state.outcome, state.rollback["reason"]) == ("aborted", "no more")


def test_an_abort_with_nothing_on_hosts_ends_the_run_at_once(worlds):
    world = worlds()
    came, _ = _at(world, "look")
    running = Running(world)
    assert came.wait(20)
    begun = time.monotonic()
    assert abort(world).outcome == "aborted"
    assert time.monotonic() - begun < 5
    state = running.state()
    assert (state.outcome, state.rollback) == ("aborted", None)
    assert not world.did(HOSTS[0], "SimDeactivate")


@pytest.mark.parametrize("held", ["unknown", "hold", "asked", "paused"])
def test_an_abort_ends_a_run_that_stands_without_a_process(worlds, held):
    world = worlds()
    if held == "unknown":
        world.during["shift-10"] = lambda ctx: world.unknown.update({"nyc-1": "timed out"})
        text = None
    elif held == "hold":
        world.verdicts["watch-10"] = ["INCONCLUSIVE"]
        from engine_world import GOLIVE

        text = GOLIVE.replace("hold 20m then rollback", "hold")
    else:
        text = None
    given: dict[str, Any] = {"golive": text} if text else {}
    state = go(world, **given, **({"until_stage": "canary"} if held in ("asked", "paused") else {}))
    if held == "unknown":
        # A dead host keeps no one else on the candidate, and nothing is taken away while users may be on it.
        assert (state.outcome, state.rolling_back) == ("held", True)
        world.unknown.clear()
        world.during.clear()
    else:
        assert state.outcome == "held"
    if held == "paused":
        pause(world)
    state = abort(world)
    assert (state.outcome, engine.exit_code(state)) == ("aborted", 4)
    assert all(world.weight(host) == 0 and world.did(host, "SimDeactivate") for host in HOSTS)
    with pytest.raises(BadInput, match="nothing to abort"):
        abort(world)


def test_an_abort_past_sign_off_is_refused_in_a_sentence(worlds):
    world = worlds()

    def wrong(ctx: StepContext) -> None:
        _ask("abort", "too late")
        time.sleep(0.05)
        raise Held("ams-1 does not let go")

    world.during["retired"] = wrong
    state = go(world)
    assert (state.outcome, state.aborting) == ("held", None)
    assert [record.data["kind"] for record in _records("request.refused")] == ["abort"]
    with pytest.raises(Held, match="past sign-off"):
        abort(world)
    world.during.clear()
    assert go(world).outcome == "succeeded"


def test_an_abort_on_the_way_back_lets_it_be_finished_and_ends_the_run_as_aborted(worlds):
    world = worlds(0, verdicts={"watch-50": ["FAIL"]})
    world.during["stopped"] = lambda ctx: (_ask("abort", "for good"), time.sleep(0.05))
    state = go(world)
    assert (state.outcome, state.aborting["reason"]) == ("aborted", "for good")
    assert all(world.weight(host) == 0 and world.did(host, "SimDeactivate") for host in HOSTS)


def test_a_pause_is_refused_on_the_way_back(worlds):
    world = worlds(0, verdicts={"watch-50": ["FAIL"]})
    world.during["stopped"] = lambda ctx: (_ask("pause", "wait"), time.sleep(0.05))
    assert go(world).outcome == "rolled-back"
    assert "never paused" in _records("request.refused")[0].data["why"]


def test_a_request_about_another_run_is_refused(worlds):
    world = worlds()
    world.during["watch-10"] = lambda ctx: (_ask("abort", "the one before", run="20200101T000000Z-abcdef"), ctx.sleep(0.05))
    assert go(world).outcome == "succeeded"
    assert "is over" in _records("request.refused")[0].data["why"]


def test_a_paused_run_that_dies_stays_paused_until_it_is_resumed(worlds):
    world = worlds()

    def dies(ctx: StepContext) -> None:
        _ask("pause", "lunch")
        _until(lambda: engine.state(environment()).paused, "taken")
        os._exit(137)

    def first() -> None:
        world.during["watch-10"] = dies
        go(world)

    assert forked(first) == 137
    assert engine.state(environment()).paused["reason"] == "lunch"
    running = Running(world)
    _until(lambda: len(_records("run.resumed")) == 1, "continued")
    time.sleep(0.2)
    assert engine.state(environment()).steps["canary/watch-10"].status == "intended"
    assert len(_records("step.intent")) == len({record.step for record in _records("step.intent")})
    resume(world)
    assert running.state().outcome == "succeeded"


def test_a_run_without_a_process_is_paused_and_resumed_in_its_journal(worlds):
    world = worlds()
    assert go(world, until_stage="canary").outcome == "held"
    state = pause(world, "night")
    assert (state.outcome, state.paused["reason"]) == ("held", "night")
    assert engine.standing(environment()).holder is None
    state = resume(world)
    assert (state.outcome, state.paused) == ("held", None)
    with pytest.raises(Held, match="is not paused"):
        resume(world)
    assert go(world).outcome == "succeeded"


def test_the_time_that_a_run_stood_does_not_count_for_a_hold(worlds):
    """Also when the process that held it died: the hold's end stands in the journal, and moves with the pause."""
    world = worlds(0, verdicts={"watch-10": ["INCONCLUSIVE", "PASS"]})

    def dies(ctx: StepContext) -> None:
        if any(record.kind == "step.holding" for record in engine.open_journal(environment()).read()):
            os._exit(137)

    def first() -> None:
        world.during["watch-10"] = dies
        go(world)

    assert forked(first) == 137
    until = engine.state(environment()).steps["canary/watch-10"].holding_until
    pause(world)
    time.sleep(0.3)
    state = resume(world)
    moved = _seconds(state.steps["canary/watch-10"].holding_until) - _seconds(until)
    assert 0.3 <= moved < 5


def _seconds(text: str | None) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text or "").timestamp()


def _pausing(world: World) -> None:
    """A run that is paused in its first watch and let go on by another operator."""

    def asked(ctx: StepContext) -> None:
        if not engine.state(environment()).paused and not any(r.kind == "run.unpaused" for r in engine.open_journal(environment()).read()):
            _ask("pause", "lunch")
            _until(lambda: engine.state(environment()).paused, "paused")
            threading.Timer(0.02, lambda: _ask("resume", "back")).start()

    world.during["watch-10"] = asked
    go(world)


@pytest.mark.timeout(300)
def test_killed_at_every_point_of_a_paused_run_it_stays_paused_and_goes_on_once_resumed(worlds):
    stood = 0
    for point, here in each_point(worlds, _pausing):
        found = engine.state(environment())
        if found.open and found.paused:
            stood += 1
            with contextlib.suppress(Held):  # what the other operator asked may have been waiting, and lifted it just now
                resume(here)
            assert engine.state(environment()).paused is None
        state = go(here) if found.open or found.run is None else found
        assert state.outcome == "succeeded", (point, state.held, state.bugs)
        assert all(here.weight(host) == 100 for host in HOSTS), point
        _once(here)
    assert stood >= 1


@pytest.mark.timeout(300)
def test_killed_at_every_point_of_an_abort_the_next_command_finishes_it_as_aborted(worlds):
    def held_at_half(number: int) -> World:
        here = worlds(number)
        assert go(here, until_stage="half").outcome == "held"
        return here

    for point, here in each_point(held_at_half, abort):
        found = engine.state(environment())
        # `golive`, not `abort`: what was asked stands in the journal or waits to be taken, and the run never goes forward again.
        state = go(here) if found.open else found
        assert state.outcome == "aborted", (point, state.held, state.bugs)
        assert all(here.weight(host) == 0 and here.did(host, "SimDeactivate") for host in HOSTS), point
        assert not here.did(HOSTS[0], "weight:100")
        _once(here)


def _asked_by_another(kind: str) -> Callable[[World], None]:
    def command(world: World) -> None:
        world.during["watch-50"] = lambda ctx: (_ask(kind, "enough"), ctx.sleep(30))
        go(world)

    return command


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "outcome"), [("abort", "aborted"), ("rollback", "rolled-back")])
def test_killed_at_every_point_of_a_run_that_another_operator_sends_back_no_resume_goes_forward(worlds, kind, outcome):
    """A request that is journaled and marked as taken is followed, also when the process died between that and the way back."""
    for point, here in each_point(worlds, _asked_by_another(kind)):
        found = engine.state(environment())
        asked = any(record.kind in ("run.aborting", "rollback.requested") for record in engine.open_journal(environment()).read())
        if not asked:
            continue
        state = go(here) if found.open else found
        assert state.outcome == outcome, (point, state.held, state.bugs)
        assert all(here.weight(host) == 0 for host in HOSTS), point
        _once(here)


def test_a_stage_of_the_way_back_past_its_budget_is_journaled_once_and_finished(worlds):
    from engine_world import ROLLBACK

    world = worlds(0, verdicts={"watch-50": ["FAIL"]})
    world.during["shift-0"] = lambda ctx: time.sleep(0.05)
    text = ROLLBACK.replace("{stage: traffic-back,", "{stage: traffic-back, budget: 10ms,")
    state = go(world, rollback=text)
    assert state.outcome == "rolled-back"
    assert [(over["stage"], over["budget_s"]) for over in state.rollback["overruns"]] == [("rollback:traffic-back", 0.01)]
    assert state.rollback["overruns"][0]["seconds"] >= 0.05
    assert len(_records("rollback.overrun")) == 1


@pytest.mark.parametrize(
    ("reason", "category"),
    [("outage", "outage"), ("Security: someone got in", "security"), ("corruption, seen at ams", "corruption"), ("it feels slow", "other")],
)
def test_the_runbooks_reasons_are_known_words_and_all_others_are_kept(reason, category):
    assert engine.category_of(reason) == category


def test_a_process_that_does_not_answer_is_named(worlds):
    world = worlds()
    came, leave = _at(world, "watch-10")
    ports = engine.Timing(**{**vars(TIMING), "look_s": 60.0})
    running = Running(world, ports={"timing": ports})
    assert came.wait(20)
    slow = engine.Ports(actions=actions(world), timing=engine.Timing(**{**vars(TIMING), "answer_s": 0.1}))
    with pytest.raises(Held, match="does not answer"):
        engine.pause(environment(), reason="lunch", ports=slow)
    leave.set()
    assert running.state().release == NEW
