"""One step: probe, intent, apply, probe again, outcome. Nothing here knows which stage comes next or what a failure leads to."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from golive.actions.port import Action, Finding, Findings, Found, Outcome, Reach, StepContext, StepStopped
from golive.engine.running import Breach, Interrupted, Live
from golive.engine.supervise import TimedOut, supervised
from golive.errors import BadInput, GoliveError, Occupied
from golive.gates.verdict import Verdict
from golive.runbook import Step, format_duration

__all__ = ["Done", "Unknown", "perform", "reach_of"]

JSON = dict[str, Any]

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_UNUSABLE = (errno.EACCES, errno.EIO)
"""What this machine's disk says when it is full, read-only, another user's or broken: an operator's to mend, no bug of ours."""


class Unknown(Exception):
    """What is true on some targets cannot be told, so nothing was done."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        reasons = "; ".join(f"unknown on {target}: {finding.reason}" for target, finding in findings.items())
        super().__init__(reasons)

    @property
    def advice(self) -> str:
        said = [str(finding.data["do"]) for finding in self.findings.values() if finding.data.get("do")]
        return said[0] if said else f"Make {', '.join(self.findings)} answer, or take it out of the inventory"


@dataclass(frozen=True)
class Done:
    """How a step ended."""

    verdict: Verdict
    summary: str
    bug: bool = False
    reach: Reach = Reach.NONE


@dataclass
class _Attempt:
    """One try of one step."""

    live: Live
    stage: str
    step: Step
    action: Action
    ctx: StepContext
    close: Any
    deadline: float
    why: str
    reach: Reach
    begun: float
    back: bool = False
    intended: bool = False
    bug: bool = False
    targets: dict[str, JSON] = field(default_factory=dict)

    def run(self) -> Done:
        try:
            self.ctx.workdir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            if not self.back:  # traffic goes back, also from a machine whose disk is full
                return self._end(self._raised(error, "the start"))
        todo: Findings = {}
        if not self.action.watch:
            found = self._probe_until_known()
            if isinstance(found, Outcome):
                return self._end(found)
            todo = {target: finding for target, finding in found.items() if finding.found is not Found.DONE}
            if not todo:
                return self._end(Outcome(Verdict.PASS, "already there"), already=True)
        self.live.lease.ensure()
        self._intend(todo)
        outcome = self._call(lambda: self.action.apply(self.ctx, todo), "apply")
        if not isinstance(outcome, Outcome):
            outcome = self._not_one(outcome, "apply", "an Outcome")
        elif outcome.verdict is Verdict.PASS and self.action.verify:
            outcome = self._verified(outcome)
        return self._end(outcome)

    def _probe_until_known(self) -> Findings | Outcome:
        """Findings without an UNKNOWN. On the way back an unknown target is simply one more to be put right: a dead host must not
        keep users on the candidate elsewhere."""
        timing = self.live.ports.timing
        for probe in range(1, timing.probes + 1):
            found = self._probe()
            if isinstance(found, Outcome):
                return found
            unknown = {target: finding for target, finding in found.items() if finding.found is Found.UNKNOWN}
            if not unknown or self.back:
                return found
            if probe < timing.probes:
                self.live.wait(timing.retry_s)
        self.live.append("step.unknown", {"targets": _journaled(unknown)}, self.stage, self.step.id)
        raise Unknown(unknown)

    def _probe(self) -> Findings | Outcome:
        found = self._call(lambda: self.action.probe(self.ctx), "probe")
        if isinstance(found, Outcome):
            return found
        if not isinstance(found, Mapping) or not all(isinstance(finding, Finding) for finding in found.values()):
            return self._not_one(found, "probe", "Findings")
        if not found:
            return Outcome(Verdict.ERROR, "the probe named no target; what is true is not known")
        self.targets = {target: dict(finding.data) for target, finding in found.items() if finding.data}
        return found

    def _intend(self, todo: Findings) -> None:
        data = {
            "uses": self.step.uses,
            "attempt": self.ctx.attempt,
            "reach": self.reach.value,
            "todo": _journaled(todo),
            "budget_s": max(0.0, self.deadline - self.begun),
        }
        self.live.append("step.intent", data, self.stage, self.step.id)
        self.intended = True

    def _verified(self, outcome: Outcome) -> Outcome:
        found = self._probe()
        if isinstance(found, Outcome):
            return found
        not_done = {target: finding for target, finding in found.items() if finding.found is not Found.DONE}
        if not not_done:
            return outcome
        target, finding = next(iter(not_done.items()))
        more = f" (and {len(not_done) - 1} more)" if len(not_done) > 1 else ""
        verdict = Verdict.ERROR if any(f.found is Found.UNKNOWN for f in not_done.values()) else Verdict.FAIL
        summary = f"after it was applied, {target} is still {finding.found.value}: {finding.reason}{more}"
        return Outcome(verdict, summary, outcome.data, outcome.changed)

    def _call(self, call: Any, verb: str) -> Any:
        """What the action returned; an Outcome ERROR for everything it raised that does not stop the run."""
        try:
            return supervised(self.live, self.ctx, self.close, self.deadline, self.why, call)
        except (Interrupted, Breach) as cause:
            if self.intended:
                data = {"why": str(cause), "seconds": self._seconds()}
                self.live.append("step.interrupted", data, self.stage, self.step.id)
            raise
        except Occupied:
            raise
        except TimedOut as error:
            return Outcome(Verdict.ERROR, str(error))
        except StepStopped as error:
            return Outcome(Verdict.ERROR, f"the step stopped by itself: {error}")
        except GoliveError as error:
            # What an operator gave is wrong whatever a host says; but it does not keep the way back from being tried.
            if verb == "probe" and (self.back or not isinstance(error, BadInput)):
                return {error.host or "environment": Finding(Found.UNKNOWN, str(error))}
            return Outcome(Verdict.ERROR, str(error))
        except Exception as error:
            return self._raised(error, verb)

    def _raised(self, error: Exception, verb: str) -> Outcome:
        """The outcome for an error that no one raised on purpose: the machine's trouble in one sentence, or a bug of ours."""
        if isinstance(error, OSError) and error.errno in (*_UNWRITABLE, *_UNUSABLE):
            what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else f"a file of {self.step.uses}"
            way = "written" if error.errno in _UNWRITABLE else "used"
            return Outcome(Verdict.ERROR, f"{what} cannot be {way} on this machine: {os.strerror(error.errno)}")
        return self._not_one(error, verb, "an answer")

    def _not_one(self, got: object, verb: str, expected: str) -> Outcome:
        """An action that does not keep to the port: our own fault, journaled as such."""
        error = (
            got if isinstance(got, Exception) else TypeError(f"{verb} of {self.step.uses} returned {type(got).__name__}, not {expected}")
        )
        self.bug = True
        self.live.bug(error, self.stage, self.step.id)
        return Outcome(Verdict.ERROR, f"{self.step.uses} failed with a bug in {verb} ({type(error).__name__}: {error})")

    def _seconds(self) -> float:
        return round(self.live.clock.monotonic() - self.begun, 3)

    def _end(self, outcome: Outcome, *, already: bool = False) -> Done:
        self.close()
        data = {
            "uses": self.step.uses,
            "attempt": self.ctx.attempt,
            "reach": self.reach.value,
            "verdict": outcome.verdict.value,
            "summary": outcome.summary,
            "changed": outcome.changed,
            "seconds": self._seconds(),
            "already_there": already,
            "targets": self.targets,
            "data": outcome.data,
        }
        verdict, summary = outcome.verdict, outcome.summary
        try:
            self.live.append("step.outcome", data, self.stage, self.step.id)
        except (TypeError, ValueError) as error:
            self.bug = True
            verdict, summary = Verdict.ERROR, f"the outcome of {self.step.uses} cannot be journaled: {error}"
            cleaned = {**data, "verdict": verdict.value, "summary": summary, "targets": {}, "data": {}}
            self.live.append("step.outcome", cleaned, self.stage, self.step.id)
        return Done(verdict, summary, self.bug, self.reach)


def perform(live: Live, stage: str, step: Step, *, back: bool = False) -> Done:
    """Tries ``step`` once.

    Raises:
        Unknown: a target's state cannot be told (never on the way back).
        Interrupted, Breach, Occupied: the run stops here; an intent stands without an outcome.
    """
    action = live.ports.actions[step.uses]
    begun = live.clock.monotonic()
    params = _params(action, step)
    before = live.state.step_state(stage, step.id)
    ctx, close = live.context(stage, step.id, params, (before.attempt if before else 0) + 1)
    budget: timedelta = step.budget or action.budget
    deadline, why = begun + budget.total_seconds(), f"took longer than its budget of {format_duration(budget)}"
    if live.stage_deadline is not None and live.stage_deadline < deadline:
        deadline, why = live.stage_deadline, "the stage took longer than its budget"
    return _Attempt(live, stage, step, action, ctx, close, deadline, why, reach_of(action, params), begun, back).run()


def reach_of(action: Action, params: Mapping[str, Any]) -> Reach:
    """How far the action says it goes with ``params``."""
    return action.reach(params)


def _params(action: Action, step: Step) -> dict[str, Any]:
    try:
        return action.Params.model_validate(step.params).model_dump(by_alias=True)
    except ValidationError as error:
        raise GoliveError(f"Step {step.id}: its parameters do not fit {step.uses}: {error.errors()[0]['msg']}.", step=step.id) from None


def _journaled(findings: Findings) -> JSON:
    return {target: {"found": finding.found.value, "reason": finding.reason} for target, finding in findings.items()}
