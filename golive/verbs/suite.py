"""``inv test``: everything that has to hold before a change lands, in the order in which it is cheapest to fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from golive.environment import ROOT
from golive.verbs.result import Result

__all__ = ["suite"]

_PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Part:
    """One part of the suite: a command and where it runs."""

    name: str
    argv: tuple[str, ...]
    directory: Path = ROOT


def parts(*, lab: bool, long: bool) -> list[Part]:
    """What runs. ``lab`` adds the parts that need root and take the lab; ``long`` adds what takes more than half an hour."""
    tool = Path(sys.executable).parent
    chosen = [
        Part("lint", (str(tool / "ruff"), "check", ".")),
        Part("format", (str(tool / "ruff"), "format", "--check", ".")),
        Part("types, toolkit", (str(tool / "mypy"),)),
        Part("types, agent", (str(tool / "mypy"),), ROOT / "dwcp_agent"),
        Part("unit", (*_PYTEST, "tests/unit")),
        Part("agent", (*_PYTEST, "tests"), ROOT / "dwcp_agent"),
        Part("integration", (*_PYTEST, "tests/integration")),
    ]
    if lab:
        chosen.append(Part("lab", (*_PYTEST, "-x", "tests/system/test_golive.py", "tests/system/test_molecule.py")))
    if lab and long:
        chosen.append(Part("lab, long", (*_PYTEST, "tests/system")))
    if long:
        chosen.append(Part("gates, long", (sys.executable, "-m", "golive.gates.simulate", "--rollouts", "1000", "--json")))
    return chosen


def suite(*, long: bool = False, lab: bool = True) -> Result:
    """Runs every part, also after one failed, and says which did. What a part prints goes to stderr: stdout is the result's."""
    rows, failed = [], []
    for part in parts(lab=lab, long=long):
        print(f"== {part.name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        surroundings = {**os.environ, "PYTHONUNBUFFERED": "1"}
        done = subprocess.run(part.argv, cwd=part.directory, env=surroundings, stdout=sys.stderr, check=False)
        seconds = round(time.monotonic() - began, 1)
        rows.append({"part": part.name, "rc": done.returncode, "seconds": seconds})
        if done.returncode != 0:
            failed.append(part.name)
        print(f"== {part.name}: {'passed' if done.returncode == 0 else 'FAILED'} in {seconds:.0f} s", file=sys.stderr, flush=True)
    # The closing line counts parts, each of which is a command that could fail.
    text = f"{len(rows) - len(failed)} passed, {len(failed)} failed" + (f"\nfailed: {', '.join(failed)}" if failed else "")
    return Result({"schema": 1, "parts": rows, "failed": failed}, text, 1 if failed else 0)
