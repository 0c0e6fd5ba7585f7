"""``inv evidence.verify``: whether evidence is as it was signed, here or in an archive."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from golive import engine
from golive.environment import Environment
from golive.errors import BadInput
from golive.evidence import Contents, Store, store_here
from golive.evidence.archive import archive_at, unpacked
from golive.evidence.sealing import PublicKey, public_key
from golive.evidence.trust import trusted
from golive.verbs.result import Result

__all__ = ["evidence_verify"]


def evidence_verify(env: Environment | None, *, file: str = "", key: str = "") -> Result:
    """Checks every statement, its place and its output; of an archive when ``file`` is given. Exit code 4 when anything is wrong.

    Without an environment, ``key`` names the one key whose statements count. Raises BadInput.
    """
    keys = _keys(env, key)
    if not file:
        found = store_here().contents(keys)
        found.wrong += _forgotten(env, found)
        return _told(found, "the evidence here")
    with tempfile.TemporaryDirectory(prefix="golive-evidence-") as scratch:
        unpacked(archive_at(file), Path(scratch))
        return _told(Store(Path(scratch)).contents(keys), file)


def _forgotten(env: Environment | None, found: Contents) -> list[str]:
    """Statements that a go-live saw, by its journal, and that are not here any more: a chain that was put back to an earlier end."""
    if env is None or not engine.has_journal(env):
        return []
    here = {kept.digest for kept in found.kept}
    records = [record for record in engine.open_journal(env).read() if record.kind == "readiness"]
    gone = {digest: record for record in records for digest in record.data.get("heads", {}).values() if digest not in here}
    return [f"run {record.run} saw statement {digest[:12]}, which is not here any more" for digest, record in gone.items()]


def _keys(env: Environment | None, key: str) -> list[PublicKey]:
    if key:
        try:
            return [public_key(key)]
        except ValueError:
            raise BadInput(f"--key {key[:70]!r} is no ed25519 key: 64 hex digits are.") from None
    if env is None:
        raise BadInput("Say whose evidence counts: --env with an environment that pins keys, or --key with 64 hex digits.")
    return trusted(env)


def _told(found: Contents, what: str) -> Result:
    kinds = Counter(kept.statement.predicate.check.split(".")[0] for kept in found.kept)
    ok = bool(found.kept) and not found.wrong
    data: dict[str, Any] = {
        "schema": 1,
        "ok": ok,
        "statements": len(found.kept),
        "kinds": kinds,
        "foreign": found.foreign,
        "wrong": found.wrong,
    }
    kinds_told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    lines = [f"{what}: {len(found.kept)} statements as they were signed ({kinds_told or 'none'})"]
    if found.foreign:
        lines.append(f"{found.foreign} by keys that do not count here, not looked at")
    lines += [f"WRONG: {sentence}" for sentence in found.wrong]
    return Result(data, "\n".join(lines), 0 if ok else 4)
