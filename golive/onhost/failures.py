"""What ``dwcp-host`` raises on purpose. The message is one sentence; ``exit_code`` is what the process ends with::

HostFailure      exit 1   our own fault
├── BadInput     exit 2   the arguments cannot be used; nothing was changed
└── Refused      exit 4   the host says no: stale token, bad signature, busy, not ready
"""

from __future__ import annotations

__all__ = ["BadInput", "HostFailure", "Refused"]


class HostFailure(Exception):
    """Root of what this command raises on purpose."""

    exit_code = 1


class BadInput(HostFailure):
    """The arguments cannot be used; nothing was changed."""

    exit_code = 2


class Refused(HostFailure):
    """The host says no, and why."""

    exit_code = 4
