"""One round on real hosts: a part of a go-live with a fault in it, then the operator's obvious next command until it is over."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from golive.chaos.clock import WallClock
from golive.chaos.lab_checks import after
from golive.chaos.lab_faults import FAULTS, Fault, Scene, named
from golive.chaos.lab_port import Operator, Seen, Stage
from golive.chaos.rounds import GOOD, Row
from golive.engine import Record, RunState
from golive.environment import Environment
from golive.errors import GoliveError
from golive.fleet.model import Fleet

__all__ = ["BAD", "Countdown", "LabRow", "Moment", "Plan", "drawn", "next_words", "struck"]

BAD = "3.0.1+defect.errors"
_COMMANDS = 8
_COMMAND_S = 420.0
_LOOK_S, _WATCH_S = 0.004, 0.1
_OVER = ("succeeded", "rolled-back", "aborted")
_DECIDED = ("stage.waiting", "step.intent", "step.outcome", "run.finished", "run.held", "rollback.started", "rollback.plan", "trigger")

_PARTS = {
    "ground": ("infrastructure", "infrastructure"),
    "deploy": ("deploy", "validate"),
    "canary": ("pre-deployment", "canary"),
}
"""From which stage until which a round goes; what then stands on hosts is taken back by the operator."""
_LENGTHS = {
    "infrastructure": 12,
    "pre-deployment": 10,
    "deploy": 24,
    "validate": 4,
    "canary": 8,
    "rollback:traffic-back": 3,
    "rollback:candidate-detached": 5,
    "rollback:candidate-out": 5,
    "rollback:verify": 4,
}
"""By stage, about how many records it has: the last of them may not come."""
_STEPS = {"infrastructure": 8, "pre-deployment": 4, "deploy": 4, "validate": 2, "canary": 2}


@dataclass(frozen=True)
class Moment:
    """``count`` records (``what`` step: beginnings of steps) after ``stage`` was started, and ``after_s`` later."""

    stage: str
    what: str
    count: int
    after_s: float = 0.0

    def __str__(self) -> str:
        later = f" and {self.after_s:.1f} s" if self.after_s else ""
        return f"{self.stage}+{self.count} {self.what}s{later}"


class Countdown:
    """Sees records, and says when the moment has come."""

    def __init__(self, moment: Moment) -> None:
        self._moment, self._left, self._begun = moment, moment.count, False

    def reached(self, seen: Sequence[Seen]) -> bool:
        for record in seen:
            if not self._begun:
                self._begun = record.kind == "stage.started" and record.stage == self._moment.stage
            elif self._moment.what == "record" or record.kind == "step.intent":
                self._left -= 1
        return self._left <= 0


@dataclass(frozen=True)
class Plan:
    """What is to happen in a round."""

    round: int
    kind: str
    at: Moment
    part: str
    candidate: str
    lasts_s: float
    seed: str

    @property
    def fault(self) -> Fault:
        return named(self.kind)


@dataclass
class LabRow(Row):
    """How a round went, with what only real hosts can say. Times in seconds."""

    resume_s: float | None = None
    """From the first record of the process typed after a kill until it had decided something."""
    traffic_back_s: float | None = None
    """From what sent the run back until the incumbent had everything."""
    rollback_s: float | None = None
    """From what sent the run back until it was rolled back."""
    sent_back_by: str = ""
    requests: int = 0
    nobody: int = 0
    said: list[str] = field(default_factory=list)
    """What was typed."""


def drawn(seed: int, number: int, *, kills_only: bool = False) -> Plan:
    """The plan of round ``number``: the same for the same seed. ``kills_only``: the controller is killed in every one."""
    rng = random.Random(f"lab/{seed}/{number}/{kills_only}")
    if kills_only:
        fault = rng.choice([fault for fault in FAULTS if fault.kills])
    else:
        fault = FAULTS[number - 1] if number <= len(FAULTS) else rng.choice(FAULTS)
    if fault.ground:
        part, stage = "ground", "infrastructure"
    else:
        part = "canary" if rng.random() < 0.3 else "deploy"
        forward = ["pre-deployment", "deploy", "canary"] if part == "canary" else ["deploy", "deploy", "validate"]
        back = [name for name in _LENGTHS if name.startswith("rollback:")]
        stage = rng.choice(forward) if rng.random() < 0.7 else rng.choice(back)
    candidate = BAD if part == "canary" and rng.random() < 0.4 else GOOD
    if fault.ground:
        at = Moment(stage, "step", fault.ground)
    elif fault.inside:
        at = Moment(stage, "step", rng.randint(1, _STEPS.get(stage, 2)), round(rng.uniform(0.0, 6.0), 2))
    elif fault.slow and stage.startswith("rollback:"):
        at = Moment("rollback:traffic-back", "record", 1)
    else:
        at = Moment(stage, "record", rng.randint(1, _LENGTHS[stage]))
    return Plan(number, fault.name, at, part, candidate, round(rng.uniform(*fault.lasts_s), 1), f"lab/{seed}/{number}")


def begin_words(env: str, plan: Plan) -> tuple[str, ...]:
    first, last = _PARTS[plan.part]
    return ("golive", "--env", env, "--release", plan.candidate, "--from", first, "--until", last)


def next_words(env: str, plan: Plan, state: RunState, stuck: bool) -> tuple[str, ...]:
    """What an operator types next: what the run says is to be done, in words that this round can type.

    ``stuck``: the run has said the same before, after what it said was done.
    """
    back = ("rollback", "--env", env, "--reason", "the round is over")
    held = state.held or {}
    if state.outcome == "held" and held.get("asked"):
        return back
    told = [words.split() for words in re.findall(r"`\./inv ([^`]+)`", str(held.get("do") or ""))]
    verbs = [words[0] for words in told]
    if stuck and not state.rolling_back and state.deployed:
        return back
    if state.outcome == "held" and verbs and verbs[0] == "rollback":
        return back
    return ("golive", "--env", env, "--until", _PARTS[plan.part][1])


def struck(env: Environment, fleet: Fleet, stage: Stage, plan: Plan, clock: WallClock) -> LabRow:
    """Plays one round. Whatever happens in it, nothing stays struck and no command of it lives on."""
    row = LabRow(plan.round, plan.kind, str(plan.at), "none", False, None, plan.candidate, False, 0)
    began, rng = time.monotonic(), random.Random(plan.seed)
    clock.set(0)
    whole = plan.fault.replaces or plan.fault.ground  # the machine itself is struck: one that serves no users directly
    agents = [host for host in fleet.agents if not (whole and (host.gateway or host.load))] or list(fleet.agents)
    scene = Scene(env, fleet, stage, rng, clock, rng.choice(agents))
    try:
        _Play(stage, plan, scene, row).through()
    except (OSError, TimeoutError, GoliveError) as error:
        row.wrong.append(f"{type(error).__name__}: {error}")
    finally:
        stage.mend()
        row.seconds = round(time.monotonic() - began, 1)
    row.wrong += scene.wrong
    row.ok = not row.wrong
    return row


class _Play:
    """A round under way."""

    def __init__(self, stage: Stage, plan: Plan, scene: Scene, row: LabRow) -> None:
        self._stage, self._plan, self._scene, self._row = stage, plan, scene, row
        self._countdown = Countdown(plan.at)
        self._struck_at: float | None = None
        self._lift: Callable[[], None] | None = None
        self._typed_after: float | None = None

    def through(self) -> None:
        stage, plan, row, fault = self._stage, self._plan, self._row, self._plan.fault
        seen = stage.appeared()
        first, since = (seen[-1].seq if seen else 0), time.time()
        first = max([first, stage.state().seq])
        before = stage.facts(None)
        if fault.prepare is not None:
            fault.prepare(self._scene)
        words, stuck, told = begin_words(stage.env_name, plan), False, None
        while row.commands < _COMMANDS:
            self._command(words)
            state = stage.state()
            if state.outcome in _OVER and not self._behind(state, first):
                break
            reason = (state.held or {}).get("reason") if state.outcome == "held" else None
            if reason is not None and reason == told and stuck:
                break  # it says the same again: nothing more that this operator could do
            stuck, told = reason is not None and reason == told, reason
            words = next_words(stage.env_name, plan, state, stuck)
        self._lifted()
        stage.mend()
        state, records = stage.state(), stage.records(first)
        time.sleep(0.5)
        now = stage.facts(since)
        row.end, row.requests, row.nobody = state.outcome, now.requests, now.nobody
        row.struck = self._struck_at is not None and not self._scene.missed
        row.wrong += after(
            state,
            records,
            before,
            now,
            may_hold=fault.replaces,
            may_lose=fault.may_lose,
            restarts=fault.restarts,
            replaced=fault.replaces,
            candidate_was_out=plan.part != "ground",
        )
        if plan.candidate != GOOD and state.outcome == "succeeded":
            row.wrong.append(f"{plan.candidate} went live")
        self._timed(state, records)

    def _behind(self, state: RunState, first: int) -> bool:
        """The last run is one from before the round: the command that was to begin one never did."""
        return state.seq <= first

    def _command(self, words: tuple[str, ...]) -> None:
        row, scene = self._row, self._scene
        clock = scene.clock if self._plan.fault.jumps and self._struck_at is None else None
        if self._struck_at is not None and self._typed_after is None:
            self._typed_after = time.time()
        controller = self._stage.type(words, clock)
        row.commands += 1
        row.said.append(" ".join(words))
        scene.controller, scene.words = controller, words
        end = time.monotonic() + _COMMAND_S
        try:
            while controller.status is None and time.monotonic() < end:
                self._look(controller)
                time.sleep(_LOOK_S if self._struck_at is None else _WATCH_S)
            if controller.status is None:
                row.wrong.append(f"`./inv {' '.join(words)}` did not end within {_COMMAND_S:.0f} s")
        finally:
            try:
                self._lifted()
            finally:
                controller.end()
        if not controller.killed and controller.status not in (0, 3, 4, 5, 6):
            row.wrong.append(f"`./inv {' '.join(words)}` ended with {controller.status}: {controller.said[:300]}")
        if controller.killed and self._plan.fault.kills:
            time.sleep(scene.rng.uniform(0.0, 4.0))

    def _look(self, controller: Operator) -> None:
        plan = self._plan
        if self._struck_at is None:
            if not self._countdown.reached(self._stage.appeared()):
                return
            end = time.monotonic() + plan.at.after_s
            while controller.status is None and time.monotonic() < end:
                time.sleep(_LOOK_S)
            if controller.status is not None:
                return
            self._struck_at = time.time()
            self._lift = plan.fault.strike(self._scene)
            if plan.fault.kills:
                controller.kill()
        elif self._lift is not None and time.time() > self._struck_at + plan.lasts_s:
            self._lifted()

    def _lifted(self) -> None:
        lift, self._lift = self._lift, None
        if lift is not None:
            lift()

    def _timed(self, state: RunState, records: list[Record]) -> None:
        row, since = self._row, self._typed_after if self._plan.fault.kills else self._struck_at
        if since is not None:
            decided = next((record for record in records if _at(record.at) >= since and record.kind in _DECIDED), None)
            if decided is not None and not self._plan.fault.jumps:  # records of a clock that jumps say no times
                row.recovery_s = round(_at(decided.at) - since, 2)
                first = next(record for record in records if _at(record.at) >= since)
                row.resume_s = round(_at(decided.at) - _at(first.at), 2) if self._plan.fault.kills else None
        back = state.rollback or {}
        row.sent_back_by = str(next((t.get("source") for t in state.triggers), ""))
        if back.get("breach_at"):
            row.traffic_back_s = back.get("seconds_to_traffic_back")
            if state.outcome == "rolled-back" and state.ended and not self._plan.fault.jumps:
                row.rollback_s = round(_at(state.ended) - _at(str(back["breach_at"])), 2)


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def interrupted(number: int, frame: object) -> None:
    """SIGTERM and SIGHUP end the rounds as Ctrl-C does: with everything lifted."""
    raise KeyboardInterrupt(signal.Signals(number).name)
