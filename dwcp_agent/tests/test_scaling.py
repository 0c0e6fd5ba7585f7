"""Sessions follow a load that lasts, ignore one that comes and goes, and are never taken from whoever uses one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent.sessions.scaling import Scale, Sessions, decide
from dwcp_agent.telemetry.decisions import DecisionLog

STEP_S = 0.5


def after(loads: list[float], scale: Scale | None = None) -> list[int]:
    """The number of sessions after each half second of these loads."""
    scale, numbers = scale or Scale(), []
    for load in loads:
        scale = decide(scale, load, STEP_S, opened=scale.sessions, busy=0).scale
        numbers.append(scale.sessions)
    return numbers


# -- the policy -------------------------------------------------------------------------------------------------------------------


def test_a_load_that_stays_high_doubles_up_to_32() -> None:
    numbers = after([0.9] * 60)
    assert [number for number, _ in itertools.groupby(numbers)] == [4, 8, 16, 32]
    assert numbers[:2] == [4, 8]  # after a second
    assert numbers.index(16) - numbers.index(8) == 10  # and then not for five


def test_a_load_that_stays_low_halves_down_to_1() -> None:
    numbers = after([0.1] * 60)
    assert [number for number, _ in itertools.groupby(numbers)] == [4, 2, 1]
    assert numbers[8:10] == [4, 2]  # after five seconds


@pytest.mark.parametrize("load", [0.3, 0.31, 0.5, 0.79, 0.8])
def test_a_load_between_changes_nothing(load: float) -> None:
    assert set(after([load] * 100)) == {4}


@pytest.mark.parametrize("high_steps", range(1, 12))
@pytest.mark.parametrize("low_steps", range(1, 10))
def test_a_load_that_swings_faster_than_five_seconds_is_not_followed_down(high_steps: int, low_steps: int) -> None:
    numbers = after(([0.95] * high_steps + [0.05] * low_steps) * 30)
    assert numbers == sorted(numbers)


def test_a_load_that_swings_every_half_second_changes_nothing() -> None:
    assert set(after([0.95, 0.05] * 100)) == {4}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 3), max_size=200))
def test_no_load_changes_it_more_often_than_every_five_seconds(loads: list[float]) -> None:
    numbers = [4, *after(loads)]
    changes = [at for at, (before, now) in enumerate(itertools.pairwise(numbers)) if before != now]
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(changes))
    assert all(1 <= number <= 32 for number in numbers)
    assert all(now in (before, 2 * before, before // 2) for before, now in itertools.pairwise(numbers))


@settings(max_examples=200, deadline=None)
@given(st.floats(0.05, 31))
def test_a_steady_demand_ends_in_a_steady_number(demand: float) -> None:
    scale, numbers = Scale(), []
    for _ in range(200):
        scale = decide(scale, demand / scale.sessions, STEP_S, opened=scale.sessions, busy=0).scale
        numbers.append(scale.sessions)
    assert len(set(numbers[100:])) == 1
    assert demand / numbers[-1] <= 0.8 or numbers[-1] == 32


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 64), st.integers(0, 64), st.sampled_from([1, 2, 4, 8, 16, 32]), st.floats(0, 2))
def test_busy_sessions_are_never_among_those_that_may_end(opened: int, busy: int, sessions: int, load: float) -> None:
    busy = min(busy, opened)
    said = decide(Scale(sessions, low_s=10.0), load, STEP_S, opened=opened, busy=busy)
    assert 0 <= said.may_end <= opened - busy
    assert opened - said.may_end == max(min(opened, said.scale.sessions), busy)


def test_the_reason_has_the_figures() -> None:
    scale = Scale(high_s=0.5)
    assert decide(scale, 0.9, STEP_S, opened=4, busy=4).why == "load 0.90, above 0.8 for 1.0 s"
    recent = Scale(high_s=0.5, since_change_s=1.0)
    assert decide(recent, 0.9, STEP_S, opened=4, busy=4).why == "load 0.90, above 0.8 for 1.0 s, but changed 1.5 s ago"


# -- the sessions -----------------------------------------------------------------------------------------------------------------


class Line:
    """One session; it notices when it is used by two, or after its end."""

    def __init__(self) -> None:
        self.users = 0
        self.ended = False

    def end(self) -> None:
        assert not self.ended and not self.users, "a session was ended while it was used"
        self.ended = True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.log = DecisionLog()
        self.made: list[Line] = []
        self.sessions: Sessions[Line] = Sessions(self.make, Line.end, self.log, self.clock)

    def make(self) -> Line:
        self.made.append(Line())
        return self.made[-1]

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.clock.now += STEP_S
            self.sessions.step()

    @property
    def alive(self) -> int:
        return sum(not line.ended for line in self.made)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.sessions.close()


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread is about to do."""
    waits = threading.Event()
    for _ in range(5000):
        if condition():
            return
        waits.wait(0.002)
    raise AssertionError("it did not come to that")


def test_sessions_are_made_when_needed_and_used_again(world: World) -> None:
    one = world.sessions.acquire()
    assert world.sessions.load() == 0.25
    world.sessions.release(one)
    assert world.sessions.acquire() is one
    world.sessions.release(one)
    assert len(world.made) == 1


def test_who_finds_all_busy_waits_and_counts_as_load(world: World) -> None:
    held = [world.sessions.acquire() for _ in range(4)]
    with pytest.raises(TimeoutError, match="busy"):
        world.sessions.acquire(0)
    got: list[Line] = []
    waiting = threading.Thread(target=lambda: got.append(world.sessions.acquire(10)))
    waiting.start()
    until(lambda: world.sessions.load() == 1.25)
    world.sessions.release(held[0])
    waiting.join()
    assert got == [held[0]]
    for line in held:
        world.sessions.release(line)


def test_more_load_means_more_sessions_for_those_who_wait(world: World) -> None:
    held = [world.sessions.acquire() for _ in range(4)]
    world.steps(2)
    assert world.sessions.wanted == 8
    held += [world.sessions.acquire(0) for _ in range(4)]
    assert world.alive == 8
    assert [(each.policy, each.what, each.value) for each in world.log.decisions()] == [("sessions", "sessions", 8)]
    for line in held:
        world.sessions.release(line)


def test_idle_sessions_go_at_once_and_busy_ones_when_they_are_released(world: World) -> None:
    # All eight become busy, then one stays so that the load is low.
    held = [world.sessions.acquire() for _ in range(4)]
    world.steps(2)
    held += [world.sessions.acquire() for _ in range(4)]
    busy, *others = held
    for line in others:
        world.sessions.release(line)
    world.steps(10)
    assert (world.sessions.wanted, world.sessions.opened, world.alive) == (4, 4, 4)
    world.steps(30)
    assert (world.sessions.wanted, world.alive) == (2, 2), "one of two is no low load"
    world.sessions.release(busy)
    world.steps(30)
    assert (world.sessions.wanted, world.alive) == (1, 1)


def test_a_busy_session_too_many_is_drained(world: World) -> None:
    held = [world.sessions.acquire() for _ in range(4)]
    world.sessions._scale = Scale(1)  # as if the load had fallen in the meantime
    world.steps(1)
    assert (world.sessions.opened, world.alive) == (4, 4)
    for left in (3, 2, 1, 1):
        world.sessions.release(held.pop())
        assert (world.sessions.opened, world.alive) == (left, left)


def test_a_session_that_broke_makes_room_for_another(world: World) -> None:
    held = [world.sessions.acquire() for _ in range(4)]
    world.sessions.release(held[0], broken=True)
    assert held[0].ended
    assert world.sessions.acquire(0) not in held


def test_a_session_that_cannot_be_made_takes_no_room() -> None:
    def fail() -> Line:
        raise OSError("no route")

    sessions: Sessions[Line] = Sessions(fail, Line.end, DecisionLog())
    for _ in range(10):
        with pytest.raises(OSError, match="no route"):
            sessions.acquire(0)
    assert sessions.opened == 0


def test_closing_wakes_who_waits_and_leaves_the_busy_to_finish(world: World) -> None:
    held = [world.sessions.acquire() for _ in range(4)]
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            world.sessions.acquire(10)
        except RuntimeError as error:
            failures.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: world.sessions.load() > 1)
    world.sessions.close()
    waiting.join()
    assert [str(each) for each in failures] == ["the sessions are closed"]
    assert world.alive == 4
    for line in held:
        world.sessions.release(line)
    assert world.alive == 0


def test_many_threads_work_while_the_number_goes_up_and_down(world: World) -> None:
    stop, failures, done = threading.Event(), [], itertools.count()

    def work() -> None:
        try:
            while not stop.is_set():
                line = world.sessions.acquire(10)
                line.users += 1
                assert line.users == 1 and not line.ended
                next(done)
                line.users -= 1
                world.sessions.release(line)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(12)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(4):
            for number in (1, 32, 2, 16, 1, 8):
                begun = next(done)
                world.sessions._scale = Scale(number)
                world.steps(1)
                until(lambda begun=begun: next(done) > begun + 50)  # type: ignore[misc]
        world.sessions._scale = Scale(2)
        world.steps(1)
        until(lambda: world.sessions.opened <= 2)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert not failures
    assert world.alive == world.sessions.opened <= 2
