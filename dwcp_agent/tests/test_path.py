"""Several connections make one path: summed, without what was before, without what is gone."""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Iterator

import pytest

from dwcp_agent.telemetry.path import PathMeter, PathSample
from paths import Told

MB = 10**6


@pytest.fixture
def meter() -> PathMeter:
    return PathMeter()


@pytest.fixture
def told() -> Iterator[list[Told]]:
    """Three connections that carried something before."""
    figures = [(20_000, 30 * MB), (30_000, 20 * MB), (90_000, 10 * MB)]
    made = [Told(rtt_us=rtt, delivery_bytes_per_s=rate, acked_bytes=77 * MB, sent_segments=5000) for rtt, rate in figures]
    yield made
    for sock in made:
        sock.close()


def measured(meter: PathMeter, sockets: list[Told], at_s: float) -> PathSample:
    seen = meter.sample(sockets, at_s)
    assert seen is not None
    return seen


def test_what_was_before_the_first_look_is_no_rate(meter: PathMeter, told: list[Told]) -> None:
    first = measured(meter, told, 100.0)
    assert (first.interval_s, first.delivered_bytes_per_s, first.sent_segments) == (0.0, 0.0, 0)
    assert (first.streams, first.rtt_ms, first.min_rtt_ms) == (3, 30.0, 20.0)


def test_connections_are_summed_and_their_round_trips_are_not(meter: PathMeter, told: list[Told]) -> None:
    measured(meter, told, 100.0)
    for sock in told:
        sock.count(acked_bytes=MB, sent_segments=100, retransmitted_segments=6)
    seen = measured(meter, told, 100.5)
    assert seen.delivered_bytes_per_s == 6 * MB
    assert seen.delivery_bytes_per_s == 60 * MB
    assert (seen.sent_segments, seen.retransmitted_segments, seen.loss) == (300, 18, 0.06)
    assert seen.rtt_ms == 30.0


def test_a_connection_that_carries_nothing_says_nothing_about_rate_or_round_trip(meter: PathMeter, told: list[Told]) -> None:
    measured(meter, told, 100.0)
    told[2].count(acked_bytes=MB)
    seen = measured(meter, told, 101.0)
    assert (seen.delivery_bytes_per_s, seen.rtt_ms) == (10 * MB, 90.0)
    idle = measured(meter, told, 102.0)
    assert (idle.delivered_bytes_per_s, idle.delivery_bytes_per_s, idle.loss) == (0.0, 0.0, 0.0)


def test_a_connection_that_is_gone_is_passed_over(meter: PathMeter, told: list[Told]) -> None:
    measured(meter, told, 100.0)
    for sock in told:
        sock.count(acked_bytes=MB)
    told[0].gone = True
    seen = measured(meter, told, 101.0)
    assert (seen.streams, seen.delivered_bytes_per_s) == (2, 2 * MB)
    for sock in told:
        sock.gone = True
    assert meter.sample(told, 102.0) is None


def test_a_connection_that_replaced_another_is_counted_from_its_beginning(meter: PathMeter, told: list[Told]) -> None:
    measured(meter, told, 100.0)
    told[0].figures |= {"acked_bytes": 3 * MB, "sent_segments": 50, "retransmitted_segments": 5}
    seen = measured(meter, told, 101.0)
    assert (seen.delivered_bytes_per_s, seen.sent_segments, seen.retransmitted_segments) == (3 * MB, 50, 5)


def test_a_connection_that_joins_counts_from_when_it_is_seen(meter: PathMeter, told: list[Told]) -> None:
    measured(meter, told[:1], 100.0)
    assert measured(meter, told, 101.0).delivered_bytes_per_s == 0.0
    told[2].count(acked_bytes=MB)
    assert measured(meter, told, 102.0).delivered_bytes_per_s == MB


def test_the_least_round_trip_outlives_the_connection_that_had_it_for_five_minutes(meter: PathMeter, told: list[Told]) -> None:
    told[0].figures["min_rtt_us"], told[1].figures["min_rtt_us"] = 10_000, 15_000
    assert measured(meter, told, 100.0).min_rtt_ms == 10.0
    assert measured(meter, told[1:], 390.0).min_rtt_ms == 10.0
    assert measured(meter, told[1:], 401.0).min_rtt_ms == 15.0


def test_a_round_trip_that_was_not_measured_yet_is_none(meter: PathMeter, told: list[Told]) -> None:
    told[0].figures["min_rtt_us"] = 2**32 - 1
    told[1].figures["min_rtt_us"] = 0
    assert measured(meter, told, 100.0).min_rtt_ms == 20.0


def test_no_connection_is_kept_alive(meter: PathMeter) -> None:
    sock = Told()
    measured(meter, [sock], 100.0)
    sock.close()
    there = weakref.ref(sock)
    del sock
    gc.collect()
    assert there() is None


def test_real_connections(meter: PathMeter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        left = socket.create_connection(listening.getsockname())
        right, _ = listening.accept()
    with left, right:
        assert meter.sample([left], 10.0) is not None
        left.sendall(bytes(1 << 20))
        count = 1 << 20
        while count:
            count -= len(right.recv(count))
        right.sendall(b"!")
        left.recv(1)  # and with it the acknowledgement
        seen = meter.sample([left], 11.0)
    assert seen is not None
    assert seen.delivered_bytes_per_s == 1 << 20
    assert 0 < seen.min_rtt_ms <= seen.rtt_ms < 50 and seen.jitter_ms > 0
    assert seen.delivery_bytes_per_s >= 1 << 20
    assert 0 < seen.sent_segments < 1000 and seen.retransmitted_segments == 0
