"""The wall clock of some processes, and of what they start, set while they run; never the machine's."""

from __future__ import annotations

import subprocess
from pathlib import Path

from golive.errors import Unprepared

__all__ = ["WallClock"]

_SOURCE = Path(__file__).with_name("clock.c")
_COMPILE = ("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o")


class WallClock:
    """A library that they preload, and a file that says how far off they are, read at every look at the time.

    libfaketime is none for this: every ``time.sleep`` of Python 3.11, also that of a wait for a child process, fails under it with
    "Invalid argument", because it waits until a moment of the monotonic clock.
    """

    def __init__(self, place: Path) -> None:
        """``place``: a directory that outlives the processes. Raises Unprepared."""
        self._library, self._offset = place / "clock.so", place / "clock"
        if any(letter in str(self._library) for letter in " :"):
            raise Unprepared(f"No library can be preloaded from {self._library}: its path has a space or a colon.")
        try:
            subprocess.run([*_COMPILE, str(self._library), str(_SOURCE)], check=True, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines()
            raise Unprepared(f"The library that sets a process's clock could not be made with gcc: {said[0]}.") from None
        self.set(0)

    @property
    def variables(self) -> dict[str, str]:
        """What makes a process run under it, in its environment."""
        return {"LD_PRELOAD": str(self._library), "GOLIVE_CHAOS_CLOCK": str(self._offset)}

    def set(self, offset_s: int) -> None:
        """At once, for all of them, and never half written."""
        fresh = self._offset.with_name(f"{self._offset.name}.new")
        fresh.write_text(f"{offset_s:+d}\n", encoding="utf-8")
        fresh.rename(self._offset)

    def holds(self, pid: int) -> bool:
        """Whether that process runs under it."""
        try:
            return str(self._library) in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        except OSError:
            return False
