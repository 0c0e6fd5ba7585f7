"""Evidence from tests: those that the checklist names, run in one go, and one statement for each item."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from golive.environment import ROOT
from golive.evidence import Kept, Subject, agent_source, record, toolkit_source, unchanged
from golive.evidence.checklist import Item, Tests
from golive.evidence.judging import VALID
from golive.evidence.statement import canonical

__all__ = ["Case", "cases_of", "of_agent", "ran", "recorded"]

_AGENT = "dwcp_agent/"
_OF_AGENT = (_AGENT, "tests/datapath/")
"""Tests that show something of the agent; the others show something of the toolkit."""


@dataclass(frozen=True)
class Case:
    """One case of a test: with its parameters."""

    test: str
    """Node id up to the function, from the checkout's root."""
    name: str
    outcome: str
    """``passed``, ``failed``, ``error`` or ``skipped``."""
    seconds: float
    told: str = ""


def recorded(items: Iterable[Item], root: Path = ROOT) -> list[Kept]:
    """Runs every test that ``items`` name, once, and records for each item what became of its own."""
    asked = {item.id: (item, [test for proof in item.proofs if isinstance(proof, Tests) for test in proof.tests]) for item in items}
    asked = {id_: pair for id_, pair in asked.items() if pair[1]}
    if not asked:
        return []
    started, agent, toolkit = datetime.now(UTC), agent_source(root), toolkit_source(root)
    files = {name: digest for _, tests in asked.values() for name, digest in _files(tests, root)}
    found: dict[str, list[Case]] = defaultdict(list)
    for case in ran(sorted({test for _, tests in asked.values() for test in tests}), root):
        found[case.test].append(case)
    unchanged([agent, toolkit, *(Subject.of(name, digest) for name, digest in files.items())], root)
    return [_kept(item, list(dict.fromkeys(tests)), found, started, (agent, toolkit), root) for item, tests in asked.values()]


def _files(tests: Iterable[str], root: Path) -> list[tuple[str, str]]:
    """The files that ``tests`` stand in, and SHA-256 of each that is there."""
    names = sorted({test.partition("::")[0] for test in tests})
    return [(name, hashlib.sha256((root / name).read_bytes()).hexdigest()) for name in names if (root / name).is_file()]


def _kept(
    item: Item, tests: Sequence[str], found: Mapping[str, list[Case]], started: datetime, subjects: tuple[Subject, Subject], root: Path
) -> Kept:
    outcomes = {test: _outcome(found.get(test, [])) for test in tests}
    cases = [case for test in tests for case in found.get(test, [])]
    wrong = [f"{test.rpartition('/')[2]} {outcome}" for test, outcome in outcomes.items() if outcome != "passed"]
    lacking = [test for test, outcome in outcomes.items() if outcome == "not run"]
    agent, toolkit = subjects
    kinds = {of_agent(test) for test in tests}
    return record(
        check=f"tests.{item.id}",
        subjects=[subject for subject, mine in ((agent, True), (toolkit, False)) if mine in kinds],
        inputs=[Subject.of(name, digest) for name, digest in _files(tests, root)],
        command="; ".join(_told(argv, directory) for argv, directory in _commands(tests, root)),
        result="UNKNOWN" if lacking else "FAIL" if wrong else "PASS",
        summary="; ".join(wrong[:5]) or f"{len(tests)} tests passed, {len(cases)} cases",
        facts={"tests": outcomes, "cases": len(cases)},
        output=canonical([case.__dict__ for case in cases]),
        started=started,
        valid_for=VALID["tests"],
    )


def _outcome(cases: Sequence[Case]) -> str:
    """Of all cases of a test: ``passed`` only when there are some, and each passed."""
    if not cases:
        return "not run"
    return next((case.outcome for case in cases if case.outcome != "passed"), "passed")


def ran(tests: Sequence[str], root: Path = ROOT) -> list[Case]:
    """What became of ``tests``, run in processes of their own; those that could not be collected are not in it."""
    return [case for argv, directory in _commands(tests, root) for case in _ran(argv, directory, root)]


def _commands(tests: Sequence[str], root: Path) -> list[tuple[list[str], Path]]:
    """The agent's tests have settings of their own, so they run in its directory."""
    agent = [test.removeprefix(_AGENT) for test in tests if test.startswith(_AGENT)]
    others = [test for test in tests if not test.startswith(_AGENT)]
    return [(part, directory) for part, directory in ((agent, root / "dwcp_agent"), (others, root)) if part]


def _told(tests: Sequence[str], directory: Path) -> str:
    into = "" if directory == ROOT or directory.name != "dwcp_agent" else "cd dwcp_agent && "
    python = "../.venv/bin/python" if into else ".venv/bin/python"
    return f"{into}{python} -m pytest {' '.join(tests)}"


def _ran(tests: Sequence[str], directory: Path, root: Path) -> list[Case]:
    with tempfile.TemporaryDirectory(prefix="golive-tests-") as scratch:
        junit = Path(scratch, "junit.xml")
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={junit}"]
        # One test that is not there must not keep the others from being run.
        argv += ["--continue-on-collection-errors", *_existing(tests, directory)]
        done = subprocess.run(argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        sys.stderr.write(done.stdout.decode(errors="replace")[-2000:])
        if not junit.exists():
            return []
        prefix = f"{directory.relative_to(root).as_posix()}/" if directory != root else ""
        return list(cases_of(ET.parse(junit).getroot(), prefix))  # noqa: S314


def _existing(tests: Sequence[str], directory: Path) -> list[str]:
    """Tests whose file defines them: pytest ends without running anything when it is given a name that is not there."""
    known: dict[str, set[str]] = {}
    for file in {test.partition("::")[0] for test in tests}:
        try:
            tree = ast.parse((directory / file).read_bytes())
        except (OSError, SyntaxError):
            continue
        names = {f"{file}::{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        for group in (node for node in tree.body if isinstance(node, ast.ClassDef)):
            names |= {
                f"{file}::{group.name}::{node.name}" for node in group.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        known[file] = names
    return [test for test in tests if test in known.get(test.partition("::")[0], set())]


def cases_of(suites: ET.Element, prefix: str) -> Iterable[Case]:
    """The cases in pytest's report (xunit1), their files below ``prefix``."""
    for case in suites.iter("testcase"):
        file = case.get("file")
        if not file:
            continue
        module = file.removesuffix(".py").replace("/", ".")
        groups = [part for part in (case.get("classname") or "").removeprefix(module).strip(".").split(".") if part]
        name = case.get("name") or ""
        test = "::".join([f"{prefix}{file}", *groups, name.partition("[")[0]])
        outcome, told = "passed", ""
        for tag, word in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
            problem = case.find(tag)
            if problem is not None:
                outcome, told = word, (problem.get("message") or "")[:500]
                break
        yield Case(test, name, outcome, float(case.get("time") or 0), told)


def of_agent(test: str) -> bool:
    """Whether ``test`` shows something of the agent, and not of the toolkit."""
    return test.startswith(_OF_AGENT)
