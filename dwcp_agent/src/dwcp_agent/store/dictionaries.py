"""Dictionaries beside the state they were trained from: one file each, named by its hash, in a directory of its identity's own.

They hold pieces of values. No identity's is ever used for, or shown to, another; what is older than ``MAX_AGE_S`` goes, and whoever asks
for it, or still refers to it, goes on without. A file that is not what its name says is removed when it is read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

from dwcp_agent import log
from dwcp_agent.encoding.trained import MAX_DICTIONARY_BYTES, Dictionary, is_dictionary_id
from dwcp_agent.errors import ProtocolError
from dwcp_agent.security.identity import Identity

__all__ = ["Dictionaries"]

KEPT = 3
"""Of one identity: senders that began with an older one may go on with it."""
MOST = 256
"""Of all identities together, 8 MiB at most."""
MAX_AGE_S = 30 * 86400.0


class Dictionaries:
    """Those below ``root``, a store's directory, that both slots share. Safe from several threads; raises nothing about the disk.

    What cannot be read is not there, and what cannot be written is not kept: both cost bytes on the wire and no more.
    """

    def __init__(self, root: Path) -> None:
        self._root = root / ".state" / "dictionaries"

    def latest(self, owner: Identity) -> Dictionary | None:
        """The newest of ``owner``."""
        return next((found for path in self._paths(owner) if (found := _read(path)) is not None), None)

    def get(self, owner: Identity, id: str) -> Dictionary | None:
        """The one of ``owner`` with this id."""
        return next((_read(path) for path in self._paths(owner) if path.name == id), None)

    def numbered(self, owner: Identity, number: int) -> Dictionary | None:
        """The one of ``owner`` that frames name so."""
        found = (_read(path) for path in self._paths(owner))
        return next((dictionary for dictionary in found if dictionary is not None and dictionary.number == number), None)

    def keep(self, owner: Identity, dictionary: Dictionary) -> bool:
        """It is the newest of ``owner``, and what is over a limit is gone; False when it cannot be kept."""
        directory = self._root / owner.directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = directory / f".{secrets.token_hex(8)}"
            try:
                with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                    file.write(dictionary.content)
                # Not flushed: one that a power cut tore is not what its name says.
                temporary.rename(directory / dictionary.id)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            log.warn("dictionary-not-kept", identity=str(owner), reason=str(error))
            return False
        for path in self._paths(owner)[KEPT:]:
            _remove(path)
        self.purge()
        return True

    def purge(self) -> None:
        """What is too old or too much is gone, and what a killed agent left half written."""
        with contextlib.suppress(OSError):
            for path in self._root.glob("*/.*"):
                if _age_s(path) > 3600:
                    _remove(path)
            found = sorted((path for path in self._root.glob("*/*") if is_dictionary_id(path.name)), key=_age_s)
            for place, path in enumerate(found):
                if place >= MOST or _age_s(path) > MAX_AGE_S:
                    _remove(path)

    def _paths(self, owner: Identity) -> list[Path]:
        """Those of ``owner`` that are not too old, newest first."""
        try:
            found = [path for path in (self._root / owner.directory).iterdir() if is_dictionary_id(path.name)]
        except OSError:
            return []
        return sorted((path for path in found if _age_s(path) <= MAX_AGE_S), key=_age_s)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")  # it has just gone


def _read(path: Path) -> Dictionary | None:
    """What is in ``path``, when that is what its name says."""
    try:
        with path.open("rb") as file:
            dictionary = Dictionary(file.read(MAX_DICTIONARY_BYTES + 1))
        if dictionary.id == path.name:
            return dictionary
        reason = "its hash is another one"
    except OSError:
        return None
    except ProtocolError as error:
        reason = error.message
    log.warn("dictionary-damaged", path=str(path), reason=reason)
    _remove(path)
    return None


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
