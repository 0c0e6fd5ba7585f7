"""``inv test``: everything that has to hold before a change lands, in the order in which it is cheapest to fail.

What runs on this machine alone runs in two lanes beside one another; what takes the lab runs after them, alone: its gates measure
latencies, and a machine that is busy with something else is no site to judge a release at.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from golive.engine.leftovers import end_all
from golive.engine.process import Process, carrying
from golive.environment import ROOT, state_root
from golive.errors import BadInput, GoliveError
from golive.evidence.tools import coverage
from golive.verbs.result import Result

__all__ = ["SUITES", "suite"]

SUITES = ("core", "datapath", "prodlike")
"""Parts of the tests that can be asked for by name."""

_SANITIZERS = {"valgrind": "valgrind", "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross", "qemu-aarch64": "qemu-user"}
"""Tools of the sanitized suite that a compiler does not bring along, with Debian's packages."""

_LINK = {"iperf3": "iperf3", "ping": "iputils-ping"}
"""The same for what looks at a WAN link beside the agent."""

_PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=12", "--durations-min=5")
_COVERED = (sys.executable, "-m", "coverage", "run", f"--rcfile={ROOT / 'pyproject.toml'}", *_PYTEST[1:])
"""The same, and what lines it runs is kept; of processes that it starts, too."""

_MARK = "GOLIVE_TEST_PART"
"""A variable by which what a part started is found, wherever it went."""
_LONG_S = 8 * 3600.0
"""After which a part is ended that is meant to take long."""
_PATIENCE_S = 30.0
"""What a part that is ended has to tell how far it came."""


@dataclass(frozen=True)
class Part:
    """One part of the suite: a command and where it runs."""

    name: str
    argv: tuple[str, ...]
    directory: Path = ROOT
    lane: Literal["first", "second", "alone"] = "first"
    variables: Mapping[str, str] = field(default_factory=dict)
    limit_s: float = 2100.0
    """After which it is ended, and has failed."""
    covers: bool = False
    """Whether the lines that it runs count (golive.evidence.tools.coverage)."""


_PRODLIKE = Part("prodlike", (*_PYTEST, "-x", "tests/system/test_prodlike.py"), lane="alone", limit_s=_LONG_S)
"""An owner's machines behind a bastion; needs root and podman, as the lab does, and is none."""


def parts(*, lab: bool, long: bool) -> list[Part]:
    """What runs. ``lab`` adds the parts that need root and take the lab; ``long`` adds what takes more than half an hour."""
    tool = Path(sys.executable).parent
    chosen = [
        Part("lint", (str(tool / "ruff"), "check", ".")),
        Part("format", (str(tool / "ruff"), "format", "--check", ".")),
        Part("types, toolkit", (str(tool / "mypy"),)),
        Part("lint, plays", (str(tool / "ansible-lint"), "--offline", "--nocolor", "playbooks", "roles", "library"), lane="second"),
        Part("types, agent", (str(tool / "mypy"),), ROOT / "dwcp_agent"),
        _covering("unit", (*_COVERED, "tests/unit")),
        _covering("agent", (*_COVERED, "tests"), ROOT / "dwcp_agent"),
        _covering("integration", (*_COVERED, "-m", "not alone", "tests/integration"), lane="second"),
    ]
    # Alone: it drives a browser, and measures how soon that shows what changed.
    chosen.append(Part("board", (*_PYTEST, "tests/board"), lane="alone"))
    if lab:
        # Beside others: it waits for links more than it computes, and its bounds are of bytes and not of times.
        chosen.append(Part("faults", (*_PYTEST, "-m", "not alone", "tests/datapath"), lane="second"))
        chosen.append(Part("profiles", (*_PYTEST, "-m", "alone", "tests/datapath"), lane="alone"))
        chosen.append(
            Part(
                "lab",
                (*_PYTEST, "-x", "tests/system/test_golive.py", "tests/system/test_molecule.py", "tests/system/test_host_contract.py"),
                lane="alone",
            )
        )
    if lab and long:
        chosen += [
            _PRODLIKE,
            _long("lab", (*_PYTEST, "--ignore", "tests/system/test_prodlike.py", "tests/system")),
            _long("rollouts", (sys.executable, "benchmarks/rollouts.py", "--fresh", "--out", str(state_root() / "rollouts.json"))),
            _long("link", (*_PYTEST, "-m", "alone", "tests/integration")),
        ]
    if long:
        every = {"GOLIVE_TEST_EVERY_RECORD": "1"}
        chosen += [
            _long("controllers", (*_PYTEST, "tests/integration/test_engine_controllers.py"), every),
            _long("gates", (sys.executable, "-m", "golive.gates.simulate", "--rollouts", "1000", "--json")),
        ]
    return chosen


def _covering(name: str, argv: tuple[str, ...], directory: Path = ROOT, lane: Literal["first", "second"] = "first") -> Part:
    return Part(name, argv, directory, lane, variables={"COVERAGE_FILE": str(coverage.data_file(name).absolute())}, covers=True)


def _long(name: str, argv: tuple[str, ...], variables: Mapping[str, str] | None = None) -> Part:
    return Part(f"{name}, long", argv, lane="alone", variables=variables or {}, limit_s=_LONG_S)


def named(name: str, *, sanitize: bool, long: bool) -> list[Part]:
    """The suite of that name. ``sanitize`` adds the sanitized builds, ``long`` a hundred million items. Raises BadInput."""
    if name not in SUITES:
        raise BadInput(f"There is no suite {name!r}; known are {', '.join(SUITES)}.")
    if sanitize and name != "core":
        raise BadInput("--sanitize is for --suite core: the rest is not compiled.")
    needed = (
        {"podman": "podman", "openssl": "openssl", "mmdebstrap": "mmdebstrap"}
        if name == "prodlike"
        else {"gcc": "gcc"} | (_SANITIZERS if sanitize else {}) | (_LINK if name == "datapath" else {})
    )
    missing = [tool for tool in needed if shutil.which(tool) is None]
    if missing:
        packages = " ".join(needed[tool] for tool in missing)
        raise BadInput(f"The suite {name} needs {' and '.join(missing)}; on Debian, as root: apt-get install {packages}.")
    if name == "prodlike":
        return [_PRODLIKE]
    if name == "datapath":
        return [
            Part("agent", (*_PYTEST, "tests", "--ignore", "tests/core"), ROOT / "dwcp_agent", "alone"),
            Part("link", (*_PYTEST, "tests/integration/test_wan_relay.py", "tests/integration/test_wan_iperf.py"), lane="alone"),
            Part("faults", (*_PYTEST, "tests/datapath"), lane="alone"),
        ]
    variables = {"DWCP_SANITIZE": "1" if sanitize else "0"} | ({"DWCP_STRESS_ITEMS": "100000000"} if long else {})
    return [Part(name, (*_PYTEST, "tests/core"), ROOT / "dwcp_agent", "alone", variables, _LONG_S)]


def suite(*, long: bool = False, lab: bool = True, only: str = "", sanitize: bool = False) -> Result:
    """Runs every part, also after one failed, and says which did. What a part prints goes to stderr: stdout is the result's.

    ``only`` names one of SUITES to run alone. Raises BadInput when there is no such suite, or ``sanitize`` comes without one.
    """
    if sanitize and not only:
        raise BadInput(f"--sanitize belongs to --suite with one of {', '.join(SUITES)}.")
    chosen = named(only, sanitize=sanitize, long=long) if only else parts(lab=lab, long=long)
    measured = coverage.measured_digest(ROOT)
    if any(part.covers for part in chosen):
        coverage.forgotten()
    with ThreadPoolExecutor(2) as lanes:
        beside = [lanes.submit(_lane, [part for part in chosen if part.lane == lane]) for lane in ("first", "second")]
        rows = [row for lane in beside for row in lane.result()]
    covering = {part.name for part in chosen if part.covers}
    covered = _covered_lines({row["part"]: row["rc"] for row in rows if row["part"] in covering}, measured)
    rows += _lane([part for part in chosen if part.lane == "alone"])
    failed = [row["part"] for row in rows if row["rc"] != 0]
    # The closing line counts parts, each of which is a command that could fail.
    text = f"{len(rows) - len(failed)} passed, {len(failed)} failed" + (f"\nfailed: {', '.join(failed)}" if failed else "")
    if covered:
        text += "\nlines that are run: " + ", ".join(f"{percent} % of {name}" for name, percent in covered.items())
    return Result({"schema": 1, "parts": rows, "failed": failed, "coverage": covered}, text, 1 if failed else 0)


def _covered_lines(parts: Mapping[str, int], measured: str) -> dict[str, float]:
    """Per cent of each package's lines that ``parts`` ran, kept for the readiness list. Empty when it is not known, which fails no test."""
    if not parts:
        return {}
    try:
        found = coverage.combined(ROOT, parts, measured)["packages"]
    except GoliveError as error:
        _tell(f"{error.message}\n")
        return {}
    return {name: each["percent"] for name, each in found.items()}


_telling = threading.Lock()


def _lane(chosen: Sequence[Part]) -> list[dict[str, Any]]:
    """Runs parts one after the other. One that has company is heard whole, at its end."""
    rows = []
    for part in chosen:
        alone = part.lane == "alone"
        _tell(f"== {part.name}\n" if alone else f"== {part.name} begins\n")
        began = time.monotonic()
        with tempfile.TemporaryFile() as told:
            rc, trouble = _ran(part, sys.stderr if alone else told)
            told.seek(0)
            said = "" if alone else f"== {part.name}\n{told.read().decode(errors='replace')}"
        seconds = round(time.monotonic() - began, 1)
        said += "".join(f"{line}\n" for line in trouble)
        _tell(f"{said}== {part.name}: {'passed' if rc == 0 else 'FAILED'} in {seconds:.0f} s\n")
        rows.append({"part": part.name, "rc": rc, "seconds": seconds})
    return rows


def _ran(part: Part, out: IO[Any]) -> tuple[int, list[str]]:
    """Its exit status, and what else is wrong: that it took too long, or that it left processes behind, which are ended.

    A part that is alone may leave some: those of a lab.
    """
    mark = f"{_MARK}={uuid.uuid4().hex}"
    surroundings = {**os.environ, "PYTHONUNBUFFERED": "1", **part.variables, _MARK: mark.partition("=")[2]}
    # To a file: what a part left behind would hold a pipe open for ever.
    running = subprocess.Popen(part.argv, cwd=part.directory, env=surroundings, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    trouble = []
    try:
        rc = running.wait(part.limit_s)
    except subprocess.TimeoutExpired:
        rc = 124
        trouble = [f"it was ended after {part.limit_s:.0f} s"]
        running.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(_PATIENCE_S)
    finally:
        running.kill()
        running.wait()
    if part.lane != "alone" or rc == 124:
        found = [process for pid, _ in carrying(mark.encode()) if (process := Process.of(pid, _words(pid))) is not None]
        trouble += [f"left behind, and ended: process {process.pid}, {process.what}" for process in found]
        end_all(found)
    return rc, trouble


def _words(pid: int) -> str:
    """The words that a process was started with, as far as one line holds them; "" when there is none of that pid."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()[:160]


def _tell(text: str) -> None:
    with _telling:
        sys.stderr.write(text)
        sys.stderr.flush()
