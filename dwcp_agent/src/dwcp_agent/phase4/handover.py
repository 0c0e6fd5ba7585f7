"""The core's queue as a handover: who waits sleeps in the kernel, without the interpreter lock, until it is woken."""

from __future__ import annotations

import queue
from typing import Generic, TypeVar

from dwcp_agent._native import Queue

__all__ = ["NativeHandover"]

T = TypeVar("T")


class NativeHandover(Generic[T]):
    """First in, first out, bounded."""

    def __init__(self, capacity: int) -> None:
        self._queue: Queue[T] = Queue(capacity)

    def put(self, item: T, /) -> None:
        """Waits while it is full."""
        self._queue.push(item)

    def get(self, *, timeout: float | None = None) -> T:
        """The next item, after up to ``timeout`` seconds. Raises queue.Empty."""
        try:
            return self._queue.pop(timeout)
        except IndexError:
            raise queue.Empty from None
