"""Which CPU belongs to which NUMA node, as sysfs says, and where a thread's memory comes from."""

from __future__ import annotations

import re
from pathlib import Path

from dwcp_agent import _native
from dwcp_agent.cpus import parse_cpu_list

__all__ = ["nodes", "use_memory_near"]

_SYSFS = Path("/sys/devices/system/node")


def nodes(root: Path = _SYSFS) -> dict[int, frozenset[int]]:
    """CPUs by node, without nodes that have none; empty where the kernel does not say."""
    found = {}
    for path in root.glob("node*/cpulist"):
        number = re.fullmatch(r"node(\d+)", path.parent.name)
        try:
            text = path.read_text(encoding="ascii").strip()
            if number and text:
                found[int(number[1])] = parse_cpu_list(text)
        except (OSError, ValueError):
            continue
    return dict(sorted(found.items()))


def use_memory_near(cpus: frozenset[int], known: dict[int, frozenset[int]] | None = None) -> str:
    """The calling thread, which runs on ``cpus``, takes new memory from their node; says what was done, and why if nothing was.

    Threads that may run on several nodes keep the kernel's rule: memory comes from where the thread is when it first touches it.
    """
    by_node = nodes() if known is None else known
    if len(by_node) < 2:
        return "one node: nothing to choose"
    near = [node for node, of in by_node.items() if cpus & of]
    if len(near) != 1:
        return "several nodes: where the thread runs"
    try:
        _native.prefer_node(near[0])
    except OSError as error:
        return f"refused: {error.strerror}"
    return f"node {near[0]}"
