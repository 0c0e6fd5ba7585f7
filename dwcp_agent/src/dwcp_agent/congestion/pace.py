"""The policy: a cap on the rate of a transfer, none until congestion was seen, from what the kernel measured.

Thresholds and factors are the published ones of ACP. Added to them: the floor, the additive increase, when the cap goes, and three things
without which the rest does harm on real paths: a transfer that begins is left alone while the kernel looks for the path's rate (BBR sends
too much then, and loses a tenth), a sign has to last, and loss that a cut does not reduce is the path's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
_BEGINS_S, _BEGINS_RTTS = 2.0, 20.0
"""For so long, whichever is more, the kernel may look for the path's rate."""
_LASTS = 2
"""Samples in a row that show congestion before anything is cut."""
_SETTLE_S, _SETTLE_RTTS = 0.25, 2.0
"""A rate that changes now shows in acknowledgements a round trip later, and losses of before take another to be repaired. What is sent
again for them counts in that interval, so the sample that has this time in it is passed over."""
_NO_QUEUE_MS, _NO_QUEUE_SHARE = 5.0, 0.1
"""A round trip that is longer by no more than the sum (of the least, the second) is one without a queue."""
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
    seen_s: float = 0.0
    """For how long something has arrived."""
    bad: int = 0
    """Samples in a row that showed congestion."""
    cut_loss: float = 0.0
    """The loss that the last cut was for, until it is known whether it helped."""
    own_loss: float = 0.0
    """What the path loses however slow one is."""


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
    settling = pace.settle_s > 0
    pace = replace(pace, seen_s=pace.seen_s + sample.interval_s, settle_s=max(0.0, pace.settle_s - sample.interval_s))
    if pace.seen_s <= max(_BEGINS_S, _BEGINS_RTTS * sample.min_rtt_ms / 1e3):
        return Paced(pace, "the kernel looks for the path's rate")
    if settling:
        return Paced(pace, "the last cut has to show")
    pace = _know_the_path(pace, sample)
    congested, factor, sign = _signs(sample, pace.own_loss)
    if not congested:
        return _recover(replace(pace, bad=0), sample)
    pace = replace(pace, bad=pace.bad + 1, clean_s=0.0, slack_s=0.0, before_bytes_per_s=None)
    if factor == 1.0 or pace.bad < _LASTS:
        return Paced(pace, f"{sign}: no faster")
    # A cap far above what arrives would have to be cut many times before it is felt.
    cap = pace.cap_bytes_per_s
    rate = sample.delivered_bytes_per_s if cap is None else min(cap, sample.delivered_bytes_per_s)
    cut = replace(
        pace,
        cap_bytes_per_s=max(FLOOR_BYTES_PER_S, factor * rate),
        settle_s=_SETTLE_S + _SETTLE_RTTS * sample.rtt_ms / 1e3,
        bad=0,
        cut_loss=_loss(sample),
    )
    return Paced(cut, f"{sign}: x{factor:g} of {rate / 1e6:.3g} MB/s")


def _loss(sample: PathSample) -> float:
    return sample.loss if sample.retransmitted_segments >= _FEW_SEGMENTS else 0.0


def _know_the_path(pace: Pace, sample: PathSample) -> Pace:
    """Loss that a cut did not halve, where no queue is, is not of this transfer's making."""
    loss, own = _loss(sample), pace.own_loss
    queue_ms = sample.rtt_ms - sample.min_rtt_ms
    if pace.cut_loss and loss >= pace.cut_loss / 2 and queue_ms <= _NO_QUEUE_MS + _NO_QUEUE_SHARE * sample.min_rtt_ms:
        own = max(own, loss)
    elif loss < own:
        own += (loss - own) / 4
    return replace(pace, own_loss=own, cut_loss=0.0)


def _signs(sample: PathSample, own_loss: float) -> tuple[bool, float, str]:
    """Whether the path is congested, the factor for the rate, and the sign in words."""
    loss = _loss(sample) - own_loss
    queue_ms = sample.rtt_ms - sample.min_rtt_ms
    lost = f"{sample.retransmitted_segments} of {sample.sent_segments} segments sent again"
    if own_loss:
        lost += f", where the path loses {own_loss:.1%}"
    queued = f"round trip {sample.rtt_ms:.0f} ms, {queue_ms:.0f} ms over the path's least"
    if loss > _HEAVY_LOSS:
        return True, _HEAVY_FACTOR, lost
    if loss > _LOSS:
        return True, _FACTOR, lost
    if queue_ms > _LONG_QUEUE_MS:
        return True, _QUEUE_FACTOR, queued
    return queue_ms > _QUEUE_MS, 1.0, queued


def _recover(pace: Pace, sample: PathSample) -> Paced:
    clean_s = pace.clean_s + sample.interval_s
    if pace.cap_bytes_per_s is None:
        return Paced(replace(pace, clean_s=clean_s), "clean")
    cap = pace.cap_bytes_per_s + _INCREASE_BYTES_PER_S2 * sample.interval_s * (1 + pace.clean_s + pace.clean_s**2)
    felt = pace.before_bytes_per_s
    slack_s = pace.slack_s + sample.interval_s if felt is not None and felt > _MARGIN * sample.delivered_bytes_per_s else 0.0
    if slack_s >= _SLACK_S:
        lifted = replace(pace, cap_bytes_per_s=None, clean_s=clean_s, slack_s=0.0, before_bytes_per_s=None)
        return Paced(lifted, f"clean, and {sample.delivered_bytes_per_s / 1e6:.3g} MB/s need no cap")
    grown = replace(pace, cap_bytes_per_s=cap, clean_s=clean_s, slack_s=slack_s, before_bytes_per_s=pace.cap_bytes_per_s)
    return Paced(grown, f"clean for {clean_s:.1f} s")
