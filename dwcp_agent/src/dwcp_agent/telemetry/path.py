"""What several TCP connections over one path tell of it together."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from dwcp_agent.telemetry.tcp import TcpInfo, tcp_info

__all__ = ["PathMeter", "PathSample"]

_REMEMBERED_S = 300.0
"""As long as the kernel remembers a least round trip (``net.ipv4.tcp_min_rtt_wlen``): a path may change."""

_WAITS = 0.5
"""A connection that waited for its receiver for this part of the time would not be faster on a faster path."""


@dataclass(frozen=True)
class PathSample:
    """A path in the interval that ended at ``at_s``."""

    at_s: float
    """On the clock of whoever measured."""
    interval_s: float
    """0 for the first sample: there is no rate in it yet."""
    streams: int
    """Connections that were there at its end."""
    delivered_bytes_per_s: float
    """What arrived: acknowledged bytes over the interval."""
    delivery_bytes_per_s: float
    """What the kernel takes the path to carry: the delivery rates of all connections on which something arrived, summed. Unlike what
    arrived it does not fall when a sender has less to send."""
    rtt_ms: float
    """Median (of an even number the higher) of the connections' smoothed round trips."""
    min_rtt_ms: float
    """The least of the path, of at most 300 s."""
    jitter_ms: float
    """Median of their mean deviations."""
    sent_segments: int
    """With data, those sent again included."""
    retransmitted_segments: int
    wanting_streams: int = 0
    """Connections that were given more than the network took, and whose receiver was not what they waited for."""

    @property
    def loss(self) -> float:
        """Share of the segments that had to be sent again, 0 to 1. A segment sent again for nothing (reordered, late) counts as lost."""
        return min(1.0, self.retransmitted_segments / self.sent_segments) if self.sent_segments else 0.0


def _middle(values: Iterable[int]) -> int:
    found = sorted(values)
    return found[len(found) // 2]


class PathMeter:
    """Makes samples out of the counters of connections, which come and go. Not safe from several threads."""

    def __init__(self) -> None:
        self._before: WeakKeyDictionary[socket.socket, TcpInfo] = WeakKeyDictionary()
        self._at: float | None = None
        self._least: tuple[int, float] | None = None

    def sample(self, sockets: Iterable[socket.socket], now: float) -> PathSample | None:
        """Everything since the last call; None when no connection is there.

        What a connection counted before it was seen first is not of this transfer, as kept connections have earlier ones' counters. When a
        counter went back the connection is another one, and all it counted is new. A closed socket is passed over.
        """
        told = {sock: info for sock in sockets if (info := _ask(sock)) is not None}
        if not told:
            return None
        interval_s = now - self._at if self._at is not None else 0.0
        since = [(info, *_since(self._before.get(sock), info)) for sock, info in told.items()]
        wanting = sum(_wants(self._before.get(sock), info, interval_s) for sock, info in told.items())
        moved = [info for info, acked, _, _ in since if acked]
        self._before.clear()
        self._before.update(told)
        self._at = now
        heard = moved or list(told.values())  # the round trips of a connection that carries nothing are old
        return PathSample(
            at_s=now,
            interval_s=interval_s,
            streams=len(told),
            delivered_bytes_per_s=sum(each[1] for each in since) / interval_s if interval_s > 0 else 0.0,
            delivery_bytes_per_s=float(sum(info.delivery_bytes_per_s for info in moved)),
            rtt_ms=_middle(info.rtt_us for info in heard) / 1e3,
            min_rtt_ms=self._least_of(told.values(), now) / 1e3,
            jitter_ms=_middle(info.rtt_variation_us for info in heard) / 1e3,
            sent_segments=sum(each[2] for each in since),
            retransmitted_segments=sum(each[3] for each in since),
            wanting_streams=wanting,
        )

    def _least_of(self, told: Iterable[TcpInfo], now: float) -> int:
        # A kernel that has not measured yet says 2^32 - 1, an old one 0.
        known = [info.min_rtt_us for info in told if 0 < info.min_rtt_us < 2**32 - 1] or [info.rtt_us for info in told]
        least = min(known)
        if self._least is None or least <= self._least[0] or now - self._least[1] > _REMEMBERED_S:
            self._least = least, now
        return self._least[0]


def _ask(sock: socket.socket) -> TcpInfo | None:
    try:
        return tcp_info(sock)
    except (OSError, ValueError):
        return None


def _wants(before: TcpInfo | None, now: TcpInfo, interval_s: float) -> bool:
    waited_us = now.receiver_limited_us - (before.receiver_limited_us if before is not None else now.receiver_limited_us)
    return now.unsent_bytes > 0 and waited_us < _WAITS * interval_s * 1e6


def _since(before: TcpInfo | None, now: TcpInfo) -> tuple[int, int, int]:
    """Bytes acknowledged, segments sent, segments sent again."""
    if before is None:
        return 0, 0, 0
    counts = [
        (before.acked_bytes, now.acked_bytes),
        (before.sent_segments, now.sent_segments),
        (before.retransmitted_segments, now.retransmitted_segments),
    ]
    if any(new < old for old, new in counts):
        return now.acked_bytes, now.sent_segments, now.retransmitted_segments
    acked, sent, again = (new - old for old, new in counts)
    return acked, sent, again
