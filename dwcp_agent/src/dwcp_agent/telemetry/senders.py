"""Metrics of transfers on their way out of this host and into this agent, with what was decided for them; made when they are asked for.

``dwcp send`` is over before anybody could scrape it. What it says of itself stands in the host's ledger (``transport/ledger.py``), and what
it decided in the ledger's totals; the agent beside it tells of both.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dwcp_agent.profiles.table import PROFILES
from dwcp_agent.transport.ledger import lines
from dwcp_agent.transport.totals import totals

__all__ = ["KINDS", "ReceivingMetrics", "SenderMetrics"]

KINDS = {
    "protocol version": ("protocol", "version"),
    "protocol TLS on data streams": ("protocol", "data_tls"),
    "rounding numbers": ("rounding", "numbers"),
    "baseline baseline": ("baseline", "baseline"),
    "congestion congestion control": ("congestion", "congestion_control"),
    "congestion rate_cap_bytes_per_s": ("congestion", "rate_cap"),
    "profile profile": ("profile", "profile"),
    "streams streams": ("streams", "streams"),
    "level zstd level": ("level", "level"),
    "shares share_bytes_per_s": ("shares", "share"),
}
"""By how totals are kept: policy and kind, as labels. No other value of a label is ever made."""
_OUTCOMES = ("sent", "failed", "interrupted")
_SUMS = {
    "streams": ("streams", "Connections that they are to have."),
    "bytes_per_s": ("bytes_per_second", "What arrived of them in their last half second."),
    "cap_bytes_per_s": ("cap_bytes_per_second", "Caps of those that are held to one."),
    "share_bytes_per_s": ("share_bytes_per_second", "Shares of those that share a link."),
    "forecast_bytes_per_s": ("forecast_bytes_per_second", "What is foreseen of those that have a forecast."),
}
_COUNTED = {
    "cap_bytes_per_s": ("capped_transfers", "Those that are held to a cap."),
    "share_bytes_per_s": ("sharing_transfers", "Those that share a link with another command."),
    "forecast_bytes_per_s": ("foreseen_transfers", "Those that have a forecast."),
}


class SenderMetrics(Collector):
    """``dwcp_sender_*`` of the ledger in ``directory``. Where it cannot be read, ``dwcp_sender_ledger_up`` is 0 and all else missing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry would read the ledger to find out."""
        return []

    def collect(self) -> Iterator[Metric]:
        """As it is now; sums over all transfers, whatever they say."""
        try:
            there, ended = list(lines(self._directory, clean=False).values()), totals(self._directory)
        except (OSError, ValueError):
            yield GaugeMetricFamily("dwcp_sender_ledger_up", "Whether the ledger of senders can be read.", 0)
            return
        yield GaugeMetricFamily("dwcp_sender_ledger_up", "Whether the ledger of senders can be read.", 1)
        yield GaugeMetricFamily("dwcp_sender_transfers", "Transfers of half a second or more on their way out of this host.", len(there))
        for key, (name, text) in _SUMS.items():
            yield GaugeMetricFamily(f"dwcp_sender_{name}", text, math.fsum(_numbers(there, key)))
        for key, (name, text) in _COUNTED.items():
            yield GaugeMetricFamily(f"dwcp_sender_{name}", text, len(_numbers(there, key)))
        yield from _some(
            "forecast_error_ratio", "Mean of how far their last forecasts were off, of what came.", there, "forecast_error", _mean
        )
        yield from _some("level_least", "Lowest zstd level.", there, "level", min)
        yield from _some("level_most", "Highest zstd level.", there, "level", max)
        profiles = Counter(str(each.get("profile")) for each in there)
        by_profile = GaugeMetricFamily("dwcp_sender_profile_transfers", "Those that have this profile.", labels=["profile"])
        for profile in PROFILES:
            by_profile.add_metric([profile.name], profiles[profile.name])
        yield by_profile
        decisions = CounterMetricFamily("dwcp_sender_decisions", "Decisions in transfers that have ended.", labels=["policy", "kind"])
        for key, labels in KINDS.items():
            decisions.add_metric(labels, ended.get(key, 0))
        yield decisions
        results = CounterMetricFamily("dwcp_sender_ended", "Transfers that have ended, but for killed ones.", labels=["result"])
        for outcome in _OUTCOMES:
            results.add_metric([outcome], ended.get(f"ended {outcome}", 0))
        yield results


class ReceivingMetrics(Collector):
    """``dwcp_receiving_*`` of this agent: ``figures`` says streams, and transfers by whether they have a baseline."""

    def __init__(self, figures: Callable[[], Mapping[str, int]]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        """Nothing, as above."""
        return []

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        told = self._figures()
        yield GaugeMetricFamily("dwcp_receiving_streams", "Streams that take part in transfers by protocol 2.", told["streams"])
        transfers = GaugeMetricFamily("dwcp_receiving_transfers", "Transfers by protocol 2 that streams take part in.", labels=["baseline"])
        for baseline in ("used", "none"):
            transfers.add_metric([baseline], told[baseline])
        yield transfers


def _numbers(there: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    """What they say of ``key``, where that is a number; any user of the host may have written it."""
    found = (each.get(key) for each in there)
    return [float(each) for each in found if isinstance(each, int | float) and not isinstance(each, bool) and 0 <= each <= 1e15]


def _some(name: str, text: str, there: Iterable[Mapping[str, Any]], key: str, of: Callable[[list[float]], float]) -> Iterator[Metric]:
    """Nothing where nobody says anything: 0 would be a claim."""
    numbers = _numbers(there, key)
    if numbers:
        yield GaugeMetricFamily(f"dwcp_sender_{name}", text, of(numbers))


def _mean(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers)
