"""``inv journal.export``: the whole journal as one signed file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from golive import audit, engine
from golive.environment import Environment
from golive.errors import BadInput
from golive.verbs.result import Result

__all__ = ["journal_export"]


def journal_export(env: Environment, *, out: str = "") -> Result:
    """Writes all records, the head and a signature of it into one file, which ``journal.verify --file`` checks anywhere.

    Exit 4 when it could not be signed: such a file proves less. Raises BadInput when there is no journal or it cannot be written.
    """
    if not engine.has_journal(env):
        raise BadInput(f"No run was ever started in {env.name}; there is no journal to export.")
    rows = engine.open_journal(env).rows()
    path = Path(out) if out else env.state / f"journal-{env.name}-{len(rows):06d}.jsonl"
    at = datetime.now(UTC).isoformat(timespec="seconds")
    head, unsigned = audit.exported(path, env.name, rows, at, lambda message: audit.sign(env, message))
    data = {"schema": 1, "env": env.name, "file": str(path), "records": len(rows), "head": {"seq": head.seq, "hash": head.hash}}
    text = f"{path}: {len(rows)} records of {env.name}, up to {head.seq}:{head.hash}. Check it with `./inv journal.verify --file {path}`."
    if unsigned:
        text += f"\nIt is NOT signed: {unsigned}"
    return Result({**data, "signed": not unsigned, "why_not": unsigned}, text, 4 if unsigned else 0)
