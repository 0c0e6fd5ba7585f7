"""Forecasts of links on held-out traces, beside "same as last" and every other candidate.

    ./inv bench forecast [--json]                       measures, and writes docs/results/forecast.json
    .venv/bin/python benchmarks/forecast.py --table     runs nothing; writes the committed result into both documents
    .venv/bin/python benchmarks/forecast_train.py       trains the candidates anew

Ours is what the agent runs, sample by sample; the candidates are what ``benchmarks/forecasts.py`` says. Every forecast counts, from the
first sample of a trace on. Held-out traces are taken twenty at a time, in which the mix of links is that of all, and each twenty gives one
sample.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "dwcp_agent/src"))

from benchmarks import forecasts
from benchmarks.forecast_train import blind, fitted
from benchmarks.measure import document, now, rewrite
from benchmarks.traces import HELD_OUT, Kind, Trace, trace
from dwcp_agent.prediction.forecaster import Forecaster
from dwcp_agent.prediction.sample import Sample
from golive.environment import ROOT
from golive.gates.simulate import inserted

__all__ = ["RESULT", "card", "main"]

Numbers = NDArray[np.float64]

RESULT = ROOT / "docs/results/forecast.json"
CARD = ROOT / "docs/prediction.md"
_GROUP = 20
_NEAR_ENOUGH = 0.15
_SHARE = {"near": 85.0, "far": 70.0}
_NAIVE, _ORACLE, _OURS = "same as last", "knows what is hidden", "the agent's"
_KINDS: tuple[Kind, ...] = ("near", "far")


def agents(traces: list[Trace]) -> tuple[Numbers, Numbers, Numbers, dict[str, int]]:
    """What the agent's forecaster says: forecasts, whether the interval held, processor milliseconds for each, and who spoke how often."""
    said, held, took = (np.empty((len(traces), len(traces[0].at_s) - 1)) for _ in range(3))
    spoke: dict[str, int] = {}
    for row, seen in enumerate(traces):
        forecaster = Forecaster(near=seen.kind == "near")
        columns = zip(seen.at_s, seen.bytes_per_s, seen.rtt_ms, seen.jitter_ms, seen.loss, strict=True)
        samples = [Sample(*map(float, column)) for column in columns]
        for at, sample in enumerate(samples[:-1]):
            begun = time.thread_time_ns()
            forecaster.add(sample)
            forecast = forecaster.forecast()
            took[row, at] = (time.thread_time_ns() - begun) / 1e6
            assert forecast is not None
            said[row, at] = forecast.bytes_per_s
            held[row, at] = forecast.low_bytes_per_s <= samples[at + 1].bytes_per_s <= forecast.high_bytes_per_s
            spoke[forecast.model] = spoke.get(forecast.model, 0) + 1
    return said, held, took, spoke


def figures(said: Numbers, actual: Numbers) -> dict[str, float]:
    """In percent: forecasts within 15 %, and the absolute error's median and 85th percentile."""
    error = np.abs(said - actual) / actual
    return {
        "within": round(100 * float(np.mean(error <= _NEAR_ENOUGH)), 2),
        "median": round(100 * float(np.median(error)), 3),
        "p85": round(100 * float(np.quantile(error, 0.85)), 3),
    }


def ahead(ours: Numbers, theirs: Numbers, actual: Numbers) -> dict[str, list[float]]:
    """Points that ours has more within 15 %, and theirs' 85th percentile over ours: intervals of 95 %, by drawing traces again."""
    rng = np.random.default_rng(1)
    mine, other = (np.abs(said - actual) / actual for said in (ours, theirs))
    points, factors = [], []
    for _ in range(400):
        drawn = rng.integers(0, len(actual), len(actual))
        a, b = mine[drawn], other[drawn]
        points.append(100 * float(np.mean(a <= _NEAR_ENOUGH) - np.mean(b <= _NEAR_ENOUGH)))
        factors.append(float(np.quantile(b, 0.85) / np.quantile(a, 0.85)))
    return {name: [round(float(q), 3) for q in np.quantile(x, (0.025, 0.975))] for name, x in (("points", points), ("p85_factor", factors))}


def evaluated(kind: Kind, tell: Callable[[str], None]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of one kind, and all candidates' figures."""
    traces = [trace(kind, seed) for seed in HELD_OUT]
    actual = np.array([each.bytes_per_s[1:] for each in traces])
    wire = np.array([each.medium == "wire" for each in traces])
    window, numbers = forecasts.WINDOW[kind], fitted()[kind]
    said = forecasts.candidates(traces, window, numbers)
    ours, held, took, spoke = agents(traces)
    said[_OURS] = ours
    unseen = [blind(each) for each in traces]
    sees_less = forecasts.candidates(unseen, window, numbers) | {_OURS: agents(unseen)[0]}
    models = {
        name: figures(each, actual)
        | {"within_wire": figures(each[wire], actual[wire])["within"], "within_radio": figures(each[~wire], actual[~wire])["within"]}
        | {"within_blind": figures(sees_less[name], actual)["within"]}
        for name, each in said.items()
    }
    for name, found in models.items():
        tell(f"{kind}: {name}: {found}")
    simple = max(forecasts.SIMPLE, key=lambda name: models[name]["within"])
    told = {
        "models": models,
        "best_simple": simple,
        "lstm_ahead": ahead(said["LSTM"], said[simple], actual),
        "ours_ahead": ahead(ours, said[_NAIVE], actual),
        "interval_held": round(100 * float(held.mean()), 2),
        "spoke": spoke,
        "forecasts": int(actual.size),
    }
    window_of = f"{kind} links, {window} samples"
    groups = [slice(begin, begin + _GROUP) for begin in range(0, len(traces), _GROUP)]
    each = [(figures(ours[group], actual[group]), figures(said[_NAIVE][group], actual[group])) for group in groups]
    knows = f"who knows what is hidden has {models[_ORACLE]['within']:.3g} %"

    def sides(key: str) -> list[list[float]]:
        return [[pair[side][key] for pair in each] for side in (0, 1)]

    rows = [
        row(f"{kind}-within", f"{window_of}: forecasts within 15 %", "%", sides("within"), least=_SHARE[kind]),
        row(f"{kind}-median", f"{window_of}: median error", "%", sides("median"), less=True, bar=1.0),
        row(f"{kind}-p85", f"{window_of}: error that 85 % stay below", "%", sides("p85"), less=True, bar=1.0),
    ]
    rows[0]["note"] = knows
    naive = [naive_ms(traces[group]) for group in groups]
    slowest = [round(float(np.quantile(took[group], 0.99)), 5) for group in groups]
    rows.append(
        row(f"{kind}-time", f"{window_of}: processor time of one sample and one forecast, p99", "ms", [slowest, naive], less=True, most=1.0)
    )
    return rows, told


def naive_ms(traces: list[Trace]) -> float:
    """What "same as last" takes, p99: to keep a number and to give it back."""
    took = []
    for each in traces:
        for value in each.bytes_per_s:
            begun = time.thread_time_ns()
            kept = [value]
            kept[0]
            took.append((time.thread_time_ns() - begun) / 1e6)
    return round(float(np.quantile(took, 0.99)), 5)


def row(
    name: str, case: str, unit: str, samples: list[list[float]], *, less: bool = False, bar: float | None = None, **bars: float
) -> dict[str, Any]:
    """As ``benchmarks.measure`` writes them."""
    ours, theirs = samples
    mine, other = statistics.median(ours), statistics.median(theirs)
    ratio = other / mine if less else mine / other
    least, most = bars.get("least"), bars.get("most")
    ok = (bar is None or ratio >= bar) and (least is None or mine >= least) and (most is None or mine < most)
    return {
        **{"id": name, "case": case, "unit": unit, "peer": _NAIVE, "samples_ours": ours, "samples_peer": theirs, "ratio": round(ratio, 3)},
        **{"bar": bar, "least": least, "most": most, "less": less, "ok": ok, "note": ""},
    }


def card(result: dict[str, Any]) -> str:
    """The candidates as a Markdown table."""
    lines = [
        "| link | who | within 15 % | median error | p85 error | within, wire | within, radio | within, throughput alone |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, told in result["kinds"].items():
        for name, of in told["models"].items():
            figures_of = (f"{of[key]:.2f} %" for key in ("within", "median", "p85", "within_wire", "within_radio", "within_blind"))
            lines.append(f"| {kind} | {name} | {' | '.join(figures_of)} |")
    return "\n".join(lines)


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--json", action="store_true", help="print the result, as is done anyway")
    parser.add_argument("--table", action="store_true", help="run nothing; write the committed result into the documents")
    options = parser.parse_args()
    if options.table:
        rewrite(RESULT)
        table = card(json.loads(RESULT.read_text(encoding="utf-8")))
        CARD.write_text(inserted(CARD.read_text(encoding="utf-8"), RESULT.name, table), encoding="utf-8")
        return 0
    started = now()
    rows, kinds = [], {}
    for kind in _KINDS:
        found, kinds[kind] = evaluated(kind, lambda line: print(line, file=sys.stderr, flush=True))
        rows += found
    result = document("./inv bench forecast", started, rows) | {"kinds": kinds}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
