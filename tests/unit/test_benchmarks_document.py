"""What docs/benchmarks.md shows is what was measured and committed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import pytest

from golive.environment import ROOT
from golive.errors import BadInput
from golive.verbs.bench import BENCHES, bench

sys.path.insert(0, str(ROOT))
from benchmarks.measure import Case, measured, table


@pytest.mark.parametrize("name", BENCHES)
def test_the_documented_table_is_the_committed_result(name: str) -> None:
    result = json.loads((ROOT / f"docs/results/{name}.json").read_text(encoding="utf-8"))
    assert table(result["rows"]) in (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "rows", "rounds"), [("core", 40, 5), ("forecast", 8, 5), ("fragmentation", 4, 1), ("memory", 2, 1), ("wan", 36, 3)]
)
def test_every_row_follows_from_its_samples(name: str, rows: int, rounds: int) -> None:
    result = json.loads((ROOT / f"docs/results/{name}.json").read_text(encoding="utf-8"))
    assert {"schema", "machine", "started", "command", "rows"} <= set(result)
    assert len({row["id"] for row in result["rows"]}) == len(result["rows"]) >= rows
    for row in result["rows"]:
        ours, theirs = statistics.median(row["samples_ours"]), statistics.median(row["samples_peer"])
        assert len(row["samples_ours"]) == len(row["samples_peer"]) >= rounds
        ratio = theirs / ours if row["less"] else ours / theirs
        assert row["ratio"] == pytest.approx(ratio, abs=0.001)
        met = (row["bar"] is None or ratio >= row["bar"]) and (row["least"] is None or ours >= row["least"])
        assert row["ok"] is (met and (row["most"] is None or ours < row["most"]))


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
    with pytest.raises(BadInput, match="no benchmark 'speed'; known are core, forecast, fragmentation, memory, wan"):
        bench("speed")
    assert all((ROOT / script).is_file() for script in BENCHES.values())


def test_a_peer_that_is_not_there_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import benchmarks.core as c; c.peer('no_such_peer')"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "PeerMissing: The peer no_such_peer is not installed" in done.stderr
