"""How far back a zstd frame of parts may refer, and who has memory for that."""

from __future__ import annotations

import threading

__all__ = ["LONG_WINDOW_LOG", "WINDOW_LOG", "WindowBudget"]

WINDOW_LOG = 23
"""8 MiB, which a receiver holds for every stream that asks."""
LONG_WINDOW_LOG = 25
"""32 MiB, for a stream of a receiver that has room for it. Four times that finds next to nothing more in a disk image."""
_LONG_BYTES = 512 << 20
"""What a receiver holds for all long windows: half of what an agent may have altogether."""


class WindowBudget:
    """Memory for windows of more than 8 MiB. Safe from several threads."""

    def __init__(self, limit_bytes: int = _LONG_BYTES) -> None:
        self._left = limit_bytes
        self._lock = threading.Lock()

    def take(self, wanted_bytes: int) -> bool:
        """Reserves; False when there is not so much left."""
        with self._lock:
            if wanted_bytes > self._left:
                return False
            self._left -= wanted_bytes
            return True

    def give(self, taken_bytes: int) -> None:
        """What was taken is free."""
        with self._lock:
            self._left += taken_bytes
