"""What a document says of readiness: every item with its state and the statements it rests on, both numbers, and the decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from golive.documents.figure import Figure
from golive.documents.sources import Sources, of_statement
from golive.environment import ROOT
from golive.evidence import Kept
from golive.evidence.checklist import SECTIONS, Checklist
from golive.evidence.decision import Decision, Policy
from golive.evidence.judging import STATES, Judged, State

__all__ = ["CHECKLIST", "Count", "ItemFact", "ReadyFacts", "ready_facts"]

CHECKLIST = "runbooks/checklist.yaml"


@dataclass(frozen=True)
class ItemFact:
    """One item of the checklist."""

    id: str
    section: str
    says: str
    state: Figure
    reason: str
    evidence: tuple[str, ...]
    """Digests of statements."""
    until: Figure
    """When the first of its evidence ends to hold."""
    again: tuple[str, ...]
    critical: bool
    by_machine: bool
    attested: str
    """The role that has to sign it; empty where machines show it."""


@dataclass(frozen=True)
class Count:
    """How many items of a section are in each state."""

    name: str
    total: Figure
    states: tuple[Figure, ...]
    """In the order of golive.evidence.judging.STATES."""

    def of(self, state: State) -> Figure:
        return self.states[STATES.index(state)]


@dataclass(frozen=True)
class ReadyFacts:
    """Readiness as the evidence had it when the document was made."""

    decision: Figure
    release: str | None
    release_digest: Figure
    at: datetime
    items: tuple[ItemFact, ...]
    sections: tuple[Count, ...]
    machine: Count
    """Of the 156."""
    every: Count
    """Of the 186."""
    blockers: tuple[str, ...]
    risks: tuple[str, ...]
    critical: Figure
    critical_passed: Figure
    asked: Figure
    """Percent of the 156 that GO asks."""
    conditional: Figure
    waivers_most: Figure
    evidence_from: tuple[str, ...]
    statements: Figure
    """How many statements the items rest on."""
    first_stale: tuple[Figure, str] | None
    """When the first evidence of an item that passes ends to hold, and of which."""
    foreign: int

    def in_state(self, *states: State) -> tuple[ItemFact, ...]:
        return tuple(item for item in self.items if item.state.value in states)


def ready_facts(
    *,
    checklist: Checklist,
    judged: Mapping[str, Judged],
    kept: Mapping[str, Kept],
    decision: Decision,
    policy: Policy,
    policy_name: str,
    foreign: int,
    release: tuple[str, str] | None,
    at: datetime,
    sources: Sources,
) -> ReadyFacts:
    """The facts of a decision; everything they rest on can then be cited from ``sources``.

    Args:
        release: id and manifest's digest.
    """
    listed = sources.add_file(CHECKLIST, digest=checklist.digest, what=f"{len(checklist.items)} items")
    by_policy = sources.add_path(ROOT / "policies" / f"{policy_name}.yaml", f"policies/{policy_name}.yaml", "what GO asks")
    sources.add_statements(kept)
    items = []
    for item in checklist.items:
        one = judged[item.id]
        refs = tuple(of_statement(digest) for digest in one.evidence if digest in kept) or (listed,)
        until = Figure(one.until.isoformat(timespec="seconds") if one.until else None, refs, "time")
        items.append(
            ItemFact(
                id=item.id,
                section=item.section,
                says=item.says,
                state=Figure(one.state, refs),
                reason=one.reason,
                evidence=one.evidence,
                until=until,
                again=one.again,
                critical=item.id in decision.critical,
                by_machine=item.by_machine,
                attested=item.attest.role if item.attest is not None else "",
            )
        )
    ending = sorted((item for item in items if item.state.value == "PASS" and item.until.value), key=lambda item: str(item.until.value))
    critical = [item for item in items if item.critical]
    ids = {digest for item in items for digest in item.evidence}
    refs = (listed, by_policy)
    release_digest = Figure(None, (listed,), "digest")
    if release is not None:
        release_digest = Figure(release[1], (sources.add_file(f"releases/{release[0]}", digest=release[1], what="its manifest"),))
    return ReadyFacts(
        decision=Figure(decision.word, refs),
        release=release[0] if release is not None else None,
        release_digest=release_digest,
        at=at,
        items=tuple(items),
        sections=tuple(_count(section, [item for item in items if item.section == section], listed) for section in SECTIONS),
        machine=_count("for machines", [item for item in items if item.by_machine], listed),
        every=_count("all", items, listed),
        blockers=decision.blockers,
        risks=decision.risks,
        critical=Figure(len(critical), refs, "count"),
        critical_passed=Figure(sum(item.state.value == "PASS" for item in critical), refs, "count"),
        asked=Figure(policy.confidence, (by_policy,), "percent"),
        conditional=Figure(policy.conditional, (by_policy,), "percent"),
        waivers_most=Figure(policy.waivers.most, (by_policy,), "count"),
        evidence_from=tuple(policy.evidence_from),
        statements=Figure(len(ids), (listed,), "count"),
        first_stale=(ending[0].until, ending[0].id) if ending else None,
        foreign=foreign,
    )


def _count(name: str, items: Sequence[ItemFact], listed: str) -> Count:
    found = Counter(item.state.value for item in items)
    states = tuple(Figure(found[state], (listed,), "count") for state in STATES)
    return Count(name, Figure(len(items), (listed,), "count"), states)
