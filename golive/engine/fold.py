"""What a run is now: the fold of its records. Pure functions; reads nothing, decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from golive.engine import fold_asked
from golive.engine.answers import follow
from golive.engine.journal import Record
from golive.engine.run_state import BACK, EnvironmentState, RunState, StageState, StepState, step_key

__all__ = [
    "BACK",
    "FORGOTTEN",
    "EnvironmentState",
    "RunState",
    "StageState",
    "StepState",
    "advance",
    "environment_state",
    "fold",
    "known_after",
    "step_key",
]

JSON = dict[str, Any]

FORGOTTEN = "environment.forgotten"
"""The hosts are gone: nothing that was recorded before says what is true now."""

_HELD = ("reason", "do", "asked", "interrupted", "signal", "waiting_until")

_OUTCOMES = ("succeeded", "rolled-back", "failed", "aborted")


def fold(records: Iterable[Record]) -> RunState:
    """The state of a run after ``records``, which are all of that run, oldest first."""
    state = RunState()
    for record in records:
        advance(state, record)
    return state


def environment_state(env: str, records: Iterable[Record]) -> EnvironmentState:
    """Incumbent and last run after ``records`` of the whole environment, oldest first.

    The incumbent is the candidate of the last run that was signed off; before the first of these, what the last run was told.
    """
    state = EnvironmentState(env, last=RunState(env=env))
    for record in records:
        state = known_after(state, record)
    return state


def known_after(state: EnvironmentState, record: Record) -> EnvironmentState:
    """What is known of the environment with one more record; ``state`` itself is changed, or given up."""
    if record.kind == FORGOTTEN:
        return EnvironmentState(state.env, last=RunState(env=state.env))
    if record.run != state.last.run:
        state.last = RunState(env=state.env)
    advance(state.last, record)
    if record.kind == "run.started":
        state.now_live(state.last.incumbent)
        state.load = state.last.load or state.load
    elif record.kind == "slot":
        state.slots.update(state.last.slots)
    elif record.kind == "run.finished" and state.last.signed_off:
        state.now_live(state.last.release)
        state.signed_off = state.last.release
    return state


def advance(state: RunState, record: Record) -> None:
    """Takes one more record into ``state``. Kinds that mean nothing to it only move ``seq``."""
    state.env, state.run, state.seq, state.token = record.env, record.run, record.seq, record.token
    if isinstance(record.data.get("request"), int):
        state.asked.append(record.data["request"])
    change = _CHANGES.get(record.kind)
    if change is not None:
        change(state, record)
    follow(state, record)


def _run_started(state: RunState, record: Record) -> None:
    data = record.data
    state.outcome, state.started, state.attempts = "running", record.at, 1
    for name in ("incumbent", "load", "runbook", "runbook_digest", "pace", "begin", "first_stage", "last_stage"):
        setattr(state, name, data.get(name))
    state.release = data.get("candidate")
    state.already_live = bool(data.get("already_live"))


def _run_resumed(state: RunState, record: Record) -> None:
    state.outcome, state.held = "running", None
    state.attempts += 1


def _run_extended(state: RunState, record: Record) -> None:
    state.last_stage = str(record.data["last_stage"])


def _run_held(state: RunState, record: Record) -> None:
    state.outcome, state.held = "held", {key: record.data.get(key) for key in _HELD}


def _run_finished(state: RunState, record: Record) -> None:
    outcome = record.data.get("outcome")
    state.outcome = outcome if outcome in _OUTCOMES else "failed"
    state.ended, state.held, state.paused = record.at, None, None
    state.signed_off = bool(record.data.get("signed_off")) and state.outcome == "succeeded"


def _stage(status: str) -> Callable[[RunState, Record], None]:
    def change(state: RunState, record: Record) -> None:
        name = record.stage or ""
        stage = state.stages.setdefault(name, StageState())
        stage.status = status
        if status == "waiting":
            stage.due = record.data.get("due")
        elif status == "running":
            stage.started, stage.owner, state.step = record.at, record.data.get("owner"), None
            stage.began = stage.began or record.at
        else:
            stage.ended = record.at
        if status in ("waiting", "running"):
            state.stage = name

    return change


def _step(state: RunState, record: Record) -> StepState:
    state.stage, state.step = record.stage, record.step
    return state.steps.setdefault(step_key(record.stage or "", record.step or ""), StepState())


def _step_intent(state: RunState, record: Record) -> None:
    step, data = _step(state, record), record.data
    step.uses, step.attempt, step.reach = str(data.get("uses", "")), int(data.get("attempt", 1)), str(data.get("reach", "none"))
    step.status, step.verdict, step.started, step.ended = "intended", None, record.at, None
    _reached(state, record)


def _reached(state: RunState, record: Record) -> None:
    """An intent is enough: what a dead process did of it is not known. A step found done has reached as far, too."""
    reach = record.data.get("reach")
    if not str(record.stage).startswith(BACK):
        state.deployed = state.deployed or reach in ("candidate", "traffic")
        state.exposed = state.exposed or reach == "traffic"
        state.final = state.final or reach == "final"


def _step_outcome(state: RunState, record: Record) -> None:
    step, data = _step(state, record), record.data
    step.verdict, step.summary = str(data.get("verdict")), str(data.get("summary", ""))
    step.uses = str(data.get("uses", step.uses))
    step.attempt = int(data.get("attempt", step.attempt))
    step.changed += int(data.get("changed", 0))
    step.seconds = float(data.get("seconds") or 0)
    step.status, step.ended = ("done" if step.passed else "stopped"), record.at
    step.reach = str(data.get("reach", step.reach))
    _reached(state, record)
    if step.passed:
        step.holding_until = None
    targets = data.get("targets")
    for target, seen in (targets if isinstance(targets, dict) else {}).items():
        if isinstance(seen, dict) and isinstance(seen.get("weights"), dict):
            _weights(state, target, seen["weights"])


def _step_interrupted(state: RunState, record: Record) -> None:
    _step(state, record).status = "interrupted"


def _step_holding(state: RunState, record: Record) -> None:
    _step(state, record).holding_until = record.data.get("until")


def _traffic_set(state: RunState, record: Record) -> None:
    weights = record.data.get("weights")
    if isinstance(weights, dict):
        _weights(state, str(record.data.get("gateway", "")), weights)


def _weights(state: RunState, gateway: str, weights: JSON) -> None:
    state.traffic[gateway] = {release: float(percent) for release, percent in weights.items() if isinstance(percent, int | float)}
    # When candidate and incumbent are one release, its weight says nothing about a shift.
    if state.release != state.incumbent:
        candidate = state.traffic[gateway].get(state.release or "", 0)
        state.max_candidate_weight = max(state.max_candidate_weight, candidate)
        state.deployed = state.deployed or candidate > 0
        state.exposed = state.exposed or candidate > 0


def _rehearsal_finished(state: RunState, record: Record) -> None:
    """The drill's way back was seen on every host and gateway: nothing of the candidate is out there until a step brings it again."""
    if state.rolling_back or state.final:
        return
    state.rehearsed = {**record.data, "at": record.at}
    state.deployed = state.exposed = False


def _slot(state: RunState, record: Record) -> None:
    release, slot = record.data.get("release"), record.data.get("slot")
    if isinstance(release, str) and isinstance(slot, str):
        state.slots[release] = slot


def _requests(state: RunState, record: Record) -> None:
    state.requests = {key: int(record.data.get(key) or 0) for key in ("total", "failed")}


def _append_to(name: str) -> Callable[[RunState, Record], None]:
    def change(state: RunState, record: Record) -> None:
        getattr(state, name).append({**record.data, "at": record.at, "stage": record.stage, "step": record.step})

    return change


def _wave(state: RunState, record: Record) -> None:
    done = record.at if record.kind == "wave.done" else None
    state.wave = {**record.data, "at": (state.wave or {}).get("at") if done else record.at, "step": record.step, "done": done}


def _process_started(state: RunState, record: Record) -> None:
    names = ("pid", "start", "host", "machine", "boot", "namespace", "what")
    if all(name in record.data for name in names):
        state.processes.append({name: record.data[name] for name in names})


def _process_ended(state: RunState, record: Record) -> None:
    gone = (record.data.get("host"), record.data.get("pid"), record.data.get("start"))
    state.processes = [entry for entry in state.processes if (entry["host"], entry["pid"], entry["start"]) != gone]


def _journal_signed(state: RunState, record: Record) -> None:
    state.signed, state.unsigned = True, ""


def _journal_unsigned(state: RunState, record: Record) -> None:
    state.unsigned = str(record.data.get("why") or "no one said why")


def _journal_anchored(state: RunState, record: Record) -> None:
    state.anchored = {key: record.data.get(key) for key in ("seq", "hosts", "missed")}


_CHANGES: dict[str, Callable[[RunState, Record], None]] = {
    **fold_asked.CHANGES,
    "run.started": _run_started,
    "run.resumed": _run_resumed,
    "run.extended": _run_extended,
    "run.held": _run_held,
    "run.finished": _run_finished,
    "stage.waiting": _stage("waiting"),
    "stage.started": _stage("running"),
    "stage.done": _stage("done"),
    "stage.skipped": _stage("skipped"),
    "step.intent": _step_intent,
    "step.outcome": _step_outcome,
    "step.interrupted": _step_interrupted,
    "step.holding": _step_holding,
    "traffic.set": _traffic_set,
    "rehearsal.finished": _rehearsal_finished,
    "slot": _slot,
    "requests": _requests,
    "gate": _append_to("gates"),
    "guard": _append_to("guard"),
    "trigger": _append_to("triggers"),
    "bug": _append_to("bugs"),
    "wave.started": _wave,
    "wave.done": _wave,
    "host.set-aside": lambda state, record: state.aside.update({str(record.data.get("host")): {**record.data, "at": record.at}}),
    "process.started": _process_started,
    "process.ended": _process_ended,
    "journal.signed": _journal_signed,
    "journal.unsigned": _journal_unsigned,
    "journal.anchored": _journal_anchored,
}
