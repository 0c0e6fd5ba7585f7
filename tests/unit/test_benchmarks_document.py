"""What docs/benchmarks.md shows is what was measured and committed."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import ttest_rel

from golive.environment import ROOT
from golive.errors import BadInput
from golive.verbs.bench import BENCHES, bench

sys.path.insert(0, str(ROOT))
from benchmarks import chart, wan
from benchmarks.measure import Case, interval, measured, table
from benchmarks.wan_hosts import Run
from benchmarks.wan_peers import in_proportion


@pytest.mark.parametrize("name", BENCHES)
def test_the_documented_table_is_the_committed_result(name: str) -> None:
    result = json.loads((ROOT / f"docs/results/{name}.json").read_text(encoding="utf-8"))
    assert table(result["rows"]) in (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "rows", "rounds"),
    [("core", 40, 5), ("encoding", 36, 3), ("forecast", 8, 5), ("fragmentation", 4, 1), ("memory", 2, 1), ("wan", 36, 3)],
)
def test_every_row_follows_from_its_samples(name: str, rows: int, rounds: int) -> None:
    result = json.loads((ROOT / f"docs/results/{name}.json").read_text(encoding="utf-8"))
    assert {"schema", "machine", "started", "command", "rows"} <= set(result)
    assert len({row["id"] for row in result["rows"]}) == len(result["rows"]) >= rows
    for row in result["rows"]:
        if not row["peer"]:  # measured beside nobody: the most of what the other rows saw
            assert (row["samples_peer"], row["ratio"], row["bar"], len(row["samples_ours"])) == ([], None, None, 1)
            assert row["ok"] is (row["most"] is None or row["samples_ours"][0] < row["most"])
            continue
        ours, theirs = statistics.median(row["samples_ours"]), statistics.median(row["samples_peer"])
        assert len(row["samples_ours"]) == len(row["samples_peer"]) >= rounds
        ratio = theirs / ours if row["less"] else ours / theirs
        assert row["ratio"] == pytest.approx(ratio, abs=0.001)
        if "interval" in row:
            assert len(row["samples_ours"]) >= 7
            assert row["interval"] == list(interval(row["samples_ours"], row["samples_peer"]))
            ratio = row["interval"][0]
        met = (row["bar"] is None or ratio >= row["bar"]) and (row["least"] is None or ours >= row["least"])
        assert row["ok"] is (met and (row["most"] is None or ours < row["most"]))


def test_the_chart_is_the_committed_result_and_shows_each_time() -> None:
    rows = json.loads((ROOT / "docs/results/wan.json").read_text(encoding="utf-8"))["rows"]
    drawn = (ROOT / "docs/results/wan.svg").read_text(encoding="utf-8")
    assert drawn == chart.drawn(rows)  # `benchmarks/wan.py --table` draws it
    times = [row["case"].removesuffix(": time") for row in rows if row["unit"] == "s"]
    assert len(times) >= 20 and all(f">{name}</text>" in drawn for name in times)
    assert "(results/wan.svg)" in (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")


MEMORY = {"sender resident": 200.0, "sender private": 50.0, "receiver resident": 300.0, "receiver private": 60.0}


class NoHosts:
    """Links of nobody."""

    def link(self, setting: object, *, congestion: str) -> None:
        pass


def runs(seconds: list[float], memory_mb: dict[str, float] = MEMORY):
    left = iter(seconds)
    return lambda: Run(next(left), 10_000_000, 1.0, {}, memory_mb)


def measure(ours: list[float], theirs: list[float], *, rounds: int | None, asked: int = 1) -> dict:
    peers = {"peer": runs(theirs)}
    setup = wan.Setup("noise-1", "noise: nothing", wan.Wan(), runs(ours), peers, 0.97, rounds=rounds)
    return wan.rows(setup, NoHosts(), asked, lambda line: None)[0]  # type: ignore[arg-type]


def test_a_row_that_is_judged_by_its_interval_runs_seven_rounds_and_names_the_lower_end() -> None:
    theirs = [9.9, 10.1, 9.9, 10.1, 9.9, 10.1, 10.0]
    met = measure([10.0] * 7, theirs, rounds=7)
    assert len(met["samples_ours"]) == len(met["samples_peer"]) == 7
    assert met["ok"] and met["interval"][0] >= 0.97 and "(95 %: " in table([met]) and "| 0.97x, by the lower end | met |" in table([met])
    assert len(measure([10.0] * 9, [10.0] * 9, rounds=7, asked=9)["samples_ours"]) == 9


def test_a_median_above_the_bar_does_not_meet_it_where_the_interval_reaches_below() -> None:
    theirs = [9.0, 10.0, 10.1, 10.1, 10.2, 9.1, 10.1]
    missed = measure([10.0] * 7, theirs, rounds=7)
    assert (missed["ratio"], missed["ok"]) == (1.01, False)
    by_median = measure([10.0], theirs[1:], rounds=None)
    assert by_median["ok"] and "interval" not in by_median and len(by_median["samples_ours"]) == 1


def test_the_interval_is_the_paired_t_test_of_logarithms() -> None:
    ours, theirs = [9.8, 9.9, 10.4, 9.7, 9.9, 10.0, 9.6], [9.5, 9.7, 10.3, 9.2, 9.9, 9.8, 9.4]
    expected = ttest_rel(np.log(theirs), np.log(ours)).confidence_interval(0.95)
    low, high = interval(ours, theirs)
    assert (low, high) == pytest.approx((np.exp(expected.low), np.exp(expected.high)), abs=1e-4)
    assert interval(theirs, ours) == pytest.approx((1 / high, 1 / low), abs=2e-4)
    assert interval([2.0, 2.0], [4.0, 4.0]) == (2.0, 2.0)
    draw, inside = random.Random(3), 0
    for _ in range(400):
        pairs = [(draw.lognormvariate(0, 0.02), draw.lognormvariate(0.05, 0.02)) for _ in range(7)]
        low, high = interval(*map(list, zip(*pairs, strict=True)))
        inside += low <= np.exp(0.05) <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_memory_is_the_most_of_all_rows_and_must_be_below_a_gigabyte() -> None:
    row = measure([10.0] * 7, [10.0] * 7, rounds=7)
    assert row["memory_mb"] == {kind: [mb] * 7 for kind, mb in MEMORY.items()}
    large = {"case": "large, image: time", "memory_mb": {kind: [10.0, 1000.0 if kind.startswith("sender") else 20.0] for kind in MEMORY}}
    made = {row["id"]: row for row in wan.memory_rows([row, {"case": "wire"}, large])}
    told = {name: (each["samples_ours"], each["most"], each["ok"], each["note"]) for name, each in made.items()}
    assert told == {
        "memory-sender-resident": ([1000.0], 1000, False, "large, image"),
        "memory-sender-private": ([1000.0], None, True, "large, image"),
        "memory-receiver-resident": ([300.0], 1000, True, "noise: nothing"),
        "memory-receiver-private": ([60.0], None, True, "noise: nothing"),
    }
    assert "| 300 (300 to 300) |  |  |  | below 1000 MB | met; noise: nothing |" in table([made["memory-receiver-resident"]])
    assert wan.memory_rows([{"case": "wire"}]) == []


def test_eight_streams_are_multiplied_by_what_came() -> None:
    done = Run(10.4, 30_000_000, 2.0, {"end": {"sum_received": {"bytes": 25_000_000, "seconds": 10.2}}})
    whole = in_proportion(done, 100_000_000)
    assert (whole.seconds, whole.wire, whole.cpu) == (40.8, 120_000_000, 8.0)
    with pytest.raises(SystemExit, match="has come"):
        in_proportion(Run(10.4, 0, 2.0, {"end": {"sum_received": {"bytes": 0, "seconds": 10.0}}}), 100)


def test_sides_take_turns_and_a_missed_bar_is_said() -> None:
    turns: list[str] = []

    def side(name: str, value: float):
        return lambda: turns.append(name) or value

    (row, *_), told = measured([Case("a", "what", "GB/s", "peer", side("ours", 3.0), side("peer", 2.0), 2)], 3, turns.append), turns[6:]
    assert turns[:6] == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert (row["ratio"], row["ok"]) == (1.5, False)
    assert told[0].endswith("ratio 1.5, MISSED")
    assert "| **missed** |" in table([row])


def test_where_less_is_better_the_ratio_is_the_other_way_round() -> None:
    case = Case("a", "delay", "ms", "peer", lambda: 0.5, lambda: 1.0, less=True, most=0.6)
    (row,) = measured([case], 1, lambda line: None)
    assert (row["ratio"], row["ok"]) == (2.0, True)
    assert "| below 0.6 ms | met |" in table([row])
    (late,) = measured([Case("a", "delay", "ms", "peer", lambda: 0.6, lambda: 1.0, less=True, most=0.6)], 1, lambda line: None)
    assert late["ok"] is False


def test_an_unknown_benchmark_is_refused() -> None:
    with pytest.raises(BadInput, match="no benchmark 'speed'; known are core, encoding, forecast, fragmentation, memory, wan"):
        bench("speed")
    assert all((ROOT / script).is_file() for script in BENCHES.values())


def test_a_peer_that_is_not_there_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import benchmarks.core as c; c.peer('no_such_peer')"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "PeerMissing: The peer no_such_peer is not installed" in done.stderr
