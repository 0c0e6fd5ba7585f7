"""Journal records as lines for people."""

from __future__ import annotations

import json
from typing import Any

from golive.engine import Record
from golive.views.view import event_of

__all__ = ["line_of", "record_of"]

JSON = dict[str, Any]

_LONGEST = 600
_BAD = ("trigger", "bug", "rollback.requested", "rollback.started", "rollback.overrun", "run.aborting", "host.set-aside", "step.unknown")
_WARNS = ("run.held", "run.paused", "step.holding", "step.waived", "step.given-up", "journal.unsigned", "notice.failed", "lease.taken-over")


def record_of(row: Any) -> Record:
    """A record as it is kept, with its data; data that is no JSON object is shown as what it is."""
    try:
        data = json.loads(row.data)
    except (TypeError, ValueError):
        data = None
    if not isinstance(data, dict):
        data = {"unreadable": str(row.data)[:_LONGEST]}
    return Record(row.env, row.seq, row.at, row.run, row.kind, row.stage, row.step, row.token, data, row.prev, row.hash)


def line_of(record: Record) -> JSON:
    """``seq``, ``at``, ``run``, ``kind``, ``where``, ``text`` and ``is`` (good, bad, warn or empty)."""
    verdict = str(record.data.get("verdict") or "")
    return {
        "seq": record.seq,
        "at": str(record.at),
        "run": str(record.run),
        "kind": str(record.kind),
        "where": "/".join(str(part) for part in (record.stage, record.step) if part),
        "text": _text(record)[:_LONGEST],
        "is": _is(str(record.kind), verdict),
    }


def _is(kind: str, verdict: str) -> str:
    if verdict == "FAIL" or kind in _BAD:
        return "bad"
    if verdict in ("INCONCLUSIVE", "ERROR") or kind in _WARNS:
        return "warn"
    return "good" if verdict == "PASS" or kind in ("rollback.traffic-back", "traffic.passed", "journal.signed") else ""


def _text(record: Record) -> str:
    try:
        event = event_of(record)
    except Exception:
        # A record that somebody edited may hold anything at all; that must not keep the others from being read.
        event = None
    if event is not None:
        return (f"{event.verdict}: " if event.verdict else "") + event.what
    if record.kind == "step.intent":
        return f"begins: {record.data.get('uses')}"
    if record.kind == "stage.done":
        return "stage done"
    return json.dumps(record.data, ensure_ascii=False) if record.data else ""
