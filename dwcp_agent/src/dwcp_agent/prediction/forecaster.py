"""The forecast of a link's next interval, from samples as they come."""

from __future__ import annotations

from collections import deque
from math import exp, isfinite, log, sqrt

from dwcp_agent.prediction.recurrent import Recurrent
from dwcp_agent.prediction.sample import Forecast, Sample

__all__ = ["FAR", "NEAR", "Forecaster"]

NEAR, FAR = 10, 60
"""Samples that are looked at of a near and of a far link."""
_NAIVE, _MODEL = "same as last", "LSTM"
_ENOUGH = 10
_KEPT_ERRORS = 60
_GAP_S = 30.0
"""Who saw nothing for so long begins anew; a clock that jumps so far looks the same."""
_INTERVAL_SHARE = 0.8
_UNKNOWN = log(2.0)
"""How far off, either way, a forecast is taken to be before there are errors to go by."""
_DOUBTS = 1.05
"""The model speaks until its errors of late are so many times those of "same as last"."""
_WORST = 1.0
"""Most that one error counts in that; else a link that stood still for one interval decides alone."""
_BOUND = 5.0
_FLOOR = 0.01
"""Of the slow mean; less than that counts as that where logarithms are taken."""
_MOST = 1e15
_FARTHEST = log(4.0)


class _Mean:
    """A mean that forgets."""

    def __init__(self, window: int) -> None:
        self._share = 2 / (window + 1)
        self.value: float | None = None

    def take(self, value: float) -> float:
        """The mean with ``value`` in it."""
        self.value = value if self.value is None else self.value + self._share * (value - self.value)
        return self.value


class Forecaster:
    """Of one link; ``near`` says which. Keeps a bounded number of numbers. Not safe from several threads."""

    def __init__(self, near: bool) -> None:
        self.window = NEAR if near else FAR
        self.refused = 0
        """Samples that were none: not a number, negative, or more than any link carries."""
        self._network = Recurrent("near" if near else "far")
        self._begin()

    def _begin(self) -> None:
        """Forgets the link."""
        self._network.forget()
        self._count = 0
        self._last: Sample | None = None
        self._last_log = self._model_log = 0.0
        self._last_rtt: float | None = None
        self._mean, self._mean_rtt, self._mean_unrest, self._moves = (_Mean(self.window) for _ in range(4))
        self._errors: dict[str, deque[float]] = {name: deque(maxlen=_KEPT_ERRORS) for name in (_NAIVE, _MODEL)}
        self._off = {name: _Mean(_KEPT_ERRORS) for name in (_NAIVE, _MODEL)}

    def add(self, sample: Sample) -> None:
        """One interval more, in the order in which they were measured. What cannot be is passed over, and counted in ``refused``."""
        if not (isfinite(sample.at_s) and 0 <= sample.bytes_per_s <= _MOST):
            self.refused += 1
            return
        if self._last is not None and abs(sample.at_s - self._last.at_s) > _GAP_S:
            self._begin()
        self._take(sample)

    def forecast(self) -> Forecast | None:
        """Of the interval after the last sample; None before the first."""
        if self._last is None:
            return None
        enough = self._count >= _ENOUGH
        model = _MODEL if enough and self._trusted() else _NAIVE
        value = exp(self._model_log) if model == _MODEL else self._last.bytes_per_s
        low, high = _interval(self._errors[model]) if enough else (-_UNKNOWN, _UNKNOWN)
        return Forecast(value, value * exp(low), value * exp(high), model, min(self._count, self.window), enough)

    def _trusted(self) -> bool:
        naive, ours = self._off[_NAIVE].value, self._off[_MODEL].value
        return naive is None or ours is None or ours <= _DOUBTS * naive

    def _take(self, sample: Sample) -> None:
        seen = log(max(sample.bytes_per_s, _FLOOR * exp(self._mean.value) if self._mean.value is not None else 0.0, 1.0))
        step = turn = over = unrest = 0.0
        if self._last is not None:
            step = seen - self._last_log
            for name, said in ((_NAIVE, self._last_log), (_MODEL, self._model_log)):
                self._errors[name].append(seen - said)
                self._off[name].take(min(abs(seen - said), _WORST))
        # What is not known stays as it was, and so says nothing.
        rtt = log(sample.rtt_ms) if 1e-3 <= sample.rtt_ms <= 1e6 else self._last_rtt
        if rtt is not None:
            turn = rtt - self._last_rtt if self._last_rtt is not None else 0.0
            over = rtt - self._mean_rtt.take(rtt)
            if 0 <= sample.jitter_ms <= 1e6:
                share = sample.jitter_ms / exp(rtt)
                unrest = share - self._mean_unrest.take(share)
        moves = self._moves.take(abs(step)) + 0.01
        inputs = (
            step / moves,
            (seen - self._mean.take(seen)) / moves,
            turn * 5,
            over * 5,
            sqrt(sample.loss) * 5 if 0 <= sample.loss <= 1 else 0.0,
            unrest * 5,
            log(moves) + 3,
        )
        said = self._network.step([max(-_BOUND, min(_BOUND, value)) for value in inputs])
        self._model_log = seen + max(-_FARTHEST, min(_FARTHEST, moves * said))
        self._last, self._last_log, self._last_rtt = sample, seen, rtt
        self._count = min(self._count + 1, FAR)


def _interval(errors: deque[float]) -> tuple[float, float]:
    """The logarithms' ends that ``_INTERVAL_SHARE`` of the errors lie between; the next error is as likely in any gap between those."""
    order = sorted(errors)
    place = (1 - _INTERVAL_SHARE) / 2 * (len(order) + 1) - 1
    below = max(0, int(place))
    part = max(0.0, min(1.0, place - below))
    above = min(below + 1, len(order) - 1)
    low = order[below] + part * (order[above] - order[below])
    high = order[-1 - below] + part * (order[-1 - above] - order[-1 - below])
    return min(low, 0.0), max(high, 0.0)
