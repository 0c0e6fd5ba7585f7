"""How many streams a transfer uses (AMST): the path's bandwidth-delay product in chunks, within bounds, changed with care."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["MOST_STREAMS", "StreamCount", "count_streams"]

MOST_STREAMS = 256
_CHANGE = 0.1
_FACTOR = 2


@dataclass(frozen=True)
class StreamCount:
    """How many streams, and why."""

    streams: int
    why: str


def count_streams(
    bandwidth_bytes_per_s: float, rtt_ms: float, chunk_bytes: int, *, current: int, least: int, most: int, units: int, limit: int
) -> StreamCount:
    """The number of streams for the next interval.

    Args:
        bandwidth_bytes_per_s: what the path carries, or will; 0 when nothing is known: then nothing changes.
        rtt_ms: the path's least round trip. A queue would ask for streams that make it longer.
        chunk_bytes: what a stream has under way at a time.
        current: the number until now.
        least: streams that are worth having for the processors, however short the path is.
        most: the profile's.
        units: pieces of work there are; a stream more than that would have nothing to do.
        limit: what the agent takes.

    What there are units for and what the agent takes is not exceeded for a moment; everything else is approached by a factor of 2 at most.
    """
    hard = max(1, min(MOST_STREAMS, units, limit))
    most = max(1, min(hard, most))
    least = max(1, min(least, most))
    if bandwidth_bytes_per_s > 0:
        in_flight = bandwidth_bytes_per_s * rtt_ms / 1e3
        asked = min(math.ceil(in_flight / chunk_bytes), MOST_STREAMS)
        why = f"{in_flight / 1e6:.3g} MB in flight, {asked} chunks"
    else:
        asked, why = current, "nothing is known of the path"
    wanted = max(least, min(asked, most))
    if wanted != asked:
        why += f", within {least} to {most}"
    if abs(wanted - current) <= _CHANGE * current:
        wanted = current
    nearest = max(-(-current // _FACTOR), min(wanted, _FACTOR * current))
    if nearest != wanted:
        why += f", {wanted} in steps of a factor of {_FACTOR}"
    return StreamCount(max(1, min(nearest, hard)), why)
