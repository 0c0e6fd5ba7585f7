"""``inv skip``: leaves out a step that a signed waiver covers."""

from golive.verbs.waive import skip

__all__ = ["skip"]
