"""The candidates: each says, of traces, the next second's bytes/s after every sample but the last, knowing what came up to it.

All take logarithms, in which the processes of links are additive, and none looks further back than the window, except the LSTM and the slow
means of ``features``, which forget as fast as the window is long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.lstm import Lstm, inputs
from benchmarks.traces import Trace

__all__ = ["SIMPLE", "WINDOW", "Fitted", "candidates", "features", "logs"]

Numbers = NDArray[np.float64]
Fitted = dict[str, Any]
"""What a kind's candidates were given by the training: ``ewma``, ``holt``, ``ar``, ``ridge``, ``lstm``."""

WINDOW = {"near": 10, "far": 60}
"""Samples that are looked at: the agent's ``NEAR`` and ``FAR``."""
SIMPLE = ("mean of the window", "median of the window", "EWMA", "Holt", "level shifts", "AR, ridge", "AR and queue, ridge")
_SHIFT, _OUTLIER = 0.3, 0.4
"""Relative differences: He, Dovrolis and Ammar (SIGCOMM 2005), section 5."""


def candidates(traces: list[Trace], window: int, fitted: Fitted) -> dict[str, Numbers]:
    """What each says, (traces, samples - 1), in bytes/s."""
    log = logs(traces)
    said = {
        "same as last": log[:, :-1],
        "mean of the window": _windowed(log, window, lambda seen: seen.mean(axis=1)),
        "median of the window": _windowed(log, window, lambda seen: np.median(seen, axis=1)),
        "EWMA": _windowed(log, window, lambda seen: ewma(seen, fitted["ewma"])),
        "Holt": _windowed(log, window, lambda seen: holt(seen, *fitted["holt"])),
        "level shifts": np.array([_since_shift(row, window) for row in log]),
        "AR, ridge": _ridge(traces, window, fitted["ar"], queue=False),
        "AR and queue, ridge": _ridge(traces, window, fitted["ridge"], queue=True),
    }
    told, _, moves = inputs(traces, window)
    said["LSTM"] = log[:, :-1] + moves[:, :-1] * Lstm.from_json(fitted["lstm"]).says(told[:, :-1])
    return {name: np.exp(each) for name, each in said.items()} | {"knows what is hidden": np.array([t.knowable[1:] for t in traces])}


def logs(traces: list[Trace]) -> Numbers:
    """Of bytes/s, (traces, samples)."""
    return np.log(np.array([trace.bytes_per_s for trace in traces]))


def _windowed(log: Numbers, window: int, say: Callable[[Numbers], Numbers]) -> Numbers:
    return np.stack([say(log[:, max(0, at - window) : at]) for at in range(1, log.shape[1])], axis=1)


def ewma(seen: Numbers, share: float) -> Numbers:
    """The mean of (traces, samples) in which the newest weighs ``share``."""
    mean = seen[:, 0]
    for at in range(1, seen.shape[1]):
        mean = mean + share * (seen[:, at] - mean)
    return mean


def holt(seen: Numbers, share: float, trend_share: float) -> Numbers:
    """Holt's level and trend, one step on."""
    level, trend = seen[:, 0], np.zeros(len(seen))
    for at in range(1, seen.shape[1]):
        before = level
        level = level + trend + share * (seen[:, at] - level - trend)
        trend = trend + trend_share * (level - before - trend)
    return np.asarray(level + trend)


def _since_shift(row: Numbers, window: int) -> list[float]:
    """After each sample but the last, the mean since the last shift of level, outliers left out.

    A shift is where three samples in a row all lie to one side of the mean before by more than ``_SHIFT``; a sample that is off the median
    by more than ``_OUTLIER`` is an outlier.
    """
    begin, said = 0, []
    for end in range(1, len(row)):
        begin = max(begin, end - window)
        if end - begin > 3:
            off = row[end - 3 : end] - row[begin : end - 3].mean()
            if off.min() > np.log(1 + _SHIFT) or off.max() < -np.log(1 + _SHIFT):
                begin = end - 3
        level = row[begin:end]
        near = level[np.abs(level - np.median(level)) <= np.log(1 + _OUTLIER)]
        said.append(float(near.mean() if len(near) else level[-1]))
    return said


def features(traces: list[Trace], window: int, *, queue: bool) -> tuple[Numbers, Numbers]:
    """What the linear models weigh, (traces, samples, features), and how much each link moves."""
    told, log, moves = inputs(traces, window)
    past = [np.concatenate((np.repeat(log[:, :1], lag, axis=1), log[:, :-lag]), axis=1) - log for lag in range(1, 9)]
    means = [
        np.stack([log[:, max(0, at - size + 1) : at + 1].mean(axis=1) for at in range(log.shape[1])], axis=1) - log for size in (3, window)
    ]
    made = [*past, *means]
    if queue:
        turn = told[..., 2]
        made += [turn, np.concatenate((turn[:, :1], turn[:, :-1]), axis=1), told[..., 3], told[..., 4], told[..., 5]]
    return np.stack(made, axis=-1), moves


def _ridge(traces: list[Trace], window: int, weights: list[float], *, queue: bool) -> Numbers:
    made, _ = features(traces, window, queue=queue)
    return np.asarray(logs(traces)[:, :-1] + made[:, :-1] @ np.array(weights))
