"""What the kernel knows of a TCP connection (``TCP_INFO``): measured, where an application could only guess."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

__all__ = ["TcpInfo", "tcp_info"]

_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_BYTES = 224


@dataclass(frozen=True)
class TcpInfo:
    """Of ``struct tcp_info`` in linux/tcp.h. Times are since the connection began; what an older kernel does not tell is 0."""

    rtt_us: int
    rtt_variation_us: int
    """The kernel's smoothed mean deviation of the round trip."""
    min_rtt_us: int
    """Of the last 300 s (``net.ipv4.tcp_min_rtt_wlen``)."""
    window_segments: int
    sent_segments: int
    """With data, each time one was sent: those sent again count again."""
    retransmitted_segments: int
    lost_segments: int
    """On their way now and taken for lost."""
    acked_bytes: int
    """Of the stream, that the other side's kernel has; SYN and FIN count one each."""
    delivery_bytes_per_s: int
    busy_us: int
    """There was something to send."""
    receiver_limited_us: int
    """The receiver's window was what limited."""
    buffer_limited_us: int
    """Our own send buffer was."""
    unsent_bytes: int


def tcp_info(sock: socket.socket) -> TcpInfo:
    """What is known of ``sock`` now. Raises OSError when it is no TCP connection."""
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES).ljust(_BYTES, b"\0")

    def u32(offset: int) -> int:
        return int(_U32.unpack_from(told, offset)[0])

    def u64(offset: int) -> int:
        return int(_U64.unpack_from(told, offset)[0])

    return TcpInfo(
        rtt_us=u32(68),
        rtt_variation_us=u32(72),
        min_rtt_us=u32(148),
        window_segments=u32(80),
        sent_segments=u32(156),
        retransmitted_segments=u32(100),
        lost_segments=u32(32),
        acked_bytes=u64(120),
        delivery_bytes_per_s=u64(160),
        busy_us=u64(168),
        receiver_limited_us=u64(176),
        buffer_limited_us=u64(184),
        unsent_bytes=u32(144),
    )
