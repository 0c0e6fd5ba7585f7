"""The LSTM that the benchmark trains, one step at a time, without a library for matrices: an agent has none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import exp, tanh
from operator import mul

__all__ = ["Recurrent"]


@dataclass(frozen=True)
class _Weights:
    """Of each gate of each cell, in the order of what it sees: inputs, cells; then what it begins with."""

    gates: tuple[tuple[tuple[float, ...], float], ...]
    out: tuple[float, ...]
    out_begin: float


@cache
def _weights(name: str) -> _Weights:
    told = json.loads(files("dwcp_agent.prediction").joinpath("weights.json").read_text(encoding="utf-8"))[name]
    columns = zip(*told["weights"], strict=True)
    return _Weights(tuple((column[:-1], column[-1]) for column in columns), tuple(told["out"][:-1]), told["out"][-1])


class Recurrent:
    """The network of that name (``near`` or ``far``) and its state."""

    def __init__(self, name: str) -> None:
        self._weights = _weights(name)
        self.forget()

    def forget(self) -> None:
        """Back to the beginning of a link."""
        self._seen = [0.0] * len(self._weights.out)
        self._cells = [0.0] * len(self._weights.out)

    def step(self, inputs: Sequence[float]) -> float:
        """What it says after these inputs, each between -5 and 5."""
        count = len(self._cells)
        seen = [*inputs, *self._seen]
        raw = [sum(map(mul, row, seen), begin) for row, begin in self._weights.gates]
        let_in, kept, shown = ([_gate(value) for value in raw[gate * count : (gate + 1) * count]] for gate in range(3))
        self._cells = [k * cell + i * tanh(new) for k, cell, i, new in zip(kept, self._cells, let_in, raw[3 * count :], strict=True)]
        self._seen = [share * tanh(cell) for share, cell in zip(shown, self._cells, strict=True)]
        return sum(map(mul, self._weights.out, self._seen), self._weights.out_begin)


def _gate(value: float) -> float:
    return 1 / (1 + exp(-value))
