"""A small LSTM in numpy, as a candidate among forecasts: what it is told, how it learns, what it says.

It goes along with a trace and keeps its state, so that one forecast costs one step whatever the window. Everything it is told is free of
scale: logarithms against the sample before or against a slow mean. What it says is a correction of "same as last", in units of how much the
link has moved lately; so an untrained one is the naive forecast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.traces import Trace

__all__ = ["INPUTS", "Lstm", "inputs", "train"]

Numbers = NDArray[np.float64]

INPUTS = 7
_CHUNK = 60
"""Steps that errors are carried back."""
_CLIP = 5.0


def inputs(traces: list[Trace], window: int) -> tuple[Numbers, Numbers, Numbers]:
    """What is told after each sample, (traces, samples, INPUTS); the logarithm of each sample; and how much each link moves lately."""
    log = np.log(np.array([trace.bytes_per_s for trace in traces]))
    rtt = np.log(np.array([trace.rtt_ms for trace in traces]))
    unrest = np.array([trace.jitter_ms / trace.rtt_ms for trace in traces])
    loss = np.sqrt(np.array([trace.loss for trace in traces]))
    step = np.diff(log, axis=1, prepend=log[:, :1])
    slow, slow_rtt, slow_unrest = (_smooth(values, 2 / (window + 1)) for values in (log, rtt, unrest))
    moves = _smooth(np.abs(step), 2 / (window + 1)) + 0.01
    told = np.stack(
        [
            step / moves,
            (log - slow) / moves,
            np.diff(rtt, axis=1, prepend=rtt[:, :1]) * 5,
            (rtt - slow_rtt) * 5,
            loss * 5,
            (unrest - slow_unrest) * 5,
            np.log(moves) + 3,
        ],
        axis=-1,
    )
    return np.clip(told, -_CLIP, _CLIP), log, moves


def _smooth(values: Numbers, share: float) -> Numbers:
    smooth = np.empty_like(values)
    last = values[:, 0]
    for at in range(values.shape[1]):
        last = smooth[:, at] = last + share * (values[:, at] - last)
    return smooth


class Lstm:
    """Weights, and what they say. Gates stand in the order input, forget, output, candidate."""

    def __init__(self, cells: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.cells = cells
        self.weights = rng.normal(0, 1 / math.sqrt(INPUTS + cells), (INPUTS + cells + 1, 4 * cells))
        self.weights[-1] = 0
        self.weights[-1, cells : 2 * cells] = 1.0  # to remember is where it begins
        self.out = np.zeros(cells + 1)

    def as_json(self) -> dict[str, Any]:
        """Numbers of five digits, which is more than they are good for."""
        return {"weights": [[float(f"{x:.5g}") for x in row] for row in self.weights], "out": [float(f"{x:.5g}") for x in self.out]}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Lstm:
        """The inverse of ``as_json``."""
        made = cls(len(told["out"]) - 1)
        made.weights, made.out = np.array(told["weights"]), np.array(told["out"])
        return made

    def says(self, told: Numbers) -> Numbers:
        """The correction after each sample, (traces, samples)."""
        state = np.zeros((2, len(told), self.cells))
        return self._forward(told, state)[0]

    def _forward(self, told: Numbers, state: Numbers) -> tuple[Numbers, Numbers, list[tuple[Numbers, ...]]]:
        said = np.empty(told.shape[:2])
        h, c = state
        n = self.cells
        kept = []
        one = np.ones((len(told), 1))
        for at in range(told.shape[1]):
            seen = np.concatenate((told[:, at], h, one), axis=1)
            raw = seen @ self.weights
            gates = 1 / (1 + np.exp(-raw[:, : 3 * n]))
            new = np.tanh(raw[:, 3 * n :])
            before = c
            c = gates[:, n : 2 * n] * c + gates[:, :n] * new
            bent = np.tanh(c)
            h = gates[:, 2 * n :] * bent
            said[:, at] = h @ self.out[:-1] + self.out[-1]
            kept.append((seen, gates, new, before, bent, h))
        return said, np.stack((h, c)), kept

    def gradient(self, told: Numbers, state: Numbers, slope: Callable[[Numbers], Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        """Gradients of the weights and of the output's, and the state at the end; ``slope`` of a loss at what was said."""
        said, end, kept = self._forward(told, state)
        down = slope(said)
        n = self.cells
        of_weights, of_out = np.zeros_like(self.weights), np.zeros_like(self.out)
        dh, dc = np.zeros_like(end[0]), np.zeros_like(end[1])
        for at in reversed(range(told.shape[1])):
            seen, gates, new, before, bent, h = kept[at]
            error = down[:, at : at + 1]
            of_out[:-1] += (h * error).sum(axis=0)
            of_out[-1] += error.sum()
            dh = dh + error * self.out[:-1]
            i, f, o = gates[:, :n], gates[:, n : 2 * n], gates[:, 2 * n :]
            dc = dc + dh * o * (1 - bent**2)
            raw = np.concatenate(
                (dc * new * i * (1 - i), dc * before * f * (1 - f), dh * bent * o * (1 - o), dc * i * (1 - new**2)), axis=1
            )
            of_weights += seen.T @ raw
            dh = (raw @ self.weights.T)[:, INPUTS : INPUTS + n]
            dc = dc * f
        return of_weights, of_out, end


def train(
    data: tuple[Numbers, Numbers, Numbers],
    judge: Callable[[Lstm], float],
    *,
    cells: int,
    epochs: int,
    tell: Callable[[str], None],
    seed: int = 1,
    rate: float = 4e-3,
) -> Lstm:
    """Learns to say the least absolute error, in units of each link's moves, by Adam; of all epochs the one that ``judge`` likes most."""
    told, log, moves = data
    wanted = np.clip(np.diff(log, axis=1) / moves[:, :-1], -_CLIP, _CLIP)
    told = told[:, :-1]
    model = Lstm(cells, seed)
    best, best_told = -math.inf, model.as_json()
    sums = [[np.zeros_like(x), np.zeros_like(x)] for x in (model.weights, model.out)]
    count = 0
    for epoch in range(epochs):
        state = np.zeros((2, len(told), cells))
        now = rate * (0.05 + 0.95 * (1 + math.cos(math.pi * epoch / epochs)) / 2)
        for begin in range(0, told.shape[1], _CHUNK):
            part = slice(begin, begin + _CHUNK)
            goal = wanted[:, part]
            count += 1
            *gradients, state = model.gradient(
                told[:, part], state, lambda said, goal=goal: (said - goal) / np.sqrt((said - goal) ** 2 + 0.01) / goal.size
            )
            for x, g, (mean, square) in zip((model.weights, model.out), gradients, sums, strict=True):
                g = g * min(1.0, 1.0 / (float(np.linalg.norm(g)) + 1e-12))
                mean += 0.1 * (g - mean)
                square += 0.001 * (g**2 - square)
                x -= now * (mean / (1 - 0.9**count)) / (np.sqrt(square / (1 - 0.999**count)) + 1e-8)
        if epoch % 5 == 4:
            score = judge(model)
            if score > best:
                best, best_told = score, model.as_json()
            tell(f"epoch {epoch + 1}: {score:.3f}, best {best:.3f}")
    return Lstm.from_json(best_told)
