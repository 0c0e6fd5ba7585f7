"""The series of real rollouts that docs/gates.md shows is the committed one."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType

import pytest

from golive.environment import ROOT


@pytest.fixture(scope="module")
def rollouts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rollouts_under_test", ROOT / "benchmarks" / "rollouts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documented_table_is_the_committed_series(rollouts: ModuleType) -> None:
    result = json.loads(rollouts.RESULT.read_text(encoding="utf-8"))
    text = rollouts.DOCUMENT.read_text(encoding="utf-8")
    assert rollouts.documented(text, result) == text
    assert rollouts.table(result["rows"]) in text


def test_no_good_release_was_sent_back_and_every_bad_one_was(rollouts: ModuleType) -> None:
    rows = json.loads(rollouts.RESULT.read_text(encoding="utf-8"))["rows"]
    assert {row["kind"] for row in rows} >= {"good", "bad"} and {row["defect"] for row in rows} >= set(rollouts.DEFECTS)
    assert all(row["max_candidate_weight"] >= 10 for row in rows)
    assert [row for row in rows if row["kind"] == "good" and (row["exit"], row["outcome"]) != (0, "succeeded")] == []
    assert [row for row in rows if row["kind"] == "bad" and (row["exit"], row["outcome"]) != (3, "rolled-back")] == []


def test_a_plan_holds_every_defect_as_often_as_asked_and_mixes_them(rollouts: ModuleType) -> None:
    planned = list(rollouts.plan(10, 3, 1))
    assert planned.count(("good", "")) == 10
    assert all(planned.count(("bad", defect)) == 3 for defect in rollouts.DEFECTS)
    assert all(planned.count(("half", defect)) == 1 for defect in rollouts.HALVES)
    assert max(len(run) for run in "".join("g" if kind == "good" else "b" for kind, _ in planned).split("g")) <= 4
    assert len(list(rollouts.plan(0, 1, 0))) == len(rollouts.DEFECTS)
