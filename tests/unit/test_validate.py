"""Rows of validations: a bar is reached or not, what was not measured says so, and nothing that broke in the middle passes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from golive.collect.tests import Case
from golive.environment import ROOT
from golive.errors import BadInput, Occupied
from golive.regress.ground import Ground, Side
from golive.regress.tolerances import read_policy
from golive.validate.components import COMPONENTS, functions_of, of_tests
from golive.validate.end_to_end import Whole, end_to_end
from golive.validate.integration import ABSENT, TOGETHER
from golive.validate.rows import measured, of_bench, unmeasured

BARS = read_policy().end_to_end
SIDE = Side("candidate", "3.0.0-ba9876543210", ("dwcp",), 7410, {"pid": 1})


class Machine:
    """Answers the probe's tasks."""

    def __init__(self) -> None:
        self.shipped: dict[str, str] = {}
        self.stored = "right"
        self.failed = 0
        self.seconds = 0.01
        self.trouble = ""

    def ask(self, task: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        if self.trouble == task["do"]:
            return {"error": "it broke"}
        if task["do"] == "content":
            return {"sha256": "sum"}
        if task["do"] == "send":
            return {"told": {"seconds": self.seconds, "release": SIDE.release}, "cpu_s": 0.1}
        if task["do"] == "digests":
            shipped = next(iter(self.shipped.values()), "sum")
            memory = "/memory-" in task["paths"][0]
            return dict.fromkeys(task["paths"], (shipped if memory else "sum") if self.stored == "right" else "other")
        if task["do"] == "requests":
            asked = task["connections"] * (1 + 2 * task["each"])
            side = {"connections": task["connections"], "requests": 2 * task["each"] * task["connections"] - self.failed}
            told = {**side, "failed": self.failed, "asked": asked, "why": "503"}
            return {"connecting_s": task["connections"] / 1000, "asking_s": 1.0, "sides": [told]}
        return {}

    def ship(self, path: str, content: bytes) -> None:
        self.shipped[path] = hashlib.sha256(content).hexdigest()


def ground(machine: Machine, still: Callable[[], None] = lambda: None) -> Ground:
    tls = {"ca": "ca", "cert": "cert", "key": "key"}
    ask = machine.ask
    return Ground(
        "here", SIDE, SIDE, "127.0.0.1", ask, ask, ask, tls, tls, "/w/regress-1", ["/s/regress-1"], "regress-1", machine.ship, still=still
    )


def rows(machine: Machine) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in end_to_end(ground(machine), BARS, lambda line: None, long=False)}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The image of a guest's memory takes seconds to make, which the test over loopback takes; here it is some other file."""

    def memory(whole: Whole, path: str) -> str:
        whole._ground.ship(path, b"memory")
        return hashlib.sha256(b"memory").hexdigest()

    monkeypatch.setattr(Whole, "_memory", memory)
    return Machine()


def test_everything_that_reaches_its_bar_passes_and_what_is_no_part_of_the_product_has_no_figure(machine: Machine) -> None:
    found = rows(machine)
    absent = {f"end-to-end-{name}" for name in ABSENT} | {"end-to-end-volume-1024MiB"}
    assert {id_ for id_, row in found.items() if row["verdict"] == "UNKNOWN"} == absent
    assert all(row["ok"] is None and row["samples_ours"] == [] and row["note"] for id_, row in found.items() if id_ in absent)
    assert all(row["ok"] is True and len(row["samples_ours"]) == 3 for id_, row in found.items() if id_ not in absent)


def test_a_rate_below_its_bar_fails(machine: Machine) -> None:
    machine.seconds = 60.0
    found = rows(machine)
    assert found["end-to-end-volume-100MiB"]["verdict"] == found["end-to-end-disk"]["verdict"] == "FAIL"


def test_other_content_at_the_receiver_is_never_a_pass_however_fast_it_came(machine: Machine) -> None:
    machine.stored = "other"
    found = rows(machine)
    for row in (found["end-to-end-disk"], found["end-to-end-memory"], found["end-to-end-volume-1MiB"]):
        assert row["verdict"] == "FAIL" and "other content than was sent" in row["note"] and row["samples_ours"] == []


def test_operations_of_which_one_fails_are_a_failure_whatever_their_rate(machine: Machine) -> None:
    machine.failed = 1
    found = rows(machine)
    assert found["end-to-end-operations"]["verdict"] == "FAIL" and "1 of 3000 failed: 503" in found["end-to-end-operations"]["note"]


@pytest.mark.parametrize("what", ["send", "content", "requests", "digests"])
def test_what_cannot_be_done_is_unknown_and_says_why(machine: Machine, what: str) -> None:
    machine.trouble = what
    found = rows(machine)
    broken = [row for row in found.values() if "it broke" in row["note"]]
    assert broken and all(row["ok"] is None and row["samples_ours"] == [] for row in broken)


def test_a_ground_that_is_taken_over_ends_it() -> None:
    def gone() -> None:
        raise Occupied("somebody else has it")

    with pytest.raises(Occupied):
        list(end_to_end(ground(Machine(), gone), BARS, lambda line: None, long=False))


def test_a_median_exactly_at_its_bar_does_not_reach_it() -> None:
    assert measured("a", "a", "MB/s", [50.0] * 3, above=50)["ok"] is False
    assert measured("a", "a", "ms", [2.0] * 3, below=2)["ok"] is False
    assert measured("a", "a", "MB/s", [], above=50)["ok"] is None


def test_a_benchmarks_row_without_a_bar_is_not_a_pass() -> None:
    row = {"id": "x", "case": "x", "unit": "s", "peer": "p", "samples_ours": [1.0], "samples_peer": [1.0], "ratio": 1.0, "note": ""}
    free = of_bench("hde", {**row, "bar": None, "least": None, "most": None, "ok": True})
    met, missed = (of_bench("hde", {**row, "bar": 2, "ok": ok}) for ok in (True, False))
    assert (free["ok"], met["ok"], missed["ok"]) == (None, True, False) and met["id"] == "hde-x" and met["asked"] == "2x"


def case(test: str, outcome: str) -> Case:
    return Case(test, test, outcome, 0.1)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ({"a.py": ["passed", "passed"], "b.py": ["passed"]}, "PASS"),
        ({"a.py": ["passed", "skipped"], "b.py": ["passed"]}, "FAIL"),
        ({"a.py": ["passed"], "b.py": []}, "FAIL"),
        ({"a.py": [], "b.py": []}, "UNKNOWN"),
    ],
    ids=["all passed", "one skipped", "a file of which nothing ran", "nothing ran"],
)
def test_tests_pass_as_a_row_only_when_every_file_ran_and_every_case_passed(outcomes: dict[str, list[str]], verdict: str) -> None:
    cases = [case(f"{file}::test_{n}", outcome) for file, each in outcomes.items() for n, outcome in enumerate(each)]
    assert of_tests("x", "x", ("a.py", "b.py"), cases)["verdict"] == verdict


def test_every_file_and_every_row_that_a_suite_names_is_there() -> None:
    for file in [file for component in COMPONENTS for file in component.tests] + [file for _, file in TOGETHER.values()]:
        assert functions_of(file), f"{file} has no tests"
    for component in COMPONENTS:
        for program in component.programs:
            name = program.script.removeprefix("benchmarks/").removesuffix(".py")
            kept = {row["id"] for row in json.loads((ROOT / f"docs/results/{name}.json").read_text())["rows"] if row["bar"] is not None}
            assert set(program.rows) <= kept, f"{program.script} has no such row with a bar"


def test_the_suites_cover_the_six_components() -> None:
    assert [component.name for component in COMPONENTS] == ["AMST", "HDE", "PBA", "ASS", "ACP", "ITP"]


def test_an_unknown_suite_is_refused_before_anything_is_measured() -> None:
    from golive import environment
    from golive.verbs.validate import validate

    with pytest.raises(BadInput, match="components, integration, end-to-end"):
        validate(environment.load("lab"), suite="everything")


def test_what_was_not_measured_is_neither_passed_nor_failed() -> None:
    assert unmeasured("a", "a", "no such part")["verdict"] == "UNKNOWN"
