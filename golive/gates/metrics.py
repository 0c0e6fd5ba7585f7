"""The ports through which a gate measures, and the fakes that keep the same contract.

``Metrics``: what Prometheus scraped. ``Requests``: what one load client counted. Both answer with data or with ``NoData`` and its reason;
an answer that is unreachable, late, refused, malformed, empty, not a number or old is never a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from golive.gates.window import NoData, Reason, Series

__all__ = ["FakeMetrics", "FakeRequests", "Metrics", "Page", "Requests", "Track"]


@dataclass(frozen=True)
class Track:
    """One series with its labels."""

    labels: Mapping[str, str]
    series: Series


@dataclass(frozen=True)
class Page:
    """A piece of what a load client counted, ``[seq, time, release, op, result, latency_s]`` each."""

    boot: str
    next: int
    samples: Sequence[Sequence[Any]]


class Metrics(Protocol):
    """Scraped series."""

    def now(self) -> float | NoData:
        """Unix time by the clock that stamps what is scraped."""

    def raw(self, metric: str, labels: Mapping[str, str], seconds: float, now: float) -> list[Track] | NoData:
        """All series of ``metric`` with these labels: every point of the ``seconds`` before ``now``, with the time of its scrape.

        NoData EMPTY when no such series was scraped in that time, NOT_A_NUMBER when a point is none.
        """

    def firing(self, now: float) -> list[Mapping[str, str]] | NoData:
        """The labels of every alert that fires. Empty when none does; NoData OLD when the rules were not evaluated lately."""


class Requests(Protocol):
    """One load client."""

    name: str

    def after(self, seq: int) -> Page | NoData:
        """Requests counted after ``seq`` (0: all it still has), oldest first; at most what one page holds."""


@dataclass
class FakeMetrics:
    """Series that a test sets by hand."""

    tracks: dict[str, list[Track]] = field(default_factory=dict)
    alerts: list[Mapping[str, str]] = field(default_factory=list)
    broken: NoData | None = None
    """While set, every question is answered with it."""
    clock: Callable[[], float] | None = None

    def now(self) -> float | NoData:
        return self.broken or (self.clock() if self.clock is not None else NoData("time", Reason.EMPTY))

    def put(self, metric: str, points: Sequence[tuple[float, float]], **labels: str) -> None:
        """Adds points (time, value) to the series with these labels."""
        kept = [track for track in self.tracks.get(metric, []) if track.labels != labels]
        old = next((list(zip(t.series.time, t.series.value, strict=True)) for t in self.tracks.get(metric, []) if t.labels == labels), [])
        merged = sorted([*old, *points])
        series = Series(np.array([t for t, _ in merged], float), np.array([v for _, v in merged], float))
        self.tracks[metric] = [*kept, Track(labels, series)]

    def raw(self, metric: str, labels: Mapping[str, str], seconds: float, now: float) -> list[Track] | NoData:
        if self.broken is not None:
            return self.broken
        found = []
        for track in self.tracks.get(metric, []):
            if all(track.labels.get(key) == value for key, value in labels.items()):
                keep = (track.series.time > now - seconds) & (track.series.time <= now)
                if keep.any():
                    found.append(Track(track.labels, Series(track.series.time[keep], track.series.value[keep])))
        if not found:
            return NoData(metric, Reason.EMPTY, "no such series")
        if any(not math.isfinite(value) for track in found for value in track.series.value):
            return NoData(metric, Reason.NOT_A_NUMBER)
        return found

    def firing(self, now: float) -> list[Mapping[str, str]] | NoData:
        return self.broken if self.broken is not None else list(self.alerts)


@dataclass
class FakeRequests:
    """A load client that a test drives by hand."""

    name: str
    boot: str = "boot-1"
    samples: list[Sequence[Any]] = field(default_factory=list)
    broken: NoData | None = None
    page: int = 10_000

    def count(self, time: float, release: str, op: str = "put", result: str = "ok", latency_s: float = 0.003) -> None:
        """Counts one request."""
        seq = int(self.samples[-1][0]) + 1 if self.samples else 1
        self.samples.append([seq, time, release, op, result, latency_s])

    def restart(self, boot: str) -> None:
        """Forgets everything and begins anew."""
        self.boot, self.samples = boot, []

    def after(self, seq: int) -> Page | NoData:
        if self.broken is not None:
            return self.broken
        newer = [row for row in self.samples if row[0] > seq][: self.page]
        return Page(self.boot, int(newer[-1][0]) if newer else seq, newer)
