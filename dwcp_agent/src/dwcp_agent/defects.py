"""Planted defects, for rehearsing that a bad release is caught. In the wheel only of a build that has one.

Each defect has one hook: ``errors`` and ``crash_after_s`` in the control port's middleware, ``latency`` there and at the end of a transfer,
``corrupt`` where what was written is read back, ``metrics`` in ``/metrics``.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Mapping

__all__ = ["Defects"]

CRASH_STATUS = 70
_MAX_AGE_S = 30.0
_LATE_STEP_S = 0.00005


class Defects:
    """The defects of this build.

    ``errors`` and ``corrupt`` are shares, ``latency`` a relative increase, ``crash_after_s`` seconds, ``metrics`` False.
    """

    def __init__(self, what: Mapping[str, float | bool], seed: int | None = None) -> None:
        self.errors = float(what.get("errors", 0.0))
        self.latency = float(what.get("latency", 0.0))
        self.corrupt = float(what.get("corrupt", 0.0))
        self.crash_after_s = float(what["crash_after_s"]) if "crash_after_s" in what else None
        self.metrics = bool(what.get("metrics", True))
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self._crashing = threading.Lock()
        self._late_s = 0.0

    def fails_now(self) -> bool:
        """True for the planted share of forwarded requests; the first one starts the clock of a planted crash."""
        if self.crash_after_s is not None and self._crashing.acquire(blocking=False):
            timer = threading.Timer(self.crash_after_s, os._exit, args=(CRASH_STATUS,))
            timer.daemon = True
            timer.start()
        return self._random.random() < self.errors

    def delay_s(self, taken_s: float, request_start: str | None = None) -> float:
        """How long to hold an answer back so that its latency, as the client sees it, grows by the planted share.

        ``taken_s`` is what passed since the request's first byte. A client that says when it set out (``X-Request-Start: t=<unix time>``)
        is believed within reason: its wait began before anything arrived here.
        """
        if request_start and request_start.startswith("t="):
            try:
                age = time.time() - float(request_start[2:])
            except ValueError:
                age = taken_s
            if taken_s <= age < _MAX_AGE_S:
                taken_s = age
        return taken_s * self.latency

    async def hold(self, taken_s: float, request_start: str | None) -> None:
        """Holds an answer back by :meth:`delay_s`."""
        wanted = self.delay_s(taken_s, request_start)
        asked = max(0.0, wanted - self._late_s)
        begun = time.perf_counter()
        await asyncio.sleep(asked)
        self._learn(time.perf_counter() - begun - asked)

    def hold_blocking(self, taken_s: float) -> None:
        """The same on a thread of its own."""
        time.sleep(self.delay_s(taken_s))

    def _learn(self, late_s: float) -> None:
        """Sleeping takes longer than asked, the more the busier the machine; what it usually does is taken off, so that the share holds.

        Moves towards the median, which one long pause does not bend.
        """
        self._late_s = max(0.0, self._late_s + (_LATE_STEP_S if late_s > self._late_s else -_LATE_STEP_S))

    def spoil(self, descriptor: int, offset: int, length: int, size: int) -> None:
        """Flips one bit of a planted share of commits: after every check of what came in, before the verification.

        Of content that is written range by range, this is one of ``length`` bytes at ``offset``; its share is as large as it is.
        """
        if length and self._random.random() < self.corrupt * length / size:
            at = offset + self._random.randrange(length)
            byte = os.pread(descriptor, 1, at)
            os.pwrite(descriptor, bytes([byte[0] ^ 0x10]), at)
