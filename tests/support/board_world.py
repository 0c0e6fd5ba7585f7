"""An environment's journal for tests of the board: written through the engine's own journal and store, as a run writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from golive.engine.chain import canonical, digest
from golive.engine.journal import SqlJournal, Witness
from golive.engine.lease import Lease
from golive.engine.store import Store, records
from golive.environment import Environment
from golive.runbook import RealClock
from golive.views.looks import LOOKS, kept
from tests.support.run_records import NEW, OLD

RUN = "20300102T030405Z-abcdef"
BEGIN = "2030-01-02T03:04:05+00:00"
START = 1893553445.0


class BoardWorld:
    """A run that a test writes, record by record, while somebody looks at it."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.store = Store(env.journal)
        self.lease = Lease.take(self.store, env.name, beat_s=60)
        witness = Witness(env.state / "journal.head")
        self.journal = SqlJournal(self.store, env.name, RealClock(), token=lambda: self.lease.token, witness=witness)
        self.tell = kept(env.state / LOOKS, lambda kind, data: None)

    def close(self) -> None:
        self.lease.release()
        self.store.close()

    def say(self, kind: str, data: dict[str, Any] | None = None, stage: str | None = None, step: str | None = None) -> int:
        """One record; its number."""
        self.tell(kind, dict(data or {}))
        return self.journal.append(kind, data or {}, RUN, stage, step).seq

    def start(self, **more: Any) -> None:
        told = {"candidate": NEW, "incumbent": OLD, "runbook": "golive", "pace": "rehearsal", "begin": BEGIN}
        self.say("run.started", {**told, **more})

    def stage(self, stage: str, owner: str = "technical-lead") -> None:
        self.say("stage.started", {"owner": owner}, stage)

    def step(self, stage: str, step: str, uses: str, **more: Any) -> None:
        self.say("step.intent", {"uses": uses, "attempt": 1, "reach": more.pop("reach", "none")}, stage, step)
        told = {"uses": uses, "verdict": "PASS", "summary": f"{step} is so", "seconds": 1.5, "changed": 1}
        self.say("step.outcome", {**told, **more}, stage, step)

    def shift(self, stage: str, percent: int, gateways: Iterable[str] = ("ams-1", "nyc-1")) -> None:
        for gateway in gateways:
            self.say("traffic.set", {"gateway": gateway, "weights": {NEW: percent, OLD: 100 - percent}}, stage, f"shift-{percent}")

    def look(self, gate: str, start: float, end: float, of_s: float = 30.0, **more: Any) -> None:
        """A look of a watch that goes on."""
        told = {"gate": gate, "start": start, "end": end, "left_s": of_s - (end - start), "of_s": of_s, "verdict": "INCONCLUSIVE"}
        self.tell("gate.look", {**told, "figures": figures(), "problems": [], **more})

    def gate(self, stage: str, gate: str, start: float, end: float, verdict: str = "PASS") -> None:
        line = {"metric": "error_rate", "verdict": verdict, "n": 950, "unit": "share", "estimate": 0.001, "bound": 0.004, "threshold": 0.01}
        lines = [{**line, "stated": "< 1 % here, < 0.1 % in production", "decides": True, "note": ""}]
        told = {"gate": gate, "verdict": verdict, "start": start, "end": end, "attempt": 0, "summary": f"{verdict} after 30 s"}
        self.say("gate", {**told, "lines": lines, "problems": [], "figures": figures(), "confidence": 0.95}, stage, gate)

    def many(self, count: int, hosts: Iterable[str] = ()) -> None:
        """``count`` more records in one transaction: what a long run on a large fleet leaves, chained as it would be."""
        head, named, at = self.journal.head(), list(hosts), datetime(2030, 1, 2, 4, 0, tzinfo=UTC)
        rows, seq, prev = [], head.seq, head.hash
        for number in range(count):
            seq += 1
            host = named[number % len(named)] if named else f"host-{number % 7}"
            when = (at + timedelta(milliseconds=number)).isoformat(timespec="microseconds")
            kind, data = _written(number, host)
            text = canonical(data)
            fresh = digest(self.env.name, seq, when, RUN, kind, "deploy", "candidate-active", self.lease.token, text, prev)
            row = {"env": self.env.name, "seq": seq, "at": when, "run": RUN, "kind": kind, "stage": "deploy", "step": "candidate-active"}
            rows.append({**row, "token": self.lease.token, "data": text, "prev": prev, "hash": fresh})
            prev = fresh
        self.store.write(lambda connection: connection.execute(sa.insert(records), rows))
        self.journal = SqlJournal(self.store, self.env.name, RealClock(), token=lambda: self.lease.token)

    def ready(self, **states: str) -> None:
        """A readiness result of 186 items in which those named are in another state than PASS."""
        sections = ["core", "integration", "optimization", "infrastructure", "testing", "documentation", "operations", "compliance"]
        items = [{"id": f"{sections[n % 8][:4].upper()}-{n:03d}", "state": "PASS", "evidence": ["a"], "reason": ""} for n in range(186)]
        for number, (state, reason) in enumerate(states.items()):
            items[number * 8] |= {"state": state, "reason": reason}
        counts: dict[str, dict[str, int]] = {name: dict.fromkeys(("PASS", "FAIL", "UNKNOWN", "STALE", "WAIVED"), 0) for name in sections}
        for number, item in enumerate(items):
            counts[sections[number % 8]][str(item["state"])] += 1
        result = {"schema": 1, "decision": "NO-GO" if "FAIL" in states else "GO", "release": NEW, "counts": counts, "items": items}
        path = self.env.state / "readiness.json"
        (fresh := path.with_suffix(".new")).write_text(json.dumps(result))
        fresh.replace(path)


def _written(number: int, host: str) -> tuple[str, dict[str, Any]]:
    if number % 3 == 0:
        return "wave.started", {"wave": number, "of": 9999, "site": "s0", "hosts": [host], "what": f"release {number} is played"}
    if number % 3 == 1:
        return "wave.done", {"wave": number, "of": 9999, "site": "s0", "hosts": [host], "what": "played", "failed": {}, "changed": 1}
    told = {host: {"id": NEW if number % 2 else OLD, "changed": True}}
    return "step.outcome", {"uses": "release.activate", "verdict": "PASS", "summary": f"note {number}", "data": {"hosts": told}}


def figures() -> dict[str, Any]:
    told = {"requests": 950, "errors": 1, "error_rate": 0.00105, "p50_s": 0.0034, "p99_s": 0.018, "per_s": 63.2}
    return {"candidate": told, "incumbent": {**told, "requests": 9744, "per_s": 640.0, "p99_s": 0.0195}}
