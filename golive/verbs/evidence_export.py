"""``inv evidence.export``: all evidence as one file, to be checked where this controller is not."""

from __future__ import annotations

from pathlib import Path

from golive.environment import ROOT, Environment
from golive.errors import Refused
from golive.evidence import store_here
from golive.evidence.archive import packed
from golive.evidence.trust import trusted
from golive.verbs.readiness import where
from golive.verbs.result import Result

__all__ = ["evidence_export"]


def evidence_export(env: Environment, *, out: str = "") -> Result:
    """Writes all evidence, the checklist and the decision as it is now into one file. Evidence that is not whole is not exported."""
    out = out or f"evidence-{env.name}.tar.gz"
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
