"""What a host is besides its files: programs that run, HAProxy's socket, a release's ``/ready``, the steady clock.

One thread works on one machine. On a host that is the machine itself; a simulation puts another in its place, and everything else of
this package is the same there.
"""

from __future__ import annotations

from _thread import _local

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from golive.onhost.places import Places

__all__ = ["Machine", "here", "put"]


class Machine:
    """The machine that this process runs on."""

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """``subprocess.run``."""
        import subprocess

        done: subprocess.CompletedProcess[str] = subprocess.run(list(command), **options)
        return done

    def haproxy(self, path: Path, command: str, timeout_s: float) -> bytes:
        """The answer of HAProxy's runtime socket at ``path``. Raises OSError when there is none."""
        import socket

        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(command.encode() + b"\n")
            answer = bytearray()
            while piece := connection.recv(65536):
                answer += piece
        finally:
            connection.close()
        return bytes(answer)

    def connects(self, host: str, port: int, timeout_s: float) -> None:
        """A connection to ``port`` of ``host`` is taken. Raises OSError when none is."""
        import socket

        socket.create_connection((host, port), timeout_s).close()

    def ready(self, places: Places, port: int, timeout_s: float) -> dict[str, Any]:
        """The answer of ``/ready`` at ``port``. Raises OSError, ValueError or HTTPException when there is none."""
        from golive.onhost import ready

        return ready.over_tls(places, port, timeout_s)

    def writes(self, path: Path) -> None:
        """Something durable is about to be written. Raises OSError where the machine's own disk cannot say so by itself."""

    def boot_id(self) -> str:
        from pathlib import Path

        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def boottime_s(self) -> float:
        """Seconds since boot, sleep included."""
        import time

        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def monotonic(self) -> float:
        import time

        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        import time

        time.sleep(seconds)


_own = Machine()
_current = _local()


def here() -> Machine:
    """The machine that this thread works on."""
    found: Machine = getattr(_current, "machine", _own)
    return found


def put(machine: Machine | None) -> None:
    """This thread works on ``machine`` from now on; on its own again with None."""
    _current.machine = machine or _own
