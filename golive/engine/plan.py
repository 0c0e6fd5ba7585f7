"""A dry run: every step in order, who answers for it, when it is due, and what it says that it would do. Changes nothing.

It takes no lease and writes no record, so it may be asked while a run goes on; what it says is of this moment.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from golive.actions.port import Action, StepContext
from golive.engine.api import Standing, known_stages
from golive.engine.ports import Ports
from golive.environment import Environment
from golive.errors import GoliveError, Unprepared
from golive.runbook import Pace, Runbook, Stage, Step

__all__ = ["Planned", "plan"]

JSON = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """One step of a dry run."""

    stage: str
    step: str
    uses: str
    owner: str
    due: datetime | None
    """None: at once, as for a release that is live already."""
    on: JSON
    """What follows a verdict that is no PASS, as the runbook says it."""
    lines: list[str] = field(default_factory=list)
    """What it would do or ask."""
    passed: bool = False
    """It passed already in the run that is not over."""
    later: str = ""
    """What has to be there before anything can be told."""
    trouble: str = ""
    """Why it cannot be told what the step would do."""

    def to_json(self) -> JSON:
        due = self.due.isoformat(timespec="seconds") if self.due is not None else None
        return {**vars(self), "due": due}


def plan(
    environment: Environment,
    runbook: Runbook,
    standing: Standing,
    *,
    candidate: str,
    incumbent: str | None,
    load: str,
    pace: Pace,
    ports: Ports,
    workdir: Path,
    facts: dict[str, list[JSON]],
    from_stage: str | None = None,
    until_stage: str | None = None,
) -> Iterator[Planned]:
    """Yields a row for every step that a `golive` with the same arguments would come to now.

    Args:
        environment: whose hosts are looked at.
        runbook: the way forward.
        standing: where the environment stands; a run that is not over goes on.
        candidate, incumbent, load: release ids.
        pace: for due times and the lengths of watches.
        ports: actions, clock and fleet.
        workdir: where actions may write, away from everything of the environment.
        facts: what the run that is not over has journaled, by kind.
        from_stage: what comes before it is left out.
        until_stage: what comes after it is left out.

    Raises BadInput for a stage that is none.
    """
    names = known_stages(runbook, from_stage, until_stage)
    last = standing.last
    going_on = last if last.open else None
    already_live = going_on.already_live if going_on else candidate in (incumbent, standing.incumbent)
    run_begins = (going_on.first_stage if going_on else None) or from_stage or names[0]
    whole = [stage for stage in runbook.stages[names.index(run_begins) :] if stage.converge or not already_live]
    due = pace.schedule(whole, datetime.fromisoformat(going_on.begin) if going_on and going_on.begin else ports.clock.now())
    first, end = names.index(from_stage or run_begins), names.index(until_stage or names[-1])
    chosen = [stage for stage in whole if first <= names.index(stage.name) <= end]
    noted = _Notes(facts)
    for stage in chosen:
        for step in stage.steps:
            known = going_on.step_state(stage.name, step.id) if going_on else None
            row = _row(stage, step, None if already_live else due[stage.name])
            if known is not None and known.passed:
                yield Planned(**row, passed=True)
            else:
                params = ports.actions[step.uses].Params.model_validate(step.params).model_dump(by_alias=True)
                context = StepContext(
                    env=environment,
                    fleet=ports.fleet,
                    run="dry-run",
                    stage=stage.name,
                    step=step.id,
                    token=0,  # hosts refuse it: whatever an action sends there by mistake changes nothing
                    candidate=candidate,
                    incumbent=incumbent,
                    load=load,
                    params=params,
                    clock=ports.clock,
                    workdir=workdir / step.id,
                    note=noted.note,
                    facts=noted.of,
                    tell=lambda kind, data: None,
                    pace=pace,
                )
                yield Planned(**row, **_told(ports.actions[step.uses], context))


def _row(stage: Stage, step: Step, due: datetime | None) -> JSON:
    on = {verdict: str(reaction) for verdict in ("fail", "inconclusive", "error") if (reaction := getattr(step.on, verdict))}
    return {"stage": stage.name, "step": step.id, "uses": step.uses, "owner": step.owner or stage.owner, "due": due, "on": on}


class _Notes:
    """What actions note is kept for the steps that come after, and for no one else."""

    def __init__(self, facts: dict[str, list[JSON]]) -> None:
        self._facts = {kind: list(entries) for kind, entries in facts.items()}
        self._lock = threading.Lock()

    def note(self, kind: str, data: JSON) -> None:
        with self._lock:
            self._facts.setdefault(kind, []).append(dict(data))

    def of(self, kind: str) -> list[JSON]:
        with self._lock:
            return [dict(fact) for fact in self._facts.get(kind, ())]


def _told(action: Action, context: StepContext) -> JSON:
    """What the action would do, or why that cannot be told."""
    try:
        context.workdir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return {"lines": list(action.plan(context))}
    except Unprepared as error:
        return {"later": str(error)}
    except (GoliveError, OSError) as error:
        return {"trouble": str(error)}
    except Exception as error:
        return {"trouble": f"{context.step} failed with a bug in plan ({type(error).__name__}: {error})"}
