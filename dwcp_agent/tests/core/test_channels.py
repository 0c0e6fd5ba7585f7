"""Queue, Ring and Stack: nothing lost, nothing doubled, and whoever waits is woken."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent._native import Queue, Ring, Stack

SHAPES = [Queue, Ring, Stack]
Channel = Queue | Ring | Stack


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data(), capacity=st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_does_what_the_plain_list_does(shape: type[Channel], data: Any, capacity: int) -> None:
    channel, plain = shape(capacity), []
    assert channel.capacity >= capacity
    for number in range(data.draw(st.integers(0, 30))):
        if data.draw(st.booleans()):
            items = [(number, i) for i in range(data.draw(st.integers(0, 25)))]
            pushed = channel.push_many(items, timeout=0)
            assert pushed == min(len(items), channel.capacity - len(plain))
            plain += items[:pushed]
        else:
            most = data.draw(st.integers(1, 25))
            popped = channel.pop_many(most, timeout=0)
            if shape is Stack:
                expected, plain = plain[: -most - 1 : -1], plain[:-most]
            else:
                expected, plain = plain[:most], plain[most:]
            assert popped == expected
        assert len(channel) == len(plain)


@pytest.mark.parametrize("shape", SHAPES)
def test_single_items_go_in_and_come_out(shape: type[Channel]) -> None:
    channel = shape(2)
    assert [channel.push(item, 0) for item in ("a", None, "c")] == [True, True, False]
    assert [channel.pop(0), channel.pop(0)] == ([None, "a"] if shape is Stack else ["a", None])
    with pytest.raises(IndexError, match="in time"):
        channel.pop(0)


@pytest.mark.parametrize("shape", SHAPES)
def test_who_waits_is_woken_by_an_item_by_room_and_by_closing(shape: type[Channel]) -> None:
    channel = shape(2)
    found: list[object] = []

    def wait_and(work: Any) -> threading.Thread:
        thread = threading.Thread(target=lambda: found.append(work()))
        thread.start()
        deadline = time.monotonic() + 10
        while channel.waiting == 0:
            assert time.monotonic() < deadline and thread.is_alive()
        return thread

    assert channel.waiting == 0
    waiting = wait_and(lambda: channel.pop(timeout=30))
    began = time.monotonic()
    channel.push("item")
    waiting.join(10)
    assert found == ["item"]

    channel.push_many([1, 2])
    waiting = wait_and(lambda: channel.push(3, timeout=30))
    assert channel.pop(0) == (2 if shape is Stack else 1)
    waiting.join(10)
    assert found[1:] == [True] and len(channel) == 2

    waiting = wait_and(lambda: channel.push(4, timeout=30))
    channel.close()
    waiting.join(10)
    assert found[2:] == [False]
    # What was in comes out; then it says so at once.
    assert len(channel.pop_many(10)) == 2 and channel.pop_many(10) == []
    with pytest.raises(IndexError, match="closed"):
        channel.pop()
    assert channel.closed and channel.push_many([5, 6]) == 0
    assert time.monotonic() - began < 5 and channel.waiting == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_a_wait_ends_when_its_time_is_up(shape: type[Channel]) -> None:
    channel = shape(2)
    began = time.monotonic()
    assert channel.pop_many(1, timeout=0.15) == []
    channel.push_many([1, 2])
    assert channel.push(3, timeout=0.15) is False
    assert 0.29 < time.monotonic() - began < 3


@pytest.mark.parametrize(("shape", "producers", "consumers"), [(Queue, 4, 4), (Stack, 4, 4), (Ring, 1, 1), (Ring, 3, 3)])
def test_every_item_of_many_threads_comes_out_once(shape: type[Channel], producers: int, consumers: int) -> None:
    channel, each = shape(64), 20_000
    taken: list[list[Any]] = [[] for _ in range(consumers)]

    def produce(number: int) -> None:
        items = [(number, i) for i in range(each)]
        for at in range(0, each, 50):
            assert channel.push_many(items[at : at + 49]) == min(49, each - at)
            if at + 49 < each:
                assert channel.push(items[at + 49])

    def consume(mine: list[Any]) -> None:
        while batch := channel.pop_many(32):
            mine += batch

    makers = [threading.Thread(target=produce, args=(number,)) for number in range(producers)]
    takers = [threading.Thread(target=consume, args=(mine,)) for mine in taken]
    for thread in (*makers, *takers):
        thread.start()
    for thread in makers:
        thread.join()
    channel.close()
    for thread in takers:
        thread.join()
    counted = Counter(item for mine in taken for item in mine)
    assert len(counted) == producers * each and set(counted.values()) == {1}
    if shape is not Stack:
        for mine in taken:
            for number in range(producers):
                of_one = [i for producer, i in mine if producer == number]
                assert of_one == sorted(of_one)


@pytest.mark.parametrize("shape", SHAPES)
def test_references_are_kept_and_given_back(shape: type[Channel]) -> None:
    item = object()
    before = sys.getrefcount(item)
    channel = shape(8)
    channel.push_many([item] * 20, timeout=0)
    assert sys.getrefcount(item) == before + 8
    channel.pop(0)
    channel.pop_many(3, 0)
    assert sys.getrefcount(item) == before + 4
    channel.close()
    assert not channel.push(item, 0)
    del channel
    gc.collect()
    assert sys.getrefcount(item) == before


@pytest.mark.parametrize("shape", SHAPES)
def test_what_makes_no_sense_is_refused(shape: type[Channel]) -> None:
    for capacity in (0, -1, (1 << 30) + 1):
        with pytest.raises(ValueError, match="capacity must be"):
            shape(capacity)
    channel = shape(4)
    with pytest.raises(RuntimeError, match="already"):
        channel.__init__(4)  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="not initialised"):
        shape.__new__(shape).pop(0)
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout must be"):
            channel.pop(timeout)
    with pytest.raises(ValueError, match="most must be"):
        channel.pop_many(0)
    with pytest.raises(TypeError):
        channel.push_many(5)  # type: ignore[arg-type]
