"""How many lines of toolkit and agent their tests run, as ``inv test`` measured it, beside the digest of what was measured.

``python -m golive.evidence.tools coverage FILE ROOT`` prints the measurement and whether it is of these sources.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from golive.environment import state_root
from golive.errors import GoliveError, Unprepared
from golive.evidence.tools.model import Command, Judged, Place, Said, Tool, python

__all__ = ["BAR", "COVERAGE", "PACKAGES", "combined", "data_file", "file", "forgotten", "known", "measured_digest"]

BAR = 80.0
"""Per cent of the lines of each package that have to be more than reached."""
PACKAGES = {"golive": "golive", "dwcp_agent": "dwcp_agent/src/dwcp_agent"}
"""What is measured, and where it stands in the checkout."""
_MEASURED = (*PACKAGES.values(), "tests", "dwcp_agent/tests")
"""What a measurement depends on: the sources, and the tests that ran them."""


def data_file(name: str) -> Path:
    """Where a part of the tests leaves what it measured; ``coverage`` adds to the name."""
    return _directory() / name


def _directory() -> Path:
    """Holds nothing but what was measured."""
    return state_root() / "coverage"


def file() -> Path:
    """Where the whole stands."""
    return state_root() / "coverage.json"


def known(kept: Path, root: Path) -> dict[str, Any]:
    """What ``kept`` says, beside the digest of what is there now. Raises OSError or ValueError when it says nothing."""
    return {"measured": json.loads(kept.read_text(encoding="utf-8")), "digest": measured_digest(root)}


def measured_digest(root: Path) -> str:
    """SHA-256 over every Python file of sources and tests."""
    whole = hashlib.sha256()
    for path in sorted(path for where in _MEASURED for path in (root / where).rglob("*.py")):
        whole.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(root).as_posix()}\n".encode())
    return whole.hexdigest()


def forgotten() -> None:
    """What parts of earlier tests measured is gone, as it would be counted with what these do; and there is a place for that."""
    _directory().mkdir(parents=True, exist_ok=True)
    for path in _directory().glob("*"):
        path.unlink()


def combined(root: Path, parts: Mapping[str, int], digest: str) -> dict[str, Any]:
    """What the parts measured, put together and written to ``file()``. ``parts``: their exit codes by name.

    ``digest`` is that from before the tests began; sources that were changed meanwhile were not measured as they are. Raises GoliveError
    when there is nothing to put together, and leaves no older measurement in its place.
    """
    file().unlink(missing_ok=True)
    if measured_digest(root) != digest:
        raise GoliveError("Coverage is not kept: sources or tests were changed while the tests ran.")
    whole = data_file("whole")
    data = [str(path) for name in parts for path in sorted(whole.parent.glob(f"{name}.*"))]
    if not data:
        raise Unprepared("Coverage is not kept: the tests measured nothing.")
    settings = str(root / "pyproject.toml")
    _coverage(root, "combine", f"--rcfile={settings}", f"--data-file={whole}", "-q", *data)
    report = whole.with_name("report.json")
    _coverage(root, "json", f"--rcfile={settings}", f"--data-file={whole}", "-q", "-i", "-o", str(report))
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    measured = {
        "schema": 1,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "digest": digest,
        "parts": dict(parts),
        "packages": {name: _package(files, root, where) for name, where in PACKAGES.items()},
    }
    fresh = file().with_name(".coverage.json")
    fresh.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    fresh.replace(file())
    return measured


def _package(files: Mapping[str, Any], root: Path, where: str) -> dict[str, Any]:
    """Counts of one package. A file that no test even imported counts with all its lines."""
    counted = {name: each["summary"] for name, each in files.items() if name.startswith(f"{where}/")}
    lines = sum(each["num_statements"] for each in counted.values())
    covered = sum(each["covered_lines"] for each in counted.values())
    there = {path.relative_to(root).as_posix() for path in (root / where).rglob("*.py")}
    return {
        "lines": lines,
        "covered": covered,
        "percent": round(100 * covered / lines, 2) if lines else 0.0,
        "files": len(counted),
        "not_measured": sorted(there - counted.keys()),
        "least": sorted((round(each["percent_covered"], 1), name) for name, each in counted.items())[:10],
    }


def _coverage(root: Path, *words: str) -> None:
    done = subprocess.run(python("-m", "coverage", *words), cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise GoliveError(f"Coverage is not kept: coverage {words[0]} said {said[-1] if said else done.returncode}.")


def _commands(place: Place) -> list[Command]:
    return [Command(python("-m", "golive.evidence.tools", "coverage", str(file().absolute()), str(place.root)), place.root)]


def _judge(_: Place, said: Sequence[Said]) -> Judged:
    (only,) = said
    if only.rc != 0:
        return Judged("UNKNOWN", "No coverage is known; `./inv test` measures it.")
    told = json.loads(only.output)
    measured = told["measured"]
    if measured["schema"] != 1 or not measured["parts"]:
        return Judged("UNKNOWN", "The coverage that is kept is none that this version can read; run `./inv test`.")
    facts = {"at": measured["at"], "parts": measured["parts"], "packages": measured["packages"], "bar": BAR}
    if measured["digest"] != told["digest"]:
        return Judged("UNKNOWN", "The coverage that is kept is of other sources or tests than these; run `./inv test`.", facts)
    if failed := sorted(name for name, rc in measured["parts"].items() if rc != 0):
        return Judged("UNKNOWN", f"Coverage was measured while tests failed ({', '.join(failed)}); what they ran shows nothing.", facts)
    found = {name: measured["packages"][name] for name in PACKAGES}
    if any(each["lines"] <= 0 or each["not_measured"] for each in found.values()):
        return Judged("UNKNOWN", "Coverage was not measured of every file.", facts)
    shown = " and ".join(f"{100 * each['covered'] / each['lines']:.1f} % of {name}" for name, each in found.items())
    if all(100 * each["covered"] / each["lines"] > BAR for each in found.values()):
        return Judged("PASS", f"Tests run {shown}, by lines; more than {BAR:.0f} % are asked.", facts)
    return Judged("FAIL", f"Tests run {shown}, by lines; more than {BAR:.0f} % of each are asked.", facts)


COVERAGE = Tool(
    "coverage",
    f"The tests run more than {BAR:.0f} % of the lines of toolkit and of agent.",
    ("source", "toolkit"),
    timedelta(days=1),
    _commands,
    _judge,
)
