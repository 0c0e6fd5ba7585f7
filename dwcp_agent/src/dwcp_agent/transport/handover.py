"""How one thread hands work to others that wait for it: the core's queue when the build has one and it is on, else the library's."""

from __future__ import annotations

import queue
from typing import Protocol, TypeVar

from dwcp_agent import features
from dwcp_agent._build import PHASE4

__all__ = ["Handover", "Nothing", "make_handover"]

T = TypeVar("T")
Nothing = queue.Empty
"""Raised when nothing came in time."""


class Handover(Protocol[T]):
    """First in, first out, for any number of threads."""

    def put(self, item: T, /) -> None: ...
    def get(self, *, timeout: float | None = None) -> T:
        """The next item, after up to ``timeout`` seconds. Raises Nothing."""
        ...


def make_handover(capacity: int) -> Handover[T]:
    """Room for at least ``capacity`` items; who puts more may have to wait."""
    if PHASE4 and features.is_on("queue"):
        from dwcp_agent.phase4.handover import NativeHandover

        return NativeHandover(capacity)
    return queue.SimpleQueue()
