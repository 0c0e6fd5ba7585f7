"""The statistics keep what they promise: checked against exact sums, against simulation, and against inputs that would fool them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from golive.gates import binomial
from golive.gates.samples import CANDIDATE, INCUMBENT, Samples
from golive.gates.sequential import blocks, evidence, evidence_against
from golive.gates.shift import compare


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3000), share=st.floats(0, 1), alpha=st.sampled_from([0.05, 0.01, 0.002]))
def test_clopper_pearson_bounds_leave_exactly_alpha_outside(n: int, share: float, alpha: float) -> None:
    x = round(n * share)
    high, low = binomial.upper(x, n, alpha), binomial.lower(x, n, alpha)
    assert low <= x / n <= high
    if x < n:
        assert binom.cdf(x, n, high) == pytest.approx(alpha, rel=1e-6)
    if x > 0:
        assert binom.sf(x - 1, n, low) == pytest.approx(alpha, rel=1e-6)


def test_nothing_counted_bounds_nothing() -> None:
    assert binomial.upper(0, 0, 0.05) == 1.0
    assert binomial.lower(0, 0, 0.05) == 0.0


def test_showing_a_true_half_per_mille_against_one_needs_some_twenty_thousand_requests() -> None:
    needed = binomial.needed(0.001, 0.0005, 0.05)
    assert needed is not None and 17_000 < needed < 24_000
    assert binomial.needed(0.001, 0.001, 0.05) is None


def test_needed_is_enough_and_not_twice_enough() -> None:
    needed = binomial.needed(0.01, 0.002, 0.0325)
    assert needed is not None

    def power(n: int) -> float:
        most = max(x for x in range(-1, n) if x < 0 or binomial.upper(x, n, 0.0325) < 0.01) if n < 5000 else 0
        return float(binom.cdf(most, n, 0.002))

    assert power(needed) >= 0.79
    assert power(needed // 2) < 0.8


def test_a_histogram_counts_only_at_an_edge_that_it_has() -> None:
    buckets = {0.05: 90.0, 0.1: 97.0, 0.25: 99.0, math.inf: 100.0}
    assert binomial.above(buckets, 0.1) == (3, 100)
    assert binomial.above(buckets, 0.2) is None
    assert binomial.above({0.1: 5.0}, 0.1) is None


def test_quantile_bounds_cover_the_true_p99_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    truth = float(np.exp(2.3263478740408408))
    missed = [0, 0]
    for _ in range(600):
        low, high = binomial.quantile_bounds(np.exp(rng.normal(size=1000)), 0.99, 0.05)
        missed[0] += low > truth
        missed[1] += high < truth
    assert max(missed) <= 600 * 0.05 + 4 * math.sqrt(600 * 0.05)
    assert binomial.quantile_bounds(np.ones(10), 0.99, 0.01)[1] == math.inf


def _times(rng: np.random.Generator, per_s: float, seconds: float) -> np.ndarray:
    return np.sort(rng.uniform(0, seconds, rng.poisson(per_s * seconds)))


def test_the_early_test_fails_at_most_alpha_of_candidates_at_the_limit_however_often_it_looks() -> None:
    rng, alpha, wrong = np.random.default_rng(11), 0.02, 0
    for _ in range(400):
        time = _times(rng, 90, 60)
        failed = rng.random(len(time)) < 0.001
        wrong += evidence(failed, blocks(time, 0, 60), 0.001) >= math.log(1 / alpha)
    assert wrong <= 400 * alpha + 3 * math.sqrt(400 * alpha)


def test_the_early_test_is_not_fooled_by_bursts() -> None:
    """A burst every 100 s that makes a tenth of a second's requests fail is a share of 0.1 %, as much as is allowed."""
    rng, wrong = np.random.default_rng(12), 0
    for _ in range(300):
        time = _times(rng, 180, 60)
        second = np.floor(time)
        stalled = rng.random(60) < 0.01
        failed = stalled[second.astype(int)] & (time - second < 0.1)
        wrong += evidence(failed, blocks(time, 0, 60), 0.001) >= math.log(1 / 0.002)
    assert wrong <= 3


def test_failures_that_hit_both_releases_alike_are_not_the_candidates() -> None:
    rng, wrong = np.random.default_rng(13), 0
    for _ in range(300):
        time = _times(rng, 180, 60)
        candidate = rng.random(len(time)) < 0.1
        failed = rng.random(len(time)) < 0.03
        wrong += evidence_against(failed, candidate, blocks(time, 0, 60)) >= math.log(100)
    assert wrong <= 300 * 0.01 + 6


def test_evidence_never_shrinks_as_the_watch_goes_on_and_leaves_the_unfinished_second_out() -> None:
    rng = np.random.default_rng(14)
    time = _times(rng, 50, 40)
    failed = rng.random(len(time)) < 0.02
    seen = [evidence(failed[time <= end], blocks(time[time <= end], 0, end), 0.001) for end in np.arange(1, 40, 0.7)]
    assert all(later >= earlier for earlier, later in itertools.pairwise(seen))
    assert list(blocks(np.array([-0.5, 0.2, 1.5, 2.4]), 0, 2.5)) == [-1, 0, 1, -1]


def _requests(rng: np.random.Generator, role: int, count: int, factor: float, start: float = 0.0, seconds: float = 30.0) -> Samples:
    op = rng.choice(3, count, p=[0.7, 0.25, 0.05]).astype(np.int16)
    body = np.exp(rng.standard_t(3, count) * 0.4)
    return Samples(
        time=np.sort(rng.uniform(start, start + seconds, count)),
        latency=np.array([0.003, 0.005, 0.015])[op] * body * factor,
        role=np.full(count, role, np.int8),
        result=np.zeros(count, np.int8),
        op=op,
        client=np.zeros(count, np.int16),
        ops=("get", "put", "transfer"),
        clients=("a",),
    )


def test_the_shift_is_found_under_heavy_tails_and_its_bounds_cover_it() -> None:
    rng = np.random.default_rng(21)
    over = under = 0
    ratios = []
    for _ in range(200):
        shift = compare(_requests(rng, CANDIDATE, 540, 1.2), _requests(rng, INCUMBENT, 4000, 1.0), same_time=True)
        ratios.append(shift.ratio)
        over += shift.lower(0.05) > 1.2
        under += shift.upper(0.05) < 1.2
    assert np.median(ratios) == pytest.approx(1.2, rel=0.01)
    assert max(over, under) <= 200 * 0.05 + 8


def test_a_shift_against_a_baseline_counts_the_noise_of_both_windows() -> None:
    rng, over = np.random.default_rng(22), 0
    for _ in range(100):
        now, before = _requests(rng, CANDIDATE, 1500, 1.0, start=500), _requests(rng, INCUMBENT, 1500, 1.0)
        speeds = [np.exp(rng.normal(0, 0.15, 8)) for _ in range(2)]
        now = Samples(**{**vars(now), "latency": now.latency * speeds[0][((now.time - 500) / 4).astype(int)]})
        before = Samples(**{**vars(before), "latency": before.latency * speeds[1][(before.time / 4).astype(int)]})
        over += compare(now, before, same_time=False).lower(0.05) > 1.0
    assert over <= 100 * 0.05 + 8


def test_a_hiccup_of_the_machine_is_not_a_slower_candidate() -> None:
    rng = np.random.default_rng(23)
    mine, other = _requests(rng, CANDIDATE, 540, 1.0), _requests(rng, INCUMBENT, 4860, 1.0)
    stalled = [
        Samples(**{**vars(part), "latency": part.latency + np.where((part.time > 10) & (part.time < 14), 0.2, 0)}) for part in (mine, other)
    ]
    shift = compare(stalled[0], stalled[1], same_time=True)
    assert shift.upper(0.03) < 1.2


def test_another_mix_of_operations_is_not_a_slower_candidate() -> None:
    rng = np.random.default_rng(24)
    mine, other = _requests(rng, CANDIDATE, 2000, 1.0), _requests(rng, INCUMBENT, 4000, 1.0)
    heavy = mine.where((mine.op == 2) | (rng.random(len(mine)) < 0.1))
    assert np.median(heavy.latency) > 1.3 * np.median(other.latency)
    assert compare(heavy, other, same_time=True).upper(0.05) < 1.2


@pytest.mark.parametrize("slower", [1.0, 1.25])
def test_a_process_that_has_little_to_do_is_not_a_slower_candidate(slower: float) -> None:
    """Of one release, asked 6 and 54 times a second: what a request takes depends on the pause before it alone."""
    rng = np.random.default_rng(26)

    def cold(part: Samples) -> Samples:
        pause = np.r_[1.0, np.diff(part.time)]
        return Samples(**{**vars(part), "latency": part.latency * np.exp(0.25 * (1 - np.exp(-pause / 0.1)))})

    mine, other = cold(_requests(rng, CANDIDATE, 1080, slower, seconds=180)), cold(_requests(rng, INCUMBENT, 9720, 1.0, seconds=180))
    assert np.median(mine.latency) > 1.1 * slower * np.median(other.latency)
    shift = compare(mine, other, same_time=True)
    assert shift.ratio == pytest.approx(slower, rel=0.05)
    assert shift.lower(0.05) < slower < shift.upper(0.05)


def test_too_little_to_compare_is_not_usable() -> None:
    rng = np.random.default_rng(25)
    assert not compare(Samples(), _requests(rng, INCUMBENT, 100, 1.0), same_time=True).usable
    moment = _requests(rng, CANDIDATE, 50, 1.0, seconds=0.5)
    assert not compare(moment, _requests(rng, INCUMBENT, 900, 1.0), same_time=True).usable
