"""Evidence from tools: terraform, ansible-lint, coverage and their like, run as the checklist names them."""

from __future__ import annotations

from datetime import UTC, datetime

from golive.environment import ROOT
from golive.errors import BadInput
from golive.evidence import Kept, agent_source, record, toolkit_source, unchanged
from golive.evidence.tools import TOOLS, run

__all__ = ["recorded"]


def recorded(name: str) -> Kept:
    """Runs the tool ``name`` and keeps what it found. Raises BadInput when there is none of that name."""
    if name not in TOOLS:
        raise BadInput(f"There is no tool {name!r} among the checklist's; known are {', '.join(sorted(TOOLS))}.")
    tool, started = TOOLS[name], datetime.now(UTC)
    subjects = [source() for name, source in (("source", agent_source), ("toolkit", toolkit_source)) if name in tool.subject]
    outcome = run(tool, ROOT)
    unchanged(subjects)
    return record(
        check=f"tool.{name}",
        subjects=subjects,
        command=outcome.command,
        result=outcome.result,
        summary=outcome.summary,
        facts=outcome.facts,
        output=outcome.output,
        started=started,
        valid_for=tool.valid,
    )
