"""What the board reads, given to it by the verb: it opens nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from golive.engine import Sight

__all__ = ["Book", "PlannedStage", "PlannedStep", "Sources"]

JSON = dict[str, Any]


@dataclass(frozen=True)
class PlannedStep:
    """A step as the runbook has it."""

    id: str
    uses: str
    release: str = ""
    """``candidate`` or ``incumbent``, for steps that are about one."""
    limits: Mapping[str, JSON] = field(default_factory=dict)
    """Of a gate: ``value`` (a share of 1, or seconds) and ``text`` by metric, as this environment decides."""


@dataclass(frozen=True)
class PlannedStage:
    """A stage as the runbook has it."""

    name: str
    at: str
    owner: str
    title: str = ""
    steps: Sequence[PlannedStep] = ()


@dataclass(frozen=True)
class Book:
    """A runbook, as it stands on this machine now."""

    name: str
    digest: str
    stages: Sequence[PlannedStage]


@dataclass(frozen=True)
class Sources:
    """Everything that the board shows comes from here."""

    env: str
    look: Callable[[], Sight | None]
    """What came into the journal since the last call. Raises GoliveError when it cannot be read."""
    readiness: Path
    """Where ``inv readiness`` leaves its last result."""
    looks: Path
    """Where the process that runs a watch leaves what it sees, see :mod:`golive.views.looks`."""
    books: Callable[[], Sequence[Book]] = lambda: ()
    """The runbooks. Raises GoliveError when one cannot be read."""
    hosts: Callable[[], Sequence[Mapping[str, Any]]] = lambda: ()
    """``name``, ``site``, ``role``, ``gateway``, ``load`` of each host as recorded. Raises GoliveError when there are none."""
