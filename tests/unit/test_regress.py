"""How a row of a regression is decided: planted differences, equal releases, missing samples; and what is printed of it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from golive.errors import BadInput
from golive.regress.intervals import fewest_pairs, paired, rates
from golive.regress.rows import Criterion, Row, counted, judged
from golive.regress.told import HEAD, counts, document, in_words, markdown, passed
from golive.regress.tolerances import KINDS, Kind, read_policy
from golive.verbs._place import writable

POLICY = read_policy()
# Spread of one sample, as a share of it, in the noisiest of rows that a machine shared by others gave: p99 of requests.
QUIET, USUAL, NOISY = 0.02, 0.06, 0.2


def criterion(kind: Kind, name: str = "row") -> Criterion:
    return Criterion(name, f"case of {name}", "ms", kind)


def samples(source: random.Random, middle: float, spread: float, count: int) -> list[float]:
    return [middle * math.exp(source.gauss(0, spread)) for _ in range(count)]


def table(source: random.Random, worse: float, spread: Callable[[int], float], pairs: int = 8) -> list[Row]:
    """Three rows of each kind, measured of a candidate that is worse by the factor ``worse`` in all of them."""
    rows = []
    for number, kind in enumerate(kind for kind in KINDS if kind != "errors" for _ in range(3)):
        middle = 100.0 / worse if POLICY.tolerances[kind].more else 100.0 * worse
        ours, theirs = samples(source, middle, spread(number), pairs), samples(source, 100.0, spread(number), pairs)
        rows.append(judged(criterion(kind), ours, theirs, POLICY))
    return rows


def test_of_100_tables_of_equal_releases_at_least_99_have_no_row_that_fails() -> None:
    source = random.Random(1)
    tables = [table(source, 1.0, lambda number: (QUIET, USUAL, NOISY)[number % 3]) for _ in range(100)]
    assert sum(any(row.verdict == "FAIL" for row in rows) for rows in tables) <= 1


def test_a_candidate_25_percent_worse_fails_in_every_kind_of_row() -> None:
    source = random.Random(2)
    tables = [table(source, 1.25, lambda _: QUIET) for _ in range(100)]
    assert all(row.verdict == "FAIL" for rows in tables for row in rows)


def test_a_candidate_25_percent_worse_fails_in_nearly_all_rows_where_the_machine_is_no_quieter_than_usual() -> None:
    source = random.Random(3)
    rows = [row for _ in range(100) for row in table(source, 1.25, lambda _: USUAL)]
    assert sum(row.verdict == "FAIL" for row in rows) >= 0.8 * len(rows)
    assert sum(row.verdict == "PASS" for row in rows) <= 0.025 * len(rows)


@pytest.mark.parametrize("spread", [QUIET, USUAL, NOISY, 0.5])
def test_however_loud_the_machine_a_candidate_25_percent_worse_passes_in_at_most_one_row_of_40(spread: float) -> None:
    source = random.Random(4)
    rows = [row for _ in range(200) for row in table(source, 1.25, lambda _: spread)]
    assert sum(row.verdict == "PASS" for row in rows) <= 0.03 * len(rows)


def test_equal_releases_pass_where_the_machine_is_quiet() -> None:
    source = random.Random(5)
    rows = [row for _ in range(100) for row in table(source, 1.0, lambda _: QUIET)]
    assert sum(row.verdict == "PASS" for row in rows) >= 0.99 * len(rows)


def test_a_candidate_within_its_tolerance_but_not_for_certain_is_not_decided() -> None:
    row = judged(criterion("latency"), [100, 60, 180, 90, 130, 75, 160, 110], [100] * 8, POLICY)
    assert row.verdict == "UNKNOWN" and row.to_json()["ok"] is None and "--pairs" in row.note


def test_one_stall_of_ten_seconds_in_twelve_pairs_changes_nothing_and_in_eight_only_leaves_it_open() -> None:
    ours, theirs = [10_000, 101, 100, 99, 101, 100, 99, 100, 101, 99, 100, 100], [100, 100, 101, 99, 100, 99, 100, 101, 99, 100, 101, 100]
    assert judged(criterion("latency"), ours, theirs, POLICY).verdict == "PASS"
    assert judged(criterion("latency"), ours[:8], theirs[:8], POLICY).verdict == "UNKNOWN"


@pytest.mark.parametrize("there", [0, 1, 5])
def test_too_few_pairs_decide_nothing(there: int) -> None:
    ours: list[float | None] = [500.0] * there + [None] * (8 - there)
    row = judged(criterion("latency"), ours, [100.0] * 8, POLICY, "candidate: it does not answer")
    told = row.to_json()
    assert (row.verdict, told["ok"], told["ratio"]) == ("UNKNOWN", None, None)
    assert "it does not answer" in row.note and len(told["samples_ours"]) == len(told["samples_peer"]) == there


def test_a_pair_with_one_sample_missing_is_left_out_whole_and_said() -> None:
    row = judged(criterion("latency"), [None, *[100.0] * 8], [1.0, *[100.0] * 8], POLICY, "candidate: timed out")
    assert (
        row.verdict == "PASS" and len(row.ours) == len(row.theirs) == 8 and "1 of 9 pairs had no sample: candidate: timed out" in row.note
    )


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_what_cannot_have_been_measured_is_never_a_pass(bad: float) -> None:
    assert judged(criterion("latency"), [bad, *[100.0] * 7], [100.0] * 8, POLICY).verdict == "UNKNOWN"


def test_a_ratio_above_1_means_that_the_candidate_is_better_whichever_way_is_better() -> None:
    faster = judged(criterion("throughput"), [200.0] * 8, [100.0] * 8, POLICY).to_json()
    sooner = judged(criterion("latency"), [50.0] * 8, [100.0] * 8, POLICY).to_json()
    assert (faster["ratio"], faster["change"], faster["ok"]) == (2.0, 100.0, True)
    assert (sooner["ratio"], sooner["change"], sooner["ok"]) == (2.0, -50.0, True)


def test_failures_that_double_fail_and_no_failures_pass_only_where_enough_was_asked() -> None:
    doubled = counted(criterion("errors"), [(50, 5000)] * 8, [(25, 5000)] * 8, POLICY)
    assert doubled.verdict == "FAIL"
    none = counted(criterion("errors"), [(0, 1000)] * 8, [(0, 1000)] * 8, POLICY)
    assert none.verdict == "PASS" and json.loads(json.dumps(none.to_json()))["interval"] == [0.0, None]
    few = counted(criterion("errors"), [(0, 100)], [(0, 100)], POLICY)
    assert few.verdict == "UNKNOWN" and "0.1 %" in few.note
    assert counted(criterion("errors"), [], [(0, 100)], POLICY).verdict == "UNKNOWN"


def test_a_candidate_that_fails_where_the_incumbent_does_not_never_passes() -> None:
    row = counted(criterion("errors"), [(16, 800)] * 8, [(0, 800)] * 8, POLICY)
    assert row.verdict == "FAIL" and row.to_json()["failed_ours"] == 128


def test_the_interval_of_pairs_holds_the_truth_as_often_as_it_says() -> None:
    source, held = random.Random(6), 0
    for _ in range(2000):
        ours, theirs = samples(source, 120, NOISY, 8), samples(source, 100, NOISY, 8)
        interval = paired(ours, theirs, 0.95)
        assert interval is not None
        held += interval.low <= 1.2 <= interval.high
    assert 0.94 <= held / 2000 <= 0.985


def test_the_fewest_pairs_are_those_of_the_signed_rank_test() -> None:
    """Hollander and Wolfe, table A.4: 2/2^n is at most 0.05 from n = 6 on."""
    assert fewest_pairs(0.95) == 6 and paired([1.0] * 5, [1.0] * 5, 0.95) is None


def test_rates_without_a_failure_say_nothing_of_their_ratio() -> None:
    assert rates((0, 1000), (0, 1000), 0.95).high == math.inf
    some = rates((5, 1000), (0, 1000), 0.95)
    assert some.low > 0 and some.high == math.inf


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((">= 0.95x", ">= 1.05x"), "asks for more"),
        (('latency: "<= 1.10x"', 'latency: "<= 1.30x"'), "nothing could be caught"),
        (('latency: "<= 1.10x"', 'latency: "about 1"'), "no tolerance like"),
        (("pairs: 12", "pairs: 5"), "that takes 6"),
        (('  cpu: "<= 1.10x"\n', ""), "cpu is missing"),
        (("caught: 1.25", "cought: 1.25"), "caught"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_with_its_file(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    from golive.environment import ROOT

    path = tmp_path / "regress.yaml"
    path.write_text((ROOT / "policies/regress.yaml").read_text().replace(*change))
    with pytest.raises(BadInput, match=said) as error:
        read_policy(path)
    assert str(path) in error.value.message


def test_the_table_has_the_columns_of_a_validation_summary_and_every_row_in_every_form() -> None:
    rows = [row.to_json() for row in table(random.Random(7), 1.25, lambda _: QUIET)] + [
        judged(criterion("latency", "none|there"), [None] * 8, [None] * 8, POLICY, "it is away").to_json()
    ]
    assert HEAD == ("metric", "incumbent", "candidate", "change", "allowed", "verdict")
    lines = markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows) and all(line.count("|") - line.count("\\|") == 8 for line in lines)
    words = in_words(rows, "a title")
    assert words.count("FAIL") >= 15 and "none|there: UNKNOWN" in words and "it is away" in words
    from datetime import UTC, datetime

    told = document("./inv regress", datetime.now(UTC), rows, "somewhere", env="lab")
    assert told["counts"] == counts(rows) == {"PASS": 0, "FAIL": 15, "UNKNOWN": 1} and json.loads(json.dumps(told))["schema"] == 1
    fields = {"id", "case", "unit", "peer", "samples_ours", "samples_peer", "ratio", "bar", "ok", "note", "verdict"}
    assert all(fields <= row.keys() for row in told["rows"])


@pytest.mark.parametrize(
    ("verdicts", "all_pass"),
    [(["PASS", "PASS"], True), (["PASS", "UNKNOWN"], False), (["PASS", "FAIL"], False), ([], False)],
)
def test_a_row_that_is_not_decided_is_no_pass_and_neither_is_none(verdicts: list[str], all_pass: bool) -> None:
    assert passed([{"verdict": verdict} for verdict in verdicts]) is all_pass


def test_where_nothing_can_be_written_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    writable("--report", "")
    writable("--report", str(tmp_path / "new.md"))
    for file in (str(tmp_path), str(tmp_path / "no" / "such.md")):
        with pytest.raises(BadInput, match=r"--report .* cannot be written"):
            writable("--report", file)
