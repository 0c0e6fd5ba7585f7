"""What is known of a release, by whom, since when: statements, the checklist, and the decision."""

from golive.evidence.recording import record, store_here, unkept
from golive.evidence.statement import Statement, Subject
from golive.evidence.store import Contents, Kept, Store
from golive.evidence.subjects import agent_source, host_subject, release_subject, runbook_subject, toolkit_source, unchanged

__all__ = [
    "Contents",
    "Kept",
    "Statement",
    "Store",
    "Subject",
    "agent_source",
    "host_subject",
    "record",
    "release_subject",
    "runbook_subject",
    "store_here",
    "toolkit_source",
    "unchanged",
    "unkept",
]
