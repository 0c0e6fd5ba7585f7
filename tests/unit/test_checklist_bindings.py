"""What the checklist names is there: a proof that points at nothing could never be more than unknown, and nobody would see why."""

from __future__ import annotations

import ast
import json
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from golive.environment import ROOT
from golive.evidence.checklist import Bench, Proof, Rollback, Run, Tests, Tool, Verify, read
from golive.evidence.tools import TOOLS
from golive.verbs.bench import BENCHES

RUNBOOKS = ROOT / "runbooks"
DRILL = "rehearsal"
"""The stage of golive.yaml in which the way back is done once, on the hosts, before anyone relies on it."""


def proofs(kind: type[Proof]) -> list[Any]:
    """Each proof of ``kind``, with its item's id as the test's."""
    return [
        pytest.param(proof, id=f"{item.id}-{number}" if number else item.id)
        for item in read().items
        for number, proof in enumerate(each for each in item.proofs if isinstance(each, kind))
    ]


@cache
def functions(path: Path) -> frozenset[str]:
    """Tests of a file that are collected whatever the environment says: those at its top level."""
    return frozenset(
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


@cache
def steps(runbook: str) -> frozenset[str]:
    """``stage/step`` of a runbook."""
    stages = yaml.safe_load((RUNBOOKS / runbook).read_text(encoding="utf-8"))["stages"]
    return frozenset(f"{stage['stage']}/{step['id']}" for stage in stages for step in stage["steps"])


@cache
def rows(bench: str) -> frozenset[str]:
    """Ids of the rows that the last committed run had."""
    return frozenset(row["id"] for row in json.loads((ROOT / f"docs/results/{bench}.json").read_text(encoding="utf-8"))["rows"])


@cache
def checks() -> frozenset[str]:
    """The checks of ``inv verify``, as JUnit names them."""
    return frozenset(f"{path.stem}.{name}" for path in (ROOT / "tests/verify").glob("test_*.py") for name in functions(path))


@pytest.mark.parametrize("proof", proofs(Tests))
def test_every_test_is_there_and_needs_no_lab(proof: Tests) -> None:
    for node in proof.tests:
        path, _, name = node.partition("::")
        assert name in functions(ROOT / path), f"there is no {node}"
        assert not path.startswith(("tests/system/", "tests/verify/", "tests/roles/")), f"{path} needs hosts"


@pytest.mark.parametrize("proof", proofs(Bench))
def test_every_row_was_measured(proof: Bench) -> None:
    assert proof.bench in (*BENCHES, "engine", "rollouts")
    for pattern in proof.rows:
        assert any(fnmatchcase(row, pattern) for row in rows(proof.bench)), f"{pattern} is no row of {proof.bench}"


@pytest.mark.parametrize("proof", proofs(Verify))
def test_every_check_of_hosts_is_there(proof: Verify) -> None:
    for pattern in proof.verify:
        assert any(fnmatchcase(check, pattern) for check in checks()), f"{pattern} is no check of inv verify"


@pytest.mark.parametrize("proof", [*proofs(Run), *proofs(Rollback)])
def test_every_step_is_in_its_runbook(proof: Run | Rollback) -> None:
    if isinstance(proof, Run):
        named, there = proof.run, steps("golive.yaml")
    else:
        named = proof.rollback
        there = steps("rollback.yaml") | {step for step in steps("golive.yaml") if step.startswith(f"{DRILL}/")}
    for step in () if named == "succeeded" else named:
        assert step in there, f"{step} is in no runbook"


@pytest.mark.parametrize("proof", proofs(Tool))
def test_every_tool_is_known(proof: Tool) -> None:
    assert proof.tool in TOOLS
