"""Received content on disk: confined to its owner, committed atomically, never half there."""
