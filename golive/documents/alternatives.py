"""What else could have happened, or been done, and what was decided for it beforehand: from runbooks, policy, drill and chaos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from golive.documents.figure import Figure
from golive.documents.run import Box, RunFacts
from golive.documents.sources import Sources, of_statement
from golive.evidence import Kept
from golive.runbook import Runbook, Step
from golive.runbook.duration import format_offset

__all__ = ["AlternativeFacts", "Exposure", "Fault", "Reaction", "Setting", "Way", "alternative_facts"]

_DEFAULT = "hold while nothing of the candidate is on hosts, after that rollback"


@dataclass(frozen=True)
class Exposure:
    """How many users a step puts on the candidate, and what has to be shown before more follow."""

    where: str
    at: str
    share: Figure
    watched: str
    asks: str


@dataclass(frozen=True)
class Reaction:
    """What follows when a step does not pass."""

    where: str
    uses: str
    fail: Figure
    inconclusive: Figure
    error: Figure


@dataclass(frozen=True)
class Way:
    """A stage of a way back."""

    stage: str
    owner: str
    budget: Figure
    steps: str
    took: Figure


@dataclass(frozen=True)
class Setting:
    """What the policy decides beforehand."""

    name: str
    means: str
    value: Figure


@dataclass(frozen=True)
class Fault:
    """A fault that runs were struck with."""

    kind: str
    fault: str
    rounds: Figure
    wrong: Figure
    ends: str
    recovery: Figure
    """The median."""
    longest: Figure


@dataclass(frozen=True)
class AlternativeFacts:
    """Everything that was considered."""

    runbook: Figure
    other_runbook: str
    """That the run was played from another; empty when it was not."""
    exposures: tuple[Exposure, ...]
    reactions: tuple[Reaction, ...]
    back: tuple[Way, ...]
    again: tuple[Way, ...]
    """How an earlier release comes live again."""
    boxes: tuple[Box, ...]
    settings: tuple[Setting, ...]
    faults: tuple[Fault, ...]
    left_out: tuple[tuple[str, str, str], ...]
    """Stage, what, why."""


_SETTINGS = {
    "failure_budget": "hosts that a run may lose and still go on",
    "waves": "how many hosts change at a time",
    "approvals": "who decides, and how it is known",
    "waivers": "what nobody may leave out",
    "notify": "whether people have to be told",
    "leave_after": "the wait through which no process lives",
    "gates": "how sure a gate has to be",
    "readiness": "what GO asks",
}


def alternative_facts(
    books: Mapping[str, Runbook],
    policy: Mapping[str, Any],
    policy_ref: str,
    run: RunFacts | None,
    kept: Mapping[str, Kept],
    sources: Sources,
) -> AlternativeFacts:
    """The facts of ``books`` (``golive``, ``rollback``, ``return``), the environment's policy, the run's drill, and the newest chaos."""
    refs = {
        name: (sources.add_file(f"runbooks/{name}.yaml", digest=book.digest, what="what it means, without comments"),)
        for name, book in books.items()
    }
    book = books["golive"]
    taken = {stage.name.partition(":")[2]: stage.took for stage in (run.rollback.stages if run and run.rollback else ())}
    other = ""
    if run is not None and run.state.runbook == book.name and run.state.runbook_digest not in (None, book.digest):
        other = f"The run was played from a runbook with the digest {str(run.state.runbook_digest)[:16]}; what stands here is today's."
    return AlternativeFacts(
        runbook=Figure(book.digest, refs["golive"], "digest"),
        other_runbook=other,
        exposures=tuple(_exposures(book, refs["golive"])),
        reactions=tuple(_reaction(stage.name, step, refs["golive"]) for stage, step in book.steps() if _said(step)),
        back=tuple(_way(stage, refs["rollback"], taken) for stage in books["rollback"].stages),
        again=tuple(_way(stage, refs["return"], {}) for stage in books["return"].stages),
        boxes=run.boxes if run is not None else (),
        settings=tuple(
            Setting(name, means, Figure(_written(policy[name]), (policy_ref,))) for name, means in _SETTINGS.items() if name in policy
        ),
        faults=tuple(_faults(kept)),
        left_out=tuple((entry.stage, entry.what, entry.why) for entry in book.not_covered),
    )


def _said(step: Step) -> bool:
    return any((step.on.fail, step.on.inconclusive, step.on.error))


def _reaction(stage: str, step: Step, refs: tuple[str, ...]) -> Reaction:
    said = {name: str(getattr(step.on, name) or _DEFAULT) for name in ("fail", "inconclusive", "error")}
    return Reaction(f"{stage}/{step.id}", step.uses, *(Figure(said[name], refs) for name in ("fail", "inconclusive", "error")))


def _exposures(book: Runbook, refs: tuple[str, ...]) -> Iterable[Exposure]:
    for stage in book.stages:
        for number, step in enumerate(stage.steps):
            share = step.params.get("candidate")
            if step.uses != "traffic.shift" or not isinstance(share, int | float):
                continue
            gate = next((later for later in stage.steps[number + 1 :] if "for" in later.params), None)
            watched = str(gate.params.get("for")) if gate is not None else ""
            skip = ("for", "against")
            asks = ", ".join(f"{name} {value}" for name, value in gate.params.items() if name not in skip) if gate is not None else ""
            yield Exposure(f"{stage.name}/{step.id}", format_offset(stage.at), Figure(float(share), refs, "percent"), watched, asks)


def _way(stage: Any, refs: tuple[str, ...], taken: Mapping[str, Figure]) -> Way:
    budget = stage.budget.total_seconds() if stage.budget is not None else None
    steps = ", ".join(f"{step.uses}" for step in stage.steps)
    return Way(stage.name, stage.owner, Figure(budget, refs, "s"), steps, taken.get(stage.name, Figure(None, (), "s")))


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_written(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_written, value)) or "none"
    return str(value)


def _faults(kept: Mapping[str, Kept]) -> Iterable[Fault]:
    newest: dict[str, Kept] = {}
    for one in sorted(kept.values(), key=lambda one: one.statement.predicate.finished):
        if one.statement.predicate.check.startswith("chaos."):
            newest[one.statement.predicate.check] = one
    for check, one in sorted(newest.items()):
        refs = (of_statement(one.digest),)
        by_fault: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in one.statement.predicate.facts.get("rows") or []:
            if isinstance(row, Mapping):
                by_fault[str(row.get("fault"))].append(row)
        for fault, rows in sorted(by_fault.items()):
            yield _fault(check.removeprefix("chaos."), fault, rows, refs)


def _fault(kind: str, fault: str, rows: Sequence[Mapping[str, Any]], refs: tuple[str, ...]) -> Fault:
    times = [float(row["recovery_s"]) for row in rows if isinstance(row.get("recovery_s"), int | float)]
    ends = sorted({str(row.get("end")) for row in rows})
    return Fault(
        kind=kind,
        fault=fault,
        rounds=Figure(len(rows), refs, "count"),
        wrong=Figure(sum(row.get("ok") is not True for row in rows), refs, "count"),
        ends=", ".join(ends),
        recovery=Figure(median(times) if times else None, refs, "s"),
        longest=Figure(max(times) if times else None, refs, "s"),
    )
