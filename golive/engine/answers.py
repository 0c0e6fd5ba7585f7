"""What people were asked, what they answered, and whom they were told: its part of the fold. Pure functions, like the rest of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from golive.engine.fold import RunState
    from golive.engine.journal import Record

__all__ = ["follow", "open_questions", "seals"]

JSON = dict[str, Any]

WAIVED = "WAIVED"
"""Stands where a verdict does; no gate or step can answer it."""


def follow(state: RunState, record: Record) -> None:
    """Takes ``record`` into what ``state`` says of people. Called after the rest of the state has it."""
    change = _CHANGES.get(record.kind)
    if change is not None:
        change(state, record)


def open_questions(state: RunState) -> list[JSON]:
    """Approvals that the run waits for."""
    return [question for question in state.questions if question["ended"] is None] if state.open and not state.rolling_back else []


def seals(state: RunState) -> Iterator[str]:
    """Digests of all envelopes that were taken."""
    for question in state.questions:
        yield from (answer["seal"] for answer in question["answers"])
    yield from (waiver["seal"] for waiver in state.waivers)


def _started(state: RunState, record: Record) -> None:
    controller = record.data.get("controller")
    state.starter = str(controller.get("owner") or "") if isinstance(controller, dict) else ""


def _asked(state: RunState, record: Record) -> None:
    question = {**record.data, "at": record.at, "stage": record.stage, "step": record.step, "answers": [], "ended": None}
    state.questions.append(question)
    roles = " or ".join(map(str, record.data.get("roles") or []))
    _incident(state, f"approval/{record.data.get('nonce')}", "approval", record, f"{_where(record)} waits for the approval of {roles}")


def _auto(state: RunState, record: Record) -> None:
    question = {**record.data, "at": record.at, "stage": record.stage, "step": record.step, "answers": [], "ended": "auto"}
    state.questions.append(question)


def _answered(state: RunState, record: Record) -> None:
    data = record.data
    for question in state.questions:
        if question.get("nonce") == data.get("nonce"):
            names = ("person", "role", "decision", "comment", "seal")
            question["answers"].append({**{name: data.get(name) for name in names}, "at": record.at})


def _waiver(state: RunState, record: Record) -> None:
    state.waivers.append({**record.data, "at": record.at, "stage": record.stage, "step": record.step, "used": False})


def _skip(state: RunState, record: Record) -> None:
    state.skips.append(_where(record))


def _skip_refused(state: RunState, record: Record) -> None:
    state.skips = [where for where in state.skips if where != _where(record)]


def _waived(state: RunState, record: Record) -> None:
    from golive.engine.fold import StepState

    step = state.steps.setdefault(_where(record), StepState())
    step.uses, step.status, step.verdict, step.ended = str(record.data.get("uses", step.uses)), "waived", WAIVED, record.at
    step.summary = f"waived by {record.data.get('person')} ({record.data.get('role')}): {record.data.get('reason')}"
    step.holding_until = None
    state.stage, state.step = record.stage, record.step
    for waiver in state.waivers:
        if waiver["seal"] == record.data.get("seal"):
            waiver["used"] = True
    _ended(state, record, WAIVED)


def _outcome(state: RunState, record: Record) -> None:
    verdict, said = str(record.data.get("verdict")), record.data.get("data")
    nonce = said.get("nonce") if isinstance(said, dict) else None
    for question in state.questions:
        if question["ended"] is None and question.get("nonce") == nonce:
            _ended(state, record, verdict)
    if verdict == "PASS":
        _ended(state, record, verdict)


def _ended(state: RunState, record: Record, how: str) -> None:
    """The step is over: what it asked is answered, and what kept the run there does so no more."""
    over = {f"held/{_where(record)}"} if how in ("PASS", WAIVED) else set()
    for question in state.questions:
        if question["ended"] is None and (question["stage"], question["step"]) == (record.stage, record.step):
            question["ended"] = how
            over.add(f"approval/{question['nonce']}")
    state.incidents = [incident for incident in state.incidents if incident["key"] not in over]


def _held(state: RunState, record: Record) -> None:
    if record.data.get("asked") or record.data.get("interrupted"):
        return
    # One incident however often the run is continued and held there again: nobody is called twice for it.
    _incident(state, f"held/{state.stage}/{state.step}", "held", record, f"the run is held: {record.data.get('reason')}")


def _back(state: RunState, record: Record) -> None:
    state.incidents = []
    _incident(state, f"rollback/{record.seq}", "rollback", record, f"the run goes back: {record.data.get('reason')}")


def _over(state: RunState, record: Record) -> None:
    state.incidents = []


def _notice(state: RunState, record: Record) -> None:
    if record.kind != "notice.sending":
        begun = (record.data.get("key"), record.data.get("route"))
        state.notices = [entry for entry in state.notices if (entry["key"], entry.get("route")) != begun]
    names = ("key", "route", "why", "to", "perhaps_twice")
    said = {name: record.data[name] for name in names if record.data.get(name)}
    state.notices.append({"key": record.data.get("key"), **said, "is": record.kind.removeprefix("notice."), "at": record.at})


def _incident(state: RunState, key: str, kind: str, record: Record, what: str) -> None:
    if not any(incident["key"] == key for incident in state.incidents):
        state.incidents.append({"key": key, "kind": kind, "since": record.at, "what": what})


def _where(record: Record) -> str:
    return f"{record.stage or ''}/{record.step or ''}"


_CHANGES: dict[str, Callable[[RunState, Record], None]] = {
    "run.started": _started,
    "run.held": _held,
    "run.finished": _over,
    "rollback.started": _back,
    "step.outcome": _outcome,
    "step.waived": _waived,
    "approval.asked": _asked,
    "approval.auto": _auto,
    "approval.given": _answered,
    "approval.rejected": _answered,
    "waiver.given": _waiver,
    "skip.asked": _skip,
    "skip.refused": _skip_refused,
    "notice.sending": _notice,
    "notice.sent": _notice,
    "notice.failed": _notice,
    "notice.unrouted": _notice,
}
