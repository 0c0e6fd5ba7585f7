"""What the engine itself costs: milliseconds a step (journal, lease, supervision; no Ansible), and seconds until a resumed run decides.

    .venv/bin/python benchmarks/engine.py [--steps 50 1000] [--at DIRECTORY] [--json]

A run of N steps that do nothing, over a SQLite journal in DIRECTORY (the machine's disk by default; give a tmpfs to leave the disk
out). The cost of a step is the time between two outcomes in the journal. Then the run is left before its last stage and continued: what
passes until the next intent is what "resume decides" means. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from golive import engine
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, complete
from golive.environment import Environment, Settings
from golive.gates.verdict import Verdict
from golive.runbook import Pace, parse

STEP_MS, RESUME_S, FLAT = 20.0, 10.0, 1.5
"""The bars: median of a step, a resumed run's first decision, and how much dearer the last steps may be than the first."""

_ROLLBACK = "runbook: rollback\nstages: [{stage: back, at: +0m, owner: qa-lead, steps: [{id: nothing, uses: bench.nothing}]}]"


@complete
class Nothing:
    """Finds that it was not done, and does nothing: all that its step costs is the engine's."""

    budget = timedelta(minutes=1)

    def probe(self, ctx: StepContext) -> Findings:
        return {host: Finding(Found.ABSENT, "never done") for host in ("ams-1", "nyc-1", "sgp-1")}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        return Outcome(Verdict.PASS, "nothing")

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "nothing")


@dataclass(frozen=True)
class Cost:
    """What a run of ``steps`` cost."""

    steps: int
    median_ms: float
    p95_ms: float
    quick_ms: float
    """Lower quartile: what it costs when the machine does nothing else meanwhile."""
    first_ms: float
    """Lower quartile of the first fifth."""
    last_ms: float
    """Lower quartile of the last fifth."""
    resume_s: float

    @property
    def ok(self) -> bool:
        return self.median_ms < STEP_MS and self.resume_s < RESUME_S and self.last_ms < self.first_ms * FLAT + 1

    def to_json(self) -> dict[str, Any]:
        return {**{name: round(value, 3) for name, value in vars(self).items()}, "ok": self.ok}


def measured(steps: int) -> Cost:
    """One run of ``steps`` in ``$GOLIVE_STATE``, left before its last step and continued."""
    listed = "\n".join(f"      - {{id: s{number}, uses: bench.nothing}}" for number in range(steps - 1))
    text = (
        f"runbook: bench\nstages:\n  - stage: most\n    at: T-0\n    owner: qa-lead\n    steps:\n{listed}\n"
        "  - {stage: last, at: T-0, owner: qa-lead, steps: [{id: last, uses: bench.nothing}]}\n"
    )
    kinds: Mapping[str, Any] = {"bench.nothing": Nothing()}
    settings = Settings(kind="lab", policy="lab", terraform="lab", release="1", load_release="1", load_rate_per_s=1)
    env = Environment(name="bench", settings=settings, policy={})
    words: dict[str, Any] = {"candidate": "2-b", "incumbent": "1-a", "pace": Pace(), "ports": engine.Ports(actions=kinds)}
    books = parse(text, kinds), parse(_ROLLBACK, kinds)
    engine.run(env, *books, until_stage="most", **words)
    again = time.time()
    state = engine.run(env, *books, **words)
    if state.outcome != "succeeded":
        raise SystemExit(f"the run ended {state.outcome}: {state.held}")
    records = engine.open_journal(env).read()
    ends = [_at(record) for record in records if record.kind == "step.outcome" and record.stage == "most"]
    gaps = [1000 * (after - before) for before, after in itertools.pairwise(ends)]
    fifth = len(gaps) // 5
    decided = next(_at(record) for record in records if record.kind == "step.intent" and record.stage == "last")
    return Cost(
        steps,
        statistics.median(gaps),
        statistics.quantiles(gaps, n=20)[-1],
        _quartile(gaps),
        _quartile(gaps[:fifth]),
        _quartile(gaps[-fifth:]),
        decided - again,
    )


def _quartile(values: list[float]) -> float:
    return statistics.quantiles(values, n=4)[0]


def _at(record: engine.Record) -> float:
    return datetime.fromisoformat(record.at).timestamp()


def main() -> int:
    """Measures, prints, and says by its exit code whether the bars hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 1000])
    parser.add_argument("--at", type=Path, help="directory for the journal; the machine's temporary one by default")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    costs = []
    for steps in given.steps:
        with tempfile.TemporaryDirectory(dir=given.at) as place:
            os.environ["GOLIVE_STATE"] = place
            costs.append(measured(steps))
    if given.json:
        print(json.dumps({"schema": 1, "rows": [cost.to_json() for cost in costs]}))
    else:
        for cost in costs:
            print(
                f"{cost.steps:5d} steps: median {cost.median_ms:.1f} ms, p95 {cost.p95_ms:.1f} ms, lower quartile {cost.quick_ms:.1f} ms "
                f"(first fifth {cost.first_ms:.1f}, last fifth {cost.last_ms:.1f}); a resumed run decides after {cost.resume_s:.2f} s"
                + ("" if cost.ok else "  MISSED")
            )
    return 0 if all(cost.ok for cost in costs) else 1


if __name__ == "__main__":
    sys.exit(main())
