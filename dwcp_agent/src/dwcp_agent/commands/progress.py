"""What a terminal shows while something is sent: one line, rewritten."""

from __future__ import annotations

import sys
import threading
import time

__all__ = ["Line"]


class Line:
    """The line; nothing when ``shown`` is false or there is no terminal. Safe from several threads."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._begun = time.monotonic()
        self._lock = threading.Lock()

    def show(self, done: int, size: int, wire_bytes: int, before: str = "") -> None:
        """``done`` of ``size`` bytes are at the receiver, by ``wire_bytes`` on the wire."""
        if not self._shown:
            return
        elapsed = time.monotonic() - self._begun
        rate = done / elapsed if elapsed else 0.0
        left = f"{(size - done) / rate:.0f} s left" if rate and done < size else "verifying"
        ratio = f", ratio {done / wire_bytes:.1f}" if wire_bytes else ""
        share = 100 * done / size if size else 100.0
        with self._lock:
            sys.stderr.write(f"\r\x1b[K{before}{share:5.1f} %  {rate / 1e6:.1f} MB/s{ratio}, {left}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            with self._lock:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
