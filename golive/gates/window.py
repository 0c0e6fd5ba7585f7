"""Everything a gate is judged on, gathered: plain data, so that judging needs no network, no clock and no release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from golive.gates.samples import Samples

__all__ = ["Agent", "Alert", "Client", "NoData", "Reason", "Series", "Window"]


class Reason(Enum):
    """Why there is no number."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timed out"
    REFUSED = "refused"
    """Answered, but not with a success: an HTTP status, or Prometheus' own ``status: error``."""
    MALFORMED = "malformed"
    EMPTY = "empty"
    """The query is right and nothing matches it: the metric is absent."""
    NOT_A_NUMBER = "not a number"
    OLD = "old"


@dataclass(frozen=True)
class NoData:
    """No number, and why. Never to be read as zero."""

    source: str
    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.source}: {self.reason.value}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, eq=False)
class Series:
    """One measured series: scrape times (unix seconds, ascending) and values."""

    time: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    value: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def increase(self) -> float:
        """Of a counter, counting on through resets."""
        if len(self.value) < 2:
            return 0.0
        steps = np.diff(self.value)
        return float(np.where(steps < 0, self.value[1:], steps).sum())

    def since(self, start: float) -> Series:
        keep = self.time >= start
        return Series(self.time[keep], self.value[keep])


@dataclass(frozen=True)
class Client:
    """What a load client says of itself."""

    name: str
    offered: Series
    """``dwcp_load_offered_total``."""
    boots: tuple[str, ...] = ()
    """Boot ids seen during the watch; more than one means that it restarted and lost requests."""
    lost: int = 0
    """Requests it had dropped from its memory before they were read."""
    problem: NoData | None = None
    """The last try to read its samples, when that failed; ``read_at`` says when one last succeeded."""
    read_at: float | None = None


@dataclass(frozen=True)
class Agent:
    """The candidate's agent on one host, as Prometheus scraped it."""

    host: str
    down: bool = False
    """Every scrape of the last ten seconds failed."""
    seen: float | None = None
    """When metrics of its own were last scraped."""
    requests: Series = field(default_factory=Series)
    """``dwcp_requests_total``, all operations together."""
    cpu: Series = field(default_factory=Series)
    """Share of the CPUs it may use, over each scrape interval."""
    memory: Series = field(default_factory=Series)
    """Resident bytes."""
    restarts: int = 0
    corruption: float = 0.0
    problems: tuple[NoData, ...] = ()


@dataclass(frozen=True)
class Alert:
    """A firing alert. ``role``: the release it is about, ``environment`` when it names none."""

    name: str
    role: str = "environment"


@dataclass(frozen=True, eq=False)
class Window:
    """A watch so far, from ``start`` to ``end`` (unix seconds)."""

    start: float
    end: float
    samples: Samples
    clients: tuple[Client, ...] = ()
    agents: tuple[Agent, ...] = ()
    alerts: tuple[Alert, ...] = ()
    baseline: Samples | None = None
    """The incumbent's requests from before the shift, frozen then."""
    histogram: Mapping[float, float] | None = None
    """The candidate's requests of this watch by upper edge of latency (seconds), cumulative."""
    problems: tuple[NoData, ...] = ()
    """Sources that have given nothing for longer than the policy lets data be old."""

    @property
    def seconds(self) -> float:
        return self.end - self.start
