"""What operators ask of a run that is not over: go back, stand still, go on, end. By the process that holds it, or here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from golive.engine import control, requests
from golive.engine.api import Tell, _continued, _known, _resume, _silent, standing
from golive.engine.drive import drive
from golive.engine.fold import RunState
from golive.engine.holding import has_journal, held, store_of
from golive.engine.journal import SqlJournal
from golive.engine.ports import Ports
from golive.engine.running import Live
from golive.engine.store import Store
from golive.environment import Environment
from golive.errors import BadInput, Held
from golive.runbook import Clock, Pace, RealClock, Runbook

__all__ = ["abort", "pause", "request_rollback", "resume", "rollback", "unanswered"]

JSON = dict[str, Any]

_REFUSALS = ("request.refused", "rollback.refused")


def rollback(
    environment: Environment,
    rollback_runbook: Runbook,
    *,
    reason: str,
    pace: Pace,
    ports: Ports,
    take_over: bool = False,
    tell: Tell = _silent,
) -> RunState:
    """Takes the environment's unfinished run back; returns its state when that is done or stands still.

    When a live process holds the run, it is asked to go back and watched until it has; when it died, this process does it. With
    ``take_over`` also for one on another machine that does not take the request and stays silent for its whole ttl.

    Raises:
        BadInput: there is nothing to go back from.
        Held: the run can no longer go back, or the process that holds it does not answer.
        Occupied: another process took the environment over meanwhile.
    """
    if not reason.strip():
        raise BadInput("A rollback needs a reason: `./inv rollback --env ENV --reason outage`.")
    _can_go_back(environment, standing(environment).last)
    data = {"category": control.category_of(reason)}
    return _ended(environment, "rollback", reason, data, rollback_runbook, pace, ports, tell, take_over=take_over)


def abort(
    environment: Environment,
    rollback_runbook: Runbook,
    *,
    reason: str,
    pace: Pace,
    ports: Ports,
    take_over: bool = False,
    tell: Tell = _silent,
) -> RunState:
    """Ends the environment's unfinished run, whatever it waits for; returns its state when that is done or stands still.

    With something of the candidate on hosts it goes the whole way back first. A run that is on its way back already finishes that.
    By the process that holds the run, or, when that died, here.

    Raises:
        BadInput: there is no run to end.
        Held: it is past sign-off, or the process that holds it does not answer.
        Occupied: another process took the environment over meanwhile.
    """
    if not reason.strip():
        raise BadInput("An abort needs a reason: `./inv abort --env ENV --reason WHY`.")
    last = standing(environment).last
    _open(environment, last, "abort")
    if last.final and not last.rolling_back:
        raise Held(
            f"Run {last.run} is past sign-off and the incumbent is being retired: it cannot be ended half way. Finish it with "
            f"`./inv golive --env {environment.name}`, then take an earlier release live again with "
            f"`./inv rollback --env {environment.name} --to VERSION`."
        )
    return _ended(environment, "abort", reason, {}, rollback_runbook, pace, ports, tell, take_over=take_over)


def pause(environment: Environment, *, reason: str, ports: Ports) -> RunState:
    """The environment's unfinished run begins no further step from here on; the one that runs is finished.

    Traffic stays as it is and is watched on for as long as a process lives: alerts, guards and operators still send the run back.
    Also when no process works on the run: the next one stands still then.

    Raises:
        BadInput: there is no run to pause.
        Held: it cannot be paused (it is, or it is on its way back), or the process that holds it does not answer.
    """
    if not reason.strip():
        raise BadInput("A pause needs a reason, for whoever finds the run standing: `./inv pause --env ENV --reason WHY`.")
    return _settled(environment, "pause", reason, ports)


def resume(environment: Environment, *, reason: str, ports: Ports) -> RunState:
    """The environment's paused run may go on. It does when a process lives; else the next `golive` continues it.

    Raises:
        BadInput: there is no run that is not over.
        Held: it is not paused, or the process that holds it does not answer.
    """
    return _settled(environment, "resume", reason, ports)


def request_rollback(environment: Environment, reason: str, *, clock: Clock | None = None) -> int:
    """Leaves the request that the environment's unfinished run goes back. Its process takes it within a second; without a process,
    the next one to continue the run does."""
    last, data = standing(environment).last, {"category": control.category_of(reason)}
    return _ask(environment, last, "rollback", reason, data, clock or RealClock())


def unanswered(environment: Environment) -> list[str]:
    """The kinds of what was asked of the environment's run and no process took, oldest first; a pause waits for no one."""
    if not has_journal(environment):
        return []
    store = store_of(environment)
    try:
        return [request.kind for request in requests.pending(store, environment.name) if request.kind != "pause"]
    finally:
        store.close()


def _ask(environment: Environment, last: RunState, kind: str, reason: str, data: Mapping[str, Any], clock: Clock) -> int:
    """Leaves a request about the run ``last``, and no other."""
    store = store_of(environment)
    try:
        about = {"run": last.run} if last.open else {}
        return requests.ask(store, environment.name, kind, reason, clock, {**data, **about})
    finally:
        store.close()


def _ended(
    environment: Environment,
    kind: str,
    reason: str,
    data: JSON,
    book: Runbook,
    pace: Pace,
    ports: Ports,
    tell: Tell,
    *,
    take_over: bool,
) -> RunState:
    """The state of the run when the request was followed to its end: by its process, or, when there is none, by this one."""
    found = standing(environment)
    request = _ask(environment, found.last, kind, reason, data, ports.clock)
    if found.holder is not None:
        result = _followed(environment, request, ports, to_the_end=True, take_over=take_over)
        if result is not None:
            return _heard(result, found.last, request, kind)
    with held(environment, ports, take_over) as (store, lease, journal):
        known = _known(environment, journal)
        if not known.last.open:
            return _heard(known.last, found.last, request, kind)
        live = _continued(environment, store, lease, journal, known.last, ports, pace, tell, "")
        breach = control.take(live)
        state = live.state
        if breach is None and not (state.rolling_back or state.aborting or state.wanted_back):
            raise _refusal(environment, live.store, state, request) or Held(f"The request to {kind} run {state.run} got lost; repeat it.")
        _resume(live)
        drive(live, None, book, None, breach.trigger if breach is not None else None)
        return live.state


def _settled(environment: Environment, kind: str, reason: str, ports: Ports) -> RunState:
    """The state of the run when the request stands in its journal."""
    found = standing(environment)
    _open(environment, found.last, kind)
    request = _ask(environment, found.last, kind, reason, {}, ports.clock)
    if found.holder is not None:
        result = _followed(environment, request, ports, to_the_end=False, take_over=False)
        if result is not None:
            return result
    with held(environment, ports, take_over=False) as (store, lease, journal):
        known = _known(environment, journal)
        _open(environment, known.last, kind)
        live: Live = _continued(environment, store, lease, journal, known.last, ports, Pace(), _silent, "")
        control.take(live)
        refusal = _refusal(environment, store, live.state, request)
        by_another = kind == "resume" and known.last.paused and not live.state.paused  # asked earlier, taken with ours
        if refusal is not None and not by_another:
            raise refusal
        return live.state


def _heard(now: RunState, then: RunState, request: int, kind: str) -> RunState:
    """``now``, the end of the run that was asked. Raises Held when it came to another end before it was."""
    if now.run != then.run or (now.outcome == "succeeded" and request not in now.asked):
        raise Held(f"Run {then.run} was over before it could be asked to {kind}; the last run of {now.env} is {now.run}, {now.outcome}.")
    return now


def _open(environment: Environment, last: RunState, verb: str) -> None:
    if not last.open:
        said = "no run was ever started" if last.run is None else f"the last run ({last.run}) of {last.release} ended as {last.outcome}"
        raise BadInput(f"There is nothing to {verb} in environment {environment.name}: {said}.")


def _can_go_back(environment: Environment, last: RunState) -> None:
    _open(environment, last, "roll back")
    if last.already_live:
        raise BadInput(f"There is nothing to roll back: run {last.run} only repairs {last.release}, which was live before.")
    if last.final and not last.rolling_back:
        raise Held(
            f"Run {last.run} is past sign-off and the incumbent is being retired: it cannot go back. Finish it with "
            f"`./inv golive --env {environment.name}`, then take an earlier release live again with "
            f"`./inv rollback --env {environment.name} --to VERSION`."
        )


def _followed(environment: Environment, request: int, ports: Ports, *, to_the_end: bool, take_over: bool) -> RunState | None:
    """The state when the process that holds the run has followed the request (``to_the_end``: until it works on the run no more); None
    when it is gone and the request is ours to do. Raises Held when it refused, or does not answer."""
    patience = time.monotonic() + ports.timing.answer_s
    store = store_of(environment)
    try:
        while True:
            # In this order: a request that is seen as taken stands in the journal that is read after it.
            waiting = any(one.id == request for one in requests.pending(store, environment.name))
            found = standing(environment)
            if not waiting:
                refusal = _refusal(environment, store, found.last, request)
                if refusal is not None:
                    raise refusal
                if not to_the_end:
                    return found.last
            if found.holder is None:
                return None if found.last.open else found.last
            if waiting and time.monotonic() > patience:
                if take_over and found.holder.alive is None:
                    return None  # on another machine: whether it still beats is told when its lease is asked for
                elsewhere = "" if found.holder.alive else " with --take-over"
                raise Held(
                    f"{found.holder.sentence} holds environment {environment.name} and does not answer. If it hangs, end it "
                    f"(`kill -9 {found.holder.process.pid}` on {found.holder.process.host}) and repeat the command{elsewhere}."
                )
            time.sleep(ports.timing.look_s)
    finally:
        store.close()


def _refusal(environment: Environment, store: Store, last: RunState, request: int) -> Held | None:
    """Why the request was not followed; None when it was."""
    if last.run is None or request not in last.asked:
        return None
    for record in SqlJournal(store, environment.name, RealClock()).read(last.run):
        if record.kind in _REFUSALS and record.data.get("request") == request:
            kind = record.data.get("kind", "rollback")
            return Held(
                f"The request to {kind} run {last.run} was refused: {record.data.get('why')}. See `./inv status --env {environment.name}`."
            )
    return None
