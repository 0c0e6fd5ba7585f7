"""Who is told next about what stands still. Pure functions of what is known and of now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from golive.notify.routes import Level

__all__ = ["Incident", "Notice", "due", "key_of"]


@dataclass(frozen=True)
class Incident:
    """Something that people have to see to: the run is held, goes back, or waits for an approval."""

    key: str
    kind: str
    """``held``, ``rollback`` or ``approval``."""
    since: str
    """RFC 3339."""
    what: str


@dataclass(frozen=True)
class Notice:
    """One level that is due for one incident."""

    key: str
    level: Level
    incident: Incident
    text: str


def key_of(incident: Incident, level: Level) -> str:
    return f"{incident.key}/level-{level.level}"


def due(incidents: Iterable[Incident], levels: Sequence[Level], told: Iterable[str], now: datetime, env: str) -> list[Notice]:
    """Levels whose time has come and that were not tried before, lowest first. ``told`` are the keys of notices that were begun.

    A level is tried once for an incident, whatever became of it: when its service failed, the next level is still due in its time. After a
    silence in which several came due (no process lived), all of them are sent: leaving out a lower one would leave out those who act.
    """
    known = set(told)
    found = []
    for incident in incidents:
        stood = now - datetime.fromisoformat(incident.since)
        for level in sorted(levels, key=lambda one: one.level):
            key = key_of(incident, level)
            if incident.kind in level.of and stood >= level.after and key not in known:
                found.append(Notice(key, level, incident, _text(incident, level, stood, env)))
    return found


def _text(incident: Incident, level: Level, stood: timedelta, env: str) -> str:
    minutes = max(0, int(stood.total_seconds() // 60))
    return f"{env}: {incident.what} (for {minutes} min; escalation level {level.level}). See `./inv status --env {env}`."
