"""The number of streams follows the path, within bounds, and does not jump."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent.transport.streams import MOST_STREAMS, count_streams

MIB = 1 << 20
WIDE: dict[str, Any] = {"least": 1, "most": 256, "units": 10_000, "limit": 256}


def count(bandwidth: float, rtt_ms: float, current: int, chunk: int = MIB, **bounds: int) -> int:
    return count_streams(bandwidth, rtt_ms, chunk, current=current, **(WIDE | bounds)).streams


def test_it_is_what_is_in_flight_in_chunks() -> None:
    assert count(125e6, 100, 12) == math.ceil(12.5e6 / MIB) == 12
    assert count(125e6, 100, 16) == 12
    assert count(12.5e6, 40, 1) == 1


def test_a_change_is_by_a_factor_of_two_at_most() -> None:
    assert count(1e9, 200, 4) == 8
    assert count(1e6, 1, 16) == 8
    assert count(1e6, 1, 5) == 3
    assert count(1e6, 1, 1) == 1


@pytest.mark.parametrize(("asked", "expected"), [(18, 20), (19, 20), (21, 20), (22, 20), (17, 17), (23, 23)])
def test_a_change_of_a_tenth_is_none(asked: int, expected: int) -> None:
    assert count(asked * MIB, 1000, 20) == expected


@pytest.mark.parametrize("bound", ["most", "units", "limit"])
def test_every_bound_holds(bound: str) -> None:
    assert count(1e9, 200, 4, **{bound: 6}) == 6


def test_never_more_than_256() -> None:
    assert count(1e12, 1000, 256, most=10_000, limit=10_000) == MOST_STREAMS == 256


def test_the_processors_are_kept_busy_on_a_path_that_would_do_with_one() -> None:
    assert count(125e6, 0.1, 4, least=4) == 4
    assert count(125e6, 0.1, 4, least=4, units=3) == 3


def test_what_is_not_known_changes_nothing() -> None:
    assert count(0, 100, 7) == 7
    assert count(0, 100, 7, units=2) == 2


def test_the_reason_has_the_figures() -> None:
    why = count_streams(125e6, 100, MIB, current=4, least=2, most=8, units=100, limit=64).why
    assert why == "12.5 MB in flight, 12 chunks, within 2 to 8"
    why = count_streams(125e6, 100, MIB, current=4, least=2, most=16, units=100, limit=64).why
    assert why == "12.5 MB in flight, 12 chunks, 12 in steps of a factor of 2"


bounds = st.integers(1, 400)


@settings(max_examples=500, deadline=None)
@given(st.floats(0, 1e11), st.floats(0, 2000), st.integers(1, 256), st.sampled_from([1 << 16, MIB]), bounds, bounds, bounds, bounds)
def test_whatever_is_measured(
    bandwidth: float, rtt_ms: float, current: int, chunk: int, least: int, most: int, units: int, limit: int
) -> None:
    hard = min(256, units, limit)
    streams = count(bandwidth, rtt_ms, current, chunk, least=least, most=most, units=units, limit=limit)
    assert 1 <= streams <= hard
    assert streams <= 2 * current
    assert 2 * streams >= current or streams == hard
    assert streams in (current, hard) or abs(streams - current) > 0.1 * current
    if bandwidth > 0:
        for _ in range(12):
            current, streams = streams, count(bandwidth, rtt_ms, streams, chunk, least=least, most=most, units=units, limit=limit)
        assert streams == current, "a steady path has a steady number"
