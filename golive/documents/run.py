"""What a document says of a run: plain facts, each with the journal records that it is from. Pure functions of the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from golive.documents.figure import Figure, Unit
from golive.documents.sources import of_record
from golive.documents.steps import StageFact, stage_facts
from golive.documents.trail import Trail
from golive.engine import BACK, Record, RunState
from golive.views.view import Gate, RunView, run_view, seconds_between

__all__ = ["Answered", "Asked", "Box", "GateFact", "Line", "Noted", "RollbackFact", "RunFacts", "ShiftFact", "run_facts"]

JSON = Mapping[str, Any]


@dataclass(frozen=True)
class Answered:
    """What users got from one release during a watch, as the load clients counted it."""

    who: str
    """``candidate``, ``incumbent``, ``baseline`` or ``nobody``."""
    requests: Figure
    errors: Figure
    error_rate: Figure
    p50: Figure
    p99: Figure
    rate: Figure


@dataclass(frozen=True)
class Line:
    """One claim of a gate."""

    metric: str
    verdict: str
    n: Figure
    estimate: Figure
    bound: Figure
    stated: str
    needed: Figure
    note: str
    decides: bool


@dataclass(frozen=True)
class GateFact:
    """One decision of a gate."""

    stage: str
    step: str
    at: Figure
    verdict: Figure
    summary: str
    watched: Figure
    attempt: int
    answered: tuple[Answered, ...]
    lines: tuple[Line, ...]
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.step}"

    def of(self, who: str) -> Answered | None:
        return next((one for one in self.answered if one.who == who), None)


@dataclass(frozen=True)
class ShiftFact:
    """The candidate's share on a gateway from a moment on."""

    at: Figure
    gateway: str
    share: Figure
    where: str


@dataclass(frozen=True)
class Noted:
    """Something that happened, as a sentence."""

    at: Figure
    kind: str
    where: str
    what: str


@dataclass(frozen=True)
class Asked:
    """An approval: who was asked, and what they said."""

    where: str
    roles: str
    count: Figure
    ended: Figure
    answers: tuple[tuple[str, str, str, str], ...]
    """Decision, person, role, comment."""


@dataclass(frozen=True)
class Box:
    """A part of the way back: measured in the drill, predicted for the fleet, allowed; and what it took when it was needed."""

    name: str
    measured: Figure
    predicted: Figure
    budget: Figure
    holds: bool
    steps: tuple[str, ...]


@dataclass(frozen=True)
class RollbackFact:
    """The way back as it went."""

    reason: str
    source: str
    breach: Figure
    back: Figure
    to_traffic: Figure
    ended: Figure
    stages: tuple[StageFact, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class RunFacts:
    """A run as all documents have it."""

    state: RunState
    view: RunView
    outcome: Figure
    began: Figure
    ended: Figure
    took: Figure
    highest: Figure
    """Percent of users that the candidate had at most."""
    hurt: Figure
    """Requests that the candidate failed in the watches of gates that decided."""
    stages: tuple[StageFact, ...]
    gates: tuple[GateFact, ...]
    shifts: tuple[ShiftFact, ...]
    asked: tuple[Asked, ...]
    waived: tuple[Noted, ...]
    incidents: tuple[Noted, ...]
    """Triggers, guards that acted, hosts set aside, errors of the toolkit, holds, interruptions, in order."""
    boxes: tuple[Box, ...]
    predicted: Figure
    """The whole way back as predicted from the drill."""
    predicted_limit: Figure
    rehearsed: Figure
    rollback: RollbackFact | None
    criteria: tuple[tuple[str, str, Figure], ...]
    """Of the sign-off: criterion, text, verdict."""
    backups: tuple[Noted, ...]
    untold: tuple[Noted, ...]
    signed: Figure
    controllers: tuple[str, ...]
    last: int
    """The run's last record."""
    records: tuple[Record, ...]

    @property
    def final_gates(self) -> tuple[GateFact, ...]:
        """The last decision of each gate."""
        return tuple({gate.name: gate for gate in self.gates}.values())


def run_facts(records: Sequence[Record]) -> RunFacts:
    """The facts of one run's ``records``, oldest first; at least one of them."""
    view, trail = run_view(records), Trail(records)
    state = view.state
    started = trail.last("run.started")
    finished = trail.last("run.finished", "run.held") if state.outcome != "running" else [of_record(records[-1])]
    gates = tuple(_gate(gate, of_record(record)) for gate, record in zip(view.gates, trail.all("gate"), strict=True))
    final = {gate.name: gate for gate in gates}.values()
    stages = stage_facts(state, trail)
    return RunFacts(
        state=state,
        view=view,
        outcome=Figure(state.outcome, tuple(finished or started)),
        began=Figure(state.started, started, "time"),
        ended=Figure(state.ended, trail.last("run.finished"), "time"),
        took=Figure(seconds_between(state.started, state.ended), (*started, *trail.last("run.finished")), "s"),
        highest=_highest(state, trail),
        hurt=Figure(view.hurt if gates else None, tuple(ref for gate in final for ref in gate.verdict.refs), "count"),
        stages=tuple(stage for stage in stages if not stage.name.startswith(BACK)),
        gates=gates,
        shifts=_shifts(state, trail),
        asked=_asked(state, trail),
        waived=tuple(_noted(record, trail) for record in trail.all("step.waived")),
        incidents=tuple(_noted(record, trail) for record in records if record.kind in _INCIDENTS),
        boxes=_boxes(view.rollback_time, trail),
        predicted=Figure((view.rollback_time or {}).get("total_s"), trail.last("rollback-time"), "s"),
        predicted_limit=Figure((view.rollback_time or {}).get("limit_s"), trail.last("rollback-time"), "s"),
        rehearsed=Figure((state.rehearsed or {}).get("at"), trail.last("rehearsal.finished"), "time"),
        rollback=_rollback(state, trail, stages),
        criteria=_criteria(view.signoff, trail),
        backups=tuple(_noted(record, trail) for record in records if record.kind in ("backup", "backup.verified")),
        untold=tuple(_noted(record, trail) for record in records if record.kind in ("notice.failed", "notice.unrouted")),
        signed=Figure("signed" if state.signed else f"not signed{f': {state.unsigned}' if state.unsigned else ''}", _seal(trail)),
        controllers=view.controllers,
        last=records[-1].seq,
        records=tuple(records),
    )


_INCIDENTS = (
    *("trigger", "guard", "bug", "host.set-aside", "run.held", "run.paused", "run.aborting", "step.interrupted", "step.given-up"),
    *("step.unknown", "step.holding", "rollback.started", "rollback.overrun", "rollback.refused", "leftovers.ended", "lease.taken-over"),
    *("approval.rejected", "approval.refused", "skip.refused", "request.refused", "job.lost"),
)


def _seal(trail: Trail) -> tuple[str, ...]:
    return trail.last("journal.signed", "journal.unsigned") or trail.newest()


def _highest(state: RunState, trail: Trail) -> Figure:
    """With the record that first showed it."""
    if not trail.weighed:
        return Figure(None, trail.newest(), "percent")
    at = [of_record(record) for record, weights in trail.weighed if weights.get(state.release or "") == state.max_candidate_weight]
    return Figure(state.max_candidate_weight, tuple(at[:1]) or trail.newest(), "percent")


def _gate(gate: Gate, ref: str) -> GateFact:
    refs = (ref,)
    answered = tuple(_answered(who, figures, refs) for who, figures in gate.figures.items())
    return GateFact(
        stage=gate.stage,
        step=gate.step,
        at=Figure(gate.at, refs, "time"),
        verdict=Figure(gate.verdict, refs),
        summary=gate.summary,
        watched=Figure(gate.seconds or None, refs, "s"),
        attempt=gate.attempt,
        answered=answered,
        lines=tuple(_line(line, refs) for line in gate.lines),
        problems=gate.problems,
    )


def _answered(who: str, figures: JSON, refs: tuple[str, ...]) -> Answered:
    def ms(name: str) -> Figure:
        value = figures.get(name)
        return Figure(None if value is None else float(value) * 1000, refs, "ms")

    return Answered(
        who=who,
        requests=Figure(figures.get("requests"), refs, "count"),
        errors=Figure(figures.get("errors"), refs, "count"),
        error_rate=Figure(figures.get("error_rate"), refs, "share"),
        p50=ms("p50_s"),
        p99=ms("p99_s"),
        rate=Figure(figures.get("per_s"), refs, "per_s"),
    )


def _line(line: JSON, refs: tuple[str, ...]) -> Line:
    units: dict[str, Unit] = {"share": "share", "ratio": "ratio", "bytes": "bytes", "count": "count"}
    shown = units.get(str(line.get("unit", "count")), "")
    return Line(
        metric=str(line.get("metric")),
        verdict=str(line.get("verdict")) if line.get("decides", True) else "watched",
        n=Figure(line.get("n"), refs, "count"),
        estimate=Figure(line.get("estimate"), refs, shown),
        bound=Figure(line.get("bound"), refs, shown),
        stated=str(line.get("stated", "")),
        needed=Figure(line.get("needed"), refs, "count"),
        note=str(line.get("note", "")),
        decides=bool(line.get("decides", True)),
    )


def _shifts(state: RunState, trail: Trail) -> tuple[ShiftFact, ...]:
    """Every change of the candidate's share; what was only read again is left out."""
    known: dict[str, float] = {}
    found = []
    for record, gateway, weights in trail.shifted:
        share = float(weights.get(state.release or "", 0))
        if known.get(gateway) != share:
            known[gateway] = share
            refs = (of_record(record),)
            where = f"{record.stage or ''}/{record.step or ''}".strip("/")
            found.append(ShiftFact(Figure(record.at, refs, "time"), gateway, Figure(share, refs, "percent"), where))
    return tuple(found)


def _asked(state: RunState, trail: Trail) -> tuple[Asked, ...]:
    found = []
    for question in state.questions:
        where = f"{question['stage']}/{question['step']}"
        refs = trail.of_step(question["stage"], question["step"], "approval.asked", "approval.auto", "approval.given", "approval.rejected")
        answers = tuple(
            (str(one.get("decision")), str(one.get("person")), str(one.get("role")), str(one.get("comment") or ""))
            for one in question["answers"]
        )
        roles = " or ".join(map(str, question.get("roles") or []))
        ended = {None: "open", "auto": "AUTO: by policy nobody was asked"}.get(question["ended"], question["ended"])
        found.append(Asked(where, roles, Figure(question.get("count"), refs, "count"), Figure(ended, refs), answers))
    return tuple(found)


def _noted(record: Record, trail: Trail) -> Noted:
    where = "/".join(part for part in (record.stage, record.step) if part)
    return Noted(Figure(record.at, (of_record(record),), "time"), record.kind, where, trail.told(record))


def _boxes(told: JSON | None, trail: Trail) -> tuple[Box, ...]:
    refs = trail.last("rollback-time")
    return tuple(
        Box(
            name=str(box.get("box")),
            measured=Figure(box.get("measured_s"), refs, "s"),
            predicted=Figure(box.get("predicted_s"), refs, "s"),
            budget=Figure(box.get("budget_s"), refs, "s"),
            holds=box.get("holds") is True,
            steps=tuple(map(str, box.get("steps") or [])),
        )
        for box in (told or {}).get("boxes") or []
    )


def _rollback(state: RunState, trail: Trail, stages: Iterable[StageFact]) -> RollbackFact | None:
    went = state.rollback
    if not went or not trail.all("rollback.started"):
        return None
    began, back, over = trail.last("rollback.started"), trail.last("rollback.traffic-back"), trail.last("rollback.finished")
    return RollbackFact(
        reason=str(went.get("reason")),
        source=str(trail.all("rollback.started")[-1].data.get("source") or ""),
        breach=Figure(went.get("breach_at"), began, "time"),
        back=Figure(went.get("traffic_back_at"), back, "time"),
        to_traffic=Figure(went.get("seconds_to_traffic_back"), back, "s"),
        ended=Figure(went.get("ended"), over, "time"),
        stages=tuple(stage for stage in stages if stage.name.startswith(BACK)),
        left=tuple(map(str, went.get("left") or [])),
    )


def _criteria(signoff: JSON | None, trail: Trail) -> tuple[tuple[str, str, Figure], ...]:
    refs = trail.last("signoff")
    return tuple(
        (str(line.get("criterion", "")), str(line.get("text", "")), Figure(line.get("verdict"), refs))
        for line in (signoff or {}).get("criteria") or []
    )
