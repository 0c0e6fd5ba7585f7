"""Forecasts and shares: right on links that are easy to know, honest on little, unmoved by what cannot be."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dwcp_agent.prediction.forecaster import FAR, NEAR, Forecaster
from dwcp_agent.prediction.recurrent import Recurrent
from dwcp_agent.prediction.sample import Forecast, Sample
from dwcp_agent.prediction.shares import Want, shares

NAIVE, MODEL = "same as last", "LSTM"


def link(rates: Iterable[float], *, begin: float = 1_700_000_000.0, rtt_ms: float = 20.0) -> list[Sample]:
    return [Sample(begin + at, rate, rtt_ms, 1.0, 0.0) for at, rate in enumerate(rates)]


def noisy(count: int, seed: int = 1, level: float = 1e8, noise: float = 0.1) -> list[float]:
    rng = random.Random(seed)
    return [level * math.exp(rng.gauss(0, noise)) for _ in range(count)]


def after(samples: Iterable[Sample], near: bool = True) -> Forecaster:
    forecaster = Forecaster(near)
    for sample in samples:
        forecaster.add(sample)
    return forecaster


def told(forecaster: Forecaster) -> Forecast:
    forecast = forecaster.forecast()
    assert forecast is not None
    return forecast


def errors(samples: list[Sample], near: bool, skip: int = 0) -> tuple[list[float], list[float]]:
    """Of the forecaster and of "same as last", as shares of what came."""
    forecaster = Forecaster(near)
    ours, naive = [], []
    for at, (now, then) in enumerate(itertools.pairwise(samples)):
        forecaster.add(now)
        if at >= skip:
            ours.append(abs(told(forecaster).bytes_per_s / then.bytes_per_s - 1))
            naive.append(abs(now.bytes_per_s / then.bytes_per_s - 1))
    return ours, naive


def test_nothing_is_said_of_a_link_that_was_not_seen() -> None:
    assert Forecaster(near=True).forecast() is None


@pytest.mark.parametrize("near", [True, False])
def test_too_few_samples_are_said_to_be_too_few_and_the_last_one_is_the_forecast(near: bool) -> None:
    forecaster = Forecaster(near)
    for number, sample in enumerate(link(noisy(9)), start=1):
        forecaster.add(sample)
        forecast = told(forecaster)
        assert (forecast.model, forecast.enough, forecast.samples) == (NAIVE, False, number)
        assert forecast.bytes_per_s == sample.bytes_per_s
        assert forecast.low_bytes_per_s == pytest.approx(sample.bytes_per_s / 2)
        assert forecast.high_bytes_per_s == pytest.approx(sample.bytes_per_s * 2)
    forecaster.add(link(noisy(10))[-1])
    assert (told(forecaster).enough, told(forecaster).samples) == (True, 10)


def test_samples_are_counted_up_to_the_window() -> None:
    assert told(after(link(noisy(100)), near=True)).samples == NEAR == 10
    assert told(after(link(noisy(100)), near=False)).samples == FAR == 60


@pytest.mark.parametrize("near", [True, False])
def test_a_steady_link_is_forecast_as_it_is(near: bool) -> None:
    forecast = told(after(link([3e7] * 80), near))
    assert forecast.bytes_per_s == pytest.approx(3e7, rel=0.02)
    assert forecast.low_bytes_per_s <= 3e7 * 1.001 and forecast.high_bytes_per_s >= 3e7 * 0.999


@pytest.mark.parametrize("near", [True, False])
def test_noise_about_a_level_is_not_followed(near: bool) -> None:
    ours, naive = errors(link(noisy(400)), near, skip=60)
    assert sum(ours) < 0.95 * sum(naive)


@pytest.mark.parametrize("near", [True, False])
def test_a_shift_of_level_is_followed_at_once(near: bool) -> None:
    rates = [*noisy(100, noise=0.02), *noisy(6, level=4e7, noise=0.02)]
    assert told(after(link(rates), near)).bytes_per_s == pytest.approx(4e7, rel=0.15)


def test_the_scale_of_a_link_changes_nothing() -> None:
    rates = noisy(60)
    one, thousand = told(after(link(rates))), told(after(link([rate * 1000 for rate in rates])))
    assert thousand.bytes_per_s == pytest.approx(one.bytes_per_s * 1000) and thousand.high_bytes_per_s == pytest.approx(
        one.high_bytes_per_s * 1000
    )


@pytest.mark.parametrize("near", [True, False])
def test_four_of_five_intervals_hold(near: bool) -> None:
    forecaster = Forecaster(near)
    held = []
    for now, then in itertools.pairwise(link(noisy(1000))):
        forecaster.add(now)
        forecast = told(forecaster)
        assert forecast.low_bytes_per_s <= forecast.bytes_per_s <= forecast.high_bytes_per_s
        held.append(forecast.low_bytes_per_s <= then.bytes_per_s <= forecast.high_bytes_per_s)
    assert 0.7 < sum(held) / len(held) < 0.9


def test_a_model_that_errs_more_than_the_last_sample_is_not_heard() -> None:
    # Steps of a kind that no link makes: up for a while, each interval by a tenth, while the queue says that it should go down.
    rates = [1e6 * 1.1**at for at in range(80)]
    forecaster = Forecaster(near=True)
    for at, sample in enumerate(link(rates)):
        forecaster.add(replace(sample, rtt_ms=20 * 1.2**at))
    ours, naive = errors([replace(s, rtt_ms=20 * 1.2**at) for at, s in enumerate(link(rates))], near=True, skip=20)
    assert sum(ours) <= sum(naive) * 1.06


@pytest.mark.parametrize(
    "wrong",
    [
        {"bytes_per_s": math.nan},
        {"bytes_per_s": math.inf},
        {"bytes_per_s": -1.0},
        {"bytes_per_s": 1e300},
        {"at_s": math.nan},
        {"at_s": math.inf},
    ],
    ids=str,
)
def test_what_cannot_be_is_passed_over_and_counted(wrong: dict[str, float]) -> None:
    samples = link(noisy(30))
    clean, dirty = Forecaster(near=True), Forecaster(near=True)
    for sample in samples:
        clean.add(sample)
        dirty.add(replace(sample, **wrong))
        dirty.add(sample)
    assert dirty.refused == 30 and clean.refused == 0
    assert dirty.forecast() == clean.forecast()


@pytest.mark.parametrize("unknown", [0.0, -3.0, math.nan, math.inf])
def test_a_queue_that_is_not_known_is_done_without(unknown: float) -> None:
    rates = noisy(200)
    seen = [replace(sample, rtt_ms=unknown, jitter_ms=unknown, loss=unknown) for sample in link(rates)]
    ours, naive = errors(seen, near=True, skip=20)
    assert sum(ours) <= sum(naive)


@pytest.mark.parametrize("unknown", [-1.0, math.nan, math.inf])
def test_a_jitter_that_was_not_known_once_is_forgotten(unknown: float) -> None:
    samples = link(noisy(300))
    one, other = after(samples), after([*samples[:50], replace(samples[50], jitter_ms=unknown), *samples[51:]])
    assert told(other).bytes_per_s == pytest.approx(told(one).bytes_per_s, rel=1e-3)


def test_a_forecast_stays_within_a_factor_of_four_of_the_last_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recurrent, "step", lambda self, inputs: 100.0)
    forecast = told(after(link([1e7, 1e9] * 10)))
    assert (forecast.model, forecast.bytes_per_s) == (MODEL, pytest.approx(4e9))


def test_a_link_that_stands_still_and_comes_back_is_known_again() -> None:
    stalled = after(link([*noisy(50), *[0.0] * 20]))
    assert 0 <= told(stalled).bytes_per_s < 1e7
    for sample in link(noisy(60, seed=2), begin=1_700_000_070.0):
        stalled.add(sample)
    assert told(stalled).bytes_per_s == pytest.approx(1e8, rel=0.3)


def test_a_link_that_carried_nothing_yet_is_forecast_to_carry_nothing() -> None:
    assert told(after(link([0.0]))).bytes_per_s == 0
    assert told(after(link([0.0] * 40))).bytes_per_s < 10


@pytest.mark.parametrize("jump", [31.0, -31.0, 86_400.0, -1e9])
def test_after_a_gap_or_a_clock_that_jumped_all_begins_anew(jump: float) -> None:
    forecaster = after(link(noisy(50)))
    forecaster.add(Sample(1_700_000_049.0 + jump, 5e6, 20.0))
    forecast = told(forecaster)
    assert (forecast.bytes_per_s, forecast.model, forecast.samples, forecast.enough) == (5e6, NAIVE, 1, False)


@pytest.mark.parametrize("jump", [29.0, -0.5, -29.0, 0.0])
def test_a_small_gap_or_a_clock_that_was_set_a_little_is_lived_with(jump: float) -> None:
    forecaster = after(link(noisy(50)))
    forecaster.add(Sample(1_700_000_049.0 + jump, 1e8, 20.0))
    assert told(forecaster).enough


def test_asking_changes_nothing() -> None:
    asked, quiet = Forecaster(near=False), Forecaster(near=False)
    for sample in link(noisy(100)):
        asked.add(sample)
        assert asked.forecast() == asked.forecast()
        quiet.add(sample)
    assert asked.forecast() == quiet.forecast()


any_number = st.floats(allow_nan=True, allow_infinity=True)
plausible = st.floats(0, 1e12)


@given(
    st.lists(
        st.builds(Sample, st.one_of(plausible, any_number), st.one_of(plausible, any_number), any_number, any_number, any_number),
        max_size=40,
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_a_forecast_is_finite_and_in_order(samples: list[Sample]) -> None:
    forecaster = Forecaster(near=True)
    for at, sample in enumerate(samples):
        forecaster.add(replace(sample, at_s=float(at)) if at % 2 else sample)
        forecast = forecaster.forecast()
        if forecast is not None:
            assert 0 <= forecast.low_bytes_per_s <= forecast.bytes_per_s <= forecast.high_bytes_per_s < math.inf
            assert 1 <= forecast.samples <= NEAR


def test_memory_is_bounded() -> None:
    def numbers(forecaster: Forecaster) -> int:
        seen = 0
        for value in vars(forecaster).values():
            seen += len(value) if hasattr(value, "__len__") else 1
            if isinstance(value, dict):
                seen += sum(len(inner) for inner in value.values() if hasattr(inner, "__len__"))
        return seen

    forecaster = after(link(noisy(100)))
    before = numbers(forecaster)
    for sample in link(noisy(1000), begin=1_700_000_100.0):
        forecaster.add(sample)
    assert numbers(forecaster) == before


@pytest.mark.parametrize("near", [True, False])
def test_a_forecast_takes_less_than_a_millisecond(near: bool) -> None:
    forecaster = Forecaster(near)
    took = []
    for sample in link(noisy(500)):
        begun = time.thread_time()
        forecaster.add(sample)
        forecaster.forecast()
        took.append(time.thread_time() - begun)
    assert sorted(took)[len(took) // 2] < 0.001


def of(rate: float) -> Forecast:
    return Forecast(rate, rate / 2, rate * 2, NAIVE, 1, False)


wants = st.dictionaries(
    st.text(max_size=3),
    st.builds(Want, st.floats(1e-3, 1e3), st.one_of(st.just(math.inf), st.just(0.0), st.floats(0, 1e10))),
    max_size=12,
)


@given(st.floats(0, 1e12), wants)
@settings(max_examples=300, deadline=None)
def test_nobody_gets_more_than_its_cap_and_nothing_is_left_over(rate: float, asked: dict[str, Want]) -> None:
    given_ = shares(of(rate), asked)
    assert given_.keys() == asked.keys()
    assert all(0 <= given_[name] <= want.cap_bytes_per_s for name, want in asked.items())
    could = min(rate, math.fsum(want.cap_bytes_per_s for want in asked.values()))
    assert math.fsum(given_.values()) == pytest.approx(could, rel=1e-9, abs=1e-6)


@given(st.floats(1, 1e12), wants)
@settings(max_examples=300, deadline=None)
def test_who_is_below_its_cap_has_no_less_for_its_weight_than_anybody(rate: float, asked: dict[str, Want]) -> None:
    given_ = shares(of(rate), asked)
    level = {name: given_[name] / want.weight for name, want in asked.items()}
    for name, want in asked.items():
        if given_[name] < want.cap_bytes_per_s * (1 - 1e-9):
            assert level[name] >= max(level.values()) * (1 - 1e-9)


@given(st.floats(1, 1e12), wants, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_asking_does_not_matter(rate: float, asked: dict[str, Want], rng: random.Random) -> None:
    names = list(asked)
    rng.shuffle(names)
    again = shares(of(rate), {name: asked[name] for name in names})
    assert again == pytest.approx(shares(of(rate), asked), rel=1e-9, abs=1e-6)


@given(st.floats(1, 1e12), wants, st.floats(1e-2, 1e2))
@settings(max_examples=100, deadline=None)
def test_who_asks_for_more_weight_gets_no_less(rate: float, asked: dict[str, Want], factor: float) -> None:
    assume(asked and factor >= 1)
    name = min(asked)
    more = asked | {name: replace(asked[name], weight=asked[name].weight * factor)}
    assert shares(of(rate), more)[name] >= shares(of(rate), asked)[name] * (1 - 1e-9)


def test_shares_by_hand() -> None:
    asked = {"a": Want(), "b": Want(2), "capped": Want(4, 10.0)}
    assert shares(of(100), asked) == {"a": 30.0, "b": 60.0, "capped": 10.0}
    assert shares(of(7), asked) == {"a": 1.0, "b": 2.0, "capped": 4.0}
    assert shares(of(0), asked) == {"a": 0.0, "b": 0.0, "capped": 0.0}
    assert shares(of(100), {}) == {}


def test_weights_far_apart_are_borne() -> None:
    given_ = shares(of(100), {"all": Want(1e308), "more": Want(1e308), "none": Want(5e-324)})
    assert given_["all"] == given_["more"] == pytest.approx(50)
    assert given_["none"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("want", [Want(0), Want(-1), Want(math.nan), Want(math.inf), Want(1, -1.0), Want(1, math.nan)])
def test_a_want_that_cannot_be_is_refused(want: Want) -> None:
    with pytest.raises(ValueError, match="'x'"):
        shares(of(1), {"x": want})
