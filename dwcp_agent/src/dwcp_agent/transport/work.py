"""Which of several streams sends which units: a long stretch each, so that neighbours meet, and the longest is shared at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import pairwise

__all__ = ["Work"]


class Work:
    """Units 0 to ``count - 1`` for ``streams`` streams, and ``most`` at most later on. Not safe from several threads."""

    def __init__(self, count: int, streams: int, most: int = 0) -> None:
        bounds = [count * stream // streams for stream in range(streams + 1)]
        self._stretches = [[begin, end] for begin, end in pairwise(bounds)]
        self._stretches += [[count, count] for _ in range(most - streams)]
        self._back: deque[int] = deque()

    def take(self, stream: int) -> int | None:
        """The next unit for a stream: what came back first, then its own stretch, then half of the longest; None when there is none."""
        if self._back:
            return self._back.popleft()
        mine = self._stretches[stream]
        if mine[0] == mine[1]:
            longest = max(self._stretches, key=lambda stretch: stretch[1] - stretch[0])
            if longest[0] == longest[1]:
                return None
            middle = (longest[0] + longest[1]) // 2
            mine[:] = middle, longest[1]
            longest[1] = middle
        mine[0] += 1
        return mine[0] - 1

    def put_back(self, units: Iterable[int]) -> None:
        """These are to be taken again, before all others."""
        self._back.extend(units)
