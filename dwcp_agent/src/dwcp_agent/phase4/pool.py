"""Frame buffers from the core's pool: touched before the agent is ready, handed from stream to stream, never copied."""

from __future__ import annotations

import time

from dwcp_agent import _native

__all__ = ["BufferPool"]


class BufferPool:
    """Buffers of one size, ``keep`` of them ready from the start; more are made when needed and kept then."""

    def __init__(self, size: int, keep: int) -> None:
        self.size = size
        self.keep = keep
        self._used_at = time.monotonic()
        self._trimmed = False

    def warm(self) -> None:
        """Fills the pool and touches every page, so that the first transfers take no page faults."""
        _native.pool_warm(self.size, self.keep)

    def take(self) -> _native.PooledBuffer:
        """A buffer of ``size`` bytes with undefined content. It goes back by itself when nobody has a view of it any more."""
        self._used_at = time.monotonic()
        self._trimmed = False
        return _native.pool_take(self.size)

    def rest(self) -> None:
        """The calling thread has no use for buffers for now: those it has at hand go where others find them."""
        _native.pool_flush()
        self._used_at = time.monotonic()
        self._trimmed = False

    def idle_s(self) -> float:
        """For how many seconds nobody took a buffer or put one down; 0 once what that left idle was trimmed."""
        return 0.0 if self._trimmed else time.monotonic() - self._used_at

    def trim(self) -> int:
        """Gives the memory of idle buffers back to the kernel, all but that of ``keep``; how many bytes."""
        self._trimmed = True
        return _native.pool_trim(self.keep)

    def statistics(self) -> dict[str, int]:
        """What the process's pool counted since the start, and its bytes as the kernel says now."""
        return _native.pool_statistics()
