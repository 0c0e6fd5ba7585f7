"""What the guard decides, as a pure function of what it sees. Everything that touches a file, a clock or the network is in `guard`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from golive.onhost.lease import Lease

__all__ = ["Act", "Alert", "Choice", "Decision", "Seen", "decide", "must_ask"]


class Alert(Enum):
    """What Alertmanager says about the candidate."""

    FIRING = "FIRING"
    QUIET = "QUIET"
    """Alertmanager answers, Prometheus evaluates its rules, and nothing fires about the candidate."""
    UNKNOWN = "UNKNOWN"
    """No answer, no sense in it, or rules that no one evaluates: nobody is watching the candidate."""


class Choice(Enum):
    """What the guard does now."""

    LEAVE = "LEAVE"
    BACK_TO_PASSED = "BACK_TO_PASSED"
    TO_ZERO = "TO_ZERO"


@dataclass(frozen=True)
class Act:
    """What the guard already did for the lease that is open."""

    choice: Choice
    percent: int
    """Percent of the candidate that it went back to."""
    age_s: float


@dataclass(frozen=True)
class Seen:
    """One look at everything the decision needs."""

    lease: Lease | None
    beat_age_s: float
    """Seconds since the controller's last beat; since the guard began to watch when there was none."""
    candidate: int
    """Percent of sessions that the candidate gets now."""
    act: Act | None = None


@dataclass(frozen=True)
class Decision:
    """What to do, to which percent of the candidate, and why in one sentence."""

    choice: Choice
    percent: int
    why: str


def must_ask(seen: Seen) -> bool:
    """Whether the answer of Alertmanager can matter: a lease is open, its controller is silent, the candidate has traffic."""
    return seen.lease is not None and seen.beat_age_s > seen.lease.ttl_s and seen.candidate > 0


def decide(seen: Seen, alert: Alert, grace_s: float) -> Decision:
    """What the guard does. It only ever takes traffic from the candidate, never gives it any.

    Args:
        seen: what is there now.
        alert: Alertmanager's answer; looked at only when `must_ask`.
        grace_s: how long the alert may go on firing at the weight that had passed before the candidate gets nothing.
    """
    lease = seen.lease
    if lease is None:
        return _leave(seen, "no lease is open")
    if seen.beat_age_s <= lease.ttl_s:
        return _leave(seen, "the controller is alive")
    if seen.candidate == 0:
        return _leave(seen, "the candidate gets nothing")
    silent = f"the controller has been silent for {seen.beat_age_s:.0f} s (allowed {lease.ttl_s:g} s)"
    if alert is Alert.QUIET:
        return _leave(seen, f"{silent}, nothing fires about the candidate")
    says = f"{silent} and " + ("an alert fires about the candidate" if alert is Alert.FIRING else "what Alertmanager says is unknown")
    if seen.act is None:
        percent = min(lease.passed, seen.candidate)
        return Decision(Choice.BACK_TO_PASSED if percent else Choice.TO_ZERO, percent, says)
    if seen.candidate > seen.act.percent:
        return Decision(seen.act.choice, seen.act.percent, f"{says}, and going back to {seen.act.percent} % did not hold")
    if alert is Alert.UNKNOWN:
        # The weight it stands at has passed its gate; only an alert says more than that nobody looks.
        return _leave(seen, f"{says}; back at the weight that passed")
    if seen.act.choice is Choice.BACK_TO_PASSED and seen.act.age_s < grace_s:
        return _leave(seen, f"{says}; back at the weight that passed for {seen.act.age_s:.0f} of {grace_s:g} s")
    return Decision(Choice.TO_ZERO, 0, f"{says}, still after {seen.act.age_s:.0f} s at the weight that had passed")


def _leave(seen: Seen, why: str) -> Decision:
    return Decision(Choice.LEAVE, seen.candidate, why)
