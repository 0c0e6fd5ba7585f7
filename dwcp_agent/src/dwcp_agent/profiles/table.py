"""The three profiles: everything that one changes, in one table."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["BALANCED", "HIGH_THROUGHPUT", "LOW_LATENCY", "PROFILES", "SMALL_BYTES", "Profile", "profile_named"]

SMALL_BYTES = 1 << 20
"""Content up to one unit, which one stream sends."""


@dataclass(frozen=True)
class Profile:
    """What a transfer is set up with."""

    name: str
    first_streams: int
    most_streams: int
    chunk_bytes: int
    """What a stream takes on at a time, 64 KiB to 1 MiB."""
    batch_count: int
    """Small operations that go together at most."""
    batch_delay_s: float
    """How long the first of them waits for others at most."""
    tier: str
    """Of compression: ``local`` (speed), ``regional`` (balanced), ``global`` (ratio)."""
    levels: tuple[int, int]
    """Lowest and highest zstd level; which one within them is measured while the transfer runs."""

    def fitted(self, size: int) -> Profile:
        """For content of ``size`` bytes: no more streams than chunks."""
        chunks = max(1, -(-size // self.chunk_bytes))
        return replace(
            self,
            first_streams=min(self.first_streams, chunks),
            most_streams=min(self.most_streams, chunks),
        )


LOW_LATENCY = Profile(
    name="low-latency",
    first_streams=4,
    most_streams=8,
    chunk_bytes=256 << 10,
    batch_count=16,
    batch_delay_s=0.0001,
    tier="local",
    levels=(1, 5),
)
BALANCED = Profile(
    name="balanced",
    first_streams=4,
    most_streams=4,
    chunk_bytes=512 << 10,
    batch_count=100,
    batch_delay_s=0.0005,
    tier="regional",
    levels=(1, 9),
)
HIGH_THROUGHPUT = Profile(
    name="high-throughput",
    first_streams=4,
    most_streams=8,
    chunk_bytes=1 << 20,
    batch_count=256,
    batch_delay_s=0.002,
    tier="global",
    levels=(3, 15),
)
PROFILES = (LOW_LATENCY, BALANCED, HIGH_THROUGHPUT)
"""By round trip, shortest first."""


def profile_named(name: str) -> Profile:
    """Raises ValueError when there is none of that name."""
    for profile in PROFILES:
        if profile.name == name:
            return profile
    raise ValueError(f"{name!r} is no profile; there are {', '.join(each.name for each in PROFILES)}")
