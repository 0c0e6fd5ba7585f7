"""GO, CONDITIONAL or NO-GO: computed from the states of all items and from what the environment's policy asks. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golive.errors import BadInput
from golive.evidence.checklist import SECTIONS, Checklist
from golive.evidence.judging import STATES, Judged
from golive.runbook.duration import Duration

__all__ = ["Decision", "Policy", "Waivers", "counts", "decide", "policy_of"]

Word = Literal["GO", "CONDITIONAL", "NO-GO"]


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Waivers(_Written):
    """What may be left unproved, for how long, and by whose word."""

    most: int = Field(default=0, ge=0)
    longest: Duration = timedelta(days=14)
    never: list[str] = []
    """Patterns of ids that nobody waives."""


class Policy(_Written):
    """``readiness:`` of ``policies/<env>.yaml``."""

    critical: list[str] | Literal["all"] = "all"
    """Patterns of ids that have to pass. ``all``: each of the 186."""
    confidence: float = Field(default=100, ge=0, le=100)
    """Percent of the 156 items for machines that have to pass for GO."""
    conditional: float = Field(default=100, ge=0, le=100)
    """The same for CONDITIONAL: below it, NO-GO."""
    waivers: Waivers = Waivers()
    evidence_from: list[str] = []
    """Other environments whose evidence counts, of the same release to the byte."""
    golive: Literal["require", "note"] = "require"
    """Whether a go-live is held when the decision is not GO, or notes it and goes on: a lab makes evidence by going live."""


@dataclass(frozen=True)
class Decision:
    """What was decided, and by what."""

    word: Word
    blockers: tuple[str, ...]
    """What stands in the way, the worst first: one sentence each."""
    risks: tuple[str, ...]
    """What does not, and is not shown either."""
    passed: int
    """Of the 156."""
    critical: tuple[str, ...]
    """Ids that the policy calls critical."""


def policy_of(policy: Mapping[str, Any], name: str) -> Policy:
    """What ``policies/NAME.yaml`` says of readiness. Raises BadInput; without the section, everything is critical."""
    try:
        return Policy.model_validate(policy.get("readiness", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"policies/{name}.yaml: readiness.{where}: {first['msg'].removeprefix('Value error, ')}.") from None


def counts(checklist: Checklist, judged: Mapping[str, Judged]) -> dict[str, dict[str, int]]:
    """Items by state, section after section."""
    found = {section: Counter[str]() for section in SECTIONS}
    for item in checklist.items:
        found[item.section][judged[item.id].state] += 1
    return {section: {state: number[state] for state in STATES} for section, number in found.items()}


def decide(checklist: Checklist, judged: Mapping[str, Judged], policy: Policy, wrong: Sequence[str]) -> Decision:
    """The decision over every item of ``checklist``; ``wrong``: evidence or release files that are not as they were signed.

    Raises BadInput when the policy names an id that no item has: a name that was mistyped would ask for nothing.
    """
    for pattern in [*(policy.critical if policy.critical != "all" else []), *policy.waivers.never]:
        if not any(fnmatchcase(item.id, pattern) for item in checklist.items):
            raise BadInput(f"The policy's readiness names {pattern!r}, which no item of the checklist is.")
    critical = tuple(item.id for item in checklist.items if policy.critical == "all" or _any(item.id, policy.critical))
    blockers = list(wrong)
    waived = [item.id for item in checklist.items if judged[item.id].state == "WAIVED"]
    blockers += [f"{id_} was waived, and the policy never lets it be" for id_ in waived if _any(id_, policy.waivers.never)]
    if len(waived) > policy.waivers.most:
        blockers.append(f"{len(waived)} items are waived, and the policy lets {policy.waivers.most} be")
    by_id = {item.id: item for item in checklist.items}
    for state in ("FAIL", "UNKNOWN", "STALE"):
        blockers += [f"{id_} {by_id[id_].says}: {state}, {judged[id_].reason}" for id_ in critical if judged[id_].state == state]
    machine = [item.id for item in checklist.items if item.by_machine]
    passed = sum(judged[id_].state == "PASS" for id_ in machine)
    share = 100 * passed / len(machine)
    if share < policy.conditional:
        blockers.append(f"{passed} of {len(machine)} items for machines pass; the policy asks {policy.conditional:g} %")
    risks = [
        f"{item.id} {item.says}: {judged[item.id].state}, {judged[item.id].reason}"
        for state in ("FAIL", "WAIVED", "STALE", "UNKNOWN")
        for item in checklist.items
        if judged[item.id].state == state and (state == "WAIVED" or item.id not in critical)
    ]
    word: Word = "NO-GO"
    if not blockers:
        word = "GO" if share >= policy.confidence and not waived else "CONDITIONAL"
        if word == "CONDITIONAL" and share < policy.confidence:
            risks.insert(0, f"{passed} of {len(machine)} items for machines pass; GO asks {policy.confidence:g} %")
    return Decision(word, tuple(blockers), tuple(risks), passed, critical)


def _any(id_: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(id_, pattern) for pattern in patterns)
