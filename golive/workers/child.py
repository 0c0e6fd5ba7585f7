"""The process that plays one parcel on a worker: when the worker dies, it and everything it started dies too.

Ansible's processes leave their group and session; as the subreaper of them all this process still has them below itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

__all__ = ["main"]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main(directory: Path, parent: int) -> int:
    """Plays ``directory/parcel`` into ``directory/artifacts``; returns ansible-runner's exit status, 143 when it was ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _end)
    if os.getppid() != parent:  # it died before we asked to be told
        return 143
    lock = (directory.parent / f"{directory.name}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # the one before us, for the same job, has ended
    program = Path(sysconfig.get_path("scripts")) / "ansible-runner"
    argv = [str(program), "worker", "--private-data-dir", str(directory / "private")]
    with (directory / "parcel").open("rb") as parcel, (directory / "artifacts").open("wb") as artifacts:
        done = subprocess.run(argv, stdin=parcel, stdout=artifacts, check=False)
    _end_all()
    return done.returncode


def _end(number: int, frame: object) -> None:
    _end_all()
    os._exit(143)


def _end_all() -> None:
    """No process below this one is left."""
    while below := _below(os.getpid()):
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def _below(top: int) -> list[int]:
    """All descendants of ``top``; zombies that are not ours to wait for are left out."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if fields[0] != b"Z":
                    parents[int(entry.name)] = int(fields[1])
    found = [top]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
