"""The judge keeps its bars on simulated rollouts, and the documented table is the committed result."""

from __future__ import annotations

import json

import pytest

from golive.gates.simulate import CASES, DOCUMENT, RESULT, Rollout, documented, rollout, table


def _ends(name: str, seeds: range) -> list[Rollout]:
    case = next(case for case in CASES if case.name == name)
    return [rollout(case, seed, every_s=5.0) for seed in seeds]


def test_identical_candidates_reach_full_traffic() -> None:
    ends = _ends("identical", range(9000, 9012))
    assert [end for end in ends if not end.passed] == []


@pytest.mark.parametrize("name", ["latency +25 %", "latency +40 %", "errors 1.5 %", "errors 2 %"])
def test_bad_candidates_are_stopped_before_half_of_the_traffic(name: str) -> None:
    ends = _ends(name, range(9100, 9104))
    assert all(not end.passed and end.reached == 10 for end in ends)


@pytest.mark.parametrize(
    ("name", "trigger"), [("corrupt 0.1 %", "corruption"), ("crash after 15 s (half)", "errors (early)"), ("no metrics", "no data")]
)
def test_other_defects_are_stopped_by_what_shows_them(name: str, trigger: str) -> None:
    ends = _ends(name, range(9200, 9202))
    assert [end.trigger for end in ends] == [trigger] * 2


def test_the_same_seed_gives_the_same_rollout() -> None:
    case = CASES[0]
    assert rollout(case, 5, every_s=15.0) == rollout(case, 5, every_s=15.0)


def test_the_committed_result_keeps_the_bars() -> None:
    rows = {row["name"]: row for row in json.loads(RESULT.read_text(encoding="utf-8"))["rows"]}
    assert rows["identical"]["stopped_share"] <= 0.01
    assert rows["identical, both err at 0.05 %"]["stopped_share"] <= 0.03
    for name in ("latency +25 %", "errors 1.5 %"):
        assert rows[name]["before_50"] >= 0.99
    assert rows["errors 2 %"]["detected_mean_s"] < 15


def test_the_documented_table_is_the_committed_result() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    text = DOCUMENT.read_text(encoding="utf-8")
    assert documented(text, result) == text
    assert table(result["rows"]) in text
