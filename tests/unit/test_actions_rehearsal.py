"""``rehearsal.finish``, ``rehearsal.watch``, ``rollback.predict``: a drill is over when it is seen to be, and is timed or not believed."""

from __future__ import annotations

from typing import Any

import pytest

from golive import actions
from golive.actions._traffic import leased
from golive.actions.port import Found
from golive.actions.traffic_shift import passed
from golive.gates.verdict import Verdict
from golive.traffic.port import Slot
from tests.support import action_step
from tests.support.action_step import AGENTS, GATEWAYS, NEW, OLD, Step, found, named, release_entry

actions.load_all()
step = action_step.step


def _gone(step: Step) -> None:
    """The candidate is installed, runs nowhere and is let in nowhere."""
    step.serving(attached=False)
    for name in AGENTS:
        step.hosts.releases[name] = [release_entry(OLD), release_entry(NEW, "b", active=False, enabled=False)]


def test_a_drill_is_over_when_every_host_and_gateway_shows_it(step: Step) -> None:
    _gone(step)
    finish, ctx = named("rehearsal.finish"), step.ctx({"release": "candidate"}, stage="rehearsal", step="drill-over")
    step.facts += [("traffic.passed", {"percent": 10, "gate": "x"}), ("traffic.leased", {"ttl_s": 10, "passed": 0})]
    todo = {name: f for name, f in finish.probe(ctx).items() if f.found is not Found.DONE}
    assert found(todo) == {"environment": Found.ABSENT}
    assert finish.apply(ctx, todo).verdict is Verdict.PASS
    assert step.noted("rehearsal.finished") == [{"hosts": len(AGENTS), "gateways": len(GATEWAYS), "step": "drill-over"}]
    assert passed(ctx) == 0 and not leased(ctx), "the next shift begins from nothing"


def _enabled(step: Step) -> None:
    step.hosts.releases["nyc-2"][1].update(active=True)


def _share(step: Step) -> None:
    step.points["nyc-1"].slots["b"] = Slot(NEW, True)
    step.points["nyc-1"].slot_b = 10


def _let_in(step: Step) -> None:
    step.points["ams-1"].slots["b"] = Slot(NEW, True)


@pytest.mark.parametrize("left", [_enabled, _share, _let_in])
def test_a_drill_of_which_anything_is_left_is_not_over(step: Step, left: Any) -> None:
    _gone(step)
    left(step)
    finish, ctx = named("rehearsal.finish"), step.ctx({"release": "candidate"}, step="drill-over")
    todo = {name: f for name, f in finish.probe(ctx).items() if f.found is not Found.DONE}
    outcome = finish.apply(ctx, todo)
    assert outcome.verdict is Verdict.FAIL and "not over" in outcome.summary
    assert step.noted("rehearsal.finished") == []


def test_a_silent_host_leaves_it_unknown_whether_the_drill_is_over(step: Step) -> None:
    _gone(step)
    step.hosts.silent.add("ams-2")
    ctx = step.ctx({"release": "candidate"}, step="drill-over")
    assert named("rehearsal.finish").probe(ctx)["ams-2"].found is Found.UNKNOWN


_BOXES = {"stage": "rehearsal", "traffic": ["shift-0"], "candidate": ["stopped"], "verification": ["serves"], "hosts": None}


def _timed(step: Step, name: str, seconds: float, **change: Any) -> None:
    at = {"stage": "rehearsal", "step": name}
    step.facts.append(("step.intent", {**at, "budget_s": 300.0, "at": "2030-01-01T00:00:00+00:00"}))
    end = {**at, "verdict": "PASS", "seconds": seconds, "already_there": False, "at": "2030-01-01T00:00:40+00:00"}
    step.facts.append(("step.outcome", {**end, **change}))


def _drilled(step: Step) -> None:
    step.slots()
    for name, seconds in (("shift-0", 1.0), ("stopped", 20.0), ("serves", 2.0)):
        _timed(step, name, seconds)
    step.facts.append(("rehearsal.finished", {"hosts": 4, "gateways": 2, "step": "drill-over"}))


def test_go_shows_the_predicted_time_of_each_part(step: Step) -> None:
    _drilled(step)
    outcome = named("rollback.predict").apply(step.ctx(_BOXES), {})
    assert outcome.verdict is Verdict.PASS
    assert "predicted to take 46 s of 30 min" in outcome.summary and "state 0 s of 10 min" in outcome.summary
    [fact] = step.noted("rollback-time")
    assert [box["predicted_s"] for box in fact["boxes"]] == [2.0, 40.0, 0.0, 4.0]


def test_no_go_for_a_fleet_that_goes_back_too_slowly(step: Step) -> None:
    _drilled(step)
    outcome = named("rollback.predict").apply(step.ctx({**_BOXES, "hosts": 640}), {})  # 20 waves of 40 s
    assert outcome.verdict is Verdict.FAIL and "candidate 800 s of 10 min" in outcome.summary


@pytest.mark.parametrize("missing", ["rehearsal.finished", "step.outcome", "step.intent"])
def test_no_go_without_a_timed_drill(step: Step, missing: str) -> None:
    _drilled(step)
    step.facts = [fact for fact in step.facts if fact[0] != missing]
    outcome = named("rollback.predict").apply(step.ctx(_BOXES), {})
    assert outcome.verdict is Verdict.ERROR and step.noted("rollback-time") == []


def test_a_step_that_a_killed_controller_left_took_the_time_until_it_was_finished(step: Step) -> None:
    _drilled(step)
    for at, (kind, data) in enumerate(step.facts):
        if kind == "step.outcome" and data["step"] == "stopped":
            step.facts[at] = (kind, {**data, "already_there": True, "seconds": 0.1})
    named("rollback.predict").apply(step.ctx(_BOXES), {})
    assert step.noted("rollback-time")[0]["boxes"][1]["measured_s"] == 40.0, "not the 0.1 s of the probe that found it done"
    _timed(step, "stopped", 0.1, already_there=True, at="2029-12-31T23:00:00+00:00")
    named("rollback.predict").apply(step.ctx(_BOXES), {})
    assert step.noted("rollback-time")[1]["boxes"][1]["measured_s"] == 300.0, "a clock that was set back measures nothing"
