"""Time: due times are wall time, watches are monotonic, and a rehearsal is the same run with shorter waits."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from golive.errors import BadInput
from golive.runbook import Clock, FakeClock, Pace, RealClock, Stage, format_duration, parse_duration
from golive.runbook.duration import format_offset, parse_offset

POLICY = {"rehearsal": {"scale": 0.05, "longest_watch_s": 30, "longest_wait_s": 1}}


def stage(name: str, at: str) -> Stage:
    return Stage.model_validate({"stage": name, "at": at, "owner": "qa-lead", "steps": [{"id": f"s-{name}", "uses": "x"}]})


@pytest.fixture(params=[RealClock, FakeClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    return request.param()


def test_a_sleep_takes_its_time_and_both_clocks_move(clock):
    wall, mono = clock.now(), clock.monotonic()
    assert clock.sleep(0.15) is True
    assert clock.monotonic() - mono > 0.15 - 1e-9
    assert clock.now() - wall >= timedelta(seconds=0.14)
    assert clock.now().tzinfo is not None


def test_a_wait_ends_when_the_wall_clock_shows_the_time(clock):
    due = clock.now() + timedelta(seconds=0.15)
    assert clock.wait_until(due) is True
    assert clock.now() >= due
    assert clock.wait_until(due - timedelta(days=1)) is True


def test_waiting_stops_when_asked(clock):
    asked = iter([False, False, True])
    assert clock.sleep(3600, lambda: next(asked)) is False
    assert clock.wait_until(clock.now() + timedelta(days=1), lambda: True) is False


def test_a_request_to_stop_is_seen_within_a_moment_in_real_time():
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    assert RealClock().sleep(30, stop.is_set) is False
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("jump", [-86400, 86400])
def test_a_jump_of_the_wall_clock_does_not_change_a_sleep(jump):
    clock = FakeClock()
    begun, looks = clock.monotonic(), iter(range(10**6))

    def jumps() -> bool:
        if next(looks) == 3:
            clock.jump(jump)
        return False

    assert clock.sleep(600, jumps) is True
    assert 600 <= clock.monotonic() - begun < 601


def test_a_wall_clock_set_back_makes_a_due_time_later_and_never_earlier():
    clock = FakeClock()
    due, begun, looks = clock.now() + timedelta(hours=1), clock.monotonic(), iter(range(10**6))

    def jumps() -> bool:
        if next(looks) == 3:
            clock.jump(-1800)
        return False

    assert clock.wait_until(due, jumps) is True
    assert clock.monotonic() - begun >= 5400 - 1


def test_a_rehearsal_scales_and_caps_and_a_real_run_does_not():
    rehearsal, real = Pace.named("rehearsal", POLICY), Pace.named("real", {})
    ten, day = timedelta(minutes=10), timedelta(days=1)
    assert rehearsal.watch(timedelta(minutes=2)) == timedelta(seconds=6)
    assert (rehearsal.watch(ten), rehearsal.watch(day)) == (timedelta(seconds=30), timedelta(seconds=30))
    assert rehearsal.wait(day) == timedelta(seconds=1)
    assert (real.watch(ten), real.wait(day)) == (ten, day)


@pytest.mark.parametrize(
    ("name", "policy"),
    [("fast", POLICY), ("rehearsal", {}), ("rehearsal", {"rehearsal": {"scale": 0, "longest_watch_s": 1, "longest_wait_s": 1}})],
)
def test_a_pace_that_cannot_be_is_refused(name, policy):
    with pytest.raises(BadInput):
        Pace.named(name, policy)


def test_stages_are_due_at_their_distance_from_the_first():
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    stages = [stage("a", "T-7d"), stage("b", "T-0"), stage("c", "+60m"), stage("d", "+60m")]
    due = Pace().schedule(stages, begin)
    assert due["b"] - begin == timedelta(days=7)
    assert due["c"] == due["d"] == begin + timedelta(days=7, hours=1)
    rehearsed = Pace.named("rehearsal", POLICY).schedule(stages, begin)
    assert rehearsed["d"] == begin + timedelta(seconds=2)
    assert Pace().schedule([], begin) == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("7d", 604800), ("250ms", 0.25), ("0s", 0), ("1d2h3m4s5ms", 93784.005)],
)
def test_durations_are_read_and_written_the_same(text, seconds):
    assert parse_duration(text).total_seconds() == pytest.approx(seconds)
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


@pytest.mark.parametrize("text", ["", "10", 10, 10.5, None, True, "m", "10 m", "-5m", "1m1h", "10x", "9999999999999d", "400d"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"10m|year"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "minutes"), [("T-7d", -10080), ("T-0", 0), ("+60m", 60), ("T+2h", 120), ("-15m", -15), ("+0m", 0)])
def test_offsets_are_read_and_written_the_same(text, minutes):
    assert parse_offset(text) == timedelta(minutes=minutes)
    assert parse_offset(format_offset(parse_offset(text))) == parse_offset(text)


@pytest.mark.parametrize("text", ["60m", "T", "T60m", 60, None, "T-", "+7"])
def test_what_is_no_offset_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"T-7d|unit|90s"):
        parse_offset(text)


def test_a_hold_has_a_cap_of_its_own_and_without_one_that_of_a_watch():
    figures = {**POLICY["rehearsal"], "longest_hold_s": 60}
    assert Pace.named("rehearsal", {"rehearsal": figures}).hold(timedelta(minutes=20)) == timedelta(seconds=60)
    assert Pace.named("rehearsal", POLICY).hold(timedelta(minutes=20)) == timedelta(seconds=30)
    assert Pace.named("real", POLICY).hold(timedelta(minutes=20)) == timedelta(minutes=20)
