"""What the journal last said of each host: which releases run there, what is being done to it. A fold, like the run's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from golive.engine import Record
from golive.views.view import version_of

__all__ = ["HostsSeen"]

JSON = dict[str, Any]


@dataclass
class HostsSeen:
    """Fed with every record of the environment, oldest first. ``role_of`` says which release a step is about."""

    running: dict[str, dict[str, str]] = field(default_factory=dict)
    """By host, the releases that run there, and since when."""
    load: dict[str, str] = field(default_factory=dict)
    """By host, the load client that runs there."""
    doing: dict[str, str] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)
    """By host, what the last step that was about it could not do, or not tell."""
    aside: dict[str, JSON] = field(default_factory=dict)
    at: dict[str, str] = field(default_factory=dict)
    _releases: dict[str, str | None] = field(default_factory=dict)

    def take(self, record: Record, role_of: Callable[[str, str], str]) -> None:
        """One more record."""
        data = record.data
        if record.kind == "environment.forgotten":
            self.__init__()  # type: ignore[misc]  # begin anew: the hosts are gone
        elif record.kind == "run.started":
            self._releases = {"candidate": data.get("candidate"), "incumbent": data.get("incumbent"), "load": data.get("load")}
            self.aside, self.doing = {}, {}
        elif record.kind == "wave.started":
            for name in _names(data.get("hosts")):
                self.doing[name], self.at[name] = f"{data.get('what')} (wave {data.get('wave')} of {data.get('of')})", record.at
        elif record.kind == "wave.done":
            for name in _names(data.get("hosts")):
                self.doing.pop(name, None)
                self.trouble.pop(name, None)
                self.at[name] = record.at
            for state in ("failed", "unreachable", "unknown"):
                self._troubled(data.get(state), state, record.at)
        elif record.kind == "step.unknown":
            self._troubled(data.get("targets"), "unknown", record.at)
        elif record.kind == "host.set-aside":
            self.aside[str(data.get("host"))] = {"state": data.get("state"), "reason": data.get("reason")}
        elif record.kind in ("run.finished", "run.held", "step.interrupted"):
            self.doing = {}
        elif record.kind == "step.outcome":
            self._outcome(record, role_of)

    def _outcome(self, record: Record, role_of: Callable[[str, str], str]) -> None:
        uses, data = str(record.data.get("uses")), record.data.get("data")
        said = data.get("hosts") if isinstance(data, dict) else None
        named = said if isinstance(said, dict) else {}
        release = self._releases.get(role_of(str(record.stage), str(record.step)))
        passed = record.data.get("verdict") == "PASS"
        for name in named:
            self.doing.pop(name, None)
            if passed:
                self.trouble.pop(name, None)
        if uses in ("release.activate", "load.start", "release.deactivate"):
            for name, value in named.items():
                id_ = value.get("id") if isinstance(value, dict) else None
                self._became(name, str(id_ or release or ""), uses, record.at)
        # A step that found everything done, or names no hosts, is about all that there are.
        if uses == "release.retire" and passed and release:
            for name in list(self.running):
                self._became(name, release, "release.deactivate", record.at)
        elif uses in ("release.activate", "release.deactivate") and passed and release and record.data.get("already_there"):
            for name in list(self.running):
                if name not in self.aside:
                    self._became(name, release, uses, record.at)

    def _became(self, name: str, release: str, uses: str, at: str) -> None:
        self.at[name] = at
        if uses == "load.start":
            self.load[name] = release
        elif uses == "release.activate":
            self.running.setdefault(name, {})[release] = at
        else:
            self.running.get(name, {}).pop(release, None)

    def _troubled(self, found: Any, state: str, at: str) -> None:
        for name, why in (found if isinstance(found, Mapping) else {}).items():
            self.trouble[str(name)], self.at[str(name)] = f"{state}: {why}", at

    def rows(self, recorded: Iterable[Mapping[str, Any]], traffic: Mapping[str, Mapping[str, float]]) -> dict[str, JSON]:
        """By name: every recorded host, and any other that the journal names."""
        known = {str(host.get("name")): host for host in recorded}
        names = [*known, *(name for name in sorted({*self.running, *self.load, *self.aside, *self.at, *traffic}) if name not in known)]
        return {name: self._row(name, known.get(name, {}), traffic.get(name)) for name in names}

    def _row(self, name: str, host: Mapping[str, Any], weights: Mapping[str, float] | None) -> JSON:
        aside, trouble, doing = self.aside.get(name), self.trouble.get(name), self.doing.get(name)
        running = sorted(self.running.get(name, {}), key=lambda release: self.running[name][release])
        state = "aside" if aside else "trouble" if trouble else "busy" if doing else "up" if running or name in self.load else "known"
        roles = [str(host.get("role") or "")] + [word for word in ("gateway", "load") if host.get(word)]
        return {
            "site": str(host.get("site") or ""),
            "roles": [role for role in roles if role],
            "state": state,
            "why": f"{aside['state']}: {aside['reason']}" if aside else trouble or doing or "",
            "running": [{"release": release, "version": version_of(release)} for release in running],
            "load": version_of(self.load.get(name)),
            "weights": {version_of(release) or release: share for release, share in (weights or {}).items()},
            "at": self.at.get(name, ""),
        }


def _names(value: Any) -> Sequence[str]:
    return [str(name) for name in value] if isinstance(value, list) else []
