"""Decisions by people: what is asked, what they sign with their own SSH key, and whether it is enough."""

from golive.approvals.approvers import Approvers, Person, approvers_of, digest_of
from golive.approvals.envelope import Judged, opened, sealed
from golive.approvals.policy import Need, mode_of, never_waived, ready
from golive.approvals.statement import NAMESPACE, Evidence, Question, Statement, canonical, digest
from golive.approvals.tally import Tally, excluded, tally

__all__ = [
    "NAMESPACE",
    "Approvers",
    "Evidence",
    "Judged",
    "Need",
    "Person",
    "Question",
    "Statement",
    "Tally",
    "approvers_of",
    "canonical",
    "digest",
    "digest_of",
    "excluded",
    "mode_of",
    "never_waived",
    "opened",
    "ready",
    "sealed",
    "tally",
]
