"""What a gate says: one line for each metric, with its numbers. Plain data for the journal, the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from golive.gates.verdict import Verdict

__all__ = ["Decision", "Line", "Look", "shown", "worst"]

Unit = Literal["share", "ratio", "bytes", "count", "log10"]

_SEVERITY = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.FAIL)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """FAIL before ERROR before INCONCLUSIVE before PASS. Of nothing at all: ERROR, since nothing was measured."""
    return max(verdicts, key=_SEVERITY.index, default=Verdict.ERROR)


def shown(value: float | None, unit: Unit) -> str:
    """A number as people read it, three digits: ``0.0123`` as share is ``1.23 %``, ``1.084`` as ratio is ``+8.4 %``."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "unbounded"
    if unit == "share":
        return f"{value * 100:.3g} %"
    if unit == "ratio":
        return f"{(value - 1) * 100:+.3g} %"
    if unit == "bytes":
        return f"{value / 1e6:.4g} MB"
    return f"{value:.4g}"


@dataclass(frozen=True)
class Line:
    """One metric of a gate."""

    metric: str
    verdict: Verdict
    n: int
    """Requests or points it rests on."""
    unit: Unit
    estimate: float | None = None
    bound: float | None = None
    """The end of the confidence interval that has to keep the threshold; for an early test, the evidence (log10 of the e-value)."""
    threshold: float | None = None
    stated: str = ""
    """The threshold as the operator wrote it; where the environment has a looser one, both."""
    needed: int | None = None
    """Requests that the claim needs, at the rate seen; None when no number would do, or when it is proved."""
    decides: bool = True
    """False: printed for people, cannot keep a gate from passing."""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        data = asdict(self) | {"verdict": self.verdict.value, "text": self.text}
        # JSON has no infinity: an unbounded side is no number.
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in data.items()}

    @property
    def text(self) -> str:
        """The line as one sentence."""
        parts = [f"{self.metric}: {self.verdict.value}"]
        if self.estimate is not None:
            parts.append(f"measured {shown(self.estimate, self.unit)} (n = {self.n:,})")
        if self.bound is not None:
            parts.append(f"bound {shown(self.bound, self.unit)}")
        if self.stated:
            parts.append(f"asked {self.stated}")
        if self.needed is not None and self.verdict is Verdict.INCONCLUSIVE:
            parts.append(f"needs some {self.needed:,}")
        if self.note:
            parts.append(self.note)
        return ", ".join(parts)


@dataclass(frozen=True)
class _Said:
    verdict: Verdict
    start: float
    end: float
    lines: tuple[Line, ...]
    problems: tuple[str, ...] = ()
    """Why there is no measurement, one sentence each."""
    figures: dict[str, dict[str, float | int | None]] = field(default_factory=dict)
    """By role: requests, errors, error_rate, p50_s, p99_s, per_s."""

    @property
    def trigger(self) -> str | None:
        """The metric that decided against the candidate."""
        if self.verdict is Verdict.ERROR:
            return "no data"
        return next((line.metric for line in self.lines if line.decides and line.verdict is self.verdict), None) if self.against else None

    @property
    def against(self) -> bool:
        return self.verdict in (Verdict.FAIL, Verdict.ERROR)

    @property
    def summary(self) -> str:
        """One sentence for the journal and the terminal."""
        told = [line.text for line in self.lines if line.decides and line.verdict is self.verdict and self.verdict is not Verdict.PASS]
        if self.verdict is Verdict.ERROR:
            told = [*self.problems, *told]
        return f"{self.verdict.value} after {self.end - self.start:.0f} s" + (": " + "; ".join(told) if told else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "verdict": self.verdict.value,
            "trigger": self.trigger,
            "summary": self.summary,
            "start": self.start,
            "end": self.end,
            "lines": [line.to_json() for line in self.lines],
            "problems": list(self.problems),
            "figures": self.figures,
        }


@dataclass(frozen=True)
class Look(_Said):
    """A look during the watch. FAIL ends the watch now; ERROR says that nothing can be said; INCONCLUSIVE that nothing is wrong so far.

    A look never passes: only ``Judge.decide`` at the end of the watch does.
    """


@dataclass(frozen=True)
class Decision(_Said):
    """The one test of the stage, at the end of the watch."""

    attempt: int = 0
    confidence: float = 0.0
    """Of each claim in this decision; all attempts together keep the policy's."""

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"attempt": self.attempt, "confidence": round(self.confidence, 6)}
