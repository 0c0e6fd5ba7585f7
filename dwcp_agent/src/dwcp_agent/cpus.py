"""CPU lists as the kernel writes them: ``0-3,8``."""

from __future__ import annotations

import re

__all__ = ["format_cpu_list", "parse_cpu_list"]

_PART = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def parse_cpu_list(text: str) -> frozenset[int]:
    """CPU numbers of ``text``. Raises ValueError with a sentence when it is empty or malformed."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        match = _PART.fullmatch(part.strip())
        if not match:
            raise ValueError(f"{text!r} is not a CPU list like 0-3,8")
        first = int(match[1])
        last = int(match[2] or first)
        if last < first or last >= 8192:
            raise ValueError(f"{text!r} is not a CPU list like 0-3,8")
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def format_cpu_list(cpus: frozenset[int] | set[int]) -> str:
    """The shortest list of ranges that names ``cpus``."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
