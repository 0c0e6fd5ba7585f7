"""A run's records by what is asked of them: the last of a kind, those of a step, those that set weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from golive.documents.sources import of_record
from golive.engine import Record
from golive.views.view import event_of

__all__ = ["Trail"]


class Trail:
    """``records`` of one run, oldest first."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._kinds: dict[str, list[Record]] = defaultdict(list)
        self._steps: dict[tuple[str | None, str | None, str], list[Record]] = defaultdict(list)
        self.weighed: list[tuple[Record, Mapping[str, Any]]] = []
        """Records that say a gateway's weights, and these."""
        self.shifted: list[tuple[Record, str, Mapping[str, Any]]] = []
        """The same with the gateway."""
        self._owners: dict[int, str] = {}
        for record in records:
            self._kinds[record.kind].append(record)
            self._steps[record.stage, record.step, record.kind].append(record)
            self._weights(record)
            self._owner(record)

    def _weights(self, record: Record) -> None:
        seen: Iterable[tuple[str, Any]] = ()
        if record.kind == "traffic.set":
            seen = [(str(record.data.get("gateway", "")), record.data.get("weights"))]
        elif record.kind == "step.outcome" and isinstance(record.data.get("targets"), dict):
            seen = [(name, value.get("weights")) for name, value in record.data["targets"].items() if isinstance(value, dict)]
        for gateway, weights in seen:
            if isinstance(weights, dict) and weights:
                self.weighed.append((record, weights))
                self.shifted.append((record, gateway, weights))

    def _owner(self, record: Record) -> None:
        who = record.data.get("controller")
        if record.kind in ("run.started", "run.resumed") and isinstance(who, dict):
            self._owners[record.token] = str(who.get("owner") or "unknown")

    def owner(self, record: Record) -> str:
        """``user@host`` of the process that wrote ``record``."""
        return self._owners.get(record.token, "unknown")

    def all(self, kind: str) -> list[Record]:
        return self._kinds.get(kind, [])

    def of(self, stage: str | None, step: str | None, *kinds: str) -> list[Record]:
        """Records of a step (of a stage: ``step`` None), kind after kind."""
        return [record for kind in kinds for record in self._steps.get((stage, step, kind), [])]

    def of_step(self, stage: str, step: str | None, *kinds: str) -> tuple[str, ...]:
        """Keys of these records; the last of each kind."""
        return tuple(of_record(found[-1]) for kind in kinds if (found := self.of(stage, step, kind)))

    def last(self, *kinds: str) -> tuple[str, ...]:
        """The key of the last record of any of ``kinds``; of none, nothing."""
        found = [self._kinds[kind][-1] for kind in kinds if self._kinds.get(kind)]
        return (of_record(max(found, key=lambda record: record.seq)),) if found else ()

    def newest(self) -> tuple[str, ...]:
        """The key of the run's last record: for what no record says, as far as it goes."""
        return (of_record(self._records[-1]),)

    def told(self, record: Record) -> str:
        """The record as a line of the timeline; its kind where it has none."""
        event = event_of(record)
        return event.what if event is not None else record.kind
