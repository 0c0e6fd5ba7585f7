"""Small operations gathered into larger ones, by count and by time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from dwcp_agent._native import Queue

__all__ = ["Batcher"]

T = TypeVar("T")
_REMEMBERED = 4096


class Batcher(Generic[T]):
    """Hands what :meth:`submit` takes to ``work`` in lists of up to ``most``, in order, on a thread of its own.

    Under light load an item goes alone and at once. When items come faster than they are worked off, those that wait go together; only then
    is it worth waiting up to ``delay_s`` for a batch to fill, and the size that is waited for doubles while batches fill in time and halves
    when they do not. So an item waits for the work before it, and at most ``delay_s`` longer than it would have without batching.
    """

    def __init__(self, work: Callable[[list[T]], None], *, most: int = 100, delay_s: float = 0.0005, capacity: int = 4096) -> None:
        if most < 1 or delay_s < 0:
            raise ValueError("most must be at least 1 and delay_s not below 0")
        self._work = work
        self._most = most
        self._delay_s = delay_s
        self._queue: Queue[T] = Queue(capacity)
        self._wanted = 1
        self._items = self._batches = 0
        self._added: deque[float] = deque(maxlen=_REMEMBERED)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, item: T, timeout: float | None = None) -> None:
        """Waits while ``capacity`` items do. Raises TimeoutError, RuntimeError after :meth:`close` or once ``work`` raised."""
        if not self._queue.push(item, timeout):
            if self._queue.closed:
                raise RuntimeError("the batcher is closed") from self._failure
            raise TimeoutError("the batcher has no room")

    def close(self) -> None:
        """Works off what was submitted, then ends. Raises what ``work`` raised."""
        self._queue.close()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def statistics(self) -> dict[str, float]:
        """Items and batches so far, the size waited for, and the seconds that batching added for the oldest item of a batch (p50, p99)."""
        added = sorted(self._added) or [0.0]
        return {
            "items": self._items,
            "batches": self._batches,
            "wanted": self._wanted,
            "added_p50_s": added[len(added) // 2],
            "added_p99_s": added[min(len(added) - 1, len(added) * 99 // 100)],
        }

    def _run(self) -> None:
        try:
            while batch := self._gather():
                self._work(batch)
                self._items += len(batch)
                self._batches += 1
        except BaseException as error:
            self._failure = error
            self._queue.close()
            while self._queue.pop_many(self._most, 0):
                pass  # nobody waits for these: submit says why from now on

    def _gather(self) -> list[T]:
        """The next batch; empty when the queue is closed and empty."""
        batch = self._queue.pop_many(self._most)
        if not batch or len(batch) >= self._wanted:
            self._wanted = min(self._most, max(self._wanted, 2 * len(batch))) if len(batch) > 1 else self._wanted
            self._added.append(0.0)
            return batch
        begun = time.perf_counter()
        left = self._delay_s
        while len(batch) < self._wanted and left > 0:
            more = self._queue.pop_many(self._wanted - len(batch), left)
            if not more and self._queue.closed:
                break
            batch += more
            left = begun + self._delay_s - time.perf_counter()
        self._added.append(time.perf_counter() - begun)
        self._wanted = min(self._most, 2 * self._wanted) if len(batch) >= self._wanted else max(1, self._wanted // 2)
        return batch
