"""What really happened on one simulated machine, in order: the only state of its fakes, and what chaos holds a run's journal against.

One line an event, each written by one ``write``: a controller that is killed leaves a whole line or none.
"""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from golive.sim.clock import SimClock

__all__ = ["Ledger", "Unit"]

JSON = dict[str, Any]


@dataclass
class Unit:
    """One unit as the machine's systemd has it."""

    on: bool = False
    enabled: bool = False
    starts: int = 0
    since: float = 0.0
    slot: str | None = None
    """Of an agent: the slot that it was started in."""


@dataclass
class Ledger:
    """The events of one machine, read as they grow."""

    path: Path
    clock: SimClock
    events: list[JSON] = field(default_factory=list)
    units: dict[str, Unit] = field(default_factory=dict)
    maps: dict[str, dict[str, str]] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    """Servers that were taken out, ``slot_a/name``."""
    haproxy: bool = False
    boots: int = 0
    spans: dict[str, list[tuple[float, float | None, str | None]]] = field(default_factory=dict)
    """By unit: from when until when it ran, and in which slot."""
    weights: list[tuple[float, int | None]] = field(default_factory=list)
    """What HAProxy did from when on: percent to slot b, None while it was down."""
    _offset: int = 0
    _identity: int = 0
    _changes: int = -1
    _reading: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def write(self, at: float, do: str, **data: Any) -> None:
        """One more event."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, (json.dumps({"t": at, "do": do, **data}) + "\n").encode())
        finally:
            os.close(fd)
        self.clock.changed()
        self.read()

    def read(self) -> Ledger:
        """Everything that is there by now is taken in; by one thread at a time, or another would go on without what this one takes."""
        with self._reading:
            return self._read()

    def _read(self) -> Ledger:
        changes = self.clock.changes
        if changes == self._changes:
            return self
        self._changes = changes
        try:
            known = self.path.stat()
        except FileNotFoundError:
            return self
        if known.st_size == self._offset and known.st_ino == self._identity:
            return self
        if known.st_ino != self._identity and self._identity:
            self.__init__(self.path, self.clock)  # type: ignore[misc]  # another world stands at the same place
        self._identity = known.st_ino
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        for line in data.splitlines():
            self._take(json.loads(line))
        return self

    def weight_at(self, moment: float) -> int | None:
        """Percent that HAProxy gave to slot b at ``moment``."""
        index = bisect_right(self.weights, moment, key=lambda entry: entry[0]) - 1
        return self.weights[index][1] if index >= 0 else None

    def _take(self, event: JSON) -> None:
        self.events.append(event)
        do, at = event["do"], event["t"]
        if do in ("start", "stop", "enable", "disable"):
            unit = self.units.setdefault(event["unit"], Unit())
            if do == "start":
                unit.slot = event.get("slot")
                self._on(event["unit"], unit, at)
            elif do == "stop":
                self._off(event["unit"], unit, at)
            else:
                unit.enabled = do == "enable"
        elif do == "boot":
            self.boots += 1
            for name, unit in self.units.items():
                if unit.on:
                    self._off(name, unit, at)
                if unit.enabled:
                    self._on(name, unit, at)
        elif do == "replaced":
            for name, unit in self.units.items():
                self._off(name, unit, at)
            self.units.clear()
            self.boots += 1
            self.haproxy, self.maps, self.out = False, {}, set()
            self.weights.append((at, None))
        elif do == "haproxy":
            self.haproxy, self.out = event["up"], set()
            if event["up"]:
                self.maps = {name: dict(entries) for name, entries in event["maps"].items()}
            self.weights.append((at, int(self.maps.get("weights.map", {}).get("slot_b", 0)) if event["up"] else None))
        elif do == "map":
            self.maps.setdefault(event["map"], {})[event["key"]] = event["value"]
            if event["map"] == "weights.map":
                self.weights.append((at, int(event["value"])))
        elif do == "server":
            (self.out.add if event["out"] else self.out.discard)(event["server"])

    def _on(self, name: str, unit: Unit, at: float) -> None:
        unit.on, unit.starts, unit.since = True, unit.starts + 1, at
        self.spans.setdefault(name, []).append((at, None, unit.slot))

    def _off(self, name: str, unit: Unit, at: float) -> None:
        if unit.on:
            self.spans[name][-1] = (self.spans[name][-1][0], at, unit.slot)
        unit.on = False
