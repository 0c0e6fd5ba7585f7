"""The judge of a gate. Pure: no I/O, no clock; it knows roles, never versions or manifests."""

from __future__ import annotations

import numpy as np

from golive.gates import claims, early, freshness
from golive.gates.lines import Decision, Line, Look, worst
from golive.gates.samples import CANDIDATE, INCUMBENT, NOBODY
from golive.gates.shift import Shift, compare
from golive.gates.spec import GatePolicy, GateSpec
from golive.gates.verdict import Verdict
from golive.gates.window import Window

__all__ = ["Judge", "figures"]


class Judge:
    """Judges the watch of one gate.

    During the watch, ``look`` as often as you like; it fails or errs, it never passes. At the end, ``decide``; when that is INCONCLUSIVE
    the same watch may go on growing and be decided again, with ``attempt`` 1, 2, ...: what confidence that costs is accounted for.
    A watch that was interrupted, or whose load client restarted, begins anew instead.
    """

    def __init__(self, spec: GateSpec, policy: GatePolicy) -> None:
        self.spec = spec
        self.policy = policy

    def look(self, window: Window) -> Look:
        """FAIL when something is shown to be wrong, ERROR when nothing can be said, else INCONCLUSIVE."""
        lines = [*early.facts(window, self.spec), *early.tests(window, self.spec, self.policy, self._shift(window))]
        # A watch younger than the allowed age of data has not had the time to see everything once.
        problems = freshness.problems(window, self.spec, self.policy) if window.seconds > self.policy.stale_after_s else ()
        verdict = worst([Verdict.INCONCLUSIVE, *_deciding(lines), *([Verdict.ERROR] if problems else [])])
        return Look(verdict, window.start, window.end, tuple(lines), problems, figures(window))

    def decide(self, window: Window, attempt: int = 0) -> Decision:
        """The stage's one test, at the end of the watch."""
        alpha = self.policy.spent(attempt)
        alarm = early.shares(self.spec, self.policy)
        # Tests that are not sequential may fail the candidate at every attempt: they share their false alarm as the claims do.
        alarm = {name: share * self.policy.part(attempt) for name, share in alarm.items()}
        shift = self._shift(window)
        lines = [
            *early.facts(window, self.spec),
            *early.tests(window, self.spec, self.policy, shift),
            *claims.claims(window, self.spec, self.policy, shift, alpha, alarm),
            *self._since_baseline(window),
        ]
        problems = freshness.problems(window, self.spec, self.policy)
        verdict = worst([*_deciding(lines), *([Verdict.ERROR] if problems else [])])
        return Decision(verdict, window.start, window.end, tuple(lines), problems, figures(window), attempt, 1 - alpha)

    def _shift(self, window: Window) -> Shift | None:
        mine = window.samples.by(CANDIDATE)
        if self.spec.against == "incumbent":
            return compare(mine, window.samples.by(INCUMBENT), same_time=True)
        if self.spec.against == "baseline" and window.baseline is not None:
            return compare(mine, window.baseline, same_time=False)
        return None

    def _since_baseline(self, window: Window) -> list[Line]:
        """What changed since the baseline, printed beside what decides: the machines' own drift is in it."""
        if self.spec.against != "incumbent" or self.spec.degradation is None or window.baseline is None:
            return []
        shift = compare(window.samples.by(CANDIDATE), window.baseline, same_time=False)
        if not shift.usable:
            return []
        limit = self.spec.degradation
        note = f"since the baseline, n = {shift.n_other:,}; printed only: hosts and network may have changed since"
        verdict = Verdict.PASS if shift.ratio < 1 + limit.value else Verdict.INCONCLUSIVE
        return [
            Line(
                "latency since baseline",
                verdict,
                shift.n,
                "ratio",
                shift.ratio,
                None,
                1 + limit.value,
                limit.text,
                decides=False,
                note=note,
            )
        ]


def _deciding(lines: list[Line]) -> list[Verdict]:
    return [line.verdict for line in lines if line.decides]


def figures(window: Window) -> dict[str, dict[str, float | int | None]]:
    """What people watch: requests, errors, p50 and p99 in seconds, requests per second; by role."""
    told: dict[str, dict[str, float | int | None]] = {}
    named = {"candidate": window.samples.by(CANDIDATE), "incumbent": window.samples.by(INCUMBENT), "nobody": window.samples.by(NOBODY)}
    if window.baseline is not None:
        named["baseline"] = window.baseline
    for name, part in named.items():
        timed = part.latency[part.timed]
        seconds = float(part.time[-1] - part.time[0]) if name == "baseline" and len(part) > 1 else window.seconds
        errors = int(part.failed.sum())
        p50, p99 = np.quantile(timed, (0.5, 0.99)) if len(timed) else (None, None)
        told[name] = {
            "requests": len(part),
            "errors": errors,
            "error_rate": errors / len(part) if len(part) else None,
            "p50_s": None if p50 is None else round(float(p50), 6),
            "p99_s": None if p99 is None else round(float(p99), 6),
            "per_s": round(len(part) / seconds, 3) if seconds > 0 else None,
        }
    return told
