"""A transfer slows down when the path shows congestion, comes back when it is clean, and leaves others their share."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent.congestion.pace import FLOOR_BYTES_PER_S, Pace, decide
from dwcp_agent.telemetry.path import PathSample
from paths import sample

RUNS = Pace(seen_s=60.0)
"""A transfer that has found its rate."""


def runs(cap: float, **more: float) -> Pace:
    return dataclasses.replace(RUNS, cap_bytes_per_s=cap, **more)  # type: ignore[arg-type]


def after(pace: Pace, *seen: PathSample) -> Pace:
    for each in seen:
        pace = decide(pace, each).pace
    return pace


anything = st.builds(
    sample,
    delivered=st.floats(0, 1e10),
    rtt_ms=st.floats(0, 2000),
    min_rtt_ms=st.floats(0, 500),
    sent=st.integers(0, 10_000),
    again=st.integers(0, 10_000),
    interval_s=st.sampled_from([0.0, 0.1, 0.5, 2.0]),
)


# -- signs ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "cap"),
    [
        (sample(again=101), 5e6),
        (sample(again=100), 7e6),
        (sample(again=51), 7e6),
        (sample(again=50), None),
        (sample(rtt_ms=171), 8e6),
        (sample(rtt_ms=170), None),
        (sample(rtt_ms=300, min_rtt_ms=290), None),  # a long path is not a full one
        (sample(rtt_ms=171, again=51), 7e6),
        (sample(rtt_ms=171, again=101), 5e6),
        (sample(sent=10, again=2), None),  # chance
        (sample(sent=10, again=3), 5e6),
        (sample(delivered=0, again=500), None),  # down, not congested
    ],
)
def test_each_sign_has_its_factor(seen: PathSample, cap: float | None) -> None:
    first = decide(RUNS, seen).pace
    assert first.cap_bytes_per_s is None
    assert decide(first, seen).pace.cap_bytes_per_s == (pytest.approx(cap) if cap else None)


def test_one_bad_sample_is_no_reason_to_be_slower_but_none_to_be_faster() -> None:
    pace = after(runs(8e6), sample(again=200), sample(), sample(again=200))
    assert pace.cap_bytes_per_s == 8e6 + 62_500


@pytest.mark.parametrize(("rtt_ms", "left_alone_s"), [(20, 2.0), (200, 4.0)])
def test_a_transfer_that_begins_is_left_alone(rtt_ms: float, left_alone_s: float) -> None:
    bad = sample(rtt_ms=rtt_ms, min_rtt_ms=rtt_ms, again=300)
    pace, steps = Pace(), 0
    while pace.cap_bytes_per_s is None:
        pace, steps = decide(pace, bad).pace, steps + 1
    assert steps * 0.5 == left_alone_s + 1.0


def test_loss_that_a_cut_does_not_reduce_is_the_paths_own() -> None:
    """Without a queue: radio. With one, the cut was not enough."""
    lossy, full = sample(again=80), sample(again=80, rtt_ms=60)
    pace = after(RUNS, *[lossy] * 3)  # two to cut, one in which it has to show
    assert pace.cap_bytes_per_s == 7e6
    on = after(pace, *[lossy] * 20)
    assert on.cap_bytes_per_s is None and on.own_loss == 0.08
    assert after(on, *[sample(again=135)] * 2).cap_bytes_per_s == 7e6, "what is lost beyond that is congestion"
    assert after(on, *[sample(again=125)] * 2).cap_bytes_per_s is None
    clean = after(on, *[sample()] * 20)
    assert after(clean, *[lossy] * 2).cap_bytes_per_s == 7e6, "a path that got better is not taken for what it was"
    narrow = after(RUNS, *[full] * 20)
    assert narrow.cap_bytes_per_s is not None and narrow.cap_bytes_per_s < 2e6 and narrow.own_loss == 0.0


def test_loss_that_a_cut_halves_was_congestion() -> None:
    pace = after(RUNS, *[sample(again=200)] * 3, sample(again=90), sample(again=90))
    assert pace.own_loss == 0.0
    assert pace.cap_bytes_per_s == 0.7 * 5e6


def test_between_the_thresholds_of_the_queue_nothing_is_cut_and_nothing_added() -> None:
    pace = runs(8e6, clean_s=3.0)
    held = decide(pace, sample(rtt_ms=140)).pace
    assert (held.cap_bytes_per_s, held.clean_s) == (8e6, 0.0)
    cap = decide(pace, sample(rtt_ms=120)).pace.cap_bytes_per_s  # just on the threshold: clean
    assert cap is not None and cap > 8e6


def test_a_cut_says_its_figures() -> None:
    first = decide(RUNS, sample(again=120))
    assert first.why == "120 of 1000 segments sent again: no faster"
    assert decide(first.pace, sample(again=120)).why == "120 of 1000 segments sent again: x0.5 of 10 MB/s"
    assert decide(first.pace, sample(rtt_ms=180)).why == "round trip 180 ms, 160 ms over the path's least: x0.8 of 10 MB/s"


def test_a_cut_has_time_to_show_before_the_next() -> None:
    """Two round trips and a quarter of a second, in whole samples; then the sign has to last again."""
    for rtt_ms, passed_over in ((20, 1), (500, 3)):
        bad = sample(rtt_ms=rtt_ms + 80, min_rtt_ms=rtt_ms, again=200)
        first = after(RUNS, bad, bad)
        assert first.cap_bytes_per_s == 5e6
        assert after(first, *[bad] * (passed_over + 1)).cap_bytes_per_s == 5e6
        assert after(first, *[bad] * (passed_over + 2)).cap_bytes_per_s == 2.5e6


def test_a_cap_far_above_what_arrives_is_cut_to_what_is_felt() -> None:
    assert after(runs(100e6), *[sample(again=200)] * 2).cap_bytes_per_s == 5e6


@settings(max_examples=300, deadline=None)
@given(st.lists(anything, max_size=40))
def test_a_cap_is_never_below_the_floor_and_never_there_before_congestion(seen: list[PathSample]) -> None:
    pace, congested = RUNS, False
    for each in seen:
        before, pace = pace, decide(pace, each).pace
        congested = congested or each.loss > 0.05 or each.rtt_ms - each.min_rtt_ms > 100
        cap = pace.cap_bytes_per_s
        assert cap is None or (congested and cap >= FLOOR_BYTES_PER_S)
        assert 0 <= pace.own_loss <= 1
        if before.cap_bytes_per_s is not None and each.rtt_ms - each.min_rtt_ms > 100:
            assert cap is not None and cap <= before.cap_bytes_per_s


@settings(max_examples=200, deadline=None)
@given(anything, st.integers(0, 10_000))
def test_more_loss_never_means_more_speed(seen: PathSample, more: int) -> None:
    worse = dataclasses.replace(seen, retransmitted_segments=seen.retransmitted_segments + more)
    caps = [after(runs(20e6, clean_s=5), each, each).cap_bytes_per_s for each in (worse, seen)]
    assert (caps[0] or 1e99) <= (caps[1] or 1e99)


# -- recovery ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.floats(FLOOR_BYTES_PER_S, 1e9), st.floats(FLOOR_BYTES_PER_S, 1e9), st.floats(0, 60))
def test_what_is_added_depends_on_time_and_not_on_the_rate(one: float, other: float, clean_s: float) -> None:
    added = []
    for rate in (one, other):
        cap = decide(runs(rate, clean_s=clean_s), sample(delivered=rate)).pace.cap_bytes_per_s
        assert cap is not None and cap > rate
        added.append(cap - rate)
    assert added[0] == pytest.approx(added[1], rel=1e-3)


def test_a_cap_that_limits_stays_and_grows() -> None:
    """A sender that fills whatever it is given, one interval late."""
    caps = [FLOOR_BYTES_PER_S]
    pace = runs(FLOOR_BYTES_PER_S)
    for _ in range(40):
        pace = decide(pace, sample(delivered=caps[max(0, len(caps) - 2)])).pace
        assert pace.cap_bytes_per_s is not None and pace.cap_bytes_per_s > caps[-1]
        caps.append(pace.cap_bytes_per_s)
    assert caps[24] > 62.5e6  # 12 s: half of 1 Gbit/s
    assert 1e6 > caps[4] - caps[0] > 0.625e6  # 2 s: half of 10 Mbit/s


def test_a_cap_goes_when_it_has_limited_nothing_for_two_seconds() -> None:
    pace, steps = runs(20e6), 0
    while pace.cap_bytes_per_s is not None:
        said = decide(pace, sample(delivered=10e6))
        pace, steps = said.pace, steps + 1
    assert steps == 5  # the first interval was sent under another cap
    assert said.why == "clean, and 10 MB/s need no cap"
    assert decide(pace, sample(delivered=10e6)).pace.cap_bytes_per_s is None


def test_a_cap_stays_while_nothing_is_sent() -> None:
    pace = runs(20e6, clean_s=1.0, slack_s=1.5, before_bytes_per_s=20e6)
    assert decide(pace, sample(delivered=0, sent=0)).pace == pace


def test_one_moment_without_much_to_send_does_not_lift_a_cap() -> None:
    pace = runs(20e6)
    for step in range(40):
        pace = decide(pace, sample(delivered=1e6 if step % 4 == 3 else pace.cap_bytes_per_s or 0)).pace
        assert pace.cap_bytes_per_s is not None


# -- fairness ---------------------------------------------------------------------------------------------------------------------


class SharedLink:
    """A link and its queue, as two flows under the policy see it: a fluid, every 0.5 s."""

    def __init__(self, capacity: float, buffer_s: float, rates: list[float]) -> None:
        self._capacity = capacity
        self._buffer = buffer_s * capacity
        self._queue = 0.0
        self.paces = [runs(rate) for rate in rates]

    def step(self) -> None:
        rates = [pace.cap_bytes_per_s or self._capacity for pace in self.paces]
        offered = sum(rates)
        over = self._queue + (offered - self._capacity) * 0.5
        self._queue = min(max(over, 0.0), self._buffer)
        lost = max(0.0, over - self._buffer) / (offered * 0.5)
        rtt_ms = 40 + 1e3 * self._queue / self._capacity
        arrived = min(1.0, self._capacity / offered)
        for flow, rate in enumerate(rates):
            sent = max(1, round(rate * 0.5 / 1448))
            seen = sample(delivered=rate * arrived, rtt_ms=rtt_ms, min_rtt_ms=40, sent=sent, again=round(sent * lost))
            self.paces[flow] = decide(self.paces[flow], seen).pace

    @property
    def rates(self) -> list[float]:
        return [pace.cap_bytes_per_s or self._capacity for pace in self.paces]


@pytest.mark.parametrize("buffer_s", [0.02, 0.5], ids=["a short queue, by loss", "a long queue, by delay"])
@pytest.mark.parametrize("capacity", [2.5e6, 125e6])
def test_two_flows_that_begin_at_ten_to_one_come_to_equal_shares(buffer_s: float, capacity: float) -> None:
    link = SharedLink(capacity, buffer_s, [capacity * 10 / 11, capacity / 11])
    used = []
    for _ in range(200):
        link.step()
        used.append(sum(link.rates) / capacity)
    shares: list[float] = []
    for _ in range(200):
        link.step()
        one, other = link.rates
        shares.append(one / other)
    # 10:1 became 1.2:1 within 100 s, and stays.
    assert max(shares) <= 1.2 and min(shares) >= 1 / 1.2
    assert sum(used[100:]) / 100 > 0.75  # and the link is not left empty for it
