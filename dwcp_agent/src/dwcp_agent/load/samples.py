"""What became of every request, kept for whoever judges releases."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from dwcp_agent.telemetry.metrics import LATENCY_EDGES_S

__all__ = ["CONTROL", "NO_RELEASE", "Result", "Samples"]

Result = Literal["ok", "error", "timeout", "refused", "corrupt"]
Sample = tuple[int, float, str, str, Result, float]

NO_RELEASE = "none"
CONTROL = "control"
"""In the place of a release: a request on the control lane that nobody answered."""
KEPT = 200_000


class Samples:
    """The last 200,000 requests and the counters of all. Belongs to the event loop's thread.

    Sequence numbers begin at 1; a reader that finds the first one above ``after + 1`` has missed the ones between.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter("dwcp_load_requests", "Requests by who answered and how.", ["release", "result"], registry=self.registry)
        self._latency = Histogram(
            "dwcp_load_latency_seconds", "From due to done.", ["release"], buckets=LATENCY_EDGES_S, registry=self.registry
        )
        self.offered = Counter("dwcp_load_offered", "Requests that were due.", registry=self.registry)
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._last = 0

    def add(self, at: float, release: str, op: str, result: Result, latency_s: float) -> None:
        """A request that was due at Unix time ``at`` has ended."""
        self._last += 1
        self._kept.append((self._last, round(at, 6), release, op, result, round(latency_s, 6)))
        self._requests.labels(release, result).inc()
        self._latency.labels(release).observe(latency_s)

    def after(self, sequence: int, limit: int) -> tuple[int, list[Sample]]:
        """Up to ``limit`` samples numbered above ``sequence``, and the number to ask after next."""
        first = self._last - len(self._kept) + 1
        skip = max(0, sequence + 1 - first)
        found = list(islice(self._kept, skip, skip + limit))
        return (found[-1][0] if found else min(sequence, self._last)), found
