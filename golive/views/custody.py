"""What is said of the journal's custody: who took the environment over, where its head was left, whether it was signed."""

from __future__ import annotations

from typing import Any

__all__ = ["KINDS", "custody"]

KINDS = ("lease.taken-over", "journal.anchored", "journal.signed", "journal.unsigned")


def custody(kind: str, data: dict[str, Any]) -> str:
    """One record of :data:`KINDS` as a line."""
    if kind == "lease.taken-over":
        who, before = dict(data.get("who") or {}), dict(data.get("from") or {})
        left = f"; it may have left running: {', '.join(map(str, data['left']))}" if data.get("left") else ""
        return f"{_named(who)} took the environment over from {_named(before)}: {data.get('why')}{left}"
    if kind == "journal.anchored":
        missed = dict(data.get("missed") or {})
        not_on = f"; not on {', '.join(f'{host} ({reason})' for host, reason in sorted(missed.items()))}" if missed else ""
        return f"the journal's head (record {data.get('seq')}) is on {len(data.get('hosts') or [])} hosts{not_on}"
    if kind == "journal.signed":
        return f"the journal was signed up to record {data.get('seq')}"
    return f"the journal was NOT signed: {data.get('why')}"


def _named(who: dict[str, Any]) -> str:
    return f"{who.get('owner')} (host {who.get('host')}, pid {who.get('pid')})"
