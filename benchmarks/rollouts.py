"""Rollouts on the lab, good and bad, one after the other: how often a good release is sent back, how often a bad one is caught.

    .venv/bin/python benchmarks/rollouts.py --good 10 --bad 3 --half 1 --out docs/results/rollouts.json

Every rollout is `./inv golive --env lab`, a real one. A good one takes the version live that is not (2.9.0 and 3.0.0 in turn, each
against the other); a bad one is a release with a planted defect. What is counted comes from the load clients and the journal. The result
is written after every rollout, so that an interrupted series loses nothing: the same command goes on where it ended, unless `--fresh`
begins anew. `--table` runs nothing and writes the committed result into docs/gates.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from golive import engine, environment
from golive.actions._https import client
from golive.environment import ROOT
from golive.fleet.inventory import read_fleet
from golive.gates.simulate import inserted

DEFECTS = ("errors=2%", "latency=+40%", "corrupt=0.1%", "crash-after=30s", "no-metrics")
HALVES = ("errors=1%", "latency=+20%", "corrupt=0.05%", "crash-after=15s")
GOOD = ("3.0.0", "2.9.0")
DOCUMENT = ROOT / "docs/gates.md"
RESULT = ROOT / "docs/results/rollouts.json"


def plan(good: int, bad: int, half: int) -> Iterator[tuple[str, str]]:
    """(kind, defect) of every rollout, kinds mixed: what drifts meets all of them."""
    rest = {"bad": [d for _ in range(bad) for d in DEFECTS], "half": [d for _ in range(half) for d in HALVES]}
    for number in range(max(good, 1)):
        if number < good:
            yield "good", ""
        for kind, waiting in rest.items():
            share = len(waiting) if number >= good - 1 else round(len(waiting) / (good - number))
            for _ in range(share):
                yield kind, waiting.pop(0)


def inv(*words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON on stdout, and what a person saw."""
    done = subprocess.run([str(ROOT / "inv"), *words, "--env", "lab", "--json"], capture_output=True, text=True, check=False, cwd="/")
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}, done.stderr


def version_to_take(kind: str, defect: str) -> str:
    """The version that is not live; of a bad one, built here."""
    if kind == "good":
        live = engine.standing(environment.load("lab")).incumbent or ""
        return next(version for version in GOOD if not live.startswith(f"{version}-"))
    code, built, said = inv("package", "--release", "3.0.1", "--defect", defect)
    if code != 0:
        raise SystemExit(f"{defect} could not be built: {said}")
    return str(built["releases"][0]["version"])


def hurt(release: str, begin: float) -> list[float]:
    """When each request that the candidate did not answer well was over, as its client counted it; unix seconds, ascending."""
    env = environment.load("lab")
    ended: list[float] = []
    with client(env) as opened:
        for host in read_fleet(env).loads:
            after = 0
            while True:
                page = opened.get(f"https://{host.address}:7450/samples", params={"after": after}).json()
                rows = page["samples"]
                ended += [row[1] + row[5] for row in rows if row[2] == release and row[4] != "ok" and row[1] >= begin]
                if not rows or page["next"] == after:
                    break
                after = page["next"]
    return sorted(ended)


def rollout(kind: str, defect: str) -> dict[str, Any]:
    """One rollout, from the command to its end."""
    version = version_to_take(kind, defect)
    begin = time.time()
    code, status, said = inv("golive", "--release", version)
    if code not in (0, 3, 4):
        raise SystemExit(f"The rollout of {version} did not begin (exit code {code}): {said.strip().splitlines()[-1:]}")
    state = engine.state(environment.load("lab"))
    back = state.rollback or {}
    row: dict[str, Any] = {
        "kind": kind,
        "defect": defect,
        "release": state.release,
        "incumbent": state.incumbent,
        "run": state.run,
        "started": datetime.fromtimestamp(begin, UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - begin, 1),
        "exit": code,
        "outcome": status.get("outcome"),
        "max_candidate_weight": state.max_candidate_weight,
        "watches": [f"{gate['gate']} {gate['verdict']}" for gate in state.gates],
        "requests": state.requests,
        "reason": back.get("reason") or ("" if code == 0 else said.strip().splitlines()[-1:]),
        "traffic_back_s": back.get("seconds_to_traffic_back"),
        "load": [round(value, 2) for value in os.getloadavg()],
    }
    if kind != "good" and state.release:
        times = hurt(state.release, begin)
        row["hurt"] = len(times)
        if times and back.get("breach_at"):
            row["first_hurt_to_seen_s"] = round(datetime.fromisoformat(str(back["breach_at"])).timestamp() - times[0], 2)
    row["ok"] = code == 0 if kind == "good" else code == 3 and state.max_candidate_weight >= 10
    return row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown, a line for each kind of candidate."""
    lines = [
        "| candidate | rollouts | as it should | stopped at 10 / 50 / 100 % | first hurt to seen, s | traffic back after, s | in all, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys((row["kind"], row["defect"]) for row in rows):
        mine = [row for row in rows if (row["kind"], row["defect"]) == name]
        stopped = [int(row["max_candidate_weight"]) for row in mine if row["exit"] == 3]
        title = "good (3.0.0 and 2.9.0 in turn)" if name[0] == "good" else name[1] + (" (half)" if name[0] == "half" else "")
        lines.append(
            f"| {title} | {len(mine)} | {sum(row['ok'] for row in mine)} | {' / '.join(str(stopped.count(w)) for w in (10, 50, 100))} "
            f"| {_spread([row.get('first_hurt_to_seen_s') for row in mine])} | {_spread([row['traffic_back_s'] for row in mine])} "
            f"| {_spread([row['seconds'] for row in mine])} |"
        )
    return "\n".join(lines)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.3g} ({min(known):.3g} to {max(known):.3g})" if known else "-"


def documented(text: str, result: dict[str, Any]) -> str:
    """The document with the table of ``result`` between its marks."""
    return inserted(text, RESULT.name, table(result["rows"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=10)
    parser.add_argument("--bad", type=int, default=3, help="rollouts of each defect")
    parser.add_argument("--half", type=int, default=1, help="rollouts of each defect at half its size")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever is there")
    parser.add_argument("--table", action="store_true", help="run nothing; write the committed result into docs/gates.md")
    options = parser.parse_args()
    if options.table:
        DOCUMENT.write_text(documented(DOCUMENT.read_text(), json.loads(RESULT.read_text())))
        return 0
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() and not options.fresh else {}
    if result.get("commit", commit) != commit:
        print(f"{options.out} is of commit {result['commit'][:12]}, this is {commit[:12]}: --fresh begins anew.", file=sys.stderr)
        return 2
    rows = result.setdefault("rows", [])
    due = list(plan(options.good, options.bad, options.half))[len(rows) :]
    head = {
        "schema": 1,
        "machine": f"{os.cpu_count()} x {platform.machine()}, {platform.system()} {platform.release()}",
        "commit": commit,
        "command": f"benchmarks/rollouts.py --good {options.good} --bad {options.bad} --half {options.half}",
        "rows": rows,
    }
    for kind, defect in due:
        row = rollout(kind, defect)
        rows.append(row)
        partial = options.out.with_suffix(".partial")
        partial.write_text(json.dumps(head, indent=1) + "\n")
        partial.replace(options.out)
        short = {key: row.get(key) for key in ("exit", "max_candidate_weight", "seconds", "hurt", "first_hurt_to_seen_s", "traffic_back_s")}
        print(kind, defect or row["release"], "ok" if row["ok"] else "NOT OK", json.dumps(short), str(row["reason"])[:200], flush=True)
    wrong = [row for row in rows if not row["ok"] and row["kind"] != "half"]
    print(f"{len(rows) - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
