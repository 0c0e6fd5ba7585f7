"""Who a process is: a pid alone is reused, a pid with its start time, its boot and its pid namespace is not."""

from __future__ import annotations

import functools
import getpass
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Process", "carrying", "here", "me", "owner"]


@dataclass(frozen=True)
class Process:
    """One process on one machine, for good."""

    pid: int
    start: int
    """Clock ticks after boot, field 22 of ``/proc/<pid>/stat``."""
    host: str
    machine: str
    boot: str
    namespace: str
    what: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, pid: int, what: str = "") -> Process | None:
        """The process that has ``pid`` now; None when there is none."""
        start = started(pid)
        return None if start is None else cls(pid, start, *here(), what)

    @property
    def local(self) -> bool:
        """Whether its pid means something in this process: same machine, same boot, same pid namespace."""
        return (self.host, self.machine, self.boot, self.namespace) == here()

    @property
    def alive(self) -> bool | None:
        """True, False, or None when it cannot be told from here. A zombie is dead.

        A machine that booted anew has none of its old processes; another machine, or a container with its own pids, is not
        ours to judge.
        """
        host, machine, boot, namespace = here()
        if (self.host, self.machine) != (host, machine):
            return None
        if self.boot != boot:
            return False
        if self.namespace != namespace:
            return None
        return started(self.pid) == self.start

    @property
    def rebooted(self) -> bool:
        """Whether its machine has the names of this one and another boot: this machine before it was restarted, or a clone of it."""
        host, machine, boot, _ = here()
        return (self.host, self.machine) == (host, machine) and self.boot != boot


def started(pid: int) -> int | None:
    """Start time of the live process ``pid``; None when there is none or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X", b"x") else int(fields[19])


def carrying(beginning: bytes, proc: Path = Path("/proc")) -> Iterator[tuple[int, bytes]]:
    """Pids of the processes that were started with a variable that begins so, with the rest of that variable."""
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(beginning):
                yield int(entry.name), variable[len(beginning) :]
                break


@functools.cache
def _place(pid: int) -> tuple[str, str, str, str]:
    """Host, machine id, boot id and pid namespace. ``pid`` is this process's own: the answer must not outlive a fork."""

    def read(path: str) -> str:
        try:
            return Path(path).read_text(encoding="ascii").strip()
        except OSError:
            return ""

    namespace = Path("/proc/self/ns/pid")
    return platform.node(), read("/etc/machine-id"), read("/proc/sys/kernel/random/boot_id"), str(namespace.readlink())


def here() -> tuple[str, str, str, str]:
    """Host name, machine id, boot id and pid namespace of this process."""
    return _place(os.getpid())


def me() -> Process:
    """This process."""
    found = Process.of(os.getpid(), "golive")
    if found is None:
        raise RuntimeError("/proc does not show this process")
    return found


def owner() -> str:
    """``user@host`` of whoever runs this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{platform.node()}"
