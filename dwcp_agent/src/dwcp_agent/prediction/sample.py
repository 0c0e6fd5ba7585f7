"""What is seen of a link, and what is said of its next interval."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Forecast", "Sample"]


@dataclass(frozen=True)
class Sample:
    """What a link did in one interval, of half a second to a second.

    A sender that had nothing to send, or waited for its receiver, says nothing of the link: such an interval is no sample.
    """

    at_s: float
    """End of the interval in seconds, by any clock that does not stand still."""
    bytes_per_s: float
    rtt_ms: float
    """At the end of the interval; 0 when not known, as are the two below."""
    jitter_ms: float = 0.0
    loss: float = 0.0
    """Share of packets that had to be sent again."""


@dataclass(frozen=True)
class Forecast:
    """Of the next interval."""

    bytes_per_s: float
    low_bytes_per_s: float
    """Four intervals of five should end between ``low`` and ``high``."""
    high_bytes_per_s: float
    model: str
    """Who speaks."""
    samples: int
    """How many it rests on since the link was last lost sight of, counted up to the window."""
    enough: bool
    """False while there are too few samples for the model; then it is "same as last" that speaks, and the interval is a guess."""
