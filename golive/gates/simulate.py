"""How good the judge is, by simulation: ``python -m golive.gates.simulate --rollouts 1000 --json``.

A rollout is what the lab does: three load clients at 60 requests/s each and 6 on the control lane, 10, 50 and 100 % for 30 s, kept
sessions that the weight splits by hash, latencies lognormal with heavy tails around 3, 5 and 15 ms for 70, 25 and 5 % of the requests,
hiccups of the machine that hit both releases, hiccups of single processes, a speed of the machine that wanders by up to 30 % within a
minute, processes that answer slower when they were left alone, and a small true error rate. An inconclusive watch is extended as the
runbook says, then rolled back.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golive.environment import ROOT
from golive.gates.judge import Judge
from golive.gates.samples import CANDIDATE, INCUMBENT, Samples
from golive.gates.spec import GatePolicy, Looser, parse_spec
from golive.gates.verdict import Verdict
from golive.gates.window import Agent, Client, Series, Window

__all__ = ["CASES", "POLICY", "Case", "Rollout", "documented", "inserted", "main", "rollout", "study"]

DOCUMENT = ROOT / "docs" / "gates.md"
RESULT = ROOT / "docs" / "results" / "gates-simulation.json"

_OPS = (("put-small", 0.70, 0.003), ("put-medium", 0.25, 0.005), ("transfer", 0.05, 0.015))
_CLIENTS = ("dwcp-lab-ams-2", "dwcp-lab-nyc-2", "dwcp-lab-sgp-2")
_SESSIONS = 200
"""Kept by one client; each is the candidate's or the incumbent's as a whole."""
_WEIGHTS = (10, 50, 100)
_CONTROL = 0.1
"""Requests on the control lane, in addition, as a share of the rate."""
_COLD = (0.22, 0.1)
"""How much slower (log) a process answers that was left alone, and the seconds in which what it did lately is forgotten: with 6 requests a
second of a client 14 % slower than with 54, and 9 % slower after pauses of the same length; the lab showed 17 % and 11 %."""
_WORTH_IT = 100
"""Rollouts from which on processes are begun for them."""
_ORIGIN = 1_700_000_000.0

_COMMON: dict[str, Any] = {"for": "30s", "error_rate": "< 0.1 %", "latency_p99": "< 100 ms", "degradation": "< 20 %", "restarts": 0}
_SPECS = {
    10: parse_spec(_COMMON | {"against": "incumbent"}),
    50: parse_spec(_COMMON | {"against": "incumbent"}),
    100: parse_spec(_COMMON | {"against": "incumbent", "cpu": "< 70 %", "memory": "< 2 GB"}),
}
POLICY = GatePolicy(looser=Looser.model_validate({"because": "540 canary requests cannot show 0.1 %", "error_rate": "< 1 %"}))


@dataclass(frozen=True)
class Case:
    """A candidate. Everything else about it is like the incumbent."""

    name: str
    slower: float = 1.0
    """Factor on every latency."""
    errors: float = 0.0002
    incumbent_errors: float = 0.0002
    corrupt: float = 0.0
    crash_after_s: float | None = None
    """Seconds of serving until an agent dies, counted from the first watch; its host then answers nothing but errors."""
    no_metrics: bool = False
    from_weight: int = 0
    """Percent of traffic at which it begins to be so; until then it is like the incumbent."""
    bar: bool = False
    """Whether the judge is held to a figure on it, so that it deserves all rollouts."""


CASES = (
    Case("identical", bar=True),
    Case("identical, both err at 0.05 %", errors=0.0005, incumbent_errors=0.0005),
    Case("latency +25 %", slower=1.25, bar=True),
    Case("latency +40 %", slower=1.40),
    Case("latency +20 % (half)", slower=1.20),
    Case("errors 1.5 %", errors=0.015, bar=True),
    Case("errors 2 %", errors=0.02),
    Case("errors 1 % (half)", errors=0.01),
    Case("errors 2 %, from 100 % on", errors=0.02, from_weight=100),
    Case("latency +40 %, from 100 % on", slower=1.40, from_weight=100),
    Case("corrupt 0.1 %", corrupt=0.001),
    Case("corrupt 0.05 % (half)", corrupt=0.0005),
    Case("crash after 30 s", crash_after_s=30.0),
    Case("crash after 15 s (half)", crash_after_s=15.0),
    Case("no metrics", no_metrics=True),
)


@dataclass(frozen=True)
class Rollout:
    """How one rollout ended."""

    case: str
    reached: int
    """The weight at which it was stopped, 100 when it passed everything."""
    verdict: str
    trigger: str | None
    detected_s: float | None
    """From the first hurt request (or, where none is hurt, the start of the watch) to the verdict, in the last stage."""
    attempts: int
    """Extensions that the stages needed, together."""

    @property
    def passed(self) -> bool:
        return self.verdict == Verdict.PASS.value


class _Machine:
    """What both releases share: a speed that wanders, and hiccups."""

    def __init__(self, rng: np.random.Generator, seconds: float) -> None:
        self.rng = rng
        # As seen of a virtual machine on a shared host: medians of ten seconds wander between 0.75 and 1.4 of the middle one.
        steps = np.cumsum(rng.normal(0, 0.05, int(seconds / 5) + 3))
        self._speed_at = np.arange(len(steps)) * 5.0
        self._speed = np.clip(steps, -0.3, 0.3)
        self.hiccups = self.draw(seconds, every=12.0)

    def draw(self, seconds: float, every: float) -> NDArray[np.float64]:
        """Begin and end of pauses: at random, 35 ms long in the median, up to 250."""
        count = self.rng.poisson(seconds / every)
        begin = np.sort(self.rng.uniform(0, seconds, count))
        return np.stack((begin, begin + np.minimum(0.25, self.rng.lognormal(np.log(0.035), 0.6, count))), axis=1)

    def speed(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.interp(at, self._speed_at, self._speed))


def _paused(at: NDArray[np.float64], pauses: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a pause adds to a request that is due in it: the rest of the pause (open loop)."""
    wait = np.zeros(len(at))
    for begin, end in pauses:
        inside = (at >= begin) & (at < end)
        wait[inside] = np.maximum(wait[inside], end - at[inside])
    return wait


def _cold(at: NDArray[np.float64], own: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How cold a process is at each moment that has ``own`` requests, 0 (busy) to 1 (long idle)."""
    cold, lately, last = np.zeros(len(at)), 0.0, -np.inf
    for index in np.flatnonzero(own):
        lately *= math.exp(-(at[index] - last) / _COLD[1])
        cold[index] = math.exp(-lately)
        lately, last = lately + 1.0, at[index]
    return cold


def _traffic(
    rng: np.random.Generator, machine: _Machine, begin: float, seconds: float, weight: int, case: Case, rate: float, serving_since: float
) -> Samples:
    """The requests of one watch, at ``weight`` percent for the candidate."""
    parts = []
    for number, client in enumerate(_CLIENTS):
        count = rng.poisson(rate * (1 + _CONTROL) * seconds)
        due = np.sort(rng.uniform(begin, begin + seconds, count))
        buckets = np.random.default_rng(number + 17).integers(0, 100, _SESSIONS)
        mine = (buckets[rng.integers(0, _SESSIONS, count)] < weight) & (rng.random(count) >= _CONTROL / (1 + _CONTROL))
        op = rng.choice(len(_OPS), count, p=[share for _, share, _ in _OPS])
        median = np.array([value for _, _, value in _OPS])[op]
        # A body of sigma 0.35 and one request in twelve from a tail of sigma 1.0, as seen of an agent on two shared cores.
        sigma = np.where(rng.random(count) < 1 / 12, 1.0, 0.35)
        latency = median * np.exp(rng.normal(0, 1, count) * sigma + machine.speed(due)) * np.where(mine, case.slower, 1.0)
        latency *= np.exp(_COLD[0] * np.where(mine, _cold(due, mine), _cold(due, ~mine)))
        latency += _paused(due, machine.hiccups)
        for of_candidate in (True, False):
            own = machine.draw(begin + seconds, every=25.0)
            latency += np.where(mine == of_candidate, _paused(due, own), 0.0)
        failed = rng.random(count) < np.where(mine, case.errors, case.incumbent_errors)
        result = np.where(failed, 1, 0)
        result = np.where(mine & (rng.random(count) < case.corrupt), 4, result)
        if case.crash_after_s is not None:
            host_gone = mine & (due - serving_since > case.crash_after_s) & (rng.integers(0, 6, count) == 0)
            result = np.where(host_gone, 1, result)
        parts.append(
            Samples(
                time=_ORIGIN + due,
                latency=latency,
                role=np.where(mine, CANDIDATE, INCUMBENT).astype(np.int8),
                result=result.astype(np.int8),
                op=op.astype(np.int16),
                client=np.zeros(count, np.int16),
                ops=tuple(name for name, _, _ in _OPS),
                clients=(client,),
            )
        )
    return Samples.joined(parts)


def _window(samples: Samples, start: float, end: float, baseline: Samples, case: Case, rng: np.random.Generator) -> Window:
    """What the collector would hand the judge at ``end``: requests due by then and answered by then."""
    answered = samples.where((samples.time >= start) & (samples.time + samples.latency <= end))
    scraped = np.arange(start, end + 0.01, 5.0)
    clients = tuple(Client(name, Series(scraped, (scraped - start) * 60), boots=("boot",), read_at=end) for name in _CLIENTS)
    agents = tuple(
        Agent(
            host,
            seen=None if case.no_metrics else float(scraped[-1]),
            requests=Series() if case.no_metrics else Series(scraped, (scraped - start) * 30),
            cpu=Series(scraped, rng.normal(0.25, 0.05, len(scraped))),
            memory=Series(scraped, rng.normal(80e6, 0.3e6, len(scraped))),
        )
        for host in (f"dwcp-lab-{site}-{n}" for site in ("ams", "nyc", "sgp") for n in (1, 2))
    )
    return Window(start, end, answered, clients, agents, baseline=baseline)


def rollout(case: Case, seed: int, *, rate: float = 60.0, watch_s: float = 30.0, every_s: float = 2.0, extensions: int = 2) -> Rollout:
    """One rollout of ``case``; ``rate`` is each client's requests per second. The same seed gives the same rollout."""
    rng = np.random.default_rng(seed)
    machine = _Machine(rng, 60 + 3 * watch_s * (extensions + 1) + 60)
    before = _traffic(rng, machine, 0.0, 30.0, 0, case, rate, 0.0)
    at, used = 40.0, 0
    serving_since = at
    for weight in _WEIGHTS:
        judge = Judge(_SPECS[weight], POLICY)
        now = case if weight >= case.from_weight else CASES[0]
        samples = _traffic(rng, machine, at, watch_s * (extensions + 1), weight, now, rate, serving_since)
        start = _ORIGIN + at
        mine = samples.by(CANDIDATE)
        hurt = mine.time[mine.failed]
        hurt = hurt[hurt >= start]
        first = float(hurt[0]) if len(hurt) and (case.errors > 0.001 or case.corrupt or case.crash_after_s) else start
        for attempt in range(extensions + 1):
            end = start + watch_s * (attempt + 1)
            for moment in np.arange(end - watch_s + every_s, end, every_s):
                look = judge.look(_window(samples, start, float(moment), before, case, rng))
                if look.verdict is Verdict.FAIL:
                    return Rollout(case.name, weight, "FAIL", look.trigger, float(moment) - first, used + attempt)
            decision = judge.decide(_window(samples, start, end, before, case, rng), attempt)
            if decision.verdict is Verdict.PASS:
                break
            if decision.verdict is not Verdict.INCONCLUSIVE or attempt == extensions:
                name = decision.trigger or next(x.metric for x in decision.lines if x.decides and x.verdict is decision.verdict)
                return Rollout(case.name, weight, decision.verdict.value, name, end - first, used + attempt)
        used += attempt
        at = end - _ORIGIN + 3.0
    return Rollout(case.name, 100, Verdict.PASS.value, None, None, used)


def study(case: Case, rollouts: int, seed: int = 1) -> dict[str, Any]:
    """Many rollouts of one case, as a row of the table in docs/gates.md."""
    seeds = range(seed * 1_000_003, seed * 1_000_003 + rollouts)
    if rollouts < _WORTH_IT:
        ends = [rollout(case, number) for number in seeds]
    else:
        # Each has its own seed: they are the same in whatever order and process.
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
            ends = list(pool.map(rollout, repeat(case), seeds, chunksize=8))
    stopped = [end for end in ends if not end.passed]
    times = sorted(end.detected_s for end in stopped if end.verdict == Verdict.FAIL.value and end.detected_s is not None)
    triggers = [end.trigger or "" for end in stopped]
    return {
        **{key: value for key, value in asdict(case).items() if key == "name"},
        "rollouts": rollouts,
        "stopped": len(stopped),
        "stopped_share": len(stopped) / rollouts,
        "before_50": sum(end.reached == 10 for end in stopped) / rollouts,
        "failed": sum(end.verdict == "FAIL" for end in ends) / rollouts,
        "extended": sum(end.attempts > 0 for end in ends) / rollouts,
        "detected_s": {q: round(float(np.quantile(times, float(q))), 1) for q in ("0.5", "0.9", "0.99")} if times else None,
        "detected_mean_s": round(float(np.mean(times)), 1) if times else None,
        "triggers": {name: triggers.count(name) for name in sorted(set(triggers))},
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| candidate | rollouts | stopped | before 50 % | by FAIL | watch extended | seen after, s (mean / 50 / 90 / 99 %) | by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = row["detected_s"]
        seen = f"{row['detected_mean_s']} / {times['0.5']} / {times['0.9']} / {times['0.99']}" if times else "-"
        by = ", ".join(f"{name} {count}" for name, count in sorted(row["triggers"].items(), key=lambda item: -item[1]))
        lines.append(
            f"| {row['name']} | {row['rollouts']} | {row['stopped_share']:.1%} | {row['before_50']:.1%} | {row['failed']:.1%} "
            f"| {row['extended']:.1%} | {seen} | {by or '-'} |"
        )
    return "\n".join(lines)


def documented(text: str, result: dict[str, Any]) -> str:
    """The document with the table of ``result`` between its marks."""
    return inserted(text, RESULT.name, table(result["rows"]))


def inserted(text: str, name: str, lines: str) -> str:
    """The document with ``lines`` where the table of ``docs/results/<name>`` belongs. Raises ValueError when it has no such place."""
    head, mark, rest = text.partition(f"<!-- table: docs/results/{name} -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    if not mark or not end:
        raise ValueError(f"the document has no place for the table of {name}")
    return f"{head}{mark}{lines}\n{end}{tail}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Prints a Markdown table, or one JSON object with ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m golive.gates.simulate", description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=1000, help="rollouts of each case")
    parser.add_argument("--others", type=int, help="rollouts of the cases that no bar is about; as many when left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", action="append", help="only cases whose name holds this text")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--table", action="store_true", help="simulate nothing; write the committed result into docs/gates.md")
    args = parser.parse_args(argv)
    if args.table:
        DOCUMENT.write_text(
            documented(DOCUMENT.read_text(encoding="utf-8"), json.loads(RESULT.read_text(encoding="utf-8"))), encoding="utf-8"
        )
        return 0
    began = time.monotonic()
    rows = []
    for case in CASES:
        if args.case and not any(text in case.name for text in args.case):
            continue
        rows.append(study(case, args.rollouts if case.bar or args.others is None else args.others, args.seed))
        print(f"{case.name}: {rows[-1]['stopped']} of {rows[-1]['rollouts']} stopped", file=sys.stderr)
    if args.json:
        command = " ".join(["python -m golive.gates.simulate", *(sys.argv[1:] if argv is None else argv)])
        print(json.dumps({"schema": 1, "command": command, "seconds": round(time.monotonic() - began, 1), "rows": rows}, indent=1))
    else:
        print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
