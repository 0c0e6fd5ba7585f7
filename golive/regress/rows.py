"""A row: one criterion, what was measured of both releases, and whether the candidate is within its tolerance. Pure.

The rule, for every row that is measured in pairs (``goodness`` is above 1 where the candidate is better):

- FAIL: the whole interval of the goodness is below the tolerance's bar. That the candidate is worse than allowed has been shown.
- PASS: the estimate is at or above the bar, and the interval excludes a candidate that is worse by the policy's ``caught``.
- UNKNOWN: everything else, and whatever lacks samples. More pairs decide it; as it stands it is not a pass.

Failures are counted, not timed: there PASS asks for an estimate within the tolerance, and that fewer than ``errors_below_percent`` of the
candidate's requests fail, with the same confidence.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from golive.gates import binomial
from golive.regress.intervals import Interval, paired, rates
from golive.regress.tolerances import Kind, Policy

__all__ = ["Criterion", "Row", "Verdict", "counted", "judged"]

Verdict = Literal["PASS", "FAIL", "UNKNOWN"]


@dataclass(frozen=True)
class Criterion:
    """What a row is about."""

    id: str
    case: str
    unit: str
    kind: Kind
    note: str = ""
    less: bool | None = None
    """Whether less is better; as the tolerance of its kind says when None."""
    peer: str = "incumbent"


@dataclass(frozen=True)
class Row:
    """A criterion with what was measured."""

    criterion: Criterion
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    goodness: Interval | None
    bar: float
    tolerance: str
    verdict: Verdict
    note: str
    counts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As every measurement of the product is told; ``ratio`` is the estimate of the goodness."""
        known = self.goodness
        return {
            "id": self.criterion.id,
            "case": self.criterion.case,
            "unit": self.criterion.unit,
            "peer": self.criterion.peer,
            "samples_ours": list(self.ours),
            "samples_peer": list(self.theirs),
            "ratio": None if known is None else _finite(known.estimate),
            "interval": None if known is None else [_finite(known.low), _finite(known.high)],
            "bar": round(self.bar, 4),
            "tolerance": self.tolerance,
            "change": self.change,
            "verdict": self.verdict,
            "ok": {"PASS": True, "FAIL": False, "UNKNOWN": None}[self.verdict],
            "note": self.note,
            **self.counts,
        }

    @property
    def change(self) -> float | None:
        """Candidate against incumbent in percent, by the medians; None where there is no such thing."""
        if not self.ours or not self.theirs or not (before := statistics.median(self.theirs)):
            return None
        return round((statistics.median(self.ours) / before - 1) * 100, 1)


def judged(criterion: Criterion, ours: Sequence[float | None], theirs: Sequence[float | None], policy: Policy, why: str = "") -> Row:
    """The row of samples in pairs; None is a sample that could not be had, ``why`` says what was in its way."""
    tolerance = policy.tolerances[criterion.kind]
    more = tolerance.more if criterion.less is None else not criterion.less
    pairs = [(our, their) for our, their in zip(ours, theirs, strict=True) if our is not None and their is not None]
    mine, other = tuple(our for our, _ in pairs), tuple(their for _, their in pairs)
    goodness, trouble = None, why
    try:
        goodness = paired(mine, other, policy.confidence) if more else paired(other, mine, policy.confidence)
        if goodness is None:
            trouble = f"{len(pairs)} of {len(ours)} pairs are too few{f': {why}' if why else ''}"
    except ValueError as error:
        trouble = str(error)
    verdict: Verdict = "UNKNOWN"
    if goodness is not None and goodness.high < tolerance.bar:
        verdict = "FAIL"
    elif goodness is not None and goodness.estimate >= tolerance.bar and goodness.low > 1 / policy.caught:
        verdict = "PASS"
    elif goodness is not None:
        trouble = f"{len(pairs)} pairs do not tell; more of them do (--pairs)"
    gaps = len(ours) - len(pairs)
    lost = f"{gaps} of {len(ours)} pairs had no sample: {why}" if gaps and goodness is not None else ""
    note = "; ".join(text for text in (criterion.note, trouble if verdict == "UNKNOWN" else "", lost) if text)
    return Row(criterion, mine, other, goodness, tolerance.bar, str(tolerance), verdict, note)


def counted(criterion: Criterion, ours: Sequence[tuple[int, int]], theirs: Sequence[tuple[int, int]], policy: Policy) -> Row:
    """The row of what failed, each entry ``(failed, of)``; samples are percent."""
    tolerance = policy.tolerances["errors"]
    (failed, of), (failed_theirs, of_theirs) = _sum(ours), _sum(theirs)
    mine, other = (tuple(round(100 * bad / all_, 4) for bad, all_ in side if all_) for side in (ours, theirs))
    counts = {"failed_ours": failed, "of_ours": of, "failed_peer": failed_theirs, "of_peer": of_theirs}
    verdict: Verdict = "UNKNOWN"
    if not of or not of_theirs:
        return Row(criterion, mine, other, None, tolerance.bar, str(tolerance), verdict, "nothing was asked", counts)
    worse = rates((failed, of), (failed_theirs, of_theirs), policy.confidence)
    goodness = Interval(_inverse(worse.high), _inverse(worse.estimate), _inverse(worse.low))
    most = 100 * binomial.upper(failed, of, 1 - policy.confidence)
    said = f"{failed} of {of} failed, {failed_theirs} of {of_theirs} of the incumbent; below {most:.3g} % for certain"
    if worse.low > tolerance.factor:
        verdict = "FAIL"
    elif worse.estimate <= tolerance.factor and most < policy.errors_below_percent:
        verdict = "PASS"
    elif most >= policy.errors_below_percent:
        said += f", which is not the {policy.errors_below_percent:g} % that is asked"
    note = f"{criterion.note}; {said}" if criterion.note else said
    return Row(criterion, mine, other, goodness, tolerance.bar, str(tolerance), verdict, note, counts)


def _sum(each: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(bad for bad, _ in each), sum(of for _, of in each)


def _inverse(value: float) -> float:
    return math.inf if value == 0 else 1 / value


def _finite(value: float) -> float | None:
    """JSON has no infinity: nothing is known that far."""
    return round(value, 4) if math.isfinite(value) else None
