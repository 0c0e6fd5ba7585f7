"""The part of the fold that is about what operators ask: pause, abort, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from golive.engine.journal import Record

if TYPE_CHECKING:
    from golive.engine.fold import RunState

__all__ = ["CHANGES"]


def _run_paused(state: RunState, record: Record) -> None:
    state.paused = {**{key: record.data.get(key) for key in ("reason", "by", "at")}, "since": record.at}


def _run_unpaused(state: RunState, record: Record) -> None:
    """The time that a paused run stood does not count for what is tried again for a time."""
    since, now = _time((state.paused or {}).get("since")), _time(record.at)
    state.paused = None
    if since is None or now is None:
        return
    for step in state.steps.values():
        until = _time(step.holding_until)
        if until is not None:
            step.holding_until = (until + max(now - since, timedelta())).isoformat()


def _run_aborting(state: RunState, record: Record) -> None:
    state.aborting = state.aborting or {key: record.data.get(key) for key in ("reason", "by", "at")}


def _time(text: str | None) -> datetime | None:
    """None for what is no time with a zone."""
    try:
        time = datetime.fromisoformat(text or "")
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo is not None else None


def _rollback_requested(state: RunState, record: Record) -> None:
    if not record.data.get("already"):
        state.wanted_back = {key: record.data.get(key) for key in ("reason", "by", "at", "category")}


def _rollback_started(state: RunState, record: Record) -> None:
    state.rolling_back, state.paused = True, None
    data = record.data
    began = {"reason": data.get("reason"), "category": data.get("category"), "breach_at": data.get("breach_at"), "started": record.at}
    state.rollback = {**(state.rollback or {}), **began}


def _rollback_overrun(state: RunState, record: Record) -> None:
    overrun = {"stage": record.stage, "budget_s": record.data.get("budget_s"), "seconds": record.data.get("seconds")}
    state.rollback = {**(state.rollback or {}), "overruns": [*(state.rollback or {}).get("overruns", []), overrun]}


def _rollback_traffic_back(state: RunState, record: Record) -> None:
    back = {"traffic_back_at": record.at, "seconds_to_traffic_back": record.data.get("seconds")}
    state.rollback = {**(state.rollback or {}), **back}


def _rollback_finished(state: RunState, record: Record) -> None:
    state.rollback = {**(state.rollback or {}), "ended": record.at, "left": record.data.get("left", [])}


CHANGES: dict[str, Callable[[RunState, Record], None]] = {
    "run.paused": _run_paused,
    "run.unpaused": _run_unpaused,
    "run.aborting": _run_aborting,
    "rollback.requested": _rollback_requested,
    "rollback.started": _rollback_started,
    "rollback.overrun": _rollback_overrun,
    "rollback.traffic-back": _rollback_traffic_back,
    "rollback.finished": _rollback_finished,
}
"""By kind of record."""
