"""A bound on what a piece of code allocates."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Iterator

__all__ = ["at_most"]


@contextlib.contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Fails when Python's allocator hands out more than ``limit`` bytes at once within; what zstd takes for itself is not seen."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    except BaseException:
        peak = tracemalloc.get_traced_memory()[1]
        assert peak <= limit, f"{peak} bytes were allocated, {limit} at most were expected"
        raise
    finally:
        tracemalloc.stop()
    assert peak <= limit, f"{peak} bytes were allocated, {limit} at most were expected"
