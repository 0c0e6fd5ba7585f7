"""What the guard decides, over every combination of what it can see."""

from __future__ import annotations

import itertools

import pytest

from golive.onhost.lease import Lease
from golive.onhost.watch import Act, Alert, Choice, Seen, decide, must_ask

GRACE_S = 30.0


def lease(passed: int = 10, slot: str = "b", ttl_s: float = 10.0) -> Lease:
    return Lease("run-1", 7, slot, passed, ttl_s)


def silent(candidate: int, passed: int = 10, act: Act | None = None) -> Seen:
    return Seen(lease(passed), 11.0, candidate, act)


ACTS = [
    None,
    Act(Choice.BACK_TO_PASSED, 10, 5.0),
    Act(Choice.BACK_TO_PASSED, 10, 30.0),
    Act(Choice.BACK_TO_PASSED, 10, 3600.0),
    Act(Choice.TO_ZERO, 0, 1.0),
]
EVERYTHING = [
    (Seen(held, age, candidate, act), alert)
    for held, age, candidate, act, alert in itertools.product(
        [None, lease(0), lease(10), lease(50), lease(100), lease(10, "a")],
        [0.0, 10.0, 10.01, 1e6],
        [0, 1, 10, 50, 100],
        ACTS,
        list(Alert),
    )
]


def test_the_guard_never_gives_the_candidate_more() -> None:
    for seen, alert in EVERYTHING:
        assert decide(seen, alert, GRACE_S).percent <= seen.candidate, (seen, alert)


def test_the_guard_leaves_everything_alone_without_lease_or_with_a_living_controller_or_in_silence() -> None:
    for seen, alert in EVERYTHING:
        alive = seen.lease is not None and seen.beat_age_s <= seen.lease.ttl_s
        if seen.lease is None or alive or seen.candidate == 0 or alert is Alert.QUIET:
            assert decide(seen, alert, GRACE_S).choice is Choice.LEAVE, (seen, alert)


def test_it_asks_exactly_when_the_answer_can_matter() -> None:
    for seen, _ in EVERYTHING:
        matters = len({decide(seen, alert, GRACE_S).choice for alert in Alert}) > 1
        assert must_ask(seen) or not matters, seen
        if not must_ask(seen):
            assert decide(seen, Alert.FIRING, GRACE_S).choice is Choice.LEAVE, seen


@pytest.mark.parametrize("alert", [Alert.FIRING, Alert.UNKNOWN])
@pytest.mark.parametrize(
    ("candidate", "passed", "percent", "choice"),
    [
        (50, 10, 10, Choice.BACK_TO_PASSED),
        (100, 50, 50, Choice.BACK_TO_PASSED),
        (10, 0, 0, Choice.TO_ZERO),
        (10, 50, 10, Choice.BACK_TO_PASSED),
        (100, 100, 100, Choice.BACK_TO_PASSED),
    ],
)
def test_a_firing_or_unknown_alert_takes_it_back_to_what_passed(
    alert: Alert, candidate: int, passed: int, percent: int, choice: Choice
) -> None:
    decision = decide(silent(candidate, passed), alert, GRACE_S)
    assert (decision.choice, decision.percent) == (choice, percent)
    assert "silent for 11 s" in decision.why


def test_an_alert_that_fires_on_takes_it_to_zero_after_the_grace_and_not_before() -> None:
    for age, want in ((0.0, Choice.LEAVE), (29.9, Choice.LEAVE), (30.0, Choice.TO_ZERO), (9999.0, Choice.TO_ZERO)):
        decision = decide(silent(10, act=Act(Choice.BACK_TO_PASSED, 10, age)), Alert.FIRING, GRACE_S)
        assert decision.choice is want, age
        assert decision.percent == (0 if want is Choice.TO_ZERO else 10)


def test_an_unknown_alert_never_takes_it_below_what_passed() -> None:
    for age in (0.0, 30.0, 1e6):
        seen = silent(10, act=Act(Choice.BACK_TO_PASSED, 10, age))
        assert decide(seen, Alert.UNKNOWN, GRACE_S).choice is Choice.LEAVE


@pytest.mark.parametrize("alert", [Alert.FIRING, Alert.UNKNOWN])
def test_going_back_that_did_not_hold_is_tried_again(alert: Alert) -> None:
    again = decide(silent(50, act=Act(Choice.BACK_TO_PASSED, 10, 1.0)), alert, GRACE_S)
    assert (again.choice, again.percent) == (Choice.BACK_TO_PASSED, 10)
    zero = decide(silent(50, act=Act(Choice.TO_ZERO, 0, 1.0)), alert, GRACE_S)
    assert (zero.choice, zero.percent) == (Choice.TO_ZERO, 0)


def test_a_candidate_in_slot_a_is_counted_from_the_other_end() -> None:
    held = lease(slot="a")
    assert [held.percent_of(slot_b) for slot_b in (100, 90, 0)] == [0, 10, 100]
    assert [held.slot_b_at(percent) for percent in (0, 10, 100)] == [100, 90, 0]
