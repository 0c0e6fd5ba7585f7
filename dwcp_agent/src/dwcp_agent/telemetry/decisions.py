"""What was decided for a transfer, and why: kept in memory, bounded, told as JSON."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Decision", "DecisionLog"]

_CAPACITY = 1000


@dataclass(frozen=True)
class Decision:
    """One change of one figure."""

    at_s: float
    """On the clock of whoever decided: seconds whose differences mean something."""
    policy: str
    """Which policy: ``congestion``, ``profile``, ``streams``, ``sessions``, ..."""
    what: str
    """Which figure, with its unit: ``rate_cap_bytes_per_s``."""
    value: float | str | None
    """What it is from now on; None where it means none."""
    why: str


class DecisionLog:
    """The last ``capacity`` decisions, and how many there were of each policy. Safe from several threads."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._kept: deque[Decision] = deque(maxlen=capacity)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, decision: Decision) -> None:
        """Keeps it; the oldest goes when there is no room."""
        with self._lock:
            self._kept.append(decision)
            self._counts[decision.policy] += 1

    def decisions(self, policy: str | None = None) -> list[Decision]:
        """Those kept, oldest first; of one policy when one is named."""
        with self._lock:
            return [each for each in self._kept if policy in (None, each.policy)]

    def counts(self) -> dict[str, int]:
        """Per policy, those not kept any more included."""
        with self._lock:
            return dict(self._counts)

    def to_json(self) -> dict[str, Any]:
        """``{counts: {policy: n}, gone: n, decisions: [{at_s, policy, what, value, why}]}``; ``gone`` are those not kept any more."""
        with self._lock:
            kept = list(self._kept)
            counts = dict(self._counts)
        return {"counts": counts, "gone": sum(counts.values()) - len(kept), "decisions": [asdict(each) for each in kept]}
