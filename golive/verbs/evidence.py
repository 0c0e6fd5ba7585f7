"""``inv evidence.verify``, ``evidence.export`` and ``evidence.take``: whether evidence is as it was signed, and its way to others."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from golive import engine
from golive.environment import ROOT, Environment
from golive.errors import BadInput, Refused
from golive.evidence import Contents, Store, store_here
from golive.evidence.archive import packed, unpacked
from golive.evidence.sealing import PublicKey, public_key
from golive.evidence.trust import trusted
from golive.verbs.readiness import where
from golive.verbs.result import Result

__all__ = ["export", "take", "verify"]


def verify(env: Environment | None, *, file: str = "", key: str = "") -> Result:
    """Checks every statement, its place and its output; of an archive when ``file`` is given. Exit code 4 when anything is wrong.

    Without an environment, ``key`` names the one key whose statements count. Raises BadInput.
    """
    keys = _keys(env, key)
    if not file:
        found = store_here().contents(keys)
        found.wrong += _forgotten(env, found)
        return _told(found, "the evidence here")
    with tempfile.TemporaryDirectory(prefix="golive-evidence-") as scratch:
        unpacked(_there(file), Path(scratch))
        return _told(Store(Path(scratch)).contents(keys), file)


def export(env: Environment, *, out: str) -> Result:
    """Writes all evidence, the checklist and the decision as it is now into one file. Evidence that is not whole is not exported."""
    at = where(env)
    if at.wrong:
        raise Refused(f"The evidence is not as it was signed, so it is not exported: {at.wrong[0]}")
    keys = "".join(f"{key.keyval['public']}\n" for key in trusted(env)).encode()
    readiness = env.state / "readiness.json"
    beside = {"keys.txt": keys, "checklist.yaml": (ROOT / "runbooks/checklist.yaml").read_bytes()}
    if readiness.is_file():
        beside["readiness.json"] = readiness.read_bytes()
    count = packed(store_here().root, Path(out), beside)
    return Result({"schema": 1, "file": out, "statements": count}, f"{count} statements with their outputs in {out}")


def take(env: Environment, *, file: str) -> Result:
    """Adds the statements of an archive, made by another controller, to those here; what does not verify is not taken at all.

    Raises BadInput for a file that is no evidence, Refused when it is not whole or of keys that do not count in ``env``.
    """
    store = store_here()
    with tempfile.TemporaryDirectory(prefix="golive-evidence-") as scratch:
        unpacked(_there(file), Path(scratch))
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


def _there(file: str) -> Path:
    path = Path(file)
    if not path.is_file():
        raise BadInput(f"{file} does not exist.")
    return path


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
