"""One thing that is wrong, as a sentence with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Finding", "Grade", "problem", "warning"]


class Grade(Enum):
    """Whether a go-live would fail, or only suffer."""

    PROBLEM = "problem"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """What is wrong, and what to do."""

    check: str
    """Which check found it, as in ``clock``; stable, for scripts."""
    grade: Grade
    says: str


def problem(check: str, says: str) -> Finding:
    return Finding(check, Grade.PROBLEM, says)


def warning(check: str, says: str) -> Finding:
    return Finding(check, Grade.WARNING, says)
