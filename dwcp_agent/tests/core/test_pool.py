"""Pooled buffers as Python sees them; what they do between threads is tested in C."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time

import pytest

from dwcp_agent import _native
from dwcp_agent.phase4.pool import BufferPool


def test_buffer_is_writable_memory_of_the_asked_size() -> None:
    for size in (1, 4096, 5000, 1 << 20, (4 << 20) + 1):
        buffer = _native.pool_take(size)
        view = memoryview(buffer)
        assert len(buffer) == len(view) == size and not view.readonly
        view[:] = b"x" * size
        assert bytes(view[-1:]) == b"x"


def test_memory_goes_back_when_the_last_view_does_and_is_used_again() -> None:
    buffer = _native.pool_take(300_000)
    view = memoryview(buffer)[10:20]
    out = _native.pool_statistics()
    del buffer
    gc.collect()
    assert _native.pool_statistics()["live"] == out["live"]
    del view
    gc.collect()
    back = _native.pool_statistics()
    assert (back["live_asked"], back["given"]) == (out["live_asked"] - 300_000, out["given"] + 1)
    again = _native.pool_take(300_000)
    assert _native.pool_statistics()["from_thread"] == back["from_thread"] + 1
    del again


def test_buffer_in_use_is_not_released_and_a_released_one_not_used() -> None:
    buffer = _native.pool_take(5000)
    view = memoryview(buffer)
    with pytest.raises(BufferError, match="1 views"):
        buffer.release()
    view.release()
    buffer.release()
    buffer.release()
    with pytest.raises(ValueError, match="was released"):
        memoryview(buffer)


def test_what_makes_no_sense_is_refused() -> None:
    for size in (0, -1, (1 << 40) + 1):
        with pytest.raises(ValueError, match="size must be"):
            _native.pool_take(size)
    for size, count in ((0, 1), ((4 << 20) + 1, 1), (4096, -1), (4096, (1 << 20) + 1)):
        with pytest.raises(ValueError, match="size must be"):
            _native.pool_warm(size, count)
    with pytest.raises(TypeError):
        _native.PooledBuffer()
    with pytest.raises((OSError, OverflowError)):
        _native.pool_poison()  # buffers have been taken


def test_frames_are_ready_before_the_first_transfer_and_trimmed_ones_come_back() -> None:
    pool = BufferPool(1 << 20, 6)
    pool.warm()
    before = _native.pool_statistics()
    assert before["resident"] >= 6 << 20
    taken = [pool.take() for _ in range(6)]
    now = pool.statistics()
    assert now["from_fresh"] == before["from_fresh"] and now["live"] == before["live"] + (6 << 20)
    del taken
    gc.collect()
    assert _native.pool_trim() >= 6 * ((1 << 20) - 4096)
    assert _native.pool_statistics()["resident"] < now["resident"]
    memoryview(pool.take())[:] = bytes(1 << 20)


def test_idle_memory_goes_back_but_for_what_is_to_be_ready() -> None:
    size = 900_000
    pool = BufferPool(size, 2)
    taken = [pool.take() for _ in range(9)]
    for buffer in taken:
        memoryview(buffer)[:] = bytes(size)
    assert pool.idle_s() < 30
    del taken, buffer
    gc.collect()
    full = pool.statistics()
    assert pool.idle_s() > 0
    assert 6 * size < pool.trim() and pool.idle_s() == 0
    lean = pool.statistics()
    assert full["resident"] - lean["resident"] >= 6 * size
    warm = [pool.take() for _ in range(2)]
    for buffer in warm:
        memoryview(buffer)[:] = bytes(size)
    again = pool.statistics()
    assert again["resident"] == lean["resident"] and again["from_fresh"] == lean["from_fresh"]
    cold = pool.take()
    memoryview(cold)[:] = bytes(size)
    assert pool.statistics()["resident"] >= lean["resident"] + size - 8192
    # What comes back after a trim is trimmed in its turn.
    pool.trim()
    assert pool.idle_s() == 0
    del warm, buffer, cold
    gc.collect()
    pool.rest()
    assert pool.idle_s() > 0 and pool.trim() >= size - 8192
    with pytest.raises(ValueError, match="negative"):
        _native.pool_trim(-1)


def test_buffers_that_a_thread_puts_down_are_found_by_others() -> None:
    down, go = threading.Event(), threading.Event()

    def work() -> None:
        pool.take()
        pool.rest()
        down.set()
        go.wait(30)

    pool = BufferPool(2_900_000, 1)
    thread = threading.Thread(target=work)
    thread.start()
    assert down.wait(30)
    before = pool.statistics()
    taken = pool.take()
    assert pool.statistics()["from_shared"] == before["from_shared"] + 1
    go.set()
    thread.join()
    del taken


def test_buffers_of_threads_that_ended_are_used_by_others() -> None:
    def work() -> None:
        for _ in range(10):
            _native.pool_take(700_000)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    # Python calls a thread ended a moment before its cache is emptied.
    shared, taken = _native.pool_statistics()["from_shared"], []
    deadline = time.monotonic() + 10
    while _native.pool_statistics()["from_shared"] == shared:
        assert time.monotonic() < deadline
        taken.append(_native.pool_take(700_000))
        time.sleep(0.001)


WRITES_LATE = """
from dwcp_agent import _native
_native.pool_poison()
buffer = _native.pool_take(5000)
view = memoryview(buffer)
address = __import__("ctypes").addressof(__import__("ctypes").c_char.from_buffer(buffer))
del view, buffer
__import__("gc").collect()
__import__("ctypes").memset(address + 50, 7, 1)
_native.pool_take(5000)
"""


def test_poison_ends_a_process_that_writes_to_what_it_gave_back() -> None:
    done = subprocess.run([sys.executable, "-c", WRITES_LATE], capture_output=True, text=True, check=False)
    assert done.returncode == -6, done.stderr
    assert "byte 50 of a buffer of 5120 was written to after it had been given back" in done.stderr
