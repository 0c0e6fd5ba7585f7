"""The policies together: over connections that tell what the test says, and over real ones."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dwcp_agent.congestion.kernel import set_limit
from dwcp_agent.profiles.table import HIGH_THROUGHPUT
from dwcp_agent.telemetry.decisions import DecisionLog
from dwcp_agent.telemetry.path import PathSample
from dwcp_agent.transport.steering import Steering
from paths import Told

MB = 10**6
UNLIMITED = 2**64 - 1


class Scripted:
    """A transfer over four connections of 100 ms, half a second a step."""

    def __init__(self, *, rtt_us: int = 100_000, **arguments: Any) -> None:
        self.sockets = [Told(rtt_us=rtt_us, min_rtt_us=rtt_us) for _ in range(4)]
        self.log = DecisionLog()
        self.now = 50.0
        settings: dict[str, Any] = {"limit_bytes_per_s": None, "size": 1 << 30, "processors": 2} | arguments
        self.steering = Steering(lambda: list(self.sockets), self.log, clock=lambda: self.now, **settings)
        self.steering.step()

    def steps(self, count: int, *, rate: int = 40 * MB, loss: float = 0.0) -> None:
        """All connections together carry ``rate`` bytes a second."""
        for _ in range(count):
            self.now += 0.5
            for sock in self.sockets:
                each = rate // len(self.sockets)
                sock.count(acked_bytes=each // 2, sent_segments=1000, retransmitted_segments=round(1000 * loss))
                sock.figures["delivery_bytes_per_s"] = each
            self.steering.step()

    def told(self, policy: str) -> list[tuple[object, str]]:
        return [(each.value, each.why) for each in self.log.decisions(policy)]

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    with contextlib.ExitStack() as made:
        yield lambda **arguments: made.enter_context(contextlib.closing(Scripted(**arguments)))


# -- rate -------------------------------------------------------------------------------------------------------------------------


def test_without_congestion_and_limit_no_connection_is_touched(scripted: Callable[..., Scripted]) -> None:
    at = scripted()
    at.steps(10)
    assert at.steering.rate_cap is None
    assert not any(sock.limits for sock in at.sockets)
    assert "congestion" not in at.log.counts()
    at.steering.stop()
    assert not any(sock.limits for sock in at.sockets)


def test_a_limit_is_shared_out_equally_and_again_when_connections_come_and_go(scripted: Callable[..., Scripted]) -> None:
    at = scripted(limit_bytes_per_s=12 * MB)
    at.steps(3)
    assert [sock.limits for sock in at.sockets] == [[3 * MB]] * 4
    at.sockets[0].close()
    at.steps(1)
    assert [sock.limits[1:] for sock in at.sockets] == [[]] + [[4 * MB]] * 3
    joined = Told()
    at.sockets += [joined, Told(), Told()]
    at.steps(1)
    assert joined.limits == [2 * MB]
    at.steering.stop()
    assert [sock.limits[-1] for sock in at.sockets[1:]] == [UNLIMITED] * 6


def test_congestion_caps_all_connections_together_and_says_why(scripted: Callable[..., Scripted]) -> None:
    at = scripted()
    at.steps(4)  # in which the kernel looks for the path's rate
    at.steps(2, loss=0.12)
    assert at.steering.rate_cap == 20 * MB
    assert [sock.limits for sock in at.sockets] == [[5 * MB]] * 4
    assert at.told("congestion") == [(20e6, "480 of 4000 segments sent again: x0.5 of 40 MB/s")]


def test_the_cap_grows_with_one_word_and_goes_when_it_limits_nothing(scripted: Callable[..., Scripted]) -> None:
    at = scripted()
    at.steps(6, loss=0.12)
    at.steps(5, rate=20 * MB)
    grown = at.steering.rate_cap
    assert grown is not None and grown > 20 * MB
    assert [why for _, why in at.told("congestion")][1:] == ["clean for 0.5 s"]
    at.steps(5, rate=5 * MB)
    assert at.steering.rate_cap is None
    assert [sock.limits[-1] for sock in at.sockets] == [UNLIMITED] * 4
    assert at.told("congestion")[-1] == (None, "clean, and 5 MB/s need no cap")
    before = [list(sock.limits) for sock in at.sockets]
    at.steps(3)
    assert [sock.limits for sock in at.sockets] == before


def test_a_limit_outlives_the_cap(scripted: Callable[..., Scripted]) -> None:
    at = scripted(limit_bytes_per_s=16 * MB)
    at.steps(6, rate=16 * MB, loss=0.06)
    assert at.steering.rate_cap == int(0.7 * 16 * MB)
    at.steps(9, rate=5 * MB)
    assert at.steering.rate_cap == 16 * MB
    assert [sock.limits[-1] for sock in at.sockets] == [4 * MB] * 4


def test_with_no_connection_left_nothing_is_decided(scripted: Callable[..., Scripted]) -> None:
    at = scripted()
    at.steps(1)
    path = at.steering.path
    for sock in at.sockets:
        sock.gone = True
    assert at.steering.step() is None
    assert at.steering.path is path


def test_a_connection_that_dies_while_it_is_told_is_passed_over(scripted: Callable[..., Scripted]) -> None:
    at = scripted()

    def dies(*_: Any) -> None:
        raise OSError("gone")

    at.sockets[1].setsockopt = dies  # type: ignore[method-assign]
    at.steps(6, loss=0.12)
    assert [sock.limits for sock in at.sockets] == [[5 * MB], [], [5 * MB], [5 * MB]]


# -- profile ----------------------------------------------------------------------------------------------------------------------


def test_the_profile_is_known_from_the_first_look(scripted: Callable[..., Scripted]) -> None:
    at = scripted(rtt_us=3_000)
    assert at.steering.profile.name == "low-latency"
    assert at.told("profile") == [("low-latency", "round trip 3 ms")]


def test_the_profile_follows_a_path_that_turns_out_shorter_after_its_stay(scripted: Callable[..., Scripted]) -> None:
    at = scripted(rtt_us=150_000)
    for sock in at.sockets:
        sock.figures["min_rtt_us"] = 50_000
    at.steps(9)
    assert at.steering.profile.name == "high-throughput"
    at.steps(1)
    assert at.steering.profile.name == "balanced"
    assert [value for value, _ in at.told("profile")] == ["high-throughput", "balanced"]


def test_a_profile_that_is_asked_for_stays(scripted: Callable[..., Scripted]) -> None:
    at = scripted(rtt_us=3_000, forced=HIGH_THROUGHPUT)
    at.steps(20)
    assert at.steering.profile == HIGH_THROUGHPUT
    assert at.told("profile") == [("high-throughput", "asked for")]


# -- streams ----------------------------------------------------------------------------------------------------------------------


def test_streams_are_added_when_the_path_holds_more_and_closed_only_when_it_is_known(scripted: Callable[..., Scripted]) -> None:
    at = scripted(rtt_us=200_000)
    assert at.steering.streams == 4
    at.steps(1, rate=30 * MB)  # 6 MB in flight
    assert at.steering.streams == 6
    at.steps(6, rate=15 * MB)
    assert at.steering.streams == 6
    at.steps(8, rate=15 * MB)
    assert at.steering.streams == 3
    assert [value for value, _ in at.told("streams")] == [6, 3]


def test_a_path_at_its_beginning_closes_no_stream(scripted: Callable[..., Scripted]) -> None:
    at = scripted()
    at.steps(7, rate=MB)
    assert at.steering.streams == 4
    at.steps(1, rate=MB)
    assert at.steering.streams == 2  # processors
    at.steps(5, rate=0)
    assert at.steering.streams == 2


def test_a_forecast_is_used_instead_of_what_was_seen_last(scripted: Callable[..., Scripted]) -> None:
    seen: list[PathSample] = []

    def forecast(sample: PathSample) -> float | None:
        seen.append(sample)
        return 70e6 if len(seen) > 2 else None

    at = scripted(forecast=forecast)
    at.steps(1)
    assert at.steering.streams == 4  # 40 MB/s, 100 ms
    at.steps(1)
    assert at.steering.streams == 7
    assert seen[-1] is at.steering.path


def test_a_forecast_closes_streams_before_the_path_is_known_without_one(scripted: Callable[..., Scripted]) -> None:
    at = scripted(forecast=lambda _: 1e6)
    assert at.steering.streams == 2


def test_one_interval_in_which_little_was_sent_closes_no_stream(scripted: Callable[..., Scripted]) -> None:
    at = scripted(rtt_us=200_000)
    at.steps(9, rate=30 * MB)
    assert at.steering.streams == 6
    at.steps(1, rate=MB)
    assert at.steering.streams == 6


def test_a_rate_that_is_capped_needs_fewer_streams(scripted: Callable[..., Scripted]) -> None:
    at = scripted(rtt_us=200_000, limit_bytes_per_s=15 * MB)
    at.steps(8, rate=30 * MB)
    assert at.steering.streams == 3


def test_there_are_no_more_streams_than_pieces_of_work_or_than_the_agent_takes(scripted: Callable[..., Scripted]) -> None:
    small = scripted(size=700_000)
    small.steps(3)
    assert small.steering.streams == 3  # low-latency by its size: chunks of 256 KiB
    few = scripted(most_streams=2)
    assert few.steering.streams == 2
    few.steps(3)
    assert few.steering.streams == 2


# -- real connections -------------------------------------------------------------------------------------------------------------


class Lossy(socket.socket):
    """A real connection that tells, while it is ``lossy``, of retransmissions that loopback does not have."""

    lossy = False
    again = 0

    def getsockopt(self, level: int, option: int, *rest: int) -> Any:
        told = super().getsockopt(level, option, *rest)
        if (level, option) != (socket.IPPROTO_TCP, socket.TCP_INFO):
            return told
        sent = struct.unpack_from("=I", told, 156)[0]
        if self.lossy:
            self.again = sent // 5
        return told[:100] + struct.pack("=I", self.again) + told[104:]


class Traffic:
    """Two real connections over loopback, which send as much as they may, or a little."""

    def __init__(self, opened: contextlib.ExitStack) -> None:
        self.received = 0
        self.little = threading.Event()
        self._ends = threading.Event()
        self._counting = threading.Lock()
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.sockets: list[Lossy] = []
        threads = []
        for _ in range(2):
            left = opened.enter_context(Lossy())
            left.connect(listening.getsockname())
            right = opened.enter_context(listening.accept()[0])
            self.sockets.append(left)
            threads += [threading.Thread(target=self._send, args=(left,)), threading.Thread(target=self._receive, args=(right,))]
        for thread in threads:
            thread.start()
            opened.callback(thread.join)
        opened.callback(self._end)

    def rate_over(self, seconds: float) -> float:
        """Bytes a second that arrive from now on."""
        begun, before = time.monotonic(), self.received
        time.sleep(seconds)
        return (self.received - before) / (time.monotonic() - begun)

    def _send(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._ends.is_set():
                sock.sendall(bytes(1000 if self.little.is_set() else 65536))
                if self.little.is_set():
                    self._ends.wait(0.001)

    def _receive(self, sock: socket.socket) -> None:
        buffer = bytearray(1 << 18)
        while count := sock.recv_into(buffer):
            with self._counting:
                self.received += count

    def _end(self) -> None:
        self._ends.set()
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def test_a_cap_holds_over_real_connections_and_is_gone_once_it_is_lifted() -> None:
    with contextlib.ExitStack() as opened:
        traffic = Traffic(opened)
        for sock in traffic.sockets:
            set_limit(sock, 20 * MB)  # the path: 40 MB/s
        ahead_s = 0.0
        log = DecisionLog()
        steering = Steering(
            lambda: list(traffic.sockets), log, limit_bytes_per_s=None, size=1 << 40, clock=lambda: time.monotonic() + ahead_s
        )
        opened.callback(steering.stop)
        steering.step()
        assert traffic.rate_over(0.5) == pytest.approx(40e6, rel=0.2)
        for sock in traffic.sockets:
            sock.lossy = True
        ahead_s += 3  # in which the kernel may look for the path's rate
        steering.step()
        assert steering.rate_cap is None  # a sign has to last
        time.sleep(0.3)
        steering.step()
        cap = steering.rate_cap
        assert cap == pytest.approx(20e6, rel=0.2)
        assert traffic.rate_over(0.7) == pytest.approx(cap, rel=0.2)

        for sock in traffic.sockets:
            sock.lossy = False
        traffic.little.set()
        for _ in range(12):
            before = traffic.received
            deadline = time.monotonic() + 5
            while traffic.received == before and time.monotonic() < deadline:
                time.sleep(0.01)
            ahead_s += 0.5
            steering.step()
            if steering.rate_cap is None:
                break
        assert steering.rate_cap is None
        traffic.little.clear()
        assert traffic.rate_over(0.5) > 3 * cap
        assert [each.value for each in log.decisions("congestion")][-1] is None


def test_a_limit_holds_by_itself_while_the_thread_runs_and_kept_connections_are_free_afterwards() -> None:
    with contextlib.ExitStack() as opened:
        traffic = Traffic(opened)
        steering = Steering(lambda: list(traffic.sockets), DecisionLog(), limit_bytes_per_s=20 * MB, size=1 << 40)
        steering.start()
        deadline = time.monotonic() + 5
        while steering.path is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)  # what was in the sockets before
        assert traffic.rate_over(0.7) == pytest.approx(20e6, rel=0.2)
        assert steering.path is not None and steering.path.interval_s > 0
        steering.stop()
        assert traffic.rate_over(0.3) > 60e6
        seen = steering.path
        time.sleep(0.6)
        assert steering.path is seen


def test_one_step_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    asked = threading.Semaphore(0)

    def sockets() -> list[socket.socket]:
        asked.release()
        raise RuntimeError("no list yet")

    steering = Steering(sockets, DecisionLog(), limit_bytes_per_s=None, size=1)
    steering.start()
    assert asked.acquire(timeout=5) and asked.acquire(timeout=5)
    steering.stop()
    assert "steering-failed" in caplog.text
