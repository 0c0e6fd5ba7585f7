"""A run as people look at it: plain data taken from its journal records, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from golive.engine.fold import RunState, fold
from golive.views.custody import KINDS, custody

__all__ = ["Event", "Gate", "JournalLine", "RunView", "Shift", "event_of", "run_view", "seconds_between", "version_of"]

JSON = dict[str, Any]


class JournalLine(Protocol):
    """What is read of a journal record."""

    @property
    def at(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def stage(self) -> str | None: ...
    @property
    def step(self) -> str | None: ...
    @property
    def token(self) -> int: ...
    @property
    def data(self) -> JSON: ...


@dataclass(frozen=True)
class Event:
    """One line of the timeline."""

    at: str
    """RFC 3339."""
    stage: str
    step: str
    what: str
    verdict: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Gate:
    """One decision of a gate, or the look at which it failed."""

    at: str
    stage: str
    step: str
    verdict: str
    summary: str
    attempt: int
    seconds: float
    confidence: float | None
    lines: tuple[JSON, ...]
    problems: tuple[str, ...]
    figures: Mapping[str, JSON]


@dataclass(frozen=True)
class Shift:
    """What a gateway's weights became."""

    at: str
    gateway: str
    weights: Mapping[str, float]


@dataclass(frozen=True)
class RunView:
    """Everything that a report or a screen says of a run."""

    state: RunState
    timeline: tuple[Event, ...]
    gates: tuple[Gate, ...]
    shifts: tuple[Shift, ...]
    baseline: JSON | None = None
    signoff: JSON | None = None
    rollback_time: JSON | None = None
    """What the way back took in the drill and is predicted to take, part by part."""
    not_covered: tuple[JSON, ...] = ()
    controllers: tuple[str, ...] = ()
    """Who worked on the run, in order; more than one when it was resumed."""
    tokens: tuple[int, ...] = field(default=())

    @property
    def seconds(self) -> float | None:
        """From the run's start to its end."""
        return seconds_between(self.state.started, self.state.ended)

    @property
    def final_gates(self) -> tuple[Gate, ...]:
        """The last decision of each gate."""
        return tuple({(gate.stage, gate.step): gate for gate in self.gates}.values())

    @property
    def hurt(self) -> int:
        """Requests that the candidate failed, as the load clients counted them in the gates' watches."""
        return sum(int((gate.figures.get("candidate") or {}).get("errors") or 0) for gate in self.final_gates)

    @property
    def waived(self) -> tuple[tuple[str, str], ...]:
        """Steps that count as passed though they were not done, and by whom."""
        return tuple((where, step.summary) for where, step in self.state.steps.items() if step.status == "waived")

    @property
    def untold(self) -> tuple[str, ...]:
        """Messages that did not go out, as text."""
        told = {"failed": "{key}: {route} did not take it ({why})", "unrouted": "{key}: no route for {to}", "sending": "{key}: unknown"}
        found = []
        for entry in self.state.notices:
            if entry["is"] in told:
                words = {"route": "", "why": "", **entry, "to": ", ".join(map(str, entry.get("to") or []))}
                found.append(told[entry["is"]].format(**words))
        return tuple(found)

    @property
    def trigger(self) -> str | None:
        """What sent the run back, or keeps it."""
        if self.state.triggers:
            return str(self.state.triggers[0].get("reason"))
        return str(self.state.held.get("reason")) if self.state.held else None


def run_view(records: Iterable[JournalLine]) -> RunView:
    """The view of one run's records, oldest first."""
    listed = list(records)
    started = next((record for record in listed if record.kind == "run.started"), None)
    controllers = [_controller(record.data) for record in listed if record.kind in ("run.started", "run.resumed")]
    return RunView(
        state=fold(listed),  # type: ignore[arg-type]  # fold reads of a record no more than JournalLine has, and env, run, seq
        timeline=tuple(event for record in listed if (event := event_of(record)) is not None),
        gates=tuple(_gate(record) for record in listed if record.kind == "gate"),
        shifts=_shifts(listed),
        baseline=_last(listed, "baseline"),
        signoff=_last(listed, "signoff"),
        rollback_time=_last(listed, "rollback-time"),
        not_covered=tuple(started.data.get("not_covered") or ()) if started else (),
        controllers=tuple(dict.fromkeys(controllers)),
        tokens=tuple(dict.fromkeys(record.token for record in listed)),
    )


def version_of(release: str | None) -> str | None:
    """``3.0.0`` of ``3.0.0-0123456789ab``, ``3.0.1+defect.errors`` of ``3.0.1_defect.errors-0123456789ab``."""
    return (release.rpartition("-")[0] or release).replace("_", "+") if release else None


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Between two RFC 3339 times."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() if start and end else None


def _controller(data: JSON) -> str:
    who = data.get("controller")
    if not isinstance(who, dict):
        return "unknown"
    process = who.get("process") or {}
    return f"{who.get('owner')} (pid {process.get('pid')} on {process.get('host')}, token {who.get('token')})"


def _last(records: list[JournalLine], kind: str) -> JSON | None:
    return next((dict(record.data) for record in reversed(records) if record.kind == kind), None)


def _gate(record: JournalLine) -> Gate:
    data = record.data
    start, end = data.get("start"), data.get("end")
    return Gate(
        at=record.at,
        stage=record.stage or "",
        step=record.step or str(data.get("gate", "")),
        verdict=str(data.get("verdict")),
        summary=str(data.get("summary", "")),
        attempt=int(data.get("attempt") or 0),
        seconds=float(end) - float(start) if start is not None and end is not None else 0.0,
        confidence=data.get("confidence"),
        lines=tuple(data.get("lines") or ()),
        problems=tuple(data.get("problems") or ()),
        figures=data.get("figures") or {},
    )


def _shifts(records: list[JournalLine]) -> tuple[Shift, ...]:
    """Every change of a gateway's weights; what was only read again is left out."""
    known: dict[str, Mapping[str, float]] = {}
    found = []
    for record in records:
        seen: list[tuple[str, Any]] = []
        if record.kind == "traffic.set":
            seen = [(str(record.data.get("gateway", "")), record.data.get("weights"))]
        elif record.kind == "step.outcome":
            targets = record.data.get("targets")
            seen = [(name, value.get("weights")) for name, value in (targets or {}).items() if isinstance(value, dict)]
        for gateway, weights in seen:
            if isinstance(weights, dict) and weights and known.get(gateway) != weights:
                known[gateway] = weights
                found.append(Shift(record.at, gateway, dict(weights)))
    return tuple(found)


def event_of(record: JournalLine) -> Event | None:
    """The record as a line of the timeline; None for what is only of use to the engine."""
    tell = _TOLD.get(record.kind)
    if tell is None:
        return None
    data = record.data
    seconds = data.get("seconds")
    verdict = str(data.get("verdict") or "") if record.kind in ("step.outcome", "gate", "signoff") else ""
    return Event(record.at, record.stage or "", record.step or "", tell(data), verdict, float(seconds) if seconds is not None else None)


def _outcome(data: JSON) -> str:
    changed, already = data.get("changed", 0), " (was already so)" if data.get("already_there") else ""
    return f"{data.get('uses', '')}: {data.get('summary', '')}{already}" + (f"; {changed} changed" if changed else "")


def _wave(data: JSON) -> str:
    return f"wave {data.get('wave')} of {data.get('of')}" + (f" ({data['site']})" if data.get("site") else "")


def _lost(data: JSON) -> str:
    lost = [f"{name} {kind}" for kind in ("failed", "unreachable", "unknown") for name in data.get(kind) or {}]
    return f"; {', '.join(lost)}" if lost else ""


def _traffic(data: JSON) -> str:
    weights = ", ".join(f"{version_of(release)} {percent:g} %" for release, percent in sorted((data.get("weights") or {}).items()))
    return f"{data.get('gateway')}: {weights}"


def _roles(data: JSON) -> str:
    return " or ".join(map(str, data.get("roles") or []))


def _said(data: JSON) -> str:
    return f" ({data['comment']})" if data.get("comment") else ""


def _route(data: JSON) -> str:
    twice = "; it may have been sent twice" if data.get("perhaps_twice") else ""
    return f"{data.get('route') or 'any route'}{twice}"


_TOLD: dict[str, Callable[[JSON], str]] = {
    "run.started": lambda d: (
        f"run of {d.get('candidate')} against {d.get('incumbent') or 'nothing'} began, pace {d.get('pace')}"
        + (f": {d['reason']}" if d.get("reason") else "")
    ),
    "run.resumed": lambda d: "resumed" + (f" after {d['took_over']}" if d.get("took_over") else ""),
    "run.held": lambda d: f"held: {d.get('reason')} {d.get('do') or ''}".strip(),
    "run.finished": lambda d: f"run ended: {d.get('outcome')}" + (f" ({d['reason']})" if d.get("reason") else ""),
    "stage.waiting": lambda d: f"waits until {d.get('due')}",
    "stage.started": lambda d: f"stage began, owner {d.get('owner')}",
    "stage.skipped": lambda d: f"stage skipped: {d.get('why', '')}",
    "step.outcome": _outcome,
    "step.interrupted": lambda d: "interrupted; what it did is probed before anything else",
    "step.holding": lambda d: f"held until {d.get('until')}, then {d.get('then', 'decided')}",
    "step.unknown": lambda d: f"cannot be told: {', '.join(sorted(d.get('targets') or {}))}",
    "step.given-up": lambda d: f"given up: {d.get('why')}",
    "step.waived": lambda d: f"WAIVED by {d.get('person')} ({d.get('role')}) until {d.get('expires')}: {d.get('reason')}",
    "approval.asked": lambda d: f"asked for the approval of {_roles(d)}, {d.get('count')} needed, until {d.get('expires')}",
    "approval.auto": lambda d: f"AUTO: policy {d.get('policy')} asks nobody for the approval of {_roles(d)}",
    "approval.given": lambda d: f"approved by {d.get('person')} ({d.get('role')}){_said(d)}",
    "approval.rejected": lambda d: f"rejected by {d.get('person')} ({d.get('role')}){_said(d)}",
    "approval.refused": lambda d: f"{d.get('kind')} left by {d.get('by')} does not count: {d.get('why')}",
    "waiver.given": lambda d: f"waiver signed by {d.get('person')} ({d.get('role')}) until {d.get('expires')}{_said(d)}",
    "skip.asked": lambda d: f"asked to be left out by {d.get('by')}",
    "skip.refused": lambda d: f"not left out: {d.get('why')}",
    "notice.sent": lambda d: f"told by {_route(d)}",
    "notice.failed": lambda d: f"NOT TOLD by {_route(d)}: {d.get('why')}",
    "notice.unrouted": lambda d: f"nobody was told: no route for {', '.join(map(str, d.get('to') or []))}",
    "wave.started": lambda d: f"{_wave(d)} begins on {', '.join(d.get('hosts') or [])}",
    "wave.done": lambda d: f"{_wave(d)} done: {d.get('what', '')}{_lost(d)}",
    "job.lost": lambda d: f"job of wave {d.get('wave')} lost: {d.get('why')}",
    "host.set-aside": lambda d: f"{d.get('host')} set aside, {d.get('state')}: {d.get('reason')}",
    "traffic.set": _traffic,
    "traffic.passed": lambda d: f"{d.get('percent')} % passed its gate: the guards go back no further",
    "rehearsal.finished": lambda d: f"the drill is over: the candidate is on none of {d.get('hosts')} hosts, nothing counts as deployed",
    "gate": lambda d: f"gate: {d.get('summary', '')}",
    "backup": lambda d: f"{d.get('host')}: snapshot {str(d.get('snapshot'))[:16]} of {d.get('files')} files, {d.get('bytes')} bytes",
    "backup.verified": lambda d: f"{d.get('host')}: snapshot {str(d.get('snapshot'))[:16]} restored, and as it was saved",
    "baseline": lambda d: f"baseline frozen: {d.get('requests')} requests, {d.get('failed')} failed",
    "signoff": lambda d: "; ".join(str(line.get("text", "")) for line in d.get("criteria") or []),
    "guard": lambda d: f"a guard acted: {d.get('reason') or d}",
    "trigger": lambda d: f"trigger ({d.get('source')}): {d.get('reason')}",
    "bug": lambda d: f"error of the toolkit: {d.get('error')}",
    "run.paused": lambda d: f"paused by {d.get('by')}: {d.get('reason')}",
    "run.unpaused": lambda d: f"let go on by {d.get('by')}: {d.get('reason')}",
    "run.aborting": lambda d: f"abort asked for: {d.get('reason')}",
    "request.refused": lambda d: f"{d.get('kind')} refused: {d.get('why')}",
    "rollback.overrun": lambda d: f"took longer than its budget of {float(d.get('budget_s') or 0):g} s; it goes on",
    "rollback.requested": lambda d: f"rollback asked for: {d.get('reason')}",
    "rollback.refused": lambda d: f"rollback refused: {d.get('why')}",
    "rollback.started": lambda d: f"rollback began: {d.get('reason')}",
    "rollback.traffic-back": lambda d: "all traffic is back on the incumbent",
    "rollback.finished": lambda d: "rollback done" + (f"; left: {'; '.join(map(str, d['left']))}" if d.get("left") else ""),
    "fenced": lambda d: f"hosts fenced with token {d.get('token')}" + (f"; silent: {', '.join(d['silent'])}" if d.get("silent") else ""),
    "leftovers.ended": lambda d: f"ended what a dead process left: {', '.join(map(str, d.get('what') or []))}",
    **{kind: partial(custody, kind) for kind in KINDS},
}
