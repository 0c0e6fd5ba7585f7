"""The policy: a cap on the rate of a transfer, none until congestion was seen, from what the kernel measured.

Thresholds and factors are the published ones of ACP. Added to them: the floor, the additive increase, when the cap goes, and that a cut is
given the time to show before the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from dwcp_agent.telemetry.path import PathSample

__all__ = ["FLOOR_BYTES_PER_S", "Pace", "Paced", "decide"]

FLOOR_BYTES_PER_S = 65_536.0
"""One chunk of the smallest size a second."""
_LOSS, _HEAVY_LOSS = 0.05, 0.10
_QUEUE_MS, _LONG_QUEUE_MS = 100.0, 150.0
_FACTOR, _HEAVY_FACTOR, _QUEUE_FACTOR = 0.7, 0.5, 0.8
_FEW_SEGMENTS = 3
"""Fewer that were sent again are chance, or the probe of a stream that paused, whatever share they are."""
_INCREASE_BYTES_PER_S2 = 125_000.0
"""1 Mbit/s a second, times 1 + t + t^2 for t seconds since congestion: half of 10 Mbit/s is back after 2 s, of 1 Gbit/s after 11 s, of
10 Gbit/s after 24 s."""
_SETTLE_RTTS = 2.0
"""A rate that changes now shows in acknowledgements a round trip later, and losses of before it take another to be repaired."""
_MARGIN = 1.25
_SLACK_S = 2.0
"""For so long a cap has to be above what arrives by the margin: then it limits nothing."""


@dataclass(frozen=True)
class Pace:
    """What the policy remembers between two samples."""

    cap_bytes_per_s: float | None = None
    clean_s: float = 0.0
    """Since congestion was seen last."""
    slack_s: float = 0.0
    """For how long the cap has limited nothing."""
    before_bytes_per_s: float | None = None
    """The cap until the last sample. What arrives in an interval was sent under this cap or the next one."""
    settle_s: float = 0.0
    """Until the last cut has had time to show."""


@dataclass(frozen=True)
class Paced:
    """A pace, and why."""

    pace: Pace
    why: str


def decide(pace: Pace, sample: PathSample) -> Paced:
    """The pace after ``sample``. Its cap is None or at least ``FLOOR_BYTES_PER_S``."""
    if sample.interval_s <= 0 or sample.delivered_bytes_per_s <= 0:
        # A path that is down is the kernel's to deal with, and one that is idle shows nothing.
        return Paced(pace, "nothing arrived")
    settle_s = max(0.0, pace.settle_s - sample.interval_s)
    congested, factor, sign = _signs(sample)
    if not congested:
        return _recover(pace, sample, settle_s)
    if factor == 1.0 or settle_s > 0:
        return Paced(
            Pace(pace.cap_bytes_per_s, settle_s=settle_s), f"{sign}: no faster" + (", the last cut has to show" if settle_s else "")
        )
    # A cap far above what arrives would have to be cut many times before it is felt.
    cap = pace.cap_bytes_per_s
    rate = sample.delivered_bytes_per_s if cap is None else min(cap, sample.delivered_bytes_per_s)
    cut = max(FLOOR_BYTES_PER_S, factor * rate)
    settle_s = _SETTLE_RTTS * sample.rtt_ms / 1e3
    return Paced(Pace(cut if cap is None else min(cap, cut), settle_s=settle_s), f"{sign}: x{factor:g} of {rate / 1e6:.3g} MB/s")


def _signs(sample: PathSample) -> tuple[bool, float, str]:
    """Whether the path is congested, the factor for the rate, and the sign in words."""
    loss = sample.loss if sample.retransmitted_segments >= _FEW_SEGMENTS else 0.0
    queue_ms = sample.rtt_ms - sample.min_rtt_ms
    lost = f"{sample.retransmitted_segments} of {sample.sent_segments} segments sent again"
    queued = f"round trip {sample.rtt_ms:.0f} ms, {queue_ms:.0f} ms over the path's least"
    if loss > _HEAVY_LOSS:
        return True, _HEAVY_FACTOR, lost
    if loss > _LOSS:
        return True, _FACTOR, lost
    if queue_ms > _LONG_QUEUE_MS:
        return True, _QUEUE_FACTOR, queued
    return queue_ms > _QUEUE_MS, 1.0, queued


def _recover(pace: Pace, sample: PathSample, settle_s: float) -> Paced:
    clean_s = pace.clean_s + sample.interval_s
    if pace.cap_bytes_per_s is None:
        return Paced(Pace(None, clean_s=clean_s, settle_s=settle_s), "clean")
    cap = pace.cap_bytes_per_s + _INCREASE_BYTES_PER_S2 * sample.interval_s * (1 + pace.clean_s + pace.clean_s**2)
    felt = pace.before_bytes_per_s
    slack_s = pace.slack_s + sample.interval_s if felt is not None and felt > _MARGIN * sample.delivered_bytes_per_s else 0.0
    if slack_s >= _SLACK_S:
        return Paced(
            Pace(None, clean_s=clean_s, settle_s=settle_s), f"clean, and {sample.delivered_bytes_per_s / 1e6:.3g} MB/s need no cap"
        )
    pace = Pace(cap, clean_s=clean_s, slack_s=slack_s, before_bytes_per_s=pace.cap_bytes_per_s, settle_s=settle_s)
    return Paced(pace, f"clean for {clean_s:.1f} s")
