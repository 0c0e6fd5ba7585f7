"""What a transfer's path will carry in the next second: its samples, as the forecaster knows them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from dwcp_agent.prediction.sample import Forecast, Sample
from dwcp_agent.telemetry.path import PathSample

if TYPE_CHECKING:
    from dwcp_agent.prediction.forecaster import Forecaster

__all__ = ["Foresight"]

_SECOND_S = 0.95
"""The forecaster was trained on seconds; a thread that steps every half of one is never quite on time."""
_NEAR_MS = 10.0
_ERRORS = 10
_BUSY = 0.5
"""When less of what the kernel takes the path to carry arrived, the sender had less to send, and that says nothing of the path."""


class Foresight:
    """Told of every sample, it says what is to come; None until ten seconds were seen. Not safe from several threads."""

    def __init__(self) -> None:
        self._forecaster: Forecaster | None = None
        self._seconds: list[PathSample] = []
        self.forecast: Forecast | None = None
        """The last one, also one that rests on too little."""
        self._errors: deque[float] = deque(maxlen=_ERRORS)

    def __call__(self, sample: PathSample) -> float | None:
        """Bytes a second that the path will carry."""
        if sample.interval_s > 0:
            self._seconds.append(sample)
        if sum(each.interval_s for each in self._seconds) >= _SECOND_S:
            self._take(self._seconds)
            self._seconds = []
        return self.forecast.bytes_per_s if self.forecast is not None and self.forecast.enough else None

    @property
    def error(self) -> float | None:
        """How far its last forecasts were off, as a share of what came; None before there are any."""
        return sum(self._errors) / len(self._errors) if self._errors else None

    def _take(self, parts: list[PathSample]) -> None:
        last, seconds = parts[-1], sum(each.interval_s for each in parts)
        delivered = sum(each.delivered_bytes_per_s * each.interval_s for each in parts) / seconds
        if delivered < _BUSY * last.delivery_bytes_per_s:
            return
        if self._forecaster is None:
            from dwcp_agent.prediction.forecaster import Forecaster  # most transfers are over before it is needed

            self._forecaster = Forecaster(near=last.min_rtt_ms < _NEAR_MS)
        sent = sum(each.sent_segments for each in parts)
        again = sum(each.retransmitted_segments for each in parts)
        loss = min(1.0, again / sent) if sent else 0.0
        if self.forecast is not None and self.forecast.enough and delivered > 0:
            self._errors.append(abs(self.forecast.bytes_per_s - delivered) / delivered)
        self._forecaster.add(Sample(last.at_s, delivered, rtt_ms=last.rtt_ms, loss=loss, jitter_ms=last.jitter_ms))
        self.forecast = self._forecaster.forecast()
