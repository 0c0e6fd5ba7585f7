"""``inv rollback``: everything back on the incumbent."""

from golive.verbs.golive import rollback

__all__ = ["rollback"]
