"""Whether the answers to a question are enough. Every signature is checked again: what the journal says of an envelope proves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from golive.approvals.approvers import Approvers
from golive.approvals.envelope import opened
from golive.approvals.statement import Question
from golive.errors import GoliveError

__all__ = ["Tally", "excluded", "tally"]


@dataclass(frozen=True)
class Tally:
    """How a question stands."""

    question: Question
    approved: tuple[tuple[str, str], ...] = ()
    """Person and role, each person once."""
    rejected: tuple[str, str, str] | None = None
    """Person, role and comment."""
    not_counted: tuple[str, ...] = ()
    """Why other envelopes do not count, as sentences."""

    @property
    def enough(self) -> bool:
        return self.rejected is None and len(self.approved) >= self.question.count

    @property
    def told(self) -> str:
        """Who approved, as text."""
        return ", ".join(f"{person} ({role})" for person, role in self.approved) or "nobody"


def tally(question: Question, envelopes: Sequence[Any], approvers: Approvers, at: datetime, excluded: Mapping[str, str]) -> Tally:
    """The answers among ``envelopes`` that count at ``at``.

    Args:
        question: what was asked.
        envelopes: whatever the journal holds, also of other questions.
        approvers: who may decide now; who was struck from it since counts no more.
        at: now; past its expiry no approval counts. A no stays one.
        excluded: people who may not approve this, and why. They may reject it.
    """
    approved: dict[str, str] = {}
    rejected: tuple[str, str, str] | None = None
    why: list[str] = []
    for envelope in envelopes:
        try:
            judged = opened(envelope, approvers, at)
        except GoliveError as error:
            why.append(str(error))
            continue
        statement, person = judged.statement, judged.person
        if statement.nonce != question.nonce:
            continue
        unfit = statement.unfit(question)
        if unfit:
            why.append(f"{person}: {unfit}")
        elif statement.decision == "reject":
            rejected = rejected or (person, statement.role, statement.comment)
        elif at >= question.expires_at:
            why.append(f"{person}: it expired")
        elif person in excluded:
            why.append(f"{person} {excluded[person]}")
        else:
            approved.setdefault(person, statement.role)
    return Tally(question, tuple(approved.items()), rejected, tuple(dict.fromkeys(why)))


def excluded(approvers: Approvers, starter: str | None, operator_key: str, before: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Who may not approve, and why.

    Args:
        approvers: everyone.
        starter: ``user@host`` of whoever started the run; None when whoever it was may approve.
        operator_key: the controller's own public key; whoever has it is at the controller, too.
        before: people who approved other steps whose approvers may not approve this one, by step.
    """
    found: dict[str, str] = {}
    fields = operator_key.split()
    for person in approvers.people if starter is not None else ():
        if person.has_account(starter or "") or (len(fields) > 1 and fields[1] in {key.blob for key in person.all_keys}):
            found[person.person] = f"started the run (as {starter}), and someone else has to approve it"
    for step, people in before.items():
        for person_name in people:
            found.setdefault(person_name, f"approved {step} already, and this needs someone else")
    return found
