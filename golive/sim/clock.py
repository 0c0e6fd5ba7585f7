"""A clock that waits in no time, shared by every process of one simulated world."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["SimClock"]

_LEAST_STEP_S = 0.5


def _never() -> bool:
    return False


class SimClock:
    """Real time plus what was waited for. The sum of all waits stands in a file that every process of the world maps."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size < 16:
            os.ftruncate(self._fd, 16)
        self._shared = mmap.mmap(self._fd, 16)
        self._lock = threading.Lock()
        self.off_s = 0.0
        """How wrong this process's wall clock is: a clock that jumped."""

    @property
    def skipped_s(self) -> float:
        """Seconds that passed in no time, over all processes."""
        skipped: float = struct.unpack("d", self._shared[:8])[0]
        return skipped

    @property
    def changes(self) -> int:
        """How often anything of the world was changed: while it stands, nothing has to be read again."""
        return int.from_bytes(self._shared[8:16], "little")

    def changed(self) -> None:
        """Something of the world is another than it was."""
        with self._lock:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                self._shared[8:16] = (self.changes + 1).to_bytes(8, "little")
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def world(self) -> float:
        """Unix seconds in the world, whatever this process's own clock says."""
        return time.time() + self.skipped_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.world() + self.off_s, UTC)

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped_s

    def jump(self, seconds: float) -> None:
        """This process's wall clock is set forward (or back); monotonic time and the world do not notice."""
        self.off_s += seconds

    def advance(self, seconds: float) -> None:
        """The world is ``seconds`` older."""
        with self._lock:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                self._shared[:8] = struct.pack("d", self.skipped_s + max(0.0, seconds))
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def set_back(self, seconds: float) -> None:
        """The world is ``seconds`` younger: the real time that a copy of a world lay about did not pass in it."""
        with self._lock:
            self._shared[:8] = struct.pack("d", self.skipped_s - seconds)

    def at_least(self, moment: float) -> None:
        """The monotonic clock shows ``moment`` or later: what several waited for side by side passes once."""
        left = moment - self.monotonic()
        if left > 0:
            self.advance(left)

    def wait_until(self, due: datetime, should_stop: Callable[[], bool] = _never) -> bool:
        while not should_stop():
            left = (due - self.now()).total_seconds()
            if left <= 0:
                return True
            self._step(left)
        return False

    def sleep(self, seconds: float, should_stop: Callable[[], bool] = _never) -> bool:
        end = self.monotonic() + seconds
        while not should_stop():
            left = end - self.monotonic()
            if left <= 0:
                return True
            self._step(left)
        return False

    def _step(self, left: float) -> None:
        """Not all at once: who waits a week is asked to stop now and then."""
        self.advance(min(left, max(_LEAST_STEP_S, left / 3)))
        time.sleep(0)
