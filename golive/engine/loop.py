"""The way forward: stages in order, each when it is due, each step until it passes or its reaction is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from golive.engine.anchor import anchored
from golive.engine.ports import Trigger
from golive.engine.running import Breach, Live
from golive.engine.step import Done, Unknown, perform
from golive.engine.waiving import waived
from golive.gates.verdict import Verdict
from golive.runbook import Reaction, Runbook, Stage, Step, format_duration

__all__ = ["Aborted", "Broken", "Standstill", "forward"]


class Standstill(Exception):
    """The run stands still until a person decides. ``asked``: because it was told to stop here; ``waiting_until``: until then only,
    and without a process."""

    def __init__(self, reason: str, do: str, *, asked: bool = False, waiting_until: datetime | None = None) -> None:
        super().__init__(reason)
        self.do = do
        self.asked = asked
        self.waiting_until = waiting_until


class Aborted(Exception):
    """The run ends; nothing of the candidate is on hosts."""


class Broken(Exception):
    """A bug of ours ended the run; nothing of the candidate is on hosts."""


def forward(live: Live, book: Runbook, *, until: str | None, leave_after: timedelta | None = None) -> None:
    """Returns when every stage up to the run's last is done.

    Args:
        live: the run.
        book: its stages.
        until: stage to stop after.
        leave_after: the longest wait for a stage that a process stays alive for; None: it stays however long it takes.

    Raises:
        Standstill, Aborted, Broken: how it ended otherwise.
        Breach: it has to go back.
        Interrupted, Occupied: this process has to stop.
    """
    stages = _selected(live, book)
    if live.lease.took_over is not None or live.state.attempts > 1:
        _fence(live, stages)
    due = live.pace.schedule(stages, datetime.fromisoformat(live.state.begin or ""))
    for stage in stages:
        known = live.state.stages.get(stage.name)
        if known is None or known.status not in ("done", "skipped"):
            _stage(live, stage, None if live.state.already_live else due[stage.name], leave_after)
        if stage.name == until and stage is not stages[-1]:
            raise Standstill(f"stopped after stage {stage.name}, as asked", _again(live), asked=True)


def _selected(live: Live, book: Runbook) -> list[Stage]:
    names = [stage.name for stage in book.stages]
    first = names.index(live.state.first_stage or names[0])
    last = names.index(live.state.last_stage or names[-1])
    chosen = list(book.stages[first : last + 1])
    return [stage for stage in chosen if stage.converge] if live.state.already_live else chosen


def _fence(live: Live, stages: Sequence[Stage]) -> None:
    """After an earlier process: hosts refuse what it may still send, and know who beats now, before anything is decided. A host that
    does not take the token may still be acted on by the dead, so its state is unknown: nothing is done before it answers, but what makes
    it answer, when that is still to come in ``stages`` and nothing of the candidate is on hosts."""
    timing = live.ports.timing
    for attempt in range(1, timing.probes + 1):
        # A host that was set aside carries no users of the candidate and is waited for by nobody.
        silent = {target: finding for target, finding in live.fence().items() if target not in live.state.aside}
        live.unfenced = bool(silent) and not live.state.deployed and any(_to_ground(live, stage) for stage in stages)
        if not silent or live.unfenced:
            return
        if attempt < timing.probes:
            live.wait(timing.retry_s)
    target, finding = next(iter(silent.items()))
    raise Standstill(
        f"unknown on {target}: {finding.reason}" + (f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""),
        f"Make {', '.join(silent)} answer, or take it out of the inventory; then {_again(live)}",
    )


def _to_ground(live: Live, stage: Stage) -> bool:
    """Whether the stage has a step that makes hosts and has not been done."""
    done = [step.id for step in stage.steps if (state := live.state.step_state(stage.name, step.id)) is not None and state.passed]
    return any(_grounds(live, step) and step.id not in done for step in stage.steps)


def _grounds(live: Live, step: Step) -> bool:
    return live.ports.actions[step.uses].grounds


def _stage(live: Live, stage: Stage, due: datetime | None, leave_after: timedelta | None) -> None:
    known = live.state.stages.get(stage.name)
    if known is None or known.status != "running":
        if due is not None and due > live.clock.now():
            if known is None:
                live.append("stage.waiting", {"due": due}, stage.name)
            if _leaves(live, due, leave_after):
                raise Standstill(
                    f"stage {stage.name} is due at {due.isoformat(timespec='seconds')}, and no process has to live until then",
                    f"`./inv golive --env {live.name}` goes on from then on; `./inv schedule --env {live.name}` has it done by itself",
                    asked=True,  # by the policy: nobody has to see to it
                    waiting_until=due,
                )
            live.wait_until_due(due)
        live.stand()
        budget = stage.budget.total_seconds() if stage.budget else None
        live.append("stage.started", {"due": due, "owner": stage.owner, "budget_s": budget}, stage.name)
    live.stage_deadline = live.clock.monotonic() + stage.budget.total_seconds() if stage.budget else None
    for step in stage.steps:
        stood = live.stand()
        if live.stage_deadline is not None:
            live.stage_deadline += stood
        before = live.state.step_state(stage.name, step.id)
        if (before is None or not before.passed) and not waived(live, stage, step):
            _step(live, stage, step)
        if live.unfenced and _grounds(live, step):
            _fence(live, ())
    live.append("stage.done", {}, stage.name)
    live.stage_deadline = None
    anchored(live)


def _leaves(live: Live, due: datetime, leave_after: timedelta | None) -> bool:
    """Whether this process ends while the run waits. Never while users may be on the candidate: their weight is a lease, which the guards
    of the gateways give back when nobody beats and an alert fires or nothing is known; and no process would look at alerts."""
    return leave_after is not None and not live.state.exposed and due - live.clock.now() > leave_after


def _step(live: Live, stage: Stage, step: Step) -> None:
    try:
        done = perform(live, stage.name, step)
        if done.verdict is Verdict.PASS:
            return
        reaction = _reaction(live, step, done)
        if reaction.hold_for is not None:
            done, reaction = _hold(live, stage, step, done, reaction)
        if done.verdict is not Verdict.PASS:
            _follow(live, stage, step, done, reaction)
    except Unknown as unknown:
        raise Standstill(f"step {step.id} of stage {stage.name}: {unknown}", f"{unknown.advice}; then {_again(live)}") from None


def _reaction(live: Live, step: Step, done: Done) -> Reaction:
    """What is written for this verdict, as far as it is still possible; else the default."""
    state = live.state
    written = None if done.bug else getattr(step.on, done.verdict.value.lower())
    reaction: Reaction = written or Reaction("rollback" if state.deployed else "hold")
    if live.irreversible and reaction.then != "hold":
        return Reaction("hold", reaction.hold_for)
    if reaction.then == "rollback" and not state.deployed:
        return Reaction("hold", reaction.hold_for)
    if reaction.then == "abort" and state.deployed:
        return Reaction("rollback", reaction.hold_for)
    return reaction


def _follow(live: Live, stage: Stage, step: Step, done: Done, reaction: Reaction) -> None:
    what = f"step {step.id} of stage {stage.name}: {done.verdict.value}: {done.summary}"
    if reaction.then == "rollback":
        raise Breach(Trigger("step", what, data={"step": step.id, "verdict": done.verdict.value}))
    if reaction.then == "abort":
        raise Aborted(what)
    if done.bug and not live.state.deployed:
        raise Broken(what)
    raise Standstill(what, f"Mend what it says; then {_again(live)}")


def _hold(live: Live, stage: Stage, step: Step, done: Done, reaction: Reaction) -> tuple[Done, Reaction]:
    """Tries the step again until it passes, the time is over, or it answers something that has another reaction of its own.

    A try that began in time is finished: a watch as long as the hold could never pass otherwise. A process that dies meanwhile does
    not start the time anew: the end stands in the journal.
    """
    timing, clock = live.ports.timing, live.clock
    whole = live.seconds(reaction.hold_for) if reaction.hold_for else 0.0
    before = live.state.step_state(stage.name, step.id)
    if before is not None and before.holding_until:
        left = min(whole, max(0.0, (datetime.fromisoformat(before.holding_until) - clock.now()).total_seconds()))
    else:
        left = whole
        live.append("step.holding", _holding(live, done, reaction, whole), stage.name, step.id)
    begun = clock.monotonic()
    end, pause = begun + left, timing.retry_s
    deadline, live.stage_deadline = live.stage_deadline, None  # a hold does not eat the stage's budget
    try:
        while (remaining := end - clock.monotonic()) > 0:
            tried = clock.monotonic()
            live.wait(min(remaining, pause) if not _watches(live, step) or pause > timing.retry_s else 0)
            if clock.monotonic() >= end:
                break
            end += live.stand()
            if waived(live, stage, step):
                return Done(Verdict.PASS, "waived"), reaction
            done = perform(live, stage.name, step)
            if done.verdict is Verdict.PASS:
                break
            other = _reaction(live, step, done)
            if other.hold_for is None:
                return done, other
            reaction = other if other.then == "rollback" else reaction
            quick = clock.monotonic() - tried < 2 * pause
            pause = min(pause * 2, timing.longest_retry_s) if quick else timing.retry_s
    finally:
        if deadline is not None:
            live.stage_deadline = deadline + (clock.monotonic() - begun)
    return done, Reaction(reaction.then)


def _holding(live: Live, done: Done, reaction: Reaction, seconds: float) -> dict[str, Any]:
    until = live.clock.now() + timedelta(seconds=seconds)
    written = format_duration(reaction.hold_for) if reaction.hold_for else "0s"
    return {"until": until, "seconds": seconds, "written": written, "then": reaction.then, "verdict": done.verdict.value}


def _watches(live: Live, step: Step) -> bool:
    return live.ports.actions[step.uses].watch


def _again(live: Live) -> str:
    return f"`./inv golive --env {live.name}` continues the run"
