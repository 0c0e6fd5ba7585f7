"""Gives the candidates their numbers, from the training traces alone.

    nice -n 19 .venv/bin/python benchmarks/forecast_train.py     two minutes of one processor

The LSTM's go into the agent (dwcp_agent/src/dwcp_agent/prediction/weights.json), the others' into docs/results/forecast-fitted.json. Of the
LSTM's epochs the validation traces choose one. The same numpy on the same processor gives the same numbers.

One training trace of four has no queue to see (round trip, jitter and loss stand still), so that the LSTM learns to do without.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import forecasts, lstm
from benchmarks.traces import TRAINING, VALIDATION, Kind, Trace, trace
from golive.environment import ROOT

__all__ = ["FITTED", "WEIGHTS", "blind", "fitted"]

Numbers = NDArray[np.float64]

WEIGHTS = ROOT / "dwcp_agent/src/dwcp_agent/prediction/weights.json"
FITTED = ROOT / "docs/results/forecast-fitted.json"
_CELLS = 16
_EPOCHS = 120
_SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_TRENDS = (0.02, 0.05, 0.1, 0.2, 0.4)
_RIDGE = 1.0


def blind(seen: Trace) -> Trace:
    """The same link, of which nothing but the throughput is seen."""
    still = np.zeros_like(seen.loss)
    return replace(seen, rtt_ms=still + seen.rtt_ms[0], jitter_ms=still, loss=still)


def fitted() -> dict[str, forecasts.Fitted]:
    """What was committed, by kind."""
    weights, rest = json.loads(WEIGHTS.read_text(encoding="utf-8")), json.loads(FITTED.read_text(encoding="utf-8"))
    return {kind: rest[kind] | {"lstm": weights[kind]} for kind in rest}


def _simple(traces: list[Trace], window: int) -> forecasts.Fitted:
    log = forecasts.logs(traces)

    def off(said: Numbers) -> float:
        return float(np.abs(said - log[:, 1:]).mean())

    def tried(say: Callable[[Numbers], Numbers]) -> float:
        return off(np.stack([say(log[:, max(0, at - window) : at]) for at in range(1, log.shape[1])], axis=1))

    ewma = min(_SHARES, key=lambda share: tried(lambda seen: forecasts.ewma(seen, share)))
    pairs = [(share, trend) for share in _SHARES for trend in _TRENDS]
    holt = min(pairs, key=lambda pair: tried(lambda seen: forecasts.holt(seen, *pair)))
    return {"ewma": ewma, "holt": holt, "ar": _least(traces, window, queue=False), "ridge": _least(traces, window, queue=True)}


def _least(traces: list[Trace], window: int, *, queue: bool) -> list[float]:
    """Weights of least absolute error in units of each link's moves, by least squares weighted again and again, and a ridge."""
    made, moves = forecasts.features(traces, window, queue=queue)
    scale = moves[:, :-1]
    seen = (made[:, :-1] / scale[..., None]).reshape(-1, made.shape[-1])
    wanted = np.clip(np.diff(forecasts.logs(traces), axis=1) / scale, -5, 5).ravel()
    weigh = np.ones(len(wanted))
    for _ in range(12):
        weighted = seen * weigh[:, None]
        weights = np.linalg.solve(weighted.T @ seen + _RIDGE * np.eye(seen.shape[1]), weighted.T @ wanted)
        weigh = 1 / np.maximum(np.abs(wanted - seen @ weights), 0.1)
    return [float(f"{x:.5g}") for x in weights]


def _network(training: list[Trace], validation: list[Trace], window: int) -> lstm.Lstm:
    told, log, moves = lstm.inputs(validation, window)
    actual = np.exp(log[:, 1:])

    def judge(model: lstm.Lstm) -> float:
        said = np.exp(log[:, :-1] + moves[:, :-1] * model.says(told[:, :-1]))
        return 100 * float(np.mean(np.abs(said - actual) <= 0.15 * actual))

    seen = [blind(each) if number % 4 == 3 else each for number, each in enumerate(training)]
    return lstm.train(lstm.inputs(seen, window), judge, cells=_CELLS, epochs=_EPOCHS, tell=lambda line: print(line, file=sys.stderr))


def main() -> int:
    """Trains everything, and writes it."""
    weights, rest = {}, {}
    kinds: tuple[Kind, ...] = ("near", "far")
    for kind in kinds:
        training, validation = [trace(kind, seed) for seed in TRAINING], [trace(kind, seed) for seed in VALIDATION]
        rest[kind] = _simple(training, forecasts.WINDOW[kind])
        begun = time.process_time()
        weights[kind] = _network(training, validation, forecasts.WINDOW[kind]).as_json()
        print(f"{kind}: the LSTM took {time.process_time() - begun:.0f} CPU s", file=sys.stderr)
    WEIGHTS.write_text(json.dumps(weights, separators=(",", ":")) + "\n", encoding="utf-8")
    FITTED.write_text(json.dumps(rest, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
