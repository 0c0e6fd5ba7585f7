"""What makes evidence says what really happened: of tests, of runs in the journal, of questions to Prometheus."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from engine_world import NEW, OLD, World, environment, go
from golive.collect import hosts, runs, tests
from golive.errors import Refused
from golive.evidence import Kept
from golive.evidence.checklist import Item
from golive.gates.window import NoData, Reason
from releases_standin import checkout

TESTS = """\
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_skips(): pytest.skip("no")
@pytest.mark.parametrize("n", [1, 2])
def test_one_of_two_fails(n): assert n == 1
@pytest.mark.parametrize("n", [1, 2])
def test_both_pass(n): pass
@pytest.fixture
def broken(): raise RuntimeError("x")
def test_breaks(broken): pass
class TestGroup:
    def test_within(self): pass
"""


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    return World(tmp_path / "state")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = checkout(tmp_path / "checkout")
    (made / "tests").mkdir()
    (made / "tests/test_it.py").write_text(TESTS)
    (made / "tests/test_broken.py").write_text("import nothing_of_that_name\n\ndef test_x(): pass\n")
    (made / "dwcp_agent/tests/test_agent.py").write_text("def test_of_the_agent(): pass\n")
    return made


def asked(*names: str, id_: str = "AMST-001") -> Item:
    fields = {"id": id_, "group": "AMST", "section": "core", "says": "so", "proofs": [{"tests": list(names)}]}
    return Item.model_validate(fields)


@pytest.mark.parametrize(
    ("name", "outcome", "result"),
    [
        ("test_it.py::test_passes", "passed", "PASS"),
        ("test_it.py::test_both_pass", "passed", "PASS"),
        ("test_it.py::TestGroup::test_within", "passed", "PASS"),
        ("test_it.py::test_fails", "failed", "FAIL"),
        ("test_it.py::test_one_of_two_fails", "failed", "FAIL"),
        ("test_it.py::test_skips", "skipped", "FAIL"),
        ("test_it.py::test_breaks", "error", "FAIL"),
        ("test_it.py::test_that_nobody_wrote", "not run", "UNKNOWN"),
        ("test_broken.py::test_x", "not run", "UNKNOWN"),
        ("test_no_such_file.py::test_x", "not run", "UNKNOWN"),
    ],
)
def test_a_test_is_what_became_of_all_its_cases(root: Path, name: str, outcome: str, result: str) -> None:
    (kept,) = tests.recorded([asked(f"tests/{name}")], root)
    at = kept.statement.predicate
    assert (at.check, at.result, at.facts["tests"]) == ("tests.AMST-001", result, {f"tests/{name}": outcome})


def test_what_is_missing_keeps_no_other_from_being_run_and_each_item_gets_its_own(root: Path) -> None:
    first = asked("tests/test_it.py::test_passes", "dwcp_agent/tests/test_agent.py::test_of_the_agent")
    second = asked("tests/test_it.py::test_passes", "tests/test_it.py::test_that_nobody_wrote", id_="AMST-002")
    found = {kept.statement.predicate.check: kept.statement for kept in tests.recorded([first, second], root)}
    assert {check: statement.predicate.result for check, statement in found.items()} == {
        "tests.AMST-001": "PASS",
        "tests.AMST-002": "UNKNOWN",
    }
    assert [subject.name for subject in found["tests.AMST-001"].subject] == ["agent-source", "toolkit"]
    assert [subject.name for subject in found["tests.AMST-002"].subject] == ["toolkit"]
    files = [subject.name for subject in found["tests.AMST-001"].predicate.inputs]
    assert files == ["dwcp_agent/tests/test_agent.py", "tests/test_it.py"]


def test_a_test_that_is_changed_while_it_runs_shows_nothing(root: Path) -> None:
    (root / "tests/test_it.py").write_text("def test_passes():\n    open(__file__, 'a').write('# more')\n")
    with pytest.raises(Refused, match="was changed while it was measured"):
        tests.recorded([asked("tests/test_it.py::test_passes")], root)


# Runs.


def release(id_: str = NEW) -> Any:
    return SimpleNamespace(id=id_, version=id_.split("-")[0], digest="b" * 64)


def of_runs(id_: str = NEW) -> dict[str, Kept]:
    return {kept.statement.predicate.check: kept for kept in runs.recorded(environment(), release(id_))}


def test_a_run_that_went_live_is_told_step_by_step(world: World) -> None:
    go(world)
    at = of_runs()["run"].statement.predicate
    assert at.result == "PASS" and at.facts["outcome"] == "succeeded" and at.facts["wrong"] == []
    assert at.facts["steps"]["canary/watch-10"] == "PASS" and at.facts["steps"]["sign-off/retired"] == "PASS"
    assert at.output.size > 1000


def test_a_run_that_went_back_is_no_success_and_is_the_newest_way_back(world: World) -> None:
    world.verdicts = {"watch-50": ["FAIL"]}
    go(world)
    found = {check: kept.statement.predicate for check, kept in of_runs().items()}
    assert (found["run"].result, found["run"].facts["outcome"]) == ("FAIL", "rolled-back")
    assert found["run"].facts["steps"]["half/watch-50"] == "FAIL"
    assert found["rollback"].result == "PASS" and found["rollback"].facts["steps"]["traffic-back/shift-0"] == "PASS"


def test_a_run_that_brought_no_user_to_the_release_shows_nothing_of_it(world: World) -> None:
    go(world, until_stage="deploy")
    assert of_runs() == {}


def test_another_releases_run_is_not_this_ones(world: World) -> None:
    go(world)
    assert "run" not in of_runs(OLD)


def test_a_journal_that_does_not_verify_is_said_and_is_no_pass(world: World) -> None:
    go(world)
    connection = sqlite3.connect(world.directory / "sim" / "journal.db")
    for trigger in ("records_keep_update", "records_keep_delete"):
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute("UPDATE records SET data = replace(data, 'already_there', 'already-there') WHERE kind = 'step.outcome'")
    connection.commit()
    connection.close()
    at = of_runs()["run"].statement.predicate
    assert at.result == "FAIL" and at.facts["wrong"] and at.facts["outcome"] != "succeeded"


# Questions.


@pytest.mark.parametrize(
    ("answer", "value", "result"),
    [
        ([{"metric": {}, "value": [0, "1"]}], 1.0, "PASS"),
        ([{"metric": {}, "value": [0, "0"]}], 0.0, "FAIL"),
        ([], None, "UNKNOWN"),
        ([{"value": [0, "1"]}, {"value": [0, "1"]}], None, "UNKNOWN"),
        ([{"value": [0, "NaN"]}], None, "UNKNOWN"),
        ([{"value": []}], None, "UNKNOWN"),
        (NoData("query", Reason.UNREACHABLE, "down"), None, "UNKNOWN"),
    ],
)
def test_only_one_number_is_an_answer(answer: Any, value: float | None, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = SimpleNamespace(hosts=[], ops=SimpleNamespace(address="127.0.0.1"))
    monkeypatch.setattr(hosts, "read_fleet", lambda env: fleet)
    monkeypatch.setattr(hosts, "operator_tls", lambda pki: None)
    monkeypatch.setattr("golive.fleet.tunnel.proxy", lambda env, fleet: None)
    stood_in = SimpleNamespace(instant=lambda query: answer, close=lambda: None)
    monkeypatch.setattr(hosts, "Prometheus", lambda *given, **more: stood_in)
    fields = yaml.safe_load("{id: MON-002, group: m, section: integration, says: so, proofs: [{query: min(up), need: value >= 1}]}")
    (kept,) = hosts.asked(environment(), release(), [Item.model_validate(fields)])
    at = kept.statement.predicate
    assert (at.check, at.result, at.facts["value"]) == ("query.MON-002.1", result, value)
