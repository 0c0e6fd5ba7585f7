"""A transfer gets the profile that its path and its size ask for, and keeps it unless there is a reason."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent.profiles.choice import LARGE_BYTES, choose
from dwcp_agent.profiles.table import BALANCED, HIGH_THROUGHPUT, LOW_LATENCY, PROFILES, SMALL_BYTES, Profile, profile_named

LARGE = 1 << 30
LONG_AGO = 60.0


@pytest.mark.parametrize(
    ("rtt_ms", "expected"),
    [(0.05, LOW_LATENCY), (9.99, LOW_LATENCY), (10, BALANCED), (99.9, BALANCED), (100, HIGH_THROUGHPUT), (900, HIGH_THROUGHPUT)],
)
def test_at_first_the_round_trip_decides(rtt_ms: float, expected: Profile) -> None:
    assert choose(rtt_ms, LARGE, None, 0.0).profile == expected


@pytest.mark.parametrize(
    ("current", "rtt_ms", "expected"),
    [
        (LOW_LATENCY, 11.9, LOW_LATENCY),
        (LOW_LATENCY, 12.0, BALANCED),
        (LOW_LATENCY, 110.0, BALANCED),
        (LOW_LATENCY, 120.0, HIGH_THROUGHPUT),
        (BALANCED, 8.1, BALANCED),
        (BALANCED, 7.9, LOW_LATENCY),
        (BALANCED, 119.0, BALANCED),
        (BALANCED, 120.0, HIGH_THROUGHPUT),
        (HIGH_THROUGHPUT, 81.0, HIGH_THROUGHPUT),
        (HIGH_THROUGHPUT, 79.0, BALANCED),
        (HIGH_THROUGHPUT, 8.1, BALANCED),
        (HIGH_THROUGHPUT, 7.9, LOW_LATENCY),
    ],
)
def test_a_bound_must_be_passed_by_a_fifth(current: Profile, rtt_ms: float, expected: Profile) -> None:
    assert choose(rtt_ms, LARGE, current, LONG_AGO).profile == expected


def test_a_profile_is_kept_for_five_seconds() -> None:
    early = choose(300, LARGE, LOW_LATENCY, 4.9)
    assert (early.profile, early.why) == (LOW_LATENCY, "round trip 300 ms, but low-latency for 4.9 s only")
    assert choose(300, LARGE, LOW_LATENCY, 5.0).profile == HIGH_THROUGHPUT


def test_the_reason_names_the_hysteresis() -> None:
    assert choose(11, LARGE, LOW_LATENCY, LONG_AGO).why == "round trip 11 ms, within a fifth of the bound"
    assert choose(5, LARGE, LOW_LATENCY, LONG_AGO).why == "round trip 5 ms"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, "low-latency"),
        (SMALL_BYTES, "low-latency"),
        (SMALL_BYTES + 1, "balanced"),
        (LARGE_BYTES - 1, "balanced"),
        (LARGE_BYTES, "high-throughput"),
    ],
)
def test_little_content_does_not_pay_for_what_a_long_path_asks_for(size: int, expected: str) -> None:
    said = choose(200, size, None, 0.0)
    assert said.profile.name == expected
    assert ("too few" in said.why) is (size < LARGE_BYTES)


def test_what_is_asked_for_is_what_there_is() -> None:
    said = choose(1, LARGE, LOW_LATENCY, 0.0, forced=HIGH_THROUGHPUT)
    assert (said.profile, said.why) == (HIGH_THROUGHPUT, "asked for")


def test_streams_are_fitted_to_the_size() -> None:
    tiny = choose(1, 100_000, None, 0.0).profile
    assert (tiny.first_streams, tiny.most_streams) == (1, 1)
    half = choose(1, 600_000, None, 0.0).profile
    assert (half.first_streams, half.most_streams) == (3, 3)
    assert LOW_LATENCY.fitted(0).first_streams == 1
    assert HIGH_THROUGHPUT.fitted(LARGE) == HIGH_THROUGHPUT


@settings(max_examples=300, deadline=None)
@given(st.floats(0, 1000), st.integers(0, 1 << 40), st.sampled_from([None, *PROFILES]), st.floats(0, 100))
def test_a_choice_stands_until_something_changes(rtt_ms: float, size: int, current: Profile | None, in_it_s: float) -> None:
    first = choose(rtt_ms, size, current, in_it_s).profile
    assert choose(rtt_ms, size, first, 0.0).profile == first
    if in_it_s >= 5 or current is None:
        assert choose(rtt_ms, size, first, 100.0).profile == first


@settings(max_examples=300, deadline=None)
@given(st.floats(0, 1000), st.floats(0, 1000), st.sampled_from([None, *PROFILES]))
def test_a_longer_path_never_gets_a_profile_for_a_shorter_one(one: float, other: float, current: Profile | None) -> None:
    near, far = sorted((one, other))
    order = [each.name for each in PROFILES]
    first, second = (order.index(choose(rtt, LARGE, current, LONG_AGO).profile.name) for rtt in (near, far))
    assert first <= second


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(8.4, 11.6), min_size=2, max_size=50), st.sampled_from([LOW_LATENCY, BALANCED]))
def test_jitter_about_a_bound_changes_nothing(rtts: list[float], current: Profile) -> None:
    for rtt in rtts:
        assert choose(rtt, LARGE, current, LONG_AGO).profile == current


def test_the_table_goes_up_with_distance_and_stays_within_what_the_protocol_has() -> None:
    for near, far in itertools.pairwise(PROFILES):
        assert near.chunk_bytes < far.chunk_bytes and near.batch_delay_s < far.batch_delay_s and near.batch_count < far.batch_count
        assert near.levels <= far.levels
    for each in PROFILES:
        assert 64 << 10 <= each.chunk_bytes <= 1 << 20 and each.chunk_bytes % (64 << 10) == 0
        assert 1 <= each.first_streams <= each.most_streams <= 64
    assert [each.tier for each in PROFILES] == ["local", "regional", "global"]


def test_a_profile_is_found_by_its_name() -> None:
    assert profile_named("balanced") is BALANCED
    with pytest.raises(ValueError, match="there are low-latency, balanced, high-throughput"):
        profile_named("fast")
