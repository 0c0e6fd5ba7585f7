"""Journal records of a run, written as the engine and the actions write them, for whoever reads journals."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from golive.engine import Record

NEW, OLD, LOAD = "3.0.0-aaaaaaaaaaaa", "2.9.0-bbbbbbbbbbbb", "1.0.0-cccccccccccc"
GATEWAYS = ("ams-1", "nyc-1", "sgp-1")
_BEGIN = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Run:
    """A run's records, one second apart unless ``wait`` is called."""

    records: list[Record] = field(default_factory=list)
    passed: float = 0.0

    def wait(self, seconds: float) -> None:
        self.passed += seconds

    def say(self, kind: str, data: dict[str, Any] | None = None, stage: str | None = None, step: str | None = None) -> None:
        self.passed += 1
        at = (_BEGIN + timedelta(seconds=self.passed)).isoformat(timespec="microseconds")
        seq = len(self.records) + 1
        self.records.append(Record("lab", seq, at, "run-1", kind, stage, step, 7, data or {}, f"{seq - 1:064x}", f"{seq:064x}"))

    def start(self) -> None:
        who = {"owner": "ann@desk", "process": {"pid": 77, "host": "desk"}, "token": 7}
        self.say(
            "run.started",
            {
                **{"candidate": NEW, "incumbent": OLD, "load": LOAD, "runbook": "golive", "runbook_digest": "d" * 64, "pace": "rehearsal"},
                "not_covered": [{"stage": "staging", "what": "penetration <test>", "why": "no action | yet"}],
                "controller": who,
            },
        )

    def shift(self, stage: str, percent: int) -> None:
        step = f"shift-{percent}"
        self.say("stage.started", {"owner": "technical-lead"}, stage)
        self.say("step.intent", {"uses": "traffic.shift", "attempt": 1, "reach": "traffic"}, stage, step)
        for gateway in GATEWAYS:
            self.say("traffic.set", {"gateway": gateway, "weights": {NEW: percent, OLD: 100 - percent}}, stage, step)
        self.outcome(stage, step, "traffic.shift", f"{percent} % everywhere")

    def outcome(self, stage: str, step: str, uses: str, summary: str, verdict: str = "PASS", seconds: float = 1.5) -> None:
        self.say("step.outcome", {"uses": uses, "verdict": verdict, "summary": summary, "seconds": seconds, "changed": 3}, stage, step)

    def gate(self, stage: str, step: str, decision: dict[str, Any]) -> None:
        self.wait(30)
        self.say("gate", {**decision, "gate": step}, stage, step)
        self.outcome(stage, step, "gate.metrics", decision["summary"], decision["verdict"], 30.0)

    def rollback(self, reason: str) -> None:
        self.say("trigger", {"source": "step", "reason": reason})
        self.say("rollback.started", {"reason": reason, "source": "step", "breach_at": self.records[-1].at})
        for gateway in GATEWAYS:
            self.say("traffic.set", {"gateway": gateway, "weights": {NEW: 0, OLD: 100}}, "rollback:traffic-back", "shift-0")
        self.say("rollback.traffic-back", {"seconds": 2.25})
        self.say("rollback.finished", {"left": []})
        self.say("run.finished", {"outcome": "rolled-back", "reason": reason})
