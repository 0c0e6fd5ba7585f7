"""``inv evidence.take``: what another controller showed, added to what is known here."""

from __future__ import annotations

import tempfile
from pathlib import Path

from golive.environment import Environment
from golive.errors import Refused
from golive.evidence import Store, store_here
from golive.evidence.archive import archive_at, unpacked
from golive.evidence.trust import trusted
from golive.verbs.result import Result

__all__ = ["evidence_take"]


def evidence_take(env: Environment, *, file: str) -> Result:
    """Adds the statements of an archive, made by another controller, to those here; what does not verify is not taken at all.

    Raises BadInput for a file that is no evidence, Refused when it is not whole or of keys that do not count in ``env``.
    """
    store = store_here()
    with tempfile.TemporaryDirectory(prefix="golive-evidence-") as scratch:
        unpacked(archive_at(file), Path(scratch))
        other = Store(Path(scratch))
        found = other.contents(trusted(env))
        if found.wrong:
            raise Refused(f"{file} is not as it was signed: {found.wrong[0]}; nothing of it was taken.")
        if not found.kept:
            raise Refused(
                f"{file} holds nothing by a key that counts in {env.name} (inventories/{env.name}/evidence_keys.yaml); nothing was taken."
            )
        taken = store.taken(other, found.kept)
    return Result({"schema": 1, "env": env.name, "taken": taken, "foreign": found.foreign}, f"{taken} statements taken from {file}")
