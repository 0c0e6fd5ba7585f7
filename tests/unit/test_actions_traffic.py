"""``traffic.*``: shares are raised only under a lease, leftovers go first, and the way back depends on no guard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from golive import actions
from golive.actions import _traffic
from golive.actions.port import Finding, Found
from golive.errors import Held, Refused, Unreachable
from golive.gates.verdict import Verdict
from golive.traffic.fake import FakePoint, FakeTraffic
from golive.traffic.port import Slot, Weights
from tests.support import action_step
from tests.support.action_step import AGENTS, GATEWAYS, NEW, OLD, RUN, TOKEN, Step, found, named

actions.load_all()
step = action_step.step
_TODO = dict.fromkeys(GATEWAYS, Finding(Found.ABSENT))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the traffic port besides reading, in order."""
    made: list[str] = []

    def spied(verb: str) -> None:
        real = getattr(FakeTraffic, verb)

        def call(self: FakeTraffic, *args: Any, **options: Any) -> Any:
            made.append(" ".join([verb, *(str(arg) for arg in args)]))
            return real(self, *args, **options)

        monkeypatch.setattr(FakeTraffic, verb, call)

    for verb in ("shift", "open", "passed", "close", "enable", "disable", "label"):
        spied(verb)
    return made


# -- traffic.shift ----------------------------------------------------------------------------------------------------------------


def test_a_share_is_raised_under_a_lease_that_goes_back_to_what_passed(step: Step, calls: list[str]) -> None:
    step.serving(share=10)
    step.facts.append(("traffic.passed", {"percent": 10}))
    shift, ctx = named("traffic.shift"), step.ctx({"candidate": 50})
    assert set(found(shift.probe(ctx)).values()) == {Found.ABSENT}
    outcome = shift.apply(ctx, _TODO)
    assert (outcome.verdict, outcome.changed) == (Verdict.PASS, 2)
    assert calls == ["open", "shift 50"]
    for point in step.points.values():
        assert point.slot_b == 50 and point.lease is not None
        assert (point.lease["passed"], point.lease["token"], point.lease["run"]) == (10, TOKEN, RUN)
    assert step.noted("traffic.leased") == [{"ttl_s": _traffic.TTL_S, "passed": 10}]
    assert {fact["gateway"]: fact["weights"] for fact in step.noted("traffic.set")} == {name: {NEW: 50, OLD: 50} for name in GATEWAYS}
    assert set(found(shift.probe(ctx)).values()) == {Found.DONE}


def test_the_first_share_goes_back_to_nothing(step: Step) -> None:
    step.serving()
    named("traffic.shift").apply(step.ctx({"candidate": 10}), _TODO)
    assert all(point.lease and point.lease["passed"] == 0 for point in step.points.values())


def test_no_share_is_raised_where_no_guard_looks(step: Step, calls: list[str]) -> None:
    step.serving()
    step.points["nyc-1"].guard_age_s = None
    with pytest.raises(Refused, match="dwcp-guard does not run on nyc-1"):
        named("traffic.shift").apply(step.ctx({"candidate": 10}), _TODO)
    assert calls == ["open"] and all(point.slot_b == 0 for point in step.points.values())
    assert not step.noted("traffic.leased")


def test_no_share_is_raised_after_a_guard_acted(step: Step) -> None:
    step.serving(share=10)
    step.traffic().open(passed=0)
    step.points["ams-1"].guard_takes(0)
    with pytest.raises(Refused, match="guard of ams-1 acted"):
        named("traffic.shift").apply(step.ctx({"candidate": 50}), _TODO)
    assert step.points["ams-1"].slot_b == 0 and step.points["nyc-1"].slot_b == 10


@pytest.mark.parametrize("verb", ["apply", "undo"])
def test_the_way_to_nothing_needs_neither_guard_nor_lease(step: Step, calls: list[str], verb: str) -> None:
    step.serving(share=50)
    for point in step.points.values():
        point.guard_age_s = None
    ctx = step.ctx({"candidate": 0 if verb == "apply" else 50})
    shift = named("traffic.shift")
    outcome = shift.apply(ctx, _TODO) if verb == "apply" else shift.undo(ctx)
    assert outcome.verdict is Verdict.PASS and calls == ["shift 0"]
    assert all(point.slot_b == 0 for point in step.points.values())
    assert {fact["weights"][NEW] for fact in step.noted("traffic.set")} == {0}


def test_a_silent_gateway_is_unknown_and_never_done(step: Step) -> None:
    step.serving(share=10)
    step.points["nyc-1"].silent = True
    assert found(named("traffic.shift").probe(step.ctx({"candidate": 10}))) == {"traffic": Found.UNKNOWN}
    assert found(named("traffic.attach").probe(step.ctx({"release": "candidate"}))) == {"traffic": Found.UNKNOWN}
    assert found(named("traffic.detach").probe(step.ctx({"release": "candidate"}))) == {"traffic": Found.UNKNOWN}
    assert found(named("traffic.close").probe(step.ctx())) == {"traffic": Found.UNKNOWN}


def test_a_silent_gateway_does_not_keep_the_others_from_nothing(step: Step) -> None:
    step.serving(share=50)
    step.points["ams-1"].silent = True
    with pytest.raises(Unreachable, match="ams-1"):
        named("traffic.shift").apply(step.ctx({"candidate": 0}), _TODO)
    assert step.points["nyc-1"].slot_b == 0


def test_the_right_share_under_another_process_lease_is_not_done(step: Step) -> None:
    step.serving(share=10)
    shift, ctx = named("traffic.shift"), step.ctx({"candidate": 10})
    assert set(found(shift.probe(ctx)).values()) == {Found.PARTIAL}
    step.traffic(token=TOKEN - 1).open(passed=0)
    assert set(found(shift.probe(ctx)).values()) == {Found.PARTIAL}
    assert shift.apply(ctx, shift.probe(ctx)).changed == 0
    assert set(found(shift.probe(ctx)).values()) == {Found.DONE}


def test_nothing_for_the_candidate_is_done_without_a_lease(step: Step) -> None:
    step.serving(share=0)
    assert set(found(named("traffic.shift").probe(step.ctx({"candidate": 0}))).values()) == {Found.DONE}


def test_a_gateway_that_does_other_than_it_recorded_is_not_done(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.serving(share=0)
    _differing(monkeypatch, runtime=40)
    wanted = {"ams-1": Found.DONE, "nyc-1": Found.PARTIAL}
    assert found(named("traffic.shift").probe(step.ctx({"candidate": 0}))) == wanted


# -- traffic.attach ---------------------------------------------------------------------------------------------------------------


def test_a_candidate_is_labelled_and_let_in_without_a_share(step: Step, calls: list[str]) -> None:
    step.serving(attached=False)
    attach, ctx = named("traffic.attach"), step.ctx({"release": "candidate"})
    assert set(found(attach.probe(ctx)).values()) == {Found.ABSENT}
    assert attach.apply(ctx, _TODO).verdict is Verdict.PASS
    assert calls == [f"label b {NEW}", "enable b"]
    assert all(point.slots["b"] == Slot(NEW, True) and point.slot_b == 0 for point in step.points.values())
    assert set(found(attach.probe(ctx)).values()) == {Found.DONE}


def test_a_share_left_over_goes_before_a_candidate_comes(step: Step, calls: list[str]) -> None:
    step.serving(attached=False)
    step.points["nyc-1"].slot_b = 30
    assert named("traffic.attach").apply(step.ctx({"release": "candidate"}), _TODO).verdict is Verdict.PASS
    assert calls == ["shift 0", f"label b {NEW}", "enable b"]
    assert all(point.slot_b == 0 for point in step.points.values())


def test_servers_that_are_not_up_are_no_attached_release(step: Step) -> None:
    step.serving(attached=False)
    step.points["ams-1"].servers_up = False
    with pytest.raises(Refused, match="ams-1"):
        named("traffic.attach").apply(step.ctx({"release": "candidate"}), _TODO)


def test_an_incumbent_on_a_bare_fleet_gets_everything(step: Step, calls: list[str]) -> None:
    step.slots(incumbent="b", candidate="a")
    attach, ctx = named("traffic.attach"), step.ctx({"release": "incumbent"})
    assert set(found(attach.probe(ctx)).values()) == {Found.ABSENT}
    assert attach.apply(ctx, _TODO).verdict is Verdict.PASS
    assert calls == [f"label b {OLD}", "enable b", "shift 0"]
    assert all(point.slot_b == 100 for point in step.points.values())
    assert set(found(attach.probe(ctx)).values()) == {Found.DONE}


def test_an_incumbent_without_everything_is_attached_only_while_a_lease_is_open(step: Step) -> None:
    step.serving(share=10)
    attach, ctx = named("traffic.attach"), step.ctx({"release": "incumbent"})
    assert set(found(attach.probe(ctx)).values()) == {Found.PARTIAL}
    step.traffic().open(passed=0)
    assert set(found(attach.probe(ctx)).values()) == {Found.DONE}


def test_a_candidate_that_is_live_already_keeps_everything(step: Step) -> None:
    step.facts.append(("slot", {"release": OLD, "slot": "a"}))
    ctx = step.ctx({"release": "incumbent"}, candidate=OLD)
    for point in step.points.values():
        point.slot_b = 100
    assert named("traffic.attach").apply(ctx, _TODO).verdict is Verdict.PASS
    assert all(point.slot_b == 0 and point.slots["a"] == Slot(OLD, True) for point in step.points.values())


def test_a_share_that_is_unknown_is_no_attached_release(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.serving()
    _differing(monkeypatch, runtime=None)
    for role in ("candidate", "incumbent"):
        assert found(named("traffic.attach").probe(step.ctx({"release": role})))["nyc-1"] is Found.PARTIAL


# -- traffic.detach, traffic.close ------------------------------------------------------------------------------------------------


def test_a_release_with_a_share_is_not_taken_out(step: Step) -> None:
    step.serving(share=10)
    detach, ctx = named("traffic.detach"), step.ctx({"release": "candidate"})
    with pytest.raises(Refused, match="10 %"):
        detach.apply(ctx, _TODO)
    assert set(found(detach.probe(ctx)).values()) == {Found.ABSENT}
    step.traffic().shift(0, stage="test")
    assert detach.apply(ctx, _TODO).verdict is Verdict.PASS
    assert set(found(detach.probe(ctx)).values()) == {Found.DONE}
    assert all(point.slots["a"].is_in for point in step.points.values())


def test_a_closed_lease_leaves_the_shares(step: Step) -> None:
    step.serving(share=100)
    close, ctx = named("traffic.close"), step.ctx()
    assert set(found(close.probe(ctx)).values()) == {Found.DONE}
    step.traffic().open(passed=50)
    todo = close.probe(ctx)
    assert set(found(todo).values()) == {Found.ABSENT}
    assert close.apply(ctx, todo).verdict is Verdict.PASS
    assert all(point.lease is None and point.slot_b == 100 for point in step.points.values())
    assert {fact["weights"][NEW] for fact in step.noted("traffic.set")} == {100}
    step.points["ams-1"].silent = True
    with pytest.raises(Unreachable):
        close.apply(ctx, todo)


def test_the_slot_of_traffic_is_never_guessed(step: Step) -> None:
    step.hosts.silent.update(AGENTS)
    for name, params in (("traffic.shift", {"candidate": 0}), ("traffic.attach", {"release": "candidate"}), ("traffic.close", {})):
        with pytest.raises(Held, match="Which slot is free cannot be told"):
            named(name).probe(step.ctx(params))


def _differing(monkeypatch: pytest.MonkeyPatch, *, runtime: int | None) -> None:
    """What nyc-1 does is not what it recorded, until it is told a share."""
    real, told = FakeTraffic._weights, FakeTraffic.shift
    spoiled = {"nyc-1"}

    def weights(name: str, point: FakePoint) -> Weights:
        said = real(name, point)
        return replace(said, runtime=runtime) if name in spoiled else said

    def shift(self: FakeTraffic, *args: Any, **options: Any) -> Any:
        spoiled.clear()
        return told(self, *args, **options)

    monkeypatch.setattr(FakeTraffic, "_weights", staticmethod(weights))
    monkeypatch.setattr(FakeTraffic, "shift", shift)


def test_a_share_that_is_unknown_goes_before_a_candidate_comes(step: Step, monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    step.serving(attached=False)
    _differing(monkeypatch, runtime=None)
    named("traffic.attach").apply(step.ctx({"release": "candidate"}), _TODO)
    assert calls[0] == "shift 0"
