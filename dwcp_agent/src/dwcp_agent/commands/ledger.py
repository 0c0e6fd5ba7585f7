"""Where the transfers of this host find each other."""

from __future__ import annotations

import os
from pathlib import Path

from dwcp_agent.commands.cache import cache_directory

__all__ = ["ledger_directory"]

_OF_HOST = Path("/var/lib/dwcp/senders")


def ledger_directory() -> Path | None:
    """The host's own, where there is one that this user may write to, else this user's; None when there can be none."""
    try:
        return _OF_HOST if os.access(_OF_HOST, os.R_OK | os.W_OK | os.X_OK) else cache_directory("senders")
    except OSError:
        return None
