"""Small operations together: all of them, in order, and none much later for it."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time

import pytest

from dwcp_agent._native import send_many
from dwcp_agent.phase4.batch import Batcher
from dwcp_agent.profiles.table import BALANCED


def test_all_buffers_arrive_in_order_however_many_and_large() -> None:
    left, right = socket.socketpair()
    source = random.Random(1)
    buffers: list[bytes | bytearray] = [source.randbytes(source.choice([0, 1, 100, 70_000])) for _ in range(3000)] + [bytearray(b"end")]
    got = bytearray()

    def read() -> None:
        while part := right.recv(1 << 16):
            got.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    with left, right:
        assert send_many(left, buffers) == sum(map(len, buffers))
        assert send_many(left, []) == 0 and send_many(left, [b"", b""]) == 0
        left.shutdown(socket.SHUT_WR)
        reader.join(20)
    assert got == b"".join(buffers)


def test_a_part_cut_short_by_a_signal_goes_on_where_it_stopped() -> None:
    left, right = socket.socketpair()
    buffers = [random.Random(number).randbytes(70_001) for number in range(300)]
    got, seen, over = bytearray(), [0], threading.Event()

    def read() -> None:
        while part := right.recv(5000):
            got.extend(part)

    def interrupt() -> None:
        while not over.wait(0.0002):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: seen.__setitem__(0, seen[0] + 1))
    threads = [threading.Thread(target=work) for work in (read, interrupt)]
    try:
        with left, right:
            for thread in threads:
                thread.start()
            assert send_many(left, buffers) == 300 * 70_001
            over.set()
            left.shutdown(socket.SHUT_WR)
            for thread in threads:
                thread.join(20)
    finally:
        over.set()
        signal.signal(signal.SIGUSR1, before)
    assert got == b"".join(buffers) and seen[0] > 0


def test_who_waits_in_a_full_socket_can_be_interrupted() -> None:
    class Enough(Exception):
        pass

    def stop(*_: object) -> None:
        raise Enough

    def interrupt() -> None:
        for _ in range(100):
            if over.wait(0.05):
                return
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        right.shutdown(socket.SHUT_RDWR)  # it waits on: broken, it at least ends

    left, right = socket.socketpair()
    over, thread = threading.Event(), threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with left, right, pytest.raises(Enough):
            thread.start()
            send_many(left, [bytes(1 << 20)] * 100)
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        over.set()
        thread.join(20)
        signal.signal(signal.SIGUSR1, before)


def test_a_full_socket_takes_a_part_and_a_broken_one_is_an_error() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        sent = send_many(left, [bytes(100_000)] * 50)
        assert 0 < sent < 5_000_000
        with pytest.raises(BlockingIOError):
            send_many(left, [b"more"])
        right.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_many(left, [b"more"])
    with pytest.raises(TypeError):
        send_many(0, [b"a", "b"])  # type: ignore[list-item]


def test_everything_submitted_is_worked_off_once_and_in_order() -> None:
    seen: list[int] = []
    sizes: list[int] = []

    def work(batch: list[int]) -> None:
        sizes.append(len(batch))
        seen.extend(batch)

    batcher = Batcher(work, most=64)
    for number in range(50_000):
        batcher.submit(number)
    batcher.close()
    assert seen == list(range(50_000))
    assert max(sizes) <= 64 and batcher.statistics()["items"] == 50_000
    assert len(sizes) < 25_000  # under such load several go together


def test_a_single_item_goes_at_once_and_a_slow_trickle_is_not_held_up() -> None:
    done = threading.Event()
    batcher = Batcher(lambda batch: done.set(), delay_s=5)
    began = time.perf_counter()
    batcher.submit(1)
    assert done.wait(2) and time.perf_counter() - began < 2
    batcher.close()


def test_added_wait_is_bounded_by_the_delay() -> None:
    batcher: Batcher[int] = Batcher(lambda batch: None, delay_s=0.002)
    for burst in range(100):
        for number in range(burst % 7 + 1):
            batcher.submit(number)
        time.sleep(0.0005)
    batcher.close()
    said = batcher.statistics()
    assert said["added_p50_s"] <= said["added_p99_s"] < 0.05
    assert said["items"] == sum(burst % 7 + 1 for burst in range(100))


def test_a_failure_reaches_who_submits_and_who_closes() -> None:
    def work(batch: list[int]) -> None:
        raise ZeroDivisionError("broken")

    batcher = Batcher(work)
    batcher.submit(1)
    deadline = time.monotonic() + 5
    with pytest.raises(RuntimeError, match="closed"):
        while time.monotonic() < deadline:
            batcher.submit(2)
    with pytest.raises(ZeroDivisionError):
        batcher.close()


def test_no_room_and_no_sense_are_said() -> None:
    hold = threading.Event()
    batcher: Batcher[int] = Batcher(lambda batch: hold.wait(10) and None, capacity=2, most=1)
    with pytest.raises(TimeoutError, match="no room"):
        for number in range(10):
            batcher.submit(number, timeout=0.05)
    hold.set()
    batcher.close()
    for options in ({"most": 0}, {"delay_s": -1.0}):
        with pytest.raises(ValueError, match="most must be"):
            Batcher(lambda batch: None, **options)  # type: ignore[arg-type]


def together(sock: socket.socket, size: int, count: int) -> float:
    """Messages of 1 KiB a second, ``size`` of them at once."""
    messages = [bytes(1024)] * size
    begun = time.perf_counter()
    for _ in range(count // size):
        if size == 1:
            sock.sendall(messages[0])
        else:
            send_many(sock, messages)
    return count // size * size / (time.perf_counter() - begun)


def test_the_best_of_several_sizes_is_many_and_the_balanced_profile_is_near_it() -> None:
    """Measured in turns, the middle of seven: a busy machine slows all of them down."""
    sizes = [1, 4, 16, BALANCED.batch_count, 256]
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    with left, right:
        left.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = threading.Thread(target=lambda: [None for _ in iter(lambda: right.recv(1 << 20), b"")])
        reader.start()
        for _ in range(7):
            for size in sizes:
                rates[size].append(together(left, size, 5000))
        left.shutdown(socket.SHUT_WR)
        reader.join(20)
    middle = {size: sorted(found)[3] for size, found in rates.items()}
    best = max(middle, key=lambda size: middle[size])
    print(middle)
    assert best >= 16 and middle[best] > 2 * middle[1], middle
    assert middle[BALANCED.batch_count] > 0.6 * middle[best], middle
