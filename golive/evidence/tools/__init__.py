"""Named probes that run a real tool: what a checklist's ``tool:`` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from golive.evidence.statement import Result

__all__ = ["TOOLS", "Outcome", "Tool", "run"]


@dataclass(frozen=True)
class Outcome:
    result: Result
    summary: str
    facts: Mapping[str, Any]
    output: bytes
    command: str


@dataclass(frozen=True)
class Tool:
    name: str
    subject: str
    valid: timedelta


TOOLS: dict[str, Tool] = {}


def run(tool: Tool, root: Path) -> Outcome:
    raise NotImplementedError(tool.name)
