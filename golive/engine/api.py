"""What verbs call to take a release live and to see where it stands. What else they ask of a run is in :mod:`golive.engine.operate`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from golive.engine import requests
from golive.engine.anchor import closed
from golive.engine.control import category_of
from golive.engine.drive import drive
from golive.engine.fold import FORGOTTEN, EnvironmentState, RunState, environment_state
from golive.engine.holding import has_journal, held, open_journal, store_of
from golive.engine.journal import SqlJournal
from golive.engine.lease import Holder, Lease, holder
from golive.engine.ports import Ports
from golive.engine.running import Live
from golive.engine.store import Store
from golive.environment import Environment
from golive.errors import BadInput
from golive.runbook import Pace, RealClock, Runbook, parse_duration

__all__ = [
    "Serving",
    "Standing",
    "exit_code",
    "forget",
    "has_journal",
    "known_stages",
    "live",
    "open_journal",
    "run",
    "sealed",
    "standing",
    "state",
]

JSON = dict[str, Any]
Tell = Callable[[str, JSON], None]

_EXIT = {"succeeded": 0, "none": 0, "running": 0, "failed": 1, "rolled-back": 3, "held": 4, "aborted": 4}


def _silent(kind: str, data: JSON) -> None:
    pass


@dataclass(frozen=True)
class Standing:
    """Where an environment stands."""

    incumbent: str | None
    last: RunState
    holder: Holder | None
    """Who holds the environment at this moment; None when no one does."""
    earlier: tuple[str, ...] = ()
    """Releases that were live before the incumbent, the last of them first."""


@dataclass(frozen=True)
class Serving:
    """A release that is live."""

    release: str
    slot: str | None
    """The slot that its steps noted; None when none did."""
    load: str | None
    """The pinned load client's release."""


def run(
    environment: Environment,
    runbook: Runbook,
    rollback_runbook: Runbook,
    *,
    candidate: str,
    incumbent: str | None,
    pace: Pace,
    ports: Ports,
    load: str = "",
    from_stage: str | None = None,
    until_stage: str | None = None,
    reason: str = "",
    start: bool = True,
    take_over: bool = False,
    tell: Tell = _silent,
) -> RunState:
    """Continues the environment's unfinished run, or starts one; returns its state when it stands or is over.

    An unfinished way back is finished, whatever was asked for. ``from_stage`` skips what comes before it; with
    ``until_stage`` the run is held after that stage, to be continued later; both the same: that stage alone. ``reason`` is why a run
    that is started here was asked for, where it is not the plain way forward. Without ``start`` none is started: the state of the last
    one is returned when that is over. With ``take_over`` a holder on another machine that stays silent for its whole ttl is replaced.

    Raises:
        Occupied: another process holds the environment, or took it over.
        BadInput: unknown stage, or the unfinished run is of another release or another runbook.
        Held: the journal is damaged or cannot be written.
    """
    names = known_stages(runbook, from_stage, until_stage)
    leave_after = _leave_after(environment)
    with held(environment, ports, take_over) as (store, lease, journal):
        known = _known(environment, journal)
        if known.last.open:
            running = _continued(environment, store, lease, journal, known.last, ports, pace, tell, load)
            if not known.last.rolling_back:
                _same(environment, known.last, candidate, runbook)
            _resume(running)
            if not running.state.rolling_back:
                if running.state.last_stage != names[-1]:
                    running.append("run.extended", {"last_stage": names[-1]})
                if from_stage is not None:
                    _skip_to(running, names[: names.index(from_stage)])
        elif not start:
            return known.last
        else:
            _something_to_do(environment, known, runbook, candidate, incumbent, from_stage)
            new = f"{ports.clock.now().astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
            fresh = RunState(env=environment.name)
            running = Live(environment, new, store, journal, lease, fresh, ports, pace, tell)
            _start(running, known, runbook, candidate, incumbent, load, from_stage, until_stage, reason)
        drive(running, runbook, rollback_runbook, until_stage, leave_after=leave_after)
        return running.state


def _leave_after(environment: Environment) -> timedelta | None:
    """The policy's ``leave_after``: how long a wait for a stage has to be for no process to live through it; None: none is."""
    written = environment.policy.get("leave_after")
    try:
        return None if written is None else parse_duration(written)
    except ValueError as error:
        raise BadInput(f"policies/{environment.settings.policy}.yaml: leave_after: {error}.") from None


def known_stages(runbook: Runbook, from_stage: str | None, until_stage: str | None) -> list[str]:
    """The names of the runbook's stages. Raises BadInput when one of the two is none of them, or they are the wrong way round."""
    names = [stage.name for stage in runbook.stages]
    for name in (from_stage, until_stage):
        if name is not None and name not in names:
            raise BadInput(f"There is no stage {name!r}; known are {', '.join(names)}.")
    if from_stage and until_stage and names.index(from_stage) > names.index(until_stage):
        raise BadInput(f"Stage {from_stage} comes after stage {until_stage}; nothing would run.")
    return names


def state(environment: Environment) -> RunState:
    """The state of the environment's last run; outcome ``none`` before the first."""
    return standing(environment).last


def standing(environment: Environment) -> Standing:
    """Incumbent, last run and holder of the environment. Only reads."""
    if not has_journal(environment):
        return Standing(None, RunState(env=environment.name), None)
    store = store_of(environment)
    try:
        known = environment_state(environment.name, SqlJournal(store, environment.name, RealClock()).read())
        held_by = holder(store, environment.name)
        gone = held_by is None or held_by.alive is False
        return Standing(known.incumbent, known.last, None if gone else held_by, tuple(known.earlier))
    finally:
        store.close()


def live(environment: Environment) -> Serving | None:
    """What the environment's journal says is live: the candidate of the last run that was signed off; None before the first."""
    if not has_journal(environment):
        return None
    store = store_of(environment)
    try:
        known = environment_state(environment.name, SqlJournal(store, environment.name, RealClock()).read())
    finally:
        store.close()
    if known.signed_off is None:
        return None
    return Serving(known.signed_off, known.slots.get(known.signed_off), known.load)


def forget(environment: Environment, reason: str, *, ports: Ports | None = None) -> None:
    """The environment's hosts go away: no incumbent, no unfinished run and no live release from here on. The journal keeps all of it.

    Raises Occupied while a process works on the environment. Fencing tokens go on rising.
    """
    if has_journal(environment):
        with held(environment, ports or Ports(), False) as (_, _, journal):
            journal.append(FORGOTTEN, {"reason": reason}, "none")


def sealed(environment: Environment, *, ports: Ports, take_over: bool = False, tell: Tell = _silent) -> RunState:
    """The environment's journal, signed and left on the hosts once more, for what the last run's end could not reach; its state.

    Raises BadInput when no run was started, or one is not over: its own end does it.
    """
    if not has_journal(environment):
        raise BadInput(f"No run was ever started in {environment.name}; there is nothing to sign.")
    with held(environment, ports, take_over) as (store, lease, journal):
        last = _known(environment, journal).last
        if last.run is None or last.open:
            said = (
                "no run was started since its hosts were made" if last.run is None else f"run {last.run} is not over, and its end does it"
            )
            raise BadInput(f"There is nothing to sign in {environment.name}: {said}.")
        running = _continued(environment, store, lease, journal, last, ports, Pace(), tell, "")
        _say_takeover(running)
        closed(running)
        return running.state


def exit_code(state: RunState) -> int:
    """What a process ends with that leaves the run in ``state``."""
    if state.outcome == "held" and state.held is not None and (state.held.get("asked") or state.held.get("waiting_until")):
        return 0
    return _EXIT[state.outcome]


def _known(environment: Environment, journal: SqlJournal) -> EnvironmentState:
    return environment_state(environment.name, journal.read())


def _continued(
    environment: Environment,
    store: Store,
    lease: Lease,
    journal: SqlJournal,
    last: RunState,
    ports: Ports,
    pace: Pace,
    tell: Tell,
    load: str,
) -> Live:
    live = Live(environment, last.run or "", store, journal, lease, RunState(), ports, pace, tell)
    for record in journal.read(last.run):
        live.take(record)
    live.state.load = live.state.load or load
    return live


def _start(
    live: Live,
    known: EnvironmentState,
    book: Runbook,
    candidate: str,
    incumbent: str | None,
    load: str,
    from_stage: str | None,
    until_stage: str | None,
    reason: str,
) -> None:
    # Requests that no run took were about a run that is over.
    stale = [request.id for request in requests.pending(live.store, live.name)]
    if stale:
        requests.taken(live.store, live.name, stale, "none")
    already_live = candidate in (incumbent, known.incumbent)
    only = from_stage is not None and from_stage == until_stage
    data = {
        **({"reason": reason, "category": category_of(reason)} if reason else {}),
        "candidate": candidate,
        "incumbent": candidate if already_live else incumbent,
        "load": load,
        "already_live": already_live,
        "runbook": book.name,
        "runbook_digest": book.digest,
        "pace": live.pace.name,
        "begin": live.clock.now(),
        "first_stage": from_stage or book.stages[0].name,
        "last_stage": until_stage if only else book.stages[-1].name,
        "not_covered": [entry.model_dump() for entry in book.not_covered],
        **_controller(live),
    }
    live.append("run.started", data)
    _say_takeover(live)
    if live.lease.took_over is not None:
        live.end_leftovers()


def _resume(live: Live) -> None:
    _say_takeover(live)
    live.append("run.resumed", _controller(live))
    live.end_leftovers()


def _say_takeover(live: Live) -> None:
    """Every takeover stands in the journal, also one whose process died before it could say so."""
    # What still runs on a machine that is not this one cannot be ended from here: it is said, and hosts refuse its token.
    left = [f"pid {process.pid} ({process.what}) on {process.host}" for process in live.state.left if process.alive is None]
    for takeover in live.lease.taken_over:
        live.append("lease.taken-over", {**takeover, "left": left})
    if live.lease.taken_over:
        live.lease.journaled()


def _controller(live: Live) -> JSON:
    over = live.lease.took_over
    return {"controller": holder(live.store, live.name), "took_over": over.sentence if over is not None else None}


def _same(environment: Environment, last: RunState, candidate: str, book: Runbook) -> None:
    where = f"at stage {last.stage}" + (f", step {last.step}" if last.step else "")
    way_back = f"take it back with `./inv rollback --env {environment.name} --reason ...`"
    if last.release != candidate:
        raise BadInput(
            f"Run {last.run} of release {last.release} is unfinished ({last.outcome} {where}): continue it with that release, or "
            f"{way_back}; then {candidate} can go live."
        )
    if last.runbook_digest != book.digest:
        raise BadInput(
            f"The runbook {book.name} was changed since run {last.run} began ({last.outcome} {where}): put it back to continue, or "
            f"{way_back}."
        )


def _something_to_do(
    environment: Environment, known: EnvironmentState, book: Runbook, candidate: str, incumbent: str | None, from_stage: str | None
) -> None:
    """A release that is live is only checked and repaired: by the stages that converge, of which one at least has to be asked for."""
    names = [stage.name for stage in book.stages]
    asked = book.stages[names.index(from_stage) :] if from_stage else book.stages
    if from_stage and candidate in (incumbent, known.incumbent) and not any(stage.converge for stage in asked):
        repairs = ", ".join(stage.name for stage in book.stages if stage.converge)
        raise BadInput(f"{candidate} is live in {environment.name}; what checks and repairs it is stage {repairs}, not what comes after.")


def _skip_to(live: Live, before: list[str]) -> None:
    for name in before:
        known = live.state.stages.get(name)
        if known is None or known.status != "done":
            live.append("stage.skipped", {"why": "the operator asked to go on from a later stage"}, name)
