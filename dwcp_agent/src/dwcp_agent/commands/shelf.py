"""The user's copies of dictionaries that agents offer, each in a file that is named by its hash."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from dwcp_agent.commands.cache import cache_directory
from dwcp_agent.commands.session import Session
from dwcp_agent.encoding.chunk import decompress
from dwcp_agent.encoding.trained import MAX_DICTIONARY_BYTES, Dictionary
from dwcp_agent.errors import AgentError, ProtocolError

__all__ = ["KEPT", "CachedShelf"]

KEPT = 32


class CachedShelf:
    """Dictionaries of ``session``'s agent; a :class:`~dwcp_agent.transport.offered.Shelf`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, id: str) -> Dictionary | None:
        """From the cache; one that is damaged is removed there."""
        with contextlib.suppress(OSError):
            path = cache_directory("dictionaries") / id
            with contextlib.suppress(ProtocolError):
                with path.open("rb") as file:
                    found = Dictionary(file.read(MAX_DICTIONARY_BYTES + 1))
                if found.id == id:
                    return found
            path.unlink(missing_ok=True)
        return None

    def fetch(self, id: str) -> Dictionary | None:
        """From the agent, and into the cache."""
        try:
            found = Dictionary(decompress(self._session.dictionary(id), MAX_DICTIONARY_BYTES))
        except AgentError:
            return None  # what is asked for saves bytes, no more
        if found.id != id:
            return None
        with contextlib.suppress(OSError):
            _write(cache_directory("dictionaries"), found)
        return found


def _write(directory: Path, dictionary: Dictionary) -> None:
    temporary = directory / f".{secrets.token_hex(8)}"
    try:
        temporary.touch(mode=0o600, exist_ok=False)
        temporary.write_bytes(dictionary.content)
        temporary.rename(directory / dictionary.id)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    for path in sorted(directory.iterdir(), key=lambda path: -path.stat().st_mtime)[KEPT:]:
        path.unlink(missing_ok=True)
