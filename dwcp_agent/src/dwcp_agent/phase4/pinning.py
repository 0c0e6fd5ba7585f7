"""Pinning of single threads."""

from __future__ import annotations

from dwcp_agent import _native

__all__ = ["pin_this_thread"]


def pin_this_thread(cpus: frozenset[int]) -> None:
    """Pins the calling thread to ``cpus``. Raises OSError when the kernel refuses."""
    _native.pin_thread(sorted(cpus))
