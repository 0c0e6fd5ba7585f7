"""Frame buffers from the core's pool: touched before the agent is ready, handed from stream to stream, never copied."""

from __future__ import annotations

from dwcp_agent import _native

__all__ = ["BufferPool"]


class BufferPool:
    """Buffers of one size, ``keep`` of them ready from the start; more are made when needed and kept then."""

    def __init__(self, size: int, keep: int) -> None:
        self.size = size
        self.keep = keep

    def warm(self) -> None:
        """Fills the pool and touches every page, so that the first transfers take no page faults."""
        _native.pool_warm(self.size, self.keep)

    def take(self) -> _native.PooledBuffer:
        """A buffer of ``size`` bytes with undefined content. It goes back by itself when nobody has a view of it any more."""
        return _native.pool_take(self.size)

    def statistics(self) -> dict[str, int]:
        """What the process's pool counted since the start, and its bytes as the kernel says now."""
        return _native.pool_statistics()
