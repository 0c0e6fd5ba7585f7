"""What was measured, kept as evidence about the release that it was measured of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from golive import evidence
from golive.environment import ROOT
from golive.evidence.judging import VALID
from golive.regress.told import counts
from golive.releases import Release

__all__ = ["keep"]

_POLICY = "policies/regress.yaml"


def keep(check: str, env: str | None, of: Release, beside: Sequence[Release], told: dict[str, Any], started: datetime) -> None:
    """Records the document ``told`` as the newest evidence ``check`` of ``env``; of no environment when it was made in none."""
    found, rows = counts(told["rows"]), told["rows"]
    failed = [row["id"] for row in rows if row["verdict"] == "FAIL"]
    evidence.record(
        check=check,
        env=env,
        subjects=[evidence.release_subject(of)],
        inputs=[
            *map(evidence.release_subject, beside),
            evidence.Subject.of(_POLICY, hashlib.sha256((ROOT / _POLICY).read_bytes()).hexdigest()),
        ],
        command=told["command"],
        result="FAIL" if failed else "PASS" if rows and not found["UNKNOWN"] else "UNKNOWN",
        summary=f"{len(rows)} rows: {', '.join(f'{count} {verdict}' for verdict, count in found.items())}"
        + (f"; {', '.join(failed[:5])}" if failed else ""),
        facts={"rows": rows, "machine": told["machine"], "counts": found},
        output=json.dumps(told, indent=1).encode(),
        started=started,
        valid_for=VALID[check.partition(".")[0]],
    )
