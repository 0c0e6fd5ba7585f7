"""Which optimisations this process runs with, and the switches for them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, get_args

from dwcp_agent import _native
from dwcp_agent._build import PHASE4, VERSION
from dwcp_agent.errors import BadInput

__all__ = ["SWITCHES", "Switch", "configure", "is_on", "report"]

Switch = Literal["avx512", "vpclmul", "avx2", "pclmul", "sse42", "armcrc", "zerocopy", "pool", "queue", "affinity", "batch"]
SWITCHES: tuple[str, ...] = get_args(Switch)
"""Instruction sets (one that is off takes along every path that needs it), then the optimisations that are not a kernel's path."""

_disabled: frozenset[str] = frozenset()


def configure(disable: Iterable[str] = ()) -> None:
    """Switches off ``disable`` and what ``DWCP_DISABLE`` names, everything else on. Raises BadInput for an unknown name."""
    global _disabled
    wanted = {name.strip() for name in os.environ.get("DWCP_DISABLE", "").split(",") if name.strip()} | set(disable)
    unknown = wanted - set(SWITCHES)
    if unknown:
        raise BadInput(f"DWCP_DISABLE: {', '.join(sorted(unknown))} is not one of {', '.join(SWITCHES)}.")
    _disabled = frozenset(wanted)
    _native.select(sorted(wanted))


def is_on(name: str) -> bool:
    """True when the optimisation is in this build and not switched off."""
    return PHASE4 and name not in _disabled


def report() -> dict[str, object]:
    """What ``dwcp features`` and ``/health`` show: the path of every kernel, the state of every optimisation."""
    active = _native.active()
    return {
        "version": VERSION,
        "phase4": PHASE4,
        "disabled": sorted(_disabled),
        "kernels": {
            kernel: {"active": active[kernel], "available": list(paths), "vector": "compiled-in" if _native.PHASE4 else "compiled-out"}
            for kernel, paths in _native.available().items()
        },
        **{name: _state(name) for name in ("zerocopy", "pool", "queue", "affinity", "batch")},
    }


def _state(name: str) -> str:
    if not PHASE4:
        return "compiled-out"
    if name in _disabled:
        return "disabled"
    on = {"zerocopy": "mmap-source", "pool": "on", "queue": "lock-free", "affinity": "per-thread", "batch": "count-and-delay"}
    return on[name]
