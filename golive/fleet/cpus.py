"""CPU lists as systemd and the kernel write them."""

from __future__ import annotations

from golive.errors import BadInput

__all__ = ["parse_cpus"]


def parse_cpus(text: str) -> frozenset[int]:
    """``"0-2,5"`` (or ``"0-2 5"``) as a set of CPU numbers. Raises BadInput when it is no such list."""
    cpus: set[int] = set()
    for part in text.replace(",", " ").split():
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise BadInput(f"{text!r} is no list of CPUs; write for example 0-3 or 0,2.")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)
