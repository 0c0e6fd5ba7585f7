"""A pool of frame buffers: allocated and touched before the agent is ready, handed from stream to stream, never copied."""

from __future__ import annotations

import threading

__all__ = ["BufferPool"]


class BufferPool:
    """Buffers of one size. Keeps at most ``keep`` idle ones; more are made when needed and dropped afterwards."""

    def __init__(self, size: int, keep: int) -> None:
        self.size = size
        self.keep = keep
        self._idle: list[bytearray] = []
        self._lock = threading.Lock()
        self._hits = 0
        self._misses = 0

    def warm(self) -> None:
        """Fills the pool and touches every page, so that the first transfers take no page faults."""
        with self._lock:
            while len(self._idle) < self.keep:
                buffer = bytearray(self.size)
                buffer[::4096] = b"\1" * len(range(0, self.size, 4096))
                self._idle.append(buffer)

    def take(self) -> bytearray:
        """A buffer of ``size`` bytes with undefined content; give it back with :meth:`give`."""
        with self._lock:
            if self._idle:
                self._hits += 1
                return self._idle.pop()
            self._misses += 1
        return bytearray(self.size)

    def give(self, buffer: bytearray) -> None:
        """Returns a buffer that nobody reads or writes any more."""
        with self._lock:
            if len(self._idle) < self.keep:
                self._idle.append(buffer)

    def statistics(self) -> dict[str, int]:
        """Counts since the start: buffers idle, taken from the pool, made because it was empty."""
        with self._lock:
            return {"idle": len(self._idle), "hits": self._hits, "misses": self._misses, "buffer_bytes": self.size}
