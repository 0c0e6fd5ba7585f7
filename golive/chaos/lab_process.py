"""A command of the operator's as a process of its own: typed, stopped, killed, its clock moved; and others, found by their mark."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from golive.chaos.clock import WallClock
from golive.engine.process import carrying
from golive.environment import MARK, ROOT

__all__ = ["Command", "marked"]


class Command:
    """``./inv ...`` in a process group of its own. Its pid is the controller's: ``inv`` becomes it."""

    def __init__(self, words: Sequence[str], log: Path, clock: WallClock | None = None) -> None:
        """``clock``: what the command, and all that it starts, takes for the time of day."""
        self.words = tuple(words)
        variables = {name: value for name, value in os.environ.items() if name != MARK}
        variables |= clock.variables if clock is not None else {}
        self._log = log
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                [str(ROOT / "inv"), *words],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                env=variables,
                start_new_session=True,
            )
        self.killed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; negative for a signal; None while it lives."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """It gets the signal, if it still lives: its pid is nobody else's before its end was seen here."""
        if self.status is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to it alone: what it started goes on, as it does when a controller dies."""
        if self.status is None:
            self.killed = True
            self._process.kill()
            self._process.wait()

    def end(self, patience_s: float = 20.0) -> None:
        """It has ended: asked first, killed when it does not."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        self.kill()

    def waited(self, timeout_s: float) -> int | None:
        """Its exit status, or None when it did not end in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.status

    @property
    def said(self) -> str:
        """The last line that was written."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self._log.exists() else []
        return lines[-1] if lines else ""


def marked(env: str, program: str, proc: Path = Path("/proc")) -> list[int]:
    """Pids of the processes that a run of ``env`` started and whose command line names ``program``."""
    found = []
    for pid, _ in carrying(f"{MARK}={env}/".encode(), proc):
        with contextlib.suppress(OSError):
            words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")[:4]
            if any(Path(os.fsdecode(word)).name == program for word in words):
                found.append(pid)
    return sorted(found)
