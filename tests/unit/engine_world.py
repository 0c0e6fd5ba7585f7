"""A world for engine tests: simulated hosts in one append-only file, simulated actions, and points at which the controller is killed.

Every effect on a host is one line; a host's state is what its lines say. A kill is ``os._exit`` in a forked process: nothing is
flushed, released or journaled on the way out, as with SIGKILL.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import json
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from golive import engine
from golive.actions.port import Finding, Findings, Found, Outcome, Reach, StepContext, complete
from golive.engine.journal import SqlJournal
from golive.environment import Environment, Settings
from golive.errors import Refused
from golive.gates.verdict import Verdict
from golive.runbook import Duration, Pace, Runbook, parse

KILLED = 137
LONGEST_S = 100.0
"""Of a child process: less than a test may take, so that it is the child which is ended."""
OLD, NEW = "2.9.0-aaaaaaaaaaaa", "3.0.0-bbbbbbbbbbbb"
HOSTS = ("ams-1", "nyc-1", "sgp-1")

GOLIVE = """
runbook: golive
stages:
  - {stage: prepare, at: T-1d, owner: qa-lead, converge: true, steps: [{id: base, uses: sim.base}, {id: look, uses: sim.check}]}
  - stage: deploy
    at: T-0
    owner: devops-engineer
    steps:
      - {id: installed, uses: sim.install, with: {release: candidate}}
      - {id: active, uses: sim.activate, with: {release: candidate}}
  - stage: canary
    at: +60m
    owner: technical-lead
    steps:
      - {id: shift-10, uses: sim.shift, with: {candidate: 10}}
      - {id: watch-10, uses: sim.watch, with: {for: 10m}, on: {fail: rollback, inconclusive: hold 20m then rollback}}
  - stage: half
    at: +75m
    owner: technical-lead
    steps:
      - {id: shift-50, uses: sim.shift, with: {candidate: 50}}
      - {id: watch-50, uses: sim.watch, with: {for: 10m}, on: {fail: rollback, inconclusive: hold 20m then rollback}}
  - stage: full
    at: +90m
    owner: technical-lead
    steps:
      - {id: shift-100, uses: sim.shift, with: {candidate: 100}}
  - stage: sign-off
    at: +24h
    owner: technical-lead
    steps:
      - {id: retired, uses: sim.retire}
"""

ROLLBACK = """
runbook: rollback
stages:
  - {stage: traffic-back, at: +0m, owner: technical-lead, steps: [{id: shift-0, uses: sim.shift, with: {candidate: 0}}]}
  - {stage: candidate-out, at: +0m, owner: devops-engineer, steps: [{id: stopped, uses: sim.deactivate}, {id: serves, uses: sim.check}]}
"""


@dataclass
class World:
    """Hosts under ``directory``, seen and changed by whatever process. ``kill_at`` n: the n-th point ends this process."""

    directory: Path
    kill_at: int = 0
    verdicts: dict[str, list[str]] = field(default_factory=dict)
    """Per watch step, the verdict of its 1st, 2nd, ... try over all processes; the last one stays."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Hosts that do not answer, and why."""
    during: dict[str, Callable[[StepContext], None]] = field(default_factory=dict)
    """Per step, something that happens inside its apply."""
    points: int = 0

    def point(self) -> None:
        """A place where the controller may die."""
        self.points += 1
        if self.points == self.kill_at:
            os._exit(KILLED)

    def lines(self) -> list[dict[str, Any]]:
        path = self.directory / "world.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def effects(self) -> list[tuple[str, str]]:
        """Host and effect, in order; looks and fences left out."""
        return [(line["host"], line["effect"]) for line in self.lines() if not line["effect"].startswith(("fence", "try:"))]

    def did(self, host: str, effect: str) -> bool:
        return (host, effect) in self.effects()

    def weight(self, host: str) -> int:
        shifts = [int(effect.partition(":")[2]) for name, effect in self.effects() if name == host and effect.startswith("weight:")]
        return shifts[-1] if shifts else 0

    def change(self, host: str, effect: str, token: int) -> None:
        """One effect on one host, under the host's own lock and fence. The point after it: done, and no one was told."""
        with (self.directory / "world.jsonl").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            highest = max((line["token"] for line in self.lines() if line["host"] == host), default=0)
            if token < highest:
                raise Refused(f"{host}: token {token} is older than {highest}", host=host)
            os.write(file.fileno(), (json.dumps({"host": host, "effect": effect, "token": token}) + "\n").encode())
        self.point()

    def fence(self, token: int, run: str) -> Findings:
        for host in HOSTS:
            if host not in self.unknown:
                self.change(host, "fence", token)
        return {host: Finding(Found.UNKNOWN, self.unknown[host]) if host in self.unknown else Finding(Found.DONE) for host in HOSTS}

    def verdict(self, step: str, token: int) -> Verdict:
        tries = sum(1 for line in self.lines() if line["effect"] == f"try:{step}")
        self.change("controller", f"try:{step}", token)
        listed = self.verdicts.get(step, ["PASS"])
        return Verdict(listed[min(tries, len(listed) - 1)])


def actions(world: World) -> dict[str, Any]:
    """The simulated actions over ``world``, by name."""

    class Base:
        budget = timedelta(seconds=20)
        reached = Reach.NONE

        def reach(self, params: Mapping[str, Any]) -> Reach:
            return self.reached

        def effect(self, ctx: StepContext) -> str:
            return type(self).__name__

        def found(self, ctx: StepContext, host: str) -> Finding:
            return Finding(Found.DONE if world.did(host, self.effect(ctx)) else Found.ABSENT, "as the host says")

        def probe(self, ctx: StepContext) -> Findings:
            silent = {host: Finding(Found.UNKNOWN, why) for host, why in world.unknown.items()}
            return {host: silent.get(host) or self.found(ctx, host) for host in HOSTS}

        def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
            world.during.get(ctx.step, lambda _: None)(ctx)
            for host in todo:
                if host in world.unknown:
                    return Outcome(Verdict.ERROR, f"{host} does not answer")
                ctx.check()
                world.change(host, self.effect(ctx), ctx.token)
            return Outcome(Verdict.PASS, f"{len(todo)} hosts", changed=len(todo))

        def undo(self, ctx: StepContext) -> Outcome:
            return Outcome(Verdict.PASS, "nothing")

    class SimBase(Base):
        pass

    class SimGround(Base):
        """Makes the hosts that do not answer."""

        grounds = True

        def probe(self, ctx: StepContext) -> Findings:
            return {host: Finding(Found.ABSENT if host in world.unknown else Found.DONE, "as it is declared") for host in HOSTS}

        def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
            world.during.get(ctx.step, lambda _: None)(ctx)
            for host in todo:
                world.unknown.pop(host, None)
                world.change(host, "made", ctx.token)
            return Outcome(Verdict.PASS, f"{len(todo)} hosts made", changed=len(todo))

    class SimCheck(Base):
        def probe(self, ctx: StepContext) -> Findings:
            return {"environment": Finding(Found.ABSENT, "a check is done anew")}

        def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
            world.during.get(ctx.step, lambda _: None)(ctx)
            return Outcome(Verdict.PASS, "looked")

    class OfRelease(Base):
        reached = Reach.CANDIDATE

        class Params(BaseModel):
            release: str

        def effect(self, ctx: StepContext) -> str:
            return f"{type(self).__name__}:{ctx.candidate}"

    class SimInstall(OfRelease):
        verify = True

    class SimActivate(OfRelease):
        verify = True

    class SimRetire(Base):
        reached = Reach.FINAL

    class SimDeactivate(Base):
        pass

    class SimOver(SimCheck):
        """The drill's way back was verified, as ``rehearsal.finish`` journals it."""

        def probe(self, ctx: StepContext) -> Findings:
            recorded = bool(ctx.facts("rehearsal.finished"))
            return {"environment": Finding(Found.DONE if recorded else Found.ABSENT, "recorded")}

        def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
            ctx.note("rehearsal.finished", {"hosts": len(HOSTS)})
            return Outcome(Verdict.PASS, "the drill is over")

    class SimShift(Base):
        reached = Reach.TRAFFIC
        verify = True

        class Params(BaseModel):
            model_config = ConfigDict(extra="forbid")
            candidate: int = Field(ge=0, le=100)

        def effect(self, ctx: StepContext) -> str:
            return f"weight:{ctx.params['candidate']}"

        def found(self, ctx: StepContext, host: str) -> Finding:
            now = world.weight(host)
            done = Found.DONE if now == ctx.params["candidate"] else Found.ABSENT
            return Finding(done, f"{now} %", {"weights": {ctx.candidate: now, ctx.incumbent or "none": 100 - now}})

    class SimWatch(Base):
        watch = True
        budget = timedelta(hours=4)

        class Params(BaseModel):
            model_config = ConfigDict(extra="forbid")
            duration: Duration = Field(alias="for")

        def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
            world.during.get(ctx.step, lambda _: None)(ctx)
            verdict = world.verdict(ctx.step, ctx.token)
            ctx.sleep(ctx.pace.watch(ctx.params["for"]).total_seconds())
            ctx.note("gate", {"gate": ctx.step, "verdict": verdict.value, "n": 100})
            return Outcome(verdict, f"watched: {verdict.value}")

    kinds = (SimBase, SimGround, SimCheck, SimInstall, SimActivate, SimRetire, SimDeactivate, SimOver, SimShift, SimWatch)
    return {f"sim.{kind.__name__.removeprefix('Sim').lower()}": complete(kind)() for kind in kinds}


def environment() -> Environment:
    settings = Settings(
        kind="lab", policy="lab", terraform="lab", release="3.0.0", load_release="3.0.0", load_rate_per_s=1, pace="rehearsal"
    )
    policy = {"rehearsal": {"scale": 0.0001, "longest_watch_s": 0.02, "longest_wait_s": 0.01}}
    return Environment(name="sim", settings=settings, policy=policy)


TIMING = engine.Timing(
    tick_s=0.002, look_s=0.005, grace_s=0.5, breach_grace_s=0.2, retry_s=0.005, longest_retry_s=0.01, lease_beat_s=0.2, answer_s=5
)


def books(world: World, golive: str = GOLIVE, rollback: str = ROLLBACK) -> tuple[Runbook, Runbook]:
    return _parsed(golive), _parsed(rollback)


@functools.cache
def _parsed(text: str) -> Runbook:
    return parse(text, actions(World(Path())))


def go(world: World, *, golive: str = GOLIVE, rollback: str = ROLLBACK, **given: Any) -> engine.RunState:
    """One `golive` in this process."""
    forward, back = books(world, golive, rollback)
    env = environment()
    ports = {"fence": world.fence, "actions": actions(world), "timing": TIMING, **given.pop("ports", {})}
    arguments = {"candidate": NEW, "incumbent": OLD, "pace": Pace.named("rehearsal", env.policy), **given}
    return engine.run(env, forward, back, ports=engine.Ports(**ports), **arguments)


def back(world: World, reason: str = "outage", **given: Any) -> engine.RunState:
    """One `rollback` by hand in this process."""
    env = environment()
    ports = engine.Ports(fence=world.fence, actions=actions(world), timing=TIMING, **given)
    return engine.rollback(env, books(world)[1], reason=reason, pace=Pace.named("rehearsal", env.policy), ports=ports)


def abort(world: World, reason: str = "not today", **given: Any) -> engine.RunState:
    """One `abort` in this process."""
    env = environment()
    ports = engine.Ports(fence=world.fence, actions=actions(world), timing=TIMING, **given)
    return engine.abort(env, books(world)[1], reason=reason, pace=Pace.named("rehearsal", env.policy), ports=ports)


def pause(world: World, reason: str = "lunch") -> engine.RunState:
    """One `pause` in this process."""
    return engine.pause(environment(), reason=reason, ports=engine.Ports(actions=actions(world), timing=TIMING))


def resume(world: World, reason: str = "back") -> engine.RunState:
    """One `resume` in this process."""
    return engine.resume(environment(), reason=reason, ports=engine.Ports(actions=actions(world), timing=TIMING))


def forked(body: Callable[[], Any]) -> int:
    """Runs ``body`` in a child process; its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(begun(body), 0)[1])


def begun(body: Callable[[], Any]) -> int:
    """The pid of a child process that runs ``body`` and ends, whatever happens: it never goes on with the tests, nor stands for ever."""
    pid = os.fork()
    if pid == 0:
        try:
            # A lock that another thread held while this was forked is never let go.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
            body()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    return pid


def kill_at_records(world: World) -> None:
    """After every record that this process writes is a point, too. Only for use in a forked child."""
    original = SqlJournal.append

    def append(self: SqlJournal, *args: Any, **kwargs: Any) -> Any:
        record = original(self, *args, **kwargs)
        world.point()
        return record

    SqlJournal.append = append  # type: ignore[method-assign]


def killed_at(world: World, point: int, command: Callable[[World], Any] = go) -> bool:
    """Runs ``command`` in a process that is killed at ``point``; False when it ended before it came to that point."""

    def body() -> None:
        world.points, world.kill_at = 0, point
        kill_at_records(world)
        command(world)

    status = forked(body)
    assert status in (0, KILLED), status
    return status == KILLED


def each_point(make: Callable[[int], World], command: Callable[[World], Any] = go) -> Any:
    """(point, world) for every point of ``command``, each in a fresh world where it was killed there."""
    for point in itertools.count(1):
        world = make(point)
        if not killed_at(world, point, command):
            assert point > 20, "the command has too few points to prove anything"
            return
        yield point, world
