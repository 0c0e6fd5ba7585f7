"""Checks of hosts, run by pytest in a process of its own: how many ran, and which did not pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golive.environment import ROOT
from golive.errors import Held

__all__ = ["Checks", "run_checks"]


@dataclass(frozen=True)
class Checks:
    """What pytest reported."""

    ran: int
    failed: list[dict[str, str]]
    """``check`` and ``why`` of each that failed, broke or was skipped."""
    ok: bool
    """At least one ran, and all that were to run passed."""
    output: str
    outcomes: dict[str, str]
    """By name of the check, without the host it ran on: ``passed`` only when it passed wherever it ran, else what else it was."""


def run_checks(target: Path, *, variable: str, told: Mapping[str, Any], work: Path) -> Checks:
    """Runs the checks in ``target``, a file or a directory.

    Args:
        target: what pytest collects.
        variable: the environment variable that names the file with ``told``.
        told: what the checks have to know; JSON.
        work: a directory for that file and pytest's report.

    Raises:
        Held: pytest made no report, so nothing is known.
    """
    expect, junit = work / "expected.json", work / "junit.xml"
    expect.write_text(json.dumps(told), encoding="utf-8")
    junit.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*argv, f"--junitxml={junit}", "--rootdir", str(ROOT), str(target)],
        cwd=ROOT,
        env={**os.environ, variable: str(expect)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if not junit.exists():
        raise Held(f"The checks could not be run: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else 'pytest said nothing'}")
    suite = ET.parse(junit).getroot().find("testsuite")  # noqa: S314
    if suite is None:
        raise Held(f"{junit} holds no test suite; the checks did not run.")
    ran = int(suite.get("tests", "0"))
    failed = [
        {"check": f"{case.get('classname', '').rsplit('.', 1)[-1]}.{case.get('name')}", "why": (problem.get("message") or "")[:300]}
        for case in suite.iter("testcase")
        for problem in (*case.findall("failure"), *case.findall("error"), *case.findall("skipped"))
    ]
    return Checks(ran, failed, done.returncode == 0 and ran > 0 and not failed, done.stdout, _outcomes(suite))


def _outcomes(suite: ET.Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for case in suite.iter("testcase"):
        name = f"{case.get('classname', '').rsplit('.', 1)[-1]}.{(case.get('name') or '').partition('[')[0]}"
        other = next((tag for tag in ("failure", "error", "skipped") if case.find(tag) is not None), "")
        if other or name not in found:
            found[name] = other or "passed"
    return found
