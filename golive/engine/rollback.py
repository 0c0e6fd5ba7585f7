"""The way back: traffic first, then the candidate. Idempotent, resumable, without gates; nothing on it can send the run forward again."""

from __future__ import annotations

from datetime import UTC, datetime

from golive.actions.port import Reach
from golive.engine.fold import BACK
from golive.engine.loop import Standstill
from golive.engine.ports import Trigger
from golive.engine.running import Live
from golive.engine.step import Done, perform
from golive.errors import GoliveError, Occupied
from golive.gates.verdict import Verdict
from golive.runbook import Runbook, Stage, Step

__all__ = ["back", "begin"]


def begin(live: Live, trigger: Trigger) -> None:
    """Journals why the run goes back. From this record on it never goes forward."""
    seen_at = _time(trigger.seen_at) or live.clock.now().isoformat(timespec="microseconds")
    cause = {"source": trigger.source, "reason": trigger.reason, "seen_at": seen_at, "data": dict(trigger.data)}
    live.append("trigger", cause)
    category = trigger.data.get("category")
    live.append("rollback.started", {"reason": trigger.reason, "source": trigger.source, "category": category, "breach_at": seen_at})
    live.breached = live.clock.monotonic() - max(0.0, _since(live, seen_at))


def _since(live: Live, at: str) -> float:
    """Seconds by the wall clock; below 0 when it was set back meanwhile, or another host's is ahead."""
    return (live.clock.now() - datetime.fromisoformat(at)).total_seconds()


def _time(text: str) -> str:
    """``text`` as the journal writes times; empty when it is none, or has no zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return time.astimezone(UTC).isoformat(timespec="microseconds") if time.tzinfo is not None else ""


def back(live: Live, book: Runbook) -> None:
    """Returns when the whole way back is done.

    A step that fails does not keep the later ones from being done, with one exception: while traffic may still reach the candidate,
    nothing is taken away from it.

    Raises:
        Standstill: traffic or a part of the rest could not be put right.
        Interrupted, Occupied: this process has to stop; the next one goes on with the way back.
    """
    live.stage_deadline = None
    live.append("rollback.plan", {"runbook": book.name, "digest": book.digest})
    left: list[str] = []
    fenced = False
    for stage in book.stages:
        name = BACK + stage.name
        known = live.state.stages.get(name)
        if known is not None and known.status == "done":
            continue
        budget = _Budget(live, name, stage)
        live.append("stage.started", {"owner": stage.owner, "budget_s": budget.seconds}, name)
        for step in stage.steps:
            before = live.state.step_state(name, step.id)
            if before is not None and before.passed:
                continue
            done = _persistently(live, name, step)
            budget.kept()
            if done.verdict is Verdict.PASS:
                _traffic_back(live, done)
                continue
            left.append(f"{step.id}: {done.summary}")
            if done.reach is Reach.TRAFFIC:
                _incomplete(live, left, "Traffic may still reach the candidate")
        if not any(_failed(live, name, step) for step in stage.steps):
            live.append("stage.done", {}, name)
        if not fenced:
            _fence(live)
            fenced = True
    if left:
        _incomplete(live, left, "The incumbent serves, but the way back is not complete")
    live.append("rollback.finished", {"left": []})


class _Budget:
    """How long a stage of the way back may take. One that takes longer is journaled and shown; it is never stopped.

    Time counts from where the stage first began, also when that was in a process that died: by the journal then, whose clock may have
    been set meanwhile, and by monotonic time from here on.
    """

    def __init__(self, live: Live, name: str, stage: Stage) -> None:
        self.seconds = stage.budget.total_seconds() if stage.budget else None
        self._live, self._name = live, name
        known = live.state.stages.get(name)
        began = datetime.fromisoformat(known.began) if known is not None and known.began else live.clock.now()
        self._begun = live.clock.monotonic() - max(0.0, (live.clock.now() - began).total_seconds())

    def kept(self) -> None:
        """Journals, once, that the budget is spent."""
        taken = self._live.clock.monotonic() - self._begun
        said = any(over["stage"] == self._name for over in (self._live.state.rollback or {}).get("overruns", []))
        if self.seconds is not None and taken > self.seconds and not said:
            self._live.append("rollback.overrun", {"budget_s": self.seconds, "seconds": round(taken, 3)}, self._name)


def _persistently(live: Live, stage: str, step: Step) -> Done:
    timing, pause = live.ports.timing, live.ports.timing.retry_s / 2
    for attempt in range(1, timing.back_attempts + 1):
        try:
            done = perform(live, stage, step, back=True)
        except Occupied:
            raise
        except GoliveError as error:
            done = Done(Verdict.ERROR, str(error))
        if done.verdict is Verdict.PASS or attempt == timing.back_attempts:
            break
        if not _bare_aside(live, stage, step):
            live.wait(pause)
    return done


def _bare_aside(live: Live, stage: str, step: Step) -> bool:
    """Whether hosts were set aside that turned out to be other machines by now, with nothing of the candidate to be taken back."""
    try:
        bare = live.ports.bare()
    except GoliveError:
        return False
    except Exception as error:  # traffic goes back also where this question is broken
        live.bug(error)
        return False
    new = {host: why for host, why in bare.items() if live.state.aside.get(host, {}).get("state") != "bare"}
    for host, why in new.items():
        live.append("host.set-aside", {"host": host, "state": "bare", "reason": why, "by": step.id}, stage, step.id)
    return bool(new)


def _traffic_back(live: Live, done: Done) -> None:
    """Journals the moment from which the incumbent serves everyone, and how long after the breach.

    By monotonic time; by the wall clock when another process saw the breach, and not at all when that says it is still to come.
    """
    state = live.state
    if state.rollback is None or state.rollback.get("traffic_back_at"):
        return
    clear = bool(state.traffic) and all(weights.get(state.release or "", 0) == 0 for weights in state.traffic.values())
    if done.reach is Reach.TRAFFIC or (state.exposed and clear):
        since = _since(live, str(state.rollback["breach_at"])) if live.breached is None else live.clock.monotonic() - live.breached
        live.append("rollback.traffic-back", {"seconds": round(since, 3) if since >= 0 else None})


def _failed(live: Live, stage: str, step: Step) -> bool:
    state = live.state.step_state(stage, step.id)
    return state is None or not state.passed


def _fence(live: Live) -> None:
    """Raises the hosts' token as far as they answer. After the first stage: the way back of the traffic waits for no dead host."""
    try:
        live.fence()
    except GoliveError:
        raise
    except Exception as error:
        live.bug(error)


def _incomplete(live: Live, left: list[str], what: str) -> None:
    live.append("rollback.finished", {"left": left})
    raise Standstill(
        f"{what}: {'; '.join(left)}",
        f"Mend what it says; then `./inv rollback --env {live.name}` (or `./inv golive --env {live.name}`) finishes the way back",
    )
