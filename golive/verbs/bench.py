"""``inv bench NAME``: what the agent reaches, measured beside its peers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from golive.environment import ROOT, state_root
from golive.errors import BadInput, Unprepared
from golive.evidence import Subject, agent_source, record, unchanged, unkept
from golive.evidence.judging import VALID
from golive.verbs.result import Result

__all__ = ["BENCHES", "bench"]

BENCHES = {name: f"benchmarks/{name}.py" for name in ("core", "encoding", "forecast", "fragmentation", "memory", "wan")}
_LOCK = ROOT / "requirements/bench.lock"


def bench(name: str) -> Result:
    """Measures, writes ``docs/results/NAME.json``, and names the bars that were missed.

    Raises BadInput for an unknown name, Unprepared when a peer cannot be had.
    """
    if name not in BENCHES:
        raise BadInput(f"There is no benchmark {name!r}; known are {', '.join(BENCHES)}.")
    if shutil.which("gcc") is None:
        raise Unprepared("The benchmark is compiled here and gcc is missing; on Debian, as root: apt-get install gcc libc6-dev.")
    environment, started = {**os.environ, "PYTHONPATH": str(_peers())}, datetime.now(UTC)
    of = (agent_source(), Subject.of(BENCHES[name], hashlib.sha256((ROOT / BENCHES[name]).read_bytes()).hexdigest()))
    done = subprocess.run(
        [sys.executable, str(ROOT / BENCHES[name])],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 2:
        raise Unprepared(done.stdout.strip() or "The benchmark lacks something and does not say what.")
    if done.returncode:
        raise RuntimeError(f"{BENCHES[name]} ended with {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    why = unkept(lambda: _recorded(name, result, done.stdout.encode(), started, of))
    missed = [row["case"] for row in result["rows"] if not row["ok"]]
    asked = [row for row in result["rows"] if any(row[kind] is not None for kind in ("bar", "least", "most"))]
    met = f"{len(asked) - len(missed)} of {len(asked)} bars met" if asked else f"{len(result['rows'])} rows, none with a bar"
    text = f"{met}; docs/results/{name}.json"
    return Result(result, text + "".join(f"\nmissed: {case}" for case in missed) + why)


def _recorded(name: str, result: dict[str, Any], output: bytes, started: datetime, of: tuple[Subject, Subject]) -> None:
    """The measurement as evidence: of sources and by a program that were the same before and after."""
    unchanged(of)
    missed = [row["id"] for row in result["rows"] if not row["ok"]]
    record(
        check=f"bench.{name}",
        subjects=of[:1],
        inputs=of[1:],
        command=f"./inv bench {name}",
        result="FAIL" if missed else "PASS",
        summary=f"{len(result['rows'])} rows, {len(missed)} below their bars{': ' if missed else ''}{', '.join(missed[:5])}",
        facts={"rows": result["rows"], "machine": result["machine"]},
        output=output,
        started=started,
        valid_for=VALID["bench"],
    )


def _peers() -> Path:
    """The directory that holds the peers from PyPI, as pinned; filled when it is not there."""
    there = state_root() / "bench" / hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]
    if there.is_dir():
        return there
    there.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=there.parent) as making:
        target = Path(making) / "peers"
        uv = Path(sys.executable).parent / "uv"
        command = [str(uv), "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--target", str(target), "-r", str(_LOCK)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["uv said nothing"]
            raise Unprepared(f"The peers could not be installed: {said[-1]}.")
        target.rename(there)
    return there
