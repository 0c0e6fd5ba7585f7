"""What the kernel tells of a connection is read from the right places, and what it is told is kept."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from dwcp_agent.congestion.kernel import lift_limit, prefer, set_limit
from dwcp_agent.telemetry.tcp import tcp_info

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        left = socket.create_connection(listening.getsockname())
        right, _ = listening.accept()
    with left, right:
        yield left, right


def drain(sock: socket.socket, count: int) -> float:
    """Seconds until so many bytes came."""
    begun = time.monotonic()
    while count > 0:
        count -= len(sock.recv(1 << 20))
    return time.monotonic() - begun


def test_a_new_connection_over_loopback_is_fast_and_idle(pair: Pair) -> None:
    told = tcp_info(pair[0])
    assert 0 < told.rtt_us < 5_000 and 0 < told.min_rtt_us <= told.rtt_us * 2
    assert told.window_segments == 10  # RFC 6928
    assert (told.retransmitted_segments, told.receiver_limited_us, told.unsent_bytes) == (0, 0, 0)
    assert (told.sent_segments, told.lost_segments) == (0, 0)
    assert told.acked_bytes <= 1  # the SYN
    assert 0 < told.rtt_variation_us <= told.rtt_us


def test_what_was_sent_and_what_arrived_is_counted(pair: Pair) -> None:
    left, right = pair
    for _ in range(10):
        left.sendall(b"some")
        right.recv(4)
        # The answer carries the acknowledgement.
        right.sendall(b"!")
        left.recv(1)
    told = tcp_info(left)
    assert told.sent_segments == 10
    assert told.acked_bytes in (40, 41)
    assert (told.retransmitted_segments, told.lost_segments) == (0, 0)


def test_figures_are_where_the_kernels_header_has_them(pair: Pair) -> None:
    class Told(socket.socket):
        """Answers with the number of each 32-bit word of the structure."""

        def getsockopt(self, *_: int) -> bytes:  # type: ignore[override]
            return struct.pack("=56I", *range(56))

    with Told() as sock:
        told = tcp_info(sock)
    words = (told.lost_segments, told.rtt_us, told.rtt_variation_us, told.retransmitted_segments, told.min_rtt_us, told.sent_segments)
    assert words == (8, 17, 18, 25, 37, 39)
    assert told.acked_bytes == 30 | 31 << 32


def test_a_receiver_that_does_not_read_is_seen_to_limit(pair: Pair) -> None:
    left, right = pair
    size = 16 << 20
    sender = threading.Thread(target=left.sendall, args=(bytes(size),))
    sender.start()
    time.sleep(0.3)
    stuck = tcp_info(left)
    assert stuck.unsent_bytes > 0
    drain(right, size)
    sender.join()
    told = tcp_info(left)
    assert 0.15e6 < told.receiver_limited_us <= told.busy_us
    assert told.delivery_bytes_per_s > 0


def test_what_is_no_connection_is_an_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError):
        tcp_info(sock)


def test_a_short_path_keeps_what_the_host_has(pair: Pair) -> None:
    pair[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")  # every kernel has it, and lets everybody choose it
    assert prefer(pair[0]) == "reno"


def test_a_limit_is_the_kernels_to_keep(pair: Pair) -> None:
    left, right = pair
    set_limit(left, 4_000_000)
    size = 4_000_000
    sender = threading.Thread(target=left.sendall, args=(bytes(size),))
    sender.start()
    # What a connection may send at once at its beginning is not held back.
    assert drain(right, size) > 0.7
    sender.join()


def test_a_limit_that_is_lifted_is_gone(pair: Pair) -> None:
    left, right = pair
    set_limit(left, 1_000_000)
    lift_limit(left)
    size = 8_000_000
    sender = threading.Thread(target=left.sendall, args=(bytes(size),))
    sender.start()
    assert drain(right, size) < 2  # 8 s with the limit
    sender.join()
