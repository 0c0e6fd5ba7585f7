"""Everything the toolkit raises on purpose, as one tree.

    GoliveError                 exit 1   our own fault, or one no class below names
    ├── BadInput                exit 2   what the operator gave cannot be used; nothing was changed
    ├── Unprepared              exit 2   the machine or the environment lacks something; nothing was changed
    ├── RolledBack              exit 3   the candidate was withdrawn, the incumbent serves everything
    ├── Held                    exit 4   the run stands still and a person has to decide
    │   ├── Unreachable                  a host or service did not answer: its state is unknown
    │   └── Refused                      a host or a check said no (stale fencing token, bad signature, wrong digest)
    ├── Occupied                exit 5   another run holds the environment
    └── Drifted                 exit 6   what is there differs from what was declared

Every message is one or two sentences an operator can act on: what happened, where, what was left, what to run next.
No traceback reaches an operator unless asked for with ``--debug``.
"""

from __future__ import annotations

__all__ = [
    "BadInput",
    "Drifted",
    "GoliveError",
    "Held",
    "Occupied",
    "Refused",
    "RolledBack",
    "Unprepared",
    "Unreachable",
]


class GoliveError(Exception):
    """Root of the tree. ``exit_code`` is what the process ends with when nothing catches it."""

    exit_code = 1

    def __init__(self, message: str, *, host: str | None = None, step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.host = host
        self.step = step

    def __str__(self) -> str:
        return self.message


class BadInput(GoliveError):
    """What the operator gave cannot be used; nothing was changed."""

    exit_code = 2


class Unprepared(GoliveError):
    """The machine or the environment lacks something that must be there first; nothing was changed."""

    exit_code = 2


class RolledBack(GoliveError):
    """The candidate was withdrawn and the incumbent serves everything."""

    exit_code = 3


class Held(GoliveError):
    """The run stands still and a person has to decide."""

    exit_code = 4


class Unreachable(Held):
    """A host or service did not answer, so its state is unknown."""


class Refused(Held):
    """A host or a check said no: stale fencing token, bad signature, wrong digest."""


class Occupied(GoliveError):
    """Another run holds the environment."""

    exit_code = 5


class Drifted(GoliveError):
    """What is there differs from what was declared."""

    exit_code = 6
