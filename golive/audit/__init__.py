"""Whether the journal is still what was written: who signs it, what hosts saw of it, and one file for whoever asks later."""

from golive.audit.examination import Examination, examine
from golive.audit.export import exported, opened, words
from golive.audit.hosts import Kept, kept, leave
from golive.audit.key import NAMESPACE, key_of, public_key, sign, signed

__all__ = [
    "NAMESPACE",
    "Examination",
    "Kept",
    "examine",
    "exported",
    "kept",
    "key_of",
    "leave",
    "opened",
    "public_key",
    "sign",
    "signed",
    "words",
]
