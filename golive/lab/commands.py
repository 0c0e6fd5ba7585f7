"""Running the machine's own programs, with the errors an operator can act on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from golive.environment import MARK
from golive.errors import Refused, Unprepared, Unreachable

__all__ = ["Ran", "must", "run"]


@dataclass(frozen=True)
class Ran:
    """How a program ended."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.rc == 0

    @property
    def complaint(self) -> str:
        """The last line it wrote to stderr, or its exit status when it wrote none."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.rc}"


def run(argv: Sequence[str], *, text: str | None = None, timeout_s: float = 60) -> Ran:
    """Runs a program to its end. Raises Unprepared when it is not installed, Unreachable when it takes longer than ``timeout_s``.

    Standard input is ``text`` or empty, never the terminal's or Terraform's: podman would wait on it for ever.
    """
    # A container's monitor outlives the command that starts it, so it must not look like something that a controller left behind.
    clean = {name: value for name, value in os.environ.items() if name != MARK}
    options: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace", "timeout": timeout_s, "env": clean}
    try:
        if text is None:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False, **options)
        else:
            done = subprocess.run(argv, input=text, check=False, **options)
    except FileNotFoundError:
        raise Unprepared(f"{argv[0]} is not installed; on Debian: apt-get install {_PACKAGE.get(argv[0], argv[0])}.") from None
    except subprocess.TimeoutExpired:
        raise Unreachable(f"`{' '.join(argv)}` did not end within {timeout_s:.0f} s; it was stopped.") from None
    return Ran(tuple(argv), done.returncode, done.stdout, done.stderr)


def must(argv: Sequence[str], *, text: str | None = None, timeout_s: float = 60) -> str:
    """What ``run`` wrote to stdout. Raises Refused, with the program's own complaint, when it failed."""
    ran = run(argv, text=text, timeout_s=timeout_s)
    if not ran.ok:
        raise Refused(f"`{' '.join(argv)}` failed: {ran.complaint}.")
    return ran.stdout


_PACKAGE = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "nsenter": "util-linux"}
