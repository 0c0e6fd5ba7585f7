"""Everything the agent raises on purpose, as one tree.

AgentError              exit 1   our own fault, or one no class below names
├── BadInput            exit 2   arguments, configuration or names that cannot be used
├── Occupied            exit 2   a port that is needed is taken
└── Failed              exit 4   it was asked for properly and did not happen
    ├── Refused                  the other side said no; carries its code
    ├── Unreachable              the other side did not answer
    ├── Corrupt                  content does not match its hash
    ├── ProtocolError            bytes that are not our protocol, or over its limits
    └── Missing         exit 5   there is nothing under this name
"""

from __future__ import annotations

__all__ = ["AgentError", "BadInput", "Corrupt", "Failed", "Missing", "Occupied", "ProtocolError", "Refused", "Unreachable", "retold"]


class AgentError(Exception):
    """Root of the tree. ``exit_code`` is what the command ends with when nothing catches it."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadInput(AgentError):
    """Arguments, configuration or names that cannot be used; nothing was changed."""

    exit_code = 2


class Occupied(AgentError):
    """A port that is needed is taken."""

    exit_code = 2


class Failed(AgentError):
    """It was asked for properly and did not happen."""

    exit_code = 4


class Refused(Failed):
    """The other side said no. ``code`` is its error code, ``status`` the HTTP status that goes with it."""

    def __init__(self, message: str, *, code: str = "refused", status: int = 403) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Unreachable(Failed):
    """The other side did not answer, or stopped answering."""


class Corrupt(Failed):
    """Content does not match the hash it was sent with."""


class ProtocolError(Failed):
    """Bytes that are not our protocol, or that exceed one of its limits."""


class Missing(Failed):
    """There is nothing under this name."""

    exit_code = 5


def retold(failure: AgentError) -> Failed:
    """What a stream is told of a failure that another one had: an exception of its own, without the first one's traceback."""
    if isinstance(failure, Corrupt):
        return Corrupt(failure.message)
    if isinstance(failure, Refused):
        return Refused(failure.message, code=failure.code, status=failure.status)
    return Refused(failure.message, code="interrupted", status=409)
