"""People with real SSH keys around the engine's simulated world: an approvers file, a run that asks them, and their answers."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from engine_world import NEW, OLD, ROLLBACK, TIMING, World, actions, environment
from golive import approvals, engine
from golive.actions import approval_required, notify_send
from golive.approvals import Question, Statement
from golive.engine.process import owner
from golive.environment import Environment
from golive.errors import GoliveError
from golive.runbook import Pace, RealClock, parse

MANIFEST = "c" * 64
ROLES = {"alice": ["technical-lead"], "bob": ["technical-lead", "operations-manager"], "carol": ["operations-manager"], "dave": ["qa-lead"]}

ASKS = """
runbook: golive
stages:
  - stage: go
    at: T-1d
    owner: qa-lead
    steps:
      - {id: look, uses: sim.watch, with: {for: 1m}}
      - {id: approved, uses: approval.required, with: {role: technical-lead, expires: 1h, evidence: [look]}}
  - stage: deploy
    at: T-0
    owner: devops-engineer
    steps:
      - {id: installed, uses: sim.install, with: {release: candidate}}
  - stage: canary
    at: +60m
    owner: technical-lead
    steps:
      - {id: shift-10, uses: sim.shift, with: {candidate: 10}}
"""


class People:
    """Keys and the approvers file of environment ``sim`` under ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys = {name: self.key(name) for name in (*ROLES, "mallory")}
        self.listed: list[dict[str, Any]] = [
            {"person": name, "roles": roles, "keys": [self.public(name)], "accounts": [owner()] if name == "dave" else []}
            for name, roles in ROLES.items()
        ]
        self.write()

    def key(self, name: str) -> Path:
        path = self.root / "people" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
        return path

    def public(self, name: str) -> str:
        return self.keys[name].with_suffix(".pub").read_text().strip()

    def entry(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self.listed if entry["person"] == name)

    @property
    def file(self) -> Path:
        return self.root / "inventories" / "sim" / "approvers.yaml"

    def write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Whole, as the run that waits may read it at any moment: half a list holds it.
        fresh = self.file.with_suffix(".fresh")
        fresh.write_text(yaml.safe_dump({"approvers": self.listed}))
        fresh.replace(self.file)

    def sealed(
        self, name: str, question: Question, decision: str = "approve", role: str = "technical-lead", **changed: Any
    ) -> dict[str, str]:
        """What ``name`` signs about ``question``, with ``changed`` fields."""
        statement = question.answered(decision, role, datetime.now(UTC))  # type: ignore[arg-type]
        if changed:
            statement = Statement.model_validate({**statement.model_dump(), **changed})
        return approvals.sealed(statement, self.keys[name])


def question(env: Environment | None = None) -> Question | None:
    """The question that the last run waits for."""
    found = engine.open_questions(engine.state(env or environment()))
    return Question.of(found[-1]) if found else None


def go_asking(world: World, text: str = ASKS, *, env: Environment | None = None, **given: Any) -> engine.RunState:
    """One `golive` of a runbook that asks."""
    env = env or environment()
    known = {**actions(world), "approval.required": approval_required.ApprovalRequired(), "notify.send": notify_send.NotifySend()}
    ports = engine.Ports(fence=world.fence, actions=known, timing=given.pop("timing", TIMING), **given.pop("ports", {}))
    return engine.run(
        env,
        parse(text, known),
        parse(ROLLBACK, known),
        candidate=NEW,
        incumbent=OLD,
        pace=Pace.named("rehearsal", env.policy),
        ports=ports,
        **given,
    )


def while_asked(answer: Callable[[Question], None], run: Callable[[], engine.RunState]) -> engine.RunState:
    """What ``run()`` returns, with ``answer`` called once for each question as soon as it is open."""
    over, seen, wrong = threading.Event(), set(), []

    def watch() -> None:
        while not over.wait(0.03):
            try:
                asked = question()
            except GoliveError:
                continue
            if asked is not None and asked.nonce not in seen:
                seen.add(asked.nonce)
                try:
                    answer(asked)
                except Exception as error:
                    wrong.append(error)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        return run()
    finally:
        over.set()
        thread.join()
        assert not wrong, wrong


def records(kind: str) -> list[engine.Record]:
    return [record for record in engine.open_journal(environment()).read() if record.kind == kind]


def tries(step: str = "approved") -> int:
    """How often ``step`` was begun: by then its probe has said that it is not done."""
    return sum(1 for record in records("step.intent") if record.step == step)


def until(true: Callable[[], bool], what: str, timeout_s: float = 90) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


def interrupted_when(true: Callable[[], bool], what: str) -> None:
    """Ends this process's run, as an operator would, when ``true()``. Only while one runs: nothing else takes the signal."""
    until(true, what)
    os.kill(os.getpid(), signal.SIGTERM)


class Later:
    """The real clock, set forward."""

    def __init__(self, minutes: float) -> None:
        self._more = timedelta(minutes=minutes)
        self._real = RealClock()

    def now(self) -> datetime:
        return self._real.now() + self._more

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def left(envelope: dict[str, str], kind: str = "approval") -> None:
    """Leaves ``envelope`` for the run, as anyone could who can write the database."""
    engine.request(environment(), kind, "as said", envelope)
