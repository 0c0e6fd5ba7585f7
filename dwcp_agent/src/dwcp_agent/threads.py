"""Threads by role: who runs where, as configured and as the kernel says."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Literal

from dwcp_agent import features
from dwcp_agent._build import PHASE4
from dwcp_agent.cpus import format_cpu_list, parse_cpu_list

__all__ = ["Role", "Threads"]

Role = Literal["net", "codec", "control"]
ROLES: tuple[Role, ...] = ("net", "codec", "control")


class Threads:
    """The CPUs of each role, and the threads that joined one.

    ``wanted`` maps a role to a CPU list; None means every CPU the process may use. What is wanted is cut down to what the unit's mask
    allows; a role with nothing left runs on the whole mask, and :meth:`report` says so.
    """

    def __init__(self, wanted: dict[Role, str | None]) -> None:
        self.allowed = frozenset(os.sched_getaffinity(0))
        self._wanted = wanted
        self._cpus: dict[Role, frozenset[int]] = {}
        for role in ROLES:
            text = wanted.get(role)
            cpus = parse_cpu_list(text) & self.allowed if text else self.allowed
            self._cpus[role] = cpus or self.allowed
        self._members: dict[int, Role] = {}
        self._memory: dict[Role, str] = {}
        self._lock = threading.Lock()

    def join(self, role: Role) -> None:
        """The calling thread takes ``role`` and, where single threads are pinned, runs on its CPUs from now on."""
        if PHASE4 and features.is_on("affinity"):
            from dwcp_agent.phase4.pinning import pin_this_thread
            from dwcp_agent.phase4.topology import use_memory_near

            pin_this_thread(self._cpus[role])
            memory = use_memory_near(self._cpus[role])
        else:
            memory = "not chosen"
        with self._lock:
            self._memory[role] = memory
            self._members[threading.get_native_id()] = role

    def leave(self) -> None:
        """The calling thread is about to end."""
        with self._lock:
            self._members.pop(threading.get_native_id(), None)

    def report(self) -> dict[str, object]:
        """Per role: CPUs configured, those the kernel reports for its threads (read from /proc now), and where their memory comes from."""
        with self._lock:
            members, memory = dict(self._members), dict(self._memory)
        roles: dict[str, object] = {}
        pinned = PHASE4 and features.is_on("affinity")
        for role in ROLES:
            actual = sorted({cpus for tid, of in members.items() if of == role and (cpus := cpus_of_thread(tid))})
            expected = self._cpus[role] if pinned else self.allowed
            roles[role] = {
                "configured": self._wanted.get(role) or format_cpu_list(self.allowed),
                "effective": format_cpu_list(expected),
                "actual": actual,
                "threads": sum(1 for of in members.values() if of == role),
                "memory": memory.get(role, "no thread yet"),
                "as_configured": bool(actual) and all(parse_cpu_list(cpus) == expected for cpus in actual),
            }
        mode = "compiled-out" if not PHASE4 else "per-thread" if pinned else "disabled"
        return {"mode": mode, "allowed": format_cpu_list(self.allowed), "roles": roles}


def cpus_of_thread(tid: int) -> str | None:
    """``Cpus_allowed_list`` of a thread of this process, None when it has ended."""
    try:
        status = Path(f"/proc/self/task/{tid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("Cpus_allowed_list:"):
            return line.split(":", 1)[1].strip()
    return None
