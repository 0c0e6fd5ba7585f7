"""The predicted time of a rollback: grows with the fleet, never falls below what was measured, and is not made of nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golive.gates.rollback_time import BOXES, Measured, NotMeasured, predict

_times = st.lists(st.floats(min_value=0.001, max_value=500, allow_nan=False), min_size=1, max_size=4).map(tuple)
_hosts, _at_once = st.integers(1, 5000), st.integers(1, 64)


@st.composite
def _measured(draw: st.DrawFn) -> list[Measured]:
    hosts, at_once = draw(_hosts), draw(_at_once)
    extra = draw(st.lists(st.sampled_from(["traffic", "candidate", "verification"]), max_size=4))
    boxes = ["traffic", "candidate", "verification", *extra]
    return [Measured(f"step-{n}", box, draw(_times), hosts, at_once) for n, box in enumerate(boxes)]


@given(_measured(), _hosts, st.integers(0, 5000), _at_once)
def test_more_hosts_never_take_less(measured: list[Measured], hosts: int, more: int, at_once: int) -> None:
    fewer, larger = predict(measured, hosts=hosts, at_once=at_once), predict(measured, hosts=hosts + more, at_once=at_once)
    assert all(a.predicted_s <= b.predicted_s for a, b in zip(fewer.boxes, larger.boxes, strict=True))
    assert fewer.total_s <= larger.total_s and (fewer.holds or not larger.holds)


@given(_measured())
def test_the_fleet_that_was_measured_is_predicted_above_what_it_took(measured: list[Measured]) -> None:
    found = predict(measured, hosts=measured[0].hosts, at_once=measured[0].at_once)
    for box in found.boxes:
        assert box.predicted_s >= 1.2 * box.measured_s
        assert box.name != "state" or box.predicted_s == 0, "nothing is restored"


@given(_measured(), st.integers(0, 3), st.floats(min_value=1, max_value=400))
def test_a_slower_step_never_makes_the_prediction_shorter(measured: list[Measured], which: int, slower: float) -> None:
    step = measured[which % len(measured)]
    later = tuple(value + slower for value in step.seconds)
    changed = [Measured(s.step, s.box, later, s.hosts, s.at_once) if s is step else s for s in measured]
    assert predict(changed, hosts=100, at_once=32).total_s >= predict(measured, hosts=100, at_once=32).total_s


def _one(box: str, *seconds: float, hosts: int = 6) -> Measured:
    return Measured(f"{box}-step", box, seconds, hosts, 32)


_WHOLE = [_one("traffic", 1.0), _one("candidate", 10.0), _one("verification", 2.0)]


def test_waves_are_counted_and_a_single_measurement_is_doubled() -> None:
    found = predict(_WHOLE, hosts=200, at_once=32)  # 7 waves
    assert [round(box.predicted_s, 3) for box in found.boxes] == [14.0, 140.0, 0.0, 28.0]
    assert found.holds and found.to_json()["boxes"][1]["measured_s"] == 10.0


def test_several_measurements_have_their_spread_for_a_margin() -> None:
    found = predict([_one("traffic", 1.0, 2.0), *_WHOLE[1:]], hosts=6, at_once=32)
    assert found.boxes[0].predicted_s == 2.0 * 1.25 + 1.0


@pytest.mark.parametrize(("traffic", "candidate", "holds"), [(149, 299, True), (151, 1, False), (1, 301, False), (150, 300, True)])
def test_every_part_has_to_keep_its_own_budget(traffic: float, candidate: float, holds: bool) -> None:
    assert predict([_one("traffic", traffic), _one("candidate", candidate), _WHOLE[2]], hosts=6, at_once=32).holds is holds


def test_the_budgets_are_the_runbooks_half_hour() -> None:
    assert sum(BOXES.values()) == 1800


@pytest.mark.parametrize(
    "measured",
    [
        [],
        _WHOLE[:2],
        [*_WHOLE, Measured("none", "candidate", (), 6, 32)],
        [*_WHOLE, _one("candidate", 0.0)],
        [*_WHOLE, _one("candidate", math.nan)],
        [*_WHOLE, _one("candidate", math.inf)],
        [*_WHOLE, _one("candidate", -1.0)],
        [*_WHOLE, _one("candidate", 1.0, hosts=0)],
        [*_WHOLE, _one("lunch", 1.0)],
    ],
)
def test_nothing_is_predicted_from_nothing(measured: list[Measured]) -> None:
    with pytest.raises(NotMeasured):
        predict(measured, hosts=6, at_once=32)


@pytest.mark.parametrize(("hosts", "at_once"), [(0, 32), (6, 0)])
def test_a_fleet_of_no_hosts_is_none(hosts: int, at_once: int) -> None:
    with pytest.raises(NotMeasured):
        predict(_WHOLE, hosts=hosts, at_once=at_once)
