"""Forecasts on recorded links, which nothing was trained on: a check of the made traces, and no bar.

    git clone https://github.com/confiwent/Real-world-bandwidth-traces DIR
    .venv/bin/python benchmarks/forecast_recorded.py DIR      writes docs/results/forecast-recorded.json
    .venv/bin/python benchmarks/forecast_recorded.py --table  runs nothing; writes the committed result into docs/prediction.md

The recordings (collected for MERINA, ACM MM 2022) are of consumers: 3G on the move (HSDPA, Norway), broadband (FCC), and video sessions
(Oboe, Puffer). They have throughput alone, at one to four seconds a sample, and partly what was asked for rather than what the link had.
Samples of nothing are left out, since an error in percent of nothing is none.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "dwcp_agent/src"))

from benchmarks.forecast import CARD, figures
from benchmarks.measure import now
from dwcp_agent.prediction.forecaster import Forecaster
from dwcp_agent.prediction.sample import Sample
from golive.environment import ROOT
from golive.gates.simulate import inserted

__all__ = ["RESULT", "main", "recorded_table"]

RESULT = ROOT / "docs/results/forecast-recorded.json"
SETS = {
    "3G on the move": "cooked_3gp",
    "broadband, FCC": "fcc_ori/cooked_traces",
    "video, Oboe": "traces_oboe",
    "video, Puffer 2021": "puffer_211017/cooked_traces",
    "video, Puffer 2022": "puffer_220218/cooked_traces",
}
_FILES, _SAMPLES, _FEWEST = 80, 600, 40
_BYTES_PER_MBIT = 125_000


def samples(path: Path) -> list[Sample]:
    """Of a file with seconds and Mbit/s in each line."""
    lines = [[float(word) for word in line.split()[:2]] for line in path.read_text(encoding="utf-8").splitlines() if len(line.split()) > 1]
    return [Sample(at, rate * _BYTES_PER_MBIT, 0.0) for at, rate in lines if rate > 0][:_SAMPLES]


def measured(name: str, directory: Path) -> list[dict[str, Any]]:
    """A row for each of the two forecasters, over the first files by name."""
    links = [found for path in sorted(directory.iterdir())[:_FILES] if len(found := samples(path)) >= _FEWEST]
    actual = np.array([then.bytes_per_s for link in links for then in link[1:]])
    last = np.array([now.bytes_per_s for link in links for now in link[:-1]])
    apart = float(np.median([then.at_s - now.at_s for link in links for now, then in itertools.pairwise(link)]))
    rows = []
    for near in (True, False):
        said, model, held = [], 0, 0
        for link in links:
            forecaster = Forecaster(near)
            for seen, then in itertools.pairwise(link):
                forecaster.add(seen)
                forecast = forecaster.forecast()
                assert forecast is not None
                said.append(forecast.bytes_per_s)
                model += forecast.model == "LSTM"
                held += forecast.low_bytes_per_s <= then.bytes_per_s <= forecast.high_bytes_per_s
        rows.append(
            {
                **{
                    "set": name,
                    "forecaster": "near" if near else "far",
                    "links": len(links),
                    "forecasts": len(said),
                    "apart_s": round(apart, 2),
                },
                **{"ours": figures(np.array(said), actual), "same_as_last": figures(last, actual)},
                **{"model_spoke": round(100 * model / len(said), 1), "interval_held": round(100 * held / len(said), 1)},
            }
        )
    return rows


def recorded_table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; in each pair ours comes first, then "same as last"."""
    lines = [
        "| recorded | samples apart | forecaster | within 15 % | median error | p85 error | LSTM spoke | interval held |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        pairs = (f"{row['ours'][key]:.1f} / {row['same_as_last'][key]:.1f} %" for key in ("within", "median", "p85"))
        ends = f"{row['model_spoke']:.0f} % | {row['interval_held']:.0f} %"
        lines.append(f"| {row['set']} | {row['apart_s']:g} s | {row['forecaster']} | {' | '.join(pairs)} | {ends} |")
    return "\n".join(lines)


def main() -> int:
    """Runs the check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?", help="a clone of the recordings")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        table = recorded_table(json.loads(RESULT.read_text(encoding="utf-8"))["rows"])
        CARD.write_text(inserted(CARD.read_text(encoding="utf-8"), RESULT.name, table), encoding="utf-8")
        return 0
    if options.directory is None:
        parser.error("the directory of the recordings is missing")
    started = now().isoformat(timespec="seconds")
    commit = subprocess.run(
        ["git", "-C", str(options.directory), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    rows = [row for name, place in SETS.items() for row in measured(name, options.directory / place)]
    result = {"schema": 1, "started": started, "recordings": commit, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
