"""The beat goes on by itself, and everything that is wrong with it can be seen."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from golive.errors import Refused, Unreachable
from golive.traffic import Beat, Heartbeat, Pulse
from golive.traffic.port import Beats


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Points:
    """Answers of two points; each call waits until the test has looked."""

    def __init__(self, answer: Callable[[int], Beats]) -> None:
        self._answer = answer
        self.calls = 0
        self.reached = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def __call__(self) -> Beats:
        self.calls += 1
        self.reached.release()
        assert self.go_on.acquire(timeout=10)
        return self._answer(self.calls)

    def let(self, beats: int) -> None:
        """``beats`` more beats have been heard when this returns (the next has begun)."""
        for _ in range(beats):
            self.go_on.release()
            assert self.reached.acquire(timeout=10)


def good(point: str, guard: dict[str, object] | None = None) -> Beat:
    return Beat(point, 10, guard, 0.5)


def beating(points: Points, clock: Clock) -> Heartbeat:
    return Heartbeat(points, interval_s=0.0, clock=clock)


def finish(points: Points) -> None:
    points.go_on.release(1000)


def test_beats_that_are_taken_are_no_trouble() -> None:
    points, clock = Points(lambda _: {"h1": good("h1"), "h2": good("h2")}), Clock()
    with beating(points, clock) as heart:
        assert points.reached.acquire(timeout=10)
        points.let(3)
        assert heart.pulse() == Pulse({"h1": 0.0, "h2": 0.0}, {}, {}, None)
        assert heart.pulse().trouble(10) is None
        finish(points)


def test_a_silent_point_is_trouble_only_after_the_ttl_and_none_once_it_is_back() -> None:
    gone = True

    def answer(_: int) -> Beats:
        return {"h1": good("h1"), "h2": Unreachable("h2: no answer") if gone else good("h2")}

    points, clock = Points(answer), Clock()
    with beating(points, clock) as heart:
        assert points.reached.acquire(timeout=10)
        points.let(1)
        clock.now += 9
        points.let(2)
        assert heart.pulse().trouble(10) is None
        clock.now += 2
        points.let(2)
        said = heart.pulse().trouble(10)
        assert said is not None and said.startswith("h2 has taken no beat for 11 s")
        gone = False
        points.let(2)
        assert heart.pulse().trouble(10) is None
        finish(points)


def test_a_refused_beat_is_trouble_at_once() -> None:
    points = Points(lambda _: {"h1": Refused("h1: token 7 is stale")})
    with beating(points, Clock()) as heart:
        assert points.reached.acquire(timeout=10)
        points.let(1)
        assert heart.pulse().trouble(10) == "h1 refused the beat: h1: token 7 is stale"
        finish(points)


@pytest.mark.parametrize("acknowledged", [False, True])
def test_what_a_guard_did_is_trouble_until_acknowledged(acknowledged: bool) -> None:
    act = {"from": 50, "to": 10, "why": "an alert fires", "acknowledged": acknowledged}
    points = Points(lambda _: {"h1": good("h1", act)})
    with beating(points, Clock()) as heart:
        assert points.reached.acquire(timeout=10)
        points.let(1)
        said = heart.pulse().trouble(10)
        finish(points)
    assert said == (None if acknowledged else "The guard of h1 took the candidate from 50 to 10 %: an alert fires.")


def test_a_thread_that_died_is_trouble() -> None:
    ended = threading.Event()

    def broken() -> Beats:
        ended.set()
        raise RuntimeError("boom")

    with Heartbeat(broken, interval_s=0.0) as heart:
        assert ended.wait(10)
        heart._thread.join(10)
        assert heart.pulse().trouble(10) == "The heartbeat ended: RuntimeError: boom"


def test_the_beat_ends_with_its_block() -> None:
    points = Points(lambda _: {"h1": good("h1")})
    with beating(points, Clock()) as heart:
        assert points.reached.acquire(timeout=10)
        finish(points)
    assert not heart._thread.is_alive()
