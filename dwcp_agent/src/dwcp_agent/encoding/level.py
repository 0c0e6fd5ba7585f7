"""How hard content is squeezed: as hard as lets the link and both processors be busy, decided again and again while a transfer runs.

A fixed level is wrong on most links, and a level that follows one figure alone is a trap: a sender that waits may wait for the link, and
then a higher level is free, or for the other side's processor, and then it makes things worse. So three things are looked at: how much of
the time streams wait for their socket; how much of that the kernel says to be the receiver's window; and whether the threads that compress
get a processor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["LEVELS", "Decision", "LevelChooser", "Sample", "decide"]

LEVELS = (1, 3, 5, 7, 9, 12, 15)
"""Of zstd. Between them lies a factor of about two in time."""
FIRST = 1
"""A link that is slow shows within a second, and the level goes up; a processor that was busy for nothing shows in the transfer's time."""
_WINDOW_S = 0.4
_MANY_BYTES = 4 << 20
_WAITS = 0.55
"""From this share of time on, streams wait for their sockets rather than for the encoder, even at twice the encoding time."""
_ENCODES = 0.25
_THEIR_WINDOW = 0.2
_OUR_PROCESSOR = 0.8
_STAYS_S = 20.0
"""A level that was too much is not tried again for so long: each change begins a frame that knows nothing of what was before it."""


@dataclass(frozen=True)
class Sample:
    """What one window of a transfer's streams was spent on, in seconds summed over streams."""

    encoding_s: float
    encoding_cpu_s: float
    """Of ``encoding_s``, what threads had a processor for."""
    sending_s: float
    receiver_limited_s: float
    """How long the receiver's window was what limited (``tcpi_rwnd_limited``)."""


@dataclass(frozen=True)
class Decision:
    """A level, and why."""

    level: int
    why: str
    at_s: float = 0.0
    """On the chooser's clock."""


def decide(level: int, sample: Sample, bounds: tuple[int, int] = (LEVELS[0], LEVELS[-1])) -> Decision:
    """The level for the next window: one of ``LEVELS`` within ``bounds``, at most one step from ``level``, or nearer to them."""
    at = LEVELS.index(level)
    if not bounds[0] <= level <= bounds[1]:
        nearer = LEVELS[at + 1] if level < bounds[0] else LEVELS[at - 1]
        return Decision(nearer, f"the profile has levels {bounds[0]} to {bounds[1]}")
    said = _decide(at, level, sample)
    if bounds[0] <= said.level <= bounds[1]:
        return said
    return Decision(level, f"{said.why}, but the profile has levels {bounds[0]} to {bounds[1]}")


def _decide(at: int, level: int, sample: Sample) -> Decision:
    total = sample.encoding_s + sample.sending_s
    if total <= 0:
        return Decision(level, "nothing was sent")
    waits = sample.sending_s / total
    starved = sample.encoding_s > 0 and sample.encoding_cpu_s / sample.encoding_s < _OUR_PROCESSOR
    theirs = sample.receiver_limited_s / sample.sending_s if sample.sending_s > 0 else 0.0
    if waits < _ENCODES and at > 0:
        return Decision(LEVELS[at - 1], f"encoding took {1 - waits:.0%} of the time")
    if waits > _WAITS and theirs > _THEIR_WINDOW:
        return Decision(
            LEVELS[max(at - 1, 0)] if theirs > 2 * _THEIR_WINDOW else level, f"the receiver limited for {theirs:.0%} of the time"
        )
    if waits > _WAITS and starved:
        return Decision(level, f"no processor is free: encoding had one for {sample.encoding_cpu_s / sample.encoding_s:.0%} of its time")
    if waits > _WAITS and at + 1 < len(LEVELS):
        return Decision(LEVELS[at + 1], f"streams waited for the link {waits:.0%} of the time")
    return Decision(level, f"streams waited {waits:.0%} of the time")


class LevelChooser:
    """Collects samples of several streams and keeps the level; safe from several threads."""

    def __init__(self, first: int = FIRST, clock: Callable[[], float] = time.monotonic) -> None:
        self.level = first
        self.bounds = (LEVELS[0], LEVELS[-1])
        """Lowest and highest that may be chosen."""
        self.decisions: list[Decision] = []
        self._clock = clock
        self._too_much: tuple[int, float] | None = None
        """The level that was left for a lower one last, and when."""
        self._lock = threading.Lock()
        self._begin = clock()
        self._sums = [0.0, 0.0, 0.0, 0.0]
        self._bytes = 0

    def took(self, sample: Sample, content_bytes: int) -> None:
        """A stream spent this on that much content."""
        with self._lock:
            for index, value in enumerate((sample.encoding_s, sample.encoding_cpu_s, sample.sending_s, sample.receiver_limited_s)):
                self._sums[index] += value
            self._bytes += content_bytes
            if self._clock() - self._begin < _WINDOW_S or self._bytes < _MANY_BYTES:
                return
            decision = decide(self.level, Sample(*self._sums), self.bounds)
            if decision.level < self.level:
                self._too_much = (self.level, self._clock())
            elif self._again(decision.level):
                decision = replace(decision, level=self.level)
            if decision.level != self.level:
                self.decisions.append(replace(decision, at_s=self._clock()))
            self.level = decision.level
            self._begin, self._sums, self._bytes = self._clock(), [0.0, 0.0, 0.0, 0.0], 0

    def _again(self, level: int) -> bool:
        """Whether this is a level that was left for a lower one lately. A profile's lowest is taken all the same."""
        if self._too_much is None or self.level < self.bounds[0]:
            return False
        left, at_s = self._too_much
        return level > self.level and level >= left and self._clock() - at_s < _STAYS_S
