"""One round: a go-live with a fault in it, then the operator's obvious next command until it ends; then what has to be true."""

from __future__ import annotations

import functools
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from golive import engine, environment, journal_url
from golive.chaos.checks import after
from golive.chaos.controller import BUG, Controller, Place
from golive.chaos.faults import FAULTS, Fault, named
from golive.chaos.postgres import Postgres
from golive.engine import Record, RunState
from golive.environment import Environment
from golive.errors import GoliveError
from golive.lab import keys
from golive.sim import hosts_of
from golive.sim.guards import pass_time
from golive.verbs.abort import abort
from golive.verbs.golive import golive, runbooks
from golive.verbs.pause import pause
from golive.verbs.result import Result
from golive.verbs.resume import resume

__all__ = ["GOOD", "Plan", "Row", "drawn", "ground", "kill_points", "rehearsal", "resumed", "struck"]

GOOD = "3.0.0"
_BAD = ("3.0.1+defect.errors", "3.0.1+defect.corrupt", "3.0.1+defect.latency", "3.0.1+defect.crash")
_COMMANDS = 10
"""An operator who has typed the same command so often without an end has found a wrong end."""
_TIMEOUT_S = 600.0
_MOST_RECORDS = 5000
_EARLY = ("readiness", "infrastructure", "staging", "final-readiness", "pre-deployment", "deploy")
_BACK = ("rollback:traffic-back", "rollback:candidate-out", "rollback:verify")
_DECIDED = ("stage.waiting", "step.intent", "step.outcome", "run.finished", "run.held", "rollback.started", "rollback.traffic-back")


@dataclass(frozen=True)
class Plan:
    """What is to happen in a round."""

    round: int
    kind: str
    """Name of the fault."""
    at: Place
    lift: int
    """Records after which the fault is lifted, if the controller lives so long."""
    candidate: str
    seed: str

    @property
    def fault(self) -> Fault:
        return named(self.kind)


@dataclass
class Row:
    """How a round went."""

    round: int
    fault: str
    at: str
    end: str
    ok: bool
    recovery_s: float | None
    candidate: str = GOOD
    struck: bool = True
    commands: int = 1
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def drawn(seed: int, number: int) -> Plan:
    """The plan of round ``number``: the same for the same seed."""
    rng = random.Random(f"{seed}/{number}")
    candidate = GOOD if rng.random() < 0.6 else rng.choice(_BAD)
    fault = FAULTS[(number - 1) % len(FAULTS)] if number <= len(FAULTS) else rng.choice(FAULTS)
    forward = _stages()
    if fault.early:
        stages: Sequence[str] = [_EARLY[1]]
    else:
        stages = forward if candidate == GOOD else [*forward[: forward.index("half")], *_BACK]
    where = fault.stage or (None if fault.name == "kill terraform" else rng.choice(stages))
    count = 1 if fault.name == "kill terraform" else rng.randint(1, 12 if fault.what == "record" else 60)
    return Plan(number, fault.name, Place(where, fault.what, count), rng.randint(1, 12), candidate, f"{seed}/{number}")


@functools.cache
def _stages() -> tuple[str, ...]:
    return tuple(stage.name for stage in runbooks()[0].stages)


@contextmanager
def ground(hosts: str, directory: Path | None = None) -> Iterator[Path]:
    """A directory in memory, where there is room, with keys and signed releases for as many simulated hosts; gone afterwards."""
    fast = Path("/dev/shm")  # noqa: S108  # a directory of our own is made in it
    base = directory or (fast if os.access(fast, os.W_OK) else Path(tempfile.gettempdir()))
    root, before = Path(tempfile.mkdtemp(prefix="golive-chaos-", dir=base)), os.environ.get("GOLIVE_STATE")
    try:
        with _state(root / "template"):
            env = environment.load("lab", hosts)
            keys.ensure(env)
            runbooks()  # every controller is forked from here: what it needs is imported once, and not by each
            for version in (GOOD, *_BAD, env.settings.first_incumbent or "", env.settings.load_release):
                hosts_of(env).release(version)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)
        if before is None:
            os.environ.pop("GOLIVE_STATE", None)
        else:
            os.environ["GOLIVE_STATE"] = before


@contextmanager
def _state(root: Path) -> Iterator[None]:
    before = os.environ.get("GOLIVE_STATE")
    os.environ["GOLIVE_STATE"] = str(root)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("GOLIVE_STATE", None)
        else:
            os.environ["GOLIVE_STATE"] = before


class _Round:
    """A world of its own, and the commands that were typed in it."""

    def __init__(self, root: Path, hosts: str, name: str, candidate: str, *, made: bool = False) -> None:
        state = root / name
        if not made:
            shutil.copytree(root / "template", state, ignore=shutil.ignore_patterns("world", "runs", "journal*"))
        os.environ["GOLIVE_STATE"] = str(state)
        self.env: Environment = environment.load("lab", hosts)
        self.world = hosts_of(self.env).world
        self.candidate = candidate
        self.directory = state
        self.commands = 0
        self.bugs: list[str] = []
        self.database: Postgres | None = None

    def start(self, stops: tuple[Place, ...] = (), jump_s: float = 0.0) -> Controller:
        self.commands += 1
        return Controller(
            self.env, lambda: golive(self.env, release=self.candidate, quiet=True), self.directory / "controller.log", stops, jump_s
        )

    def typed(self, what: str) -> Controller:
        """Another operator's command, beside whatever goes on."""
        verbs: dict[str, Callable[[], Result]] = {
            "pause": lambda: pause(self.env, reason="chaos"),
            "resume": lambda: resume(self.env),
            "abort": lambda: abort(self.env, reason="chaos", quiet=True),
        }
        return Controller(self.env, verbs[what], self.directory / "other.log")

    def ended(self, controller: Controller) -> None:
        """Takes down what a controller may not have ended with."""
        if controller.status == BUG or (controller.status is not None and controller.status < 0 and controller.status != -9):
            self.bugs.append(f"a controller ended with {controller.status}: {controller.said[:300]}")

    def last(self) -> RunState:
        return engine.standing(self.env).last

    def records(self) -> list[Record]:
        return engine.open_journal(self.env).read() if engine.has_journal(self.env) else []

    @contextmanager
    def shared_journal(self) -> Iterator[None]:
        """The journal is in a PostgreSQL of this round's own."""
        self.database = Postgres()
        os.environ[journal_url.VARIABLE] = self.database.url
        try:
            yield
        finally:
            del os.environ[journal_url.VARIABLE]
            self.database.close()


def struck(root: Path, hosts: str, plan: Plan) -> Row:
    """Plays one round in a world of its own."""
    one = _Round(root, hosts, f"round-{plan.round}", plan.candidate)
    with one.shared_journal() if plan.fault.database else nullcontext():
        return _struck(one, plan)


def _struck(one: _Round, plan: Plan) -> Row:
    began = time.monotonic()
    rng, fault = random.Random(plan.seed), plan.fault
    was_struck, seen, wrong, before = False, 0, list[str](), ""
    lift: Callable[[], None] = lambda: None  # noqa: E731
    try:
        if fault.early:
            lift, was_struck = fault.strike(one.world, rng), True
        stops = () if fault.early else (plan.at,) if fault.types else (plan.at, Place(plan.at.stage, "record", plan.lift))
        jump_s = rng.choice((-3600.0, 3600.0, -30.0, 30.0)) if fault.jumps else 0.0
        controller = one.start(stops, jump_s)
        if controller.stopped(_TIMEOUT_S):
            was_struck, seen = True, len(one.records())
            lift = _strike(one, plan, controller, rng)
            if fault.kills:
                controller.kill()
            else:
                other = one.typed(fault.types) if fault.types else None
                controller.go_on()
                while other is not None:
                    other.stopped(_TIMEOUT_S)
                    one.ended(other)
                    other, before = (one.typed("resume") if fault.types == "pause" and before != "resume" else None), "resume"
                while controller.stopped(_TIMEOUT_S):
                    lift()
                    controller.go_on()
        one.ended(controller)
        if fault.kills:
            pass_time(one.world, rng.uniform(5, 90))
        state = _on(one, lift)
        one.world.directory.joinpath("kill-ansible").unlink(missing_ok=True)
        wrong += after(
            one.world,
            state,
            may_hold=fault.keeps_hold,
            may_abort=fault.types == "abort",
            may_lose=fault.kills_gateway or plan.candidate.endswith("crash"),
        )
        wrong += _expected(plan, state, was_struck)
        end = state.outcome
    except (TimeoutError, OSError, GoliveError) as error:
        wrong.append(f"{type(error).__name__}: {error}")
        end = "hung"
    wrong += one.bugs
    recovery = _recovery_s(one.records(), seen) if was_struck else None
    took = round(time.monotonic() - began, 2)
    if not wrong:
        shutil.rmtree(one.directory, ignore_errors=True)
    at = str(plan.at) if not fault.early else "its first play or plan"
    return Row(plan.round, fault.name, at, end, not wrong, recovery, plan.candidate, was_struck, one.commands, took, wrong)


def kill_points(root: Path, hosts: str, only: Container[int] | None = None) -> list[Path]:
    """One whole run of a good candidate, stopped at each of its journal records: what a kill -9 would leave there, as a directory each.

    A controller that is killed leaves nothing but files, so that a copy of them while it stands still is what another one would find.
    """
    one = _Round(root, hosts, "whole", GOOD)
    controller = one.start((Place(None, "record", 1),) * _MOST_RECORDS)
    left: list[Path] = []
    while controller.stopped(_TIMEOUT_S):
        left.append(root / f"left-{len(left) + 1}")
        if only is None or len(left) in only:
            shutil.copytree(one.directory, left[-1])
            (left[-1] / "at").write_text(repr(time.time()), encoding="ascii")
        controller.go_on()
    one.ended(controller)
    if one.bugs or one.last().outcome != "succeeded":
        raise GoliveError(f"A run without a fault ended {one.last().outcome}, so there is nothing to strike: {controller.said}")
    return left


def resumed(root: Path, hosts: str, number: int) -> Row:
    """What was left by a kill -9 at record ``number`` is gone on with, as by the operator's obvious next command."""
    began, left = time.monotonic(), root / f"left-{number}"
    one = _Round(root, hosts, left.name, GOOD, made=True)
    at = float((left / "at").read_text(encoding="ascii"))
    one.world.clock.set_back(time.time() - at)
    seen = len(one.records())
    one.commands = 1
    pass_time(one.world, random.Random(number).uniform(5, 90))
    wrong: list[str] = []
    try:
        state = _on(one, lambda: None)
        wrong += after(one.world, state, may_hold=False, may_lose=False)
        wrong += [f"a good candidate was not taken live: {state.outcome}"] if state.outcome != "succeeded" else []
        end = state.outcome
    except (TimeoutError, OSError, GoliveError) as error:
        wrong.append(f"{type(error).__name__}: {error}")
        end = "hung"
    wrong += one.bugs
    recovery, took = _recovery_s(one.records(), seen), round(time.monotonic() - began, 2)
    if not wrong:
        shutil.rmtree(left, ignore_errors=True)
    name = "kill -9 controller at a record"
    return Row(number, name, f"run+{number} records", end, not wrong, recovery, GOOD, True, one.commands, took, wrong)


def _strike(one: _Round, plan: Plan, controller: Controller, rng: random.Random) -> Callable[[], None]:
    if plan.fault.second:
        other = one.start()
        other.stopped(_TIMEOUT_S)
        one.commands -= 1
        if other.status != 5 and "locked" not in other.said:  # it may have been stopped in the middle of a write
            one.bugs.append(f"a second operator's command ended with {other.status}, not with 5 (occupied): {other.said[:200]}")
    if one.database is not None:
        one.database.kill()
        if rng.random() < 0.5:  # systemd starts it again; else the operator does
            one.database.starts(after_s=rng.uniform(0.0, 8.0))
        return one.database.up
    return plan.fault.strike(one.world, rng)


def _on(one: _Round, lift: Callable[[], None]) -> RunState:
    """The operator mends what was broken and types the same command until the run is over."""
    lift()
    state = one.last()
    while state.outcome not in ("succeeded", "rolled-back", "aborted") and one.commands < _COMMANDS:
        pass_time(one.world, 30.0)
        controller = one.start()
        controller.stopped(_TIMEOUT_S)
        one.ended(controller)
        before, state = state, one.last()
        if state.outcome == before.outcome == "held" and (state.held or {}).get("reason") == (before.held or {}).get("reason"):
            break  # it says the same again: nothing more that this operator could do
    return state


def _expected(plan: Plan, state: RunState, was_struck: bool) -> list[str]:
    if plan.candidate != GOOD and state.outcome == "succeeded":
        return [f"{plan.candidate} went live"]
    if plan.candidate == GOOD and (plan.fault.spares_run or not was_struck) and state.outcome == "rolled-back":
        return [f"a good candidate was rolled back: {(state.rollback or {}).get('reason')}"]
    return []


def _recovery_s(records: list[Record], seen: int) -> float | None:
    """Seconds of the world from the first record after the fault until the run had decided something."""
    later = records[seen:]
    if not later:
        return None
    stages = [record.kind for record in records[:seen] if record.kind.startswith("stage.")]
    # Who is killed while a stage is waited for has decided, once it is back, to go on waiting: that may take days, and is no recovery.
    kinds = (*_DECIDED, "fenced") if stages and stages[-1] == "stage.waiting" else _DECIDED
    decided = next((record for record in later if record.kind in kinds), later[-1])
    return round(max(0.0, _at(decided) - _at(later[0])), 2)


def _at(record: Record) -> float:
    return datetime.fromisoformat(record.at).timestamp()


def rehearsal(root: Path, hosts: str, seed: int) -> Row:
    """A whole run from T-7d to T+24h of a good candidate, with faults that strike one after the other; what it took, in real seconds."""
    began = time.monotonic()
    one, rng = _Round(root, hosts, "rehearsal", GOOD), random.Random(seed)
    planned = (
        ("kill -9 controller inside a step", "infrastructure", "command", 40),
        ("kill -9 controller at a record", "deploy", "record", 4),
        ("SIGSTOP for a minute", "canary", "record", 5),
        ("kill -9 controller at a record", "half", "record", 3),
        ("two operators", "full", "record", 2),
        ("kill -9 controller at a record", "sign-off", "record", 3),
    )
    seen = 0
    for name, stage, what, count in planned:
        place = Place(stage, what, count)
        controller = one.start((place,))
        if not controller.stopped(_TIMEOUT_S):
            one.bugs.append(f"{name} did not strike at {place}: {controller.said[:200]}")
            break
        seen = len(one.records())
        _strike(one, Plan(0, name, place, 1, GOOD, str(seed)), controller, rng)()
        # Whether the fault kills or not, the next one wants a controller that counts anew; a crash is what it gets over most often.
        controller.kill()
        pass_time(one.world, 20.0)
    state = _on(one, lambda: None)
    wrong = [*one.bugs, *after(one.world, state, may_hold=False, may_lose=False)]
    if state.outcome != "succeeded":
        wrong.append(f"the rehearsal ended {state.outcome}: {(state.rollback or {}).get('reason')}")
    took = round(time.monotonic() - began, 2)
    names = ", ".join(name for name, *_ in planned)
    return Row(0, names, "T-7d..T+24h", state.outcome, not wrong, _recovery_s(one.records(), seen), GOOD, True, one.commands, took, wrong)
