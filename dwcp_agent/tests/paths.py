"""A path for tests of what is measured and decided: samples, and connections that tell what they are asked to."""

from __future__ import annotations

import errno
import socket
import struct

from dwcp_agent.telemetry.path import PathSample


def sample(
    *,
    delivered: float = 10e6,
    delivery: float | None = None,
    rtt_ms: float = 20.0,
    min_rtt_ms: float = 20.0,
    sent: int = 1000,
    again: int = 0,
    interval_s: float = 0.5,
) -> PathSample:
    """Half a second of a clean path with 10 MB/s and 20 ms, but for what is said."""
    return PathSample(
        at_s=0.0,
        interval_s=interval_s,
        streams=4,
        delivered_bytes_per_s=delivered,
        delivery_bytes_per_s=delivered if delivery is None else delivery,
        rtt_ms=rtt_ms,
        min_rtt_ms=min_rtt_ms,
        jitter_ms=0.0,
        sent_segments=sent,
        retransmitted_segments=again,
    )


class Told(socket.socket):
    """A connection that tells what the test says, and keeps what it is told; ``gone`` ones have been closed."""

    def __init__(self, **figures: int) -> None:
        super().__init__()
        self.figures = {"rtt_us": 20_000, "min_rtt_us": 20_000} | figures
        self.gone = False
        self.limits: list[int] = []

    def count(self, **more: int) -> None:
        """Counters go on by so much."""
        for name, value in more.items():
            self.figures[name] = self.figures.get(name, 0) + value

    def getsockopt(self, *_: int) -> bytes:  # type: ignore[override]
        if self.gone:
            raise OSError(errno.EBADF, "Bad file descriptor")
        told = bytearray(224)
        for name, value in self.figures.items():
            form, offset = _PLACES[name]
            struct.pack_into(form, told, offset, value)
        return bytes(told)

    def setsockopt(self, level: int, option: int, value: bytes) -> None:  # type: ignore[override]
        if self.gone:
            raise OSError(errno.EBADF, "Bad file descriptor")
        assert (level, option) == (socket.SOL_SOCKET, 47)  # SO_MAX_PACING_RATE
        self.limits.append(struct.unpack("=Q", value)[0])


_PLACES = {
    "rtt_us": ("=I", 68),
    "rtt_variation_us": ("=I", 72),
    "retransmitted_segments": ("=I", 100),
    "acked_bytes": ("=Q", 120),
    "min_rtt_us": ("=I", 148),
    "sent_segments": ("=I", 156),
    "delivery_bytes_per_s": ("=Q", 160),
}
"""Of struct tcp_info."""
