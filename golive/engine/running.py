"""One run in the hands of this process: its journal, its lease, its state, and what may interrupt it."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from golive.actions.port import Finding, Findings, Found, StepContext, StepStopped, Stop
from golive.engine import control
from golive.engine.chain import plain
from golive.engine.confidential import cleaned
from golive.engine.fold import RunState, advance
from golive.engine.interruptions import Breach, Interrupted
from golive.engine.journal import Journal, Record, SecretRefused
from golive.engine.lease import Lease, LeaseLost
from golive.engine.paging import Paging
from golive.engine.ports import Ports, Trigger
from golive.engine.process import Process
from golive.engine.store import Store
from golive.errors import GoliveError, Occupied
from golive.runbook.clock import Clock, Pace

__all__ = ["Breach", "Interrupted", "Live"]

JSON = dict[str, Any]

_ENGINES_OWN = (
    *("run.", "stage.", "step.", "rollback.", "request.", "process.", "lease.", "journal.", "fence", "trigger", "bug", "leftovers"),
    *("approval.given", "approval.rejected", "approval.refused", "waiver.", "skip."),
)
"""Beginnings of kinds that only the engine writes."""


@dataclass
class Live:
    """A run that this process works on. ``append`` is the only way anything becomes true."""

    env: Any
    run: str
    store: Store
    journal: Journal
    lease: Lease
    state: RunState
    ports: Ports
    pace: Pace
    tell: Callable[[str, JSON], None]
    signal: str = ""
    """Name of the signal that was received; set by a signal handler."""
    stage_deadline: float | None = None
    """Monotonic end of the running stage's budget."""
    breached: float | None = None
    """Monotonic time at which what sends the run back was seen; None when this process did not send it back."""
    unfenced: bool = False
    """Hosts did not take the token, and a step that is still to come makes them answer."""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _looked: float = 0.0
    _watching: int = 0
    """Token under which the watchers look; 0 while they do not."""
    _facts: dict[str, list[JSON]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.paging = Paging(self)

    @property
    def clock(self) -> Clock:
        return self.ports.clock

    @property
    def name(self) -> str:
        return str(self.env.name)

    def append(self, kind: str, data: Mapping[str, Any], stage: str | None = None, step: str | None = None) -> Record:
        """Journals one record and takes it into the state; durable when it returns.

        A record of the engine's own is never lost over what a host or an action said in it: what looks like a secret is taken out, and
        the record says where. A fact of an action's own is refused: without a part of it, it may say something else.
        """
        with self._lock:
            try:
                record = self.journal.append(kind, data, self.run, stage, step)
            except SecretRefused:
                if not kind.startswith(_ENGINES_OWN):
                    raise
                clean, removed = cleaned(plain(data))
                record = self.journal.append(kind, {**clean, "removed": removed}, self.run, stage, step)
            self.take(record)
        self.say(kind, {**record.data, "stage": stage, "step": step})
        return record

    def take(self, record: Record) -> None:
        """Takes a record that is in the journal already into the state."""
        advance(self.state, record)
        self._facts.setdefault(record.kind, []).append({**record.data, "at": record.at, "stage": record.stage, "step": record.step})

    def say(self, kind: str, data: JSON) -> None:
        """Tells the views. A view that breaks does not break the run."""
        with contextlib.suppress(Exception):
            self.tell(kind, data)

    def bug(self, error: BaseException, stage: str | None = None, step: str | None = None) -> None:
        """Journals an error that no one raised on purpose."""
        text = "".join(traceback.format_exception(error))[-8000:]
        try:
            self.append("bug", {"error": f"{type(error).__name__}: {error}", "traceback": text}, stage, step)
        except (TypeError, ValueError):
            self.append("bug", {"error": type(error).__name__}, stage, step)

    def context(self, stage: str, step: str, params: Mapping[str, Any], attempt: int) -> tuple[StepContext, Callable[[], None]]:
        """What a step may use, and a function after which it can no longer write: for steps that were given up.

        ``workdir`` is named, not made: whoever makes it says what a full disk means.
        """
        closed = threading.Event()
        running: dict[int, Process] = {}

        def record(kind: str, data: JSON) -> None:
            if closed.is_set():
                raise StepStopped("the step was given up; what it does no longer counts")
            self.append(kind, data, stage, step)

        def note(kind: str, data: JSON) -> None:
            if kind.startswith(_ENGINES_OWN):
                raise ValueError(f"an action cannot journal {kind!r}: such records are the engine's own")
            record(kind, data)

        def began(pid: int, what: str) -> None:
            process = Process.of(pid, what)
            if process is not None:
                running[pid] = process
                record("process.started", process.to_json())

        def ended(pid: int) -> None:
            process = running.pop(pid, None)
            if process is not None:
                record("process.ended", {"pid": pid, "start": process.start, "host": process.host})

        def facts(kind: str) -> list[JSON]:
            with self._lock:
                return [dict(fact) for fact in self._facts.get(kind, ())]

        workdir = self.env.state / "runs" / self.run / (step or "run")
        context = StepContext(
            env=self.env,
            fleet=self.ports.fleet,
            run=self.run,
            stage=stage,
            step=step,
            token=self.lease.token,
            candidate=self.state.release or "",
            incumbent=self.state.incumbent,
            load=self.state.load or "",
            params=params,
            clock=self.clock,
            workdir=workdir,
            note=note,
            facts=facts,
            tell=self.say,
            pace=self.pace,
            attempt=attempt,
            stop=Stop(),
            mark=f"{self.name}/{self.run}/{self.lease.token}",
            began=began,
            ended=ended,
            head=lambda: self.journal.head().hash,
            ensure=self.lease.ensure,
            keep=lambda content: self.store.keep(self.name, content),
            kept=lambda sha256: self.store.kept(self.name, sha256),
        )
        return context, closed.set

    def look(self) -> Exception | None:
        """What interrupts the run now, if anything does: a lost lease, a signal, a request, a watcher. Cheap; asked often."""
        if self.lease.lost:
            return LeaseLost(f"The lease of environment {self.name} was lost ({self.lease.lost}); this process stops.")
        if self.signal:
            return Interrupted(self.signal)
        now = time.monotonic()
        if now - self._looked < self.ports.timing.look_s:
            return None
        self._looked = now
        self.paging.look()
        asked = control.take(self)
        if asked is not None:
            return asked
        seen = self._seen()
        return Breach(seen) if seen is not None else None

    def stand(self) -> float:
        """Returns when the run is not paused; says for how many seconds it stood. Raises what interrupts, as any other wait."""
        interruption = self.look()
        if interruption is not None:
            raise interruption
        begun = self.clock.monotonic()
        if self.state.paused is not None:
            self.say("run.standing", dict(self.state.paused))
        while self.state.paused is not None:
            self.wait(self.ports.timing.look_s)
        return self.clock.monotonic() - begun

    def wait(self, seconds: float) -> None:
        """Waits monotonic time. Raises what interrupts."""
        self._wait(lambda stop: self.clock.sleep(seconds, stop))

    def wait_until_due(self, due: Any) -> None:
        """Waits for a wall time. Raises what interrupts."""
        self._wait(lambda stop: self.clock.wait_until(due, stop))

    def stop_watchers(self) -> None:
        if self._watching:
            self._watching = 0
            for watcher in self.ports.watchers:
                with contextlib.suppress(Exception):
                    watcher.stop()

    def end_leftovers(self) -> None:
        """No process that an earlier token of this run started is alive on this machine when this returns."""
        ended = self.ports.leftovers.end(self.name, self.run, self.lease.token, self.state.left)
        for process in self.state.left:
            if process.alive is False:
                self.append("process.ended", {"pid": process.pid, "start": process.start, "host": process.host})
        if ended:
            self.append("leftovers.ended", {"what": list(ended)})

    def fence(self) -> Findings:
        """Raises the token on the hosts; returns those that did not take it. Journaled."""
        try:
            found = self.ports.fence(self.lease.token, self.run)
        except Occupied:
            raise
        except GoliveError as error:
            found = {error.host or "environment": Finding(Found.UNKNOWN, str(error))}
        silent = {target: finding for target, finding in found.items() if finding.found is not Found.DONE}
        reasons = {target: finding.reason for target, finding in silent.items()}
        self.append("fenced", {"token": self.lease.token, "hosts": sorted(found), "silent": reasons})
        return silent

    def seconds(self, duration: timedelta) -> float:
        """A hold of the runbook, at this run's pace."""
        return self.pace.hold(duration).total_seconds()

    def _wait(self, wait: Callable[[Callable[[], bool]], bool]) -> None:
        found: list[Exception] = []

        def stop() -> bool:
            cause = self.look()
            if cause is not None:
                found.append(cause)
            return cause is not None

        wait(stop)
        if found:
            raise found[0]

    @property
    def irreversible(self) -> str:
        """Why this run cannot go back; empty when it can."""
        if self.state.already_live:
            return "the release was live before this run; there is nothing to go back to"
        if self.state.final:
            return "the incumbent is being retired since sign-off; take the release to use next live with `./inv golive --release`"
        return ""

    def _seen(self) -> Trigger | None:
        state = self.state
        if not state.exposed:
            self.stop_watchers()  # a drill is over: who looks at the next exposure starts with it
        if not state.exposed or state.rolling_back or state.already_live or state.final:
            return None
        if self._watching != self.lease.token:
            self.stop_watchers()  # what they say to hosts under an older token is refused
        for watcher in self.ports.watchers if not self._watching else ():
            context, _ = self.context(state.stage or "", "", {}, 1)
            try:
                context.workdir.mkdir(parents=True, exist_ok=True, mode=0o700)
                watcher.start(context)
            except Exception as error:
                return Trigger(watcher.name, f"{watcher.name} could not start to look: {error}")
        self._watching = self.lease.token
        for watcher in self.ports.watchers:
            try:
                trigger = watcher.poll()
            except Exception as error:
                trigger = Trigger(watcher.name, f"{watcher.name} can no longer look: {error}")
            if trigger is not None:
                return trigger
        return None
