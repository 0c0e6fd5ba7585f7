"""Escalation of one environment: its levels, its routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from golive.environment import Environment
from golive.notify.delivery import deliver
from golive.notify.escalation import Incident, Notice, due
from golive.notify.routes import routes_of

__all__ = ["EnvironmentPager"]


class EnvironmentPager:
    """Reads ``notify.yaml`` each time: an address that was mended is used by the next level."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    def due(self, incidents: Sequence[Incident], told: Iterable[str], now: datetime) -> Sequence[Notice]:
        """The notices to send now. Raises BadInput when the file cannot be used."""
        return due(incidents, routes_of(self._env).escalation, told, now, self._env.name) if incidents else []

    def send(self, notice: Notice, note: Callable[[str, dict[str, Any]], None]) -> None:
        """Sends one level by all of its routes. A route that fails is journaled; so is a level that reaches nobody."""
        routes = routes_of(self._env)
        missing = routes.unrouted(notice.level.to)
        if missing:
            note("notice.unrouted", {"key": notice.key, "to": missing, "text": notice.text})
        chosen = routes.of(notice.level.to, "critical")
        deliver(notice.key, chosen, notice.text, "critical", title=f"DWCP {self._env.name}: {notice.incident.kind}", before={}, note=note)
