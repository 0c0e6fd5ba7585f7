"""What the board shows, as plain data: sections made from the fold of the journal. Pure; reads nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from golive.engine import BACK, RunState, open_questions
from golive.views.asks import asks
from golive.views.board.sources import Book, PlannedStage
from golive.views.view import version_of

__all__ = ["approvals", "rollback", "run", "stages", "traffic"]

JSON = dict[str, Any]

_OF_WAIVERS = ("stage", "step", "person", "role", "reason", "expires", "used")


def run(env: str, state: RunState, *, holder: str | None, rows: Mapping[str, JSON], changed_book: bool) -> JSON:
    """Where the run stands, what runs now and what is next."""
    step = state.step_state(state.stage or "", state.step or "")
    back = [share.get(state.release or "", 0.0) for share in state.traffic.values()]
    return {
        "env": env,
        "run": state.run,
        "outcome": "paused" if state.paused and state.open else "rolling back" if state.rolling_back and state.open else state.outcome,
        "release": state.release,
        "incumbent": state.incumbent,
        "version": version_of(state.release),
        "before": version_of(state.incumbent),
        "already_live": state.already_live,
        "pace": state.pace,
        "started": state.started,
        "ended": state.ended,
        "stage": state.stage,
        "step": state.step,
        "uses": step.uses if step is not None else "",
        "step_status": step.status if step is not None else "",
        "since": step.started if step is not None and step.open else None,
        "share": round(sum(back) / len(back), 2) if back else None,
        "next": _next(state, rows),
        "held": state.held,
        "paused": state.paused,
        "aborting": state.aborting,
        "trigger": str(state.triggers[-1].get("reason")) if state.triggers else None,
        "asks": [{"of": ask.of, "what": ask.what} for ask in asks(state, alive=holder is not None)],
        "holder": holder,
        "requests": dict(state.requests),
        "untold": len([entry for entry in state.notices if entry.get("is") in ("failed", "unrouted")]),
        "changed_book": changed_book,
        "signed_off": state.signed_off,
    }


def _next(state: RunState, rows: Mapping[str, JSON]) -> JSON | None:
    """The step after the one that runs, or the stage after it."""
    if not state.open:
        return None
    ahead = [row for row in rows.values() if row["back"] == state.rolling_back]
    here = next((n for n, row in enumerate(ahead) if row["name"] == state.stage), -1)
    if here >= 0:
        if ahead[here]["status"] == "waiting":
            return _named(ahead[here], None)
        steps = ahead[here]["steps"]
        at = next((n for n, step in enumerate(steps) if step["id"] == state.step), -1)
        if 0 <= at < len(steps) - 1:
            return _named(ahead[here], steps[at + 1])
    for row in ahead[here + 1 :]:
        if row["status"] not in ("done", "skipped"):
            return _named(row, None)
    return None


def _named(row: JSON, step: JSON | None) -> JSON:
    return {"stage": row["name"], "step": step["id"] if step else None, "at": row["at"], "due": row["due"], "owner": row["owner"]}


def stages(state: RunState, books: Sequence[Book]) -> dict[str, JSON]:
    """Every stage in order: the way forward, then the way back once it began; what the runbook of today lacks comes at the end of each."""
    forward = next((book for book in books if book.name == (state.runbook or "golive")), None)
    planned = list(forward.stages) if forward else []
    rows = {stage.name: _stage(stage.name, stage, state, False) for stage in planned}
    for name in state.stages:
        if not name.startswith(BACK) and name not in rows:
            rows[name] = _stage(name, None, state, False)
    if state.rolling_back or any(name.startswith(BACK) for name in state.stages):
        back = next((book for book in books if book.name == "rollback"), None)
        for stage in back.stages if back else ():
            rows[BACK + stage.name] = _stage(BACK + stage.name, stage, state, True)
        for name in state.stages:
            if name.startswith(BACK) and name not in rows:
                rows[name] = _stage(name, None, state, True)
    for number, row in enumerate(rows.values()):
        row["n"] = number
    return rows


def _stage(name: str, planned: PlannedStage | None, state: RunState, back: bool) -> JSON:
    known = state.stages.get(name)
    here = state.open and state.stage == name
    steps = [(step.id, step.uses) for step in planned.steps] if planned else []
    seen = [key.partition("/")[2] for key in state.steps if key.partition("/")[0] == name]
    steps += [(step, "") for step in seen if step not in {id_ for id_, _ in steps}]
    status = known.status if known else "ahead"
    if status == "running" and not state.open:
        status = "ended"
    elif status == "running" and not here:
        status = "left"
    return {
        "name": name,
        "title": (planned.title if planned else "") or "",
        "back": back,
        "at": planned.at if planned else "",
        "due": known.due if known else None,
        "owner": (known.owner if known else None) or (planned.owner if planned else ""),
        "status": status,
        "began": known.began if known else None,
        "ended": known.ended if known else None,
        "here": here,
        "steps": [_step(id_, uses, state, name) for id_, uses in steps],
    }


def _step(id_: str, uses: str, state: RunState, stage: str) -> JSON:
    known = state.step_state(stage, id_)
    if known is None:
        return {"id": id_, "uses": uses, "status": "ahead", "verdict": None, "summary": "", "seconds": None, "attempt": 0, "until": None}
    status = known.status if state.open or known.status != "intended" else "interrupted"
    return {
        "id": id_,
        "uses": known.uses or uses,
        "status": status,
        "verdict": known.verdict,
        "summary": known.summary[:400],
        "seconds": round(known.seconds, 2) if known.ended else None,
        "attempt": known.attempt,
        "until": known.holding_until,
    }


def traffic(state: RunState) -> dict[str, JSON]:
    """Percent by version at each gateway, as the journal last saw it."""
    told = {}
    for gateway, weights in sorted(state.traffic.items()):
        shares: dict[str, float] = {}
        for release, percent in weights.items():
            name = version_of(release) or release
            shares[name] = shares.get(name, 0.0) + percent
        told[gateway] = {"shares": shares, "candidate": weights.get(state.release or "", 0.0)}
    return told


def approvals(state: RunState) -> JSON:
    """What people are asked now, with the command that answers, and what they answered."""
    asked = open_questions(state)
    return {
        "open": [_question(question) | _commands(state.env, question, len(asked)) for question in asked],
        "over": [_question(question) | {"ended": question["ended"]} for question in state.questions if question["ended"] is not None],
        "waivers": [
            {name: waiver.get(name) for name in ("stage", "step", "person", "role", "reason", "expires", "used")}
            for waiver in state.waivers
        ],
    }


def _question(question: Mapping[str, Any]) -> JSON:
    answers = [{name: answer.get(name) for name in ("person", "role", "decision", "comment", "at")} for answer in question["answers"]]
    told = {name: question.get(name) for name in ("stage", "step", "roles", "count", "expires", "not_by", "at")}
    return {**told, "answers": answers}


def _commands(env: str, question: Mapping[str, Any], asked: int) -> JSON:
    """Typed on the machine of whoever decides, with their own key: nothing here signs."""
    where = f" --stage {shlex.quote(str(question.get('stage')))}" if asked > 1 else ""
    base = f"--env {shlex.quote(env)}{where}"
    return {"approve": f"./inv approve {base}", "reject": f'./inv reject {base} --reason "WHY"'}


def rollback(state: RunState, time: Mapping[str, Any] | None, rows: Mapping[str, JSON]) -> JSON:
    """Whether there is a way back, what it was shown to take, and how far it is when it was begun."""
    back = state.rollback or {}
    possible = state.open and state.deployed and not state.final and not state.rolling_back
    return {
        "state": _way_back(state),
        "possible": possible,
        "command": f'./inv rollback --env {shlex.quote(state.env)} --reason "WHY"' if state.open and not state.rolling_back else None,
        "deployed": state.deployed,
        "exposed": state.exposed,
        "final": state.final,
        "most": state.max_candidate_weight,
        "rehearsed": state.rehearsed,
        "predicted": _predicted(time),
        "reason": back.get("reason"),
        "category": back.get("category"),
        "started": back.get("started"),
        "traffic_back_at": back.get("traffic_back_at"),
        "seconds_to_traffic_back": back.get("seconds_to_traffic_back"),
        "overruns": back.get("overruns") or [],
        "left": back.get("left") or [],
        "ended": back.get("ended"),
        "stages": [{"name": row["name"].removeprefix(BACK), "status": row["status"]} for row in rows.values() if row["back"]],
        "triggers": [
            {"at": trigger.get("at"), "source": trigger.get("source"), "reason": trigger.get("reason")} for trigger in state.triggers
        ],
        "guard": [{"at": acted.get("at"), "gateway": acted.get("gateway"), "reason": acted.get("reason")} for acted in state.guard],
    }


def _way_back(state: RunState) -> str:
    if state.run is None:
        return "none"
    if state.rollback and state.rollback.get("ended"):
        return "over"
    if state.rolling_back:
        return "under way" if state.open else "over"
    if state.final:
        return "gone"
    if not state.open:
        return "over"
    return "open" if state.deployed else "nothing to take back"


def _predicted(time: Mapping[str, Any] | None) -> JSON | None:
    if time is None:
        return None
    names = ("box", "measured_s", "predicted_s", "budget_s", "holds")
    boxes = [{name: box.get(name) for name in names} for box in time.get("boxes") or () if isinstance(box, Mapping)]
    return {"total_s": time.get("total_s"), "limit_s": time.get("limit_s"), "holds": bool(time.get("holds")), "boxes": boxes}
