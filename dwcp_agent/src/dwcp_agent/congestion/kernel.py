"""Which congestion control a sending socket has, and how fast it may go at most. Both are the kernel's to do; here it is told which.

A stream that takes every loss for congestion (cubic) is slow wherever a link loses packets for other reasons; BBR goes by delivery rate
and round-trip time. On a short path cubic moves more for the same processor time, so BBR is asked for from a round trip of some
milliseconds on.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from dwcp_agent.telemetry.tcp import tcp_info

__all__ = ["LONG_PATH_US", "MODEL_BASED", "lift_limit", "prefer", "set_limit"]

LONG_PATH_US = 10_000
MODEL_BASED = "bbr"
_SO_MAX_PACING_RATE = 47  # asm-generic/socket.h
_NO_LIMIT = 2**64 - 1
_NAME_BYTES = 16


def prefer(sock: socket.socket) -> str:
    """Asks for BBR on a long path; the name of what the socket has then.

    Where the kernel has no BBR, or does not let this user choose it (``net.ipv4.tcp_allowed_congestion_control``), nothing is changed.
    """
    with contextlib.suppress(OSError):
        # The least that was seen: a busy machine makes any path look long.
        if tcp_info(sock).min_rtt_us >= LONG_PATH_US:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, MODEL_BASED.encode())
    with contextlib.suppress(OSError):
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES).rstrip(b"\0").decode()
    return "unknown"


def set_limit(sock: socket.socket, bytes_per_s: int) -> None:
    """The kernel paces what is sent to at most this, headers included. Raises OSError."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("=Q", bytes_per_s))


def lift_limit(sock: socket.socket) -> None:
    """The kernel limits it no more. Raises OSError."""
    set_limit(sock, _NO_LIMIT)
