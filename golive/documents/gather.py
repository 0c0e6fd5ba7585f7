"""The facts of a document, gathered from what was read of journal, evidence, runbooks and feedback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from golive.documents.alternatives import alternative_facts
from golive.documents.document import Facts, JournalFacts, Kind
from golive.documents.feedback import feedback_in
from golive.documents.figure import Figure
from golive.documents.health import Asked, HealthFacts, health_facts, t_zero
from golive.documents.lessons import lessons
from golive.documents.measured import suites
from golive.documents.ready import ReadyFacts
from golive.documents.review import DAYS, review_facts
from golive.documents.run import RunFacts, run_facts
from golive.documents.sources import Sources, of_statement
from golive.engine import Record
from golive.environment import ROOT
from golive.errors import BadInput
from golive.evidence import Kept
from golive.runbook import Runbook

__all__ = ["Read", "facts_of"]


@dataclass
class Read:
    """What was read, once for all documents of a command."""

    env: str
    made: datetime
    journal: JournalFacts | None
    records: Sequence[Record]
    """Of all runs."""
    run: str | None
    """The run that the documents are about."""
    kept: Mapping[str, Kept]
    """Statements that count here, by digest."""
    ready: Callable[[Sources], ReadyFacts] | None
    unready: str
    """Why there is no decision."""
    wrong: Sequence[str]
    """What of the evidence is not as it was signed; said in every document, also where there is no decision."""
    books: Mapping[str, Runbook]
    policy: Mapping[str, Any]
    policy_name: str
    feedback: Path
    asked: Callable[[str, datetime, datetime], Asked]
    """Prometheus' answers about a release between two moments."""
    digest_of: Callable[[str], str | None]
    """SHA-256 of the manifest of a release id; None: it is not on this machine."""
    _runs: dict[str, RunFacts] = field(default_factory=dict)

    def facts_of_run(self, name: str) -> RunFacts:
        if name not in self._runs:
            self._runs[name] = run_facts([record for record in self.records if record.run == name])
        return self._runs[name]

    def later(self, name: str) -> list[RunFacts]:
        """Runs that began after ``name``."""
        names = list(dict.fromkeys(record.run for record in self.records if record.kind == "run.started"))
        return [self.facts_of_run(one) for one in names[names.index(name) + 1 :]]

    @property
    def as_of(self) -> datetime:
        """Now, by whichever is later: this machine's clock or the journal's (a simulated world's runs ahead)."""
        last = [datetime.fromisoformat(self.records[-1].at)] if self.records else []
        return max([self.made, *last])


def facts_of(kind: Kind, read: Read, command: str) -> Facts:
    """The facts of one document. Raises BadInput when there are none to make it from: one sentence, with what makes them."""
    if kind.of_run and read.run is None:
        raise BadInput(
            f"There is no {kind.name} document without a run, and {read.env} has had none; `./inv golive --env {read.env}` starts one."
        )
    sources = Sources()
    sources.add_records(read.records)
    sources.add_statements(read.kept)
    ready = read.ready(sources) if read.ready is not None else None
    if kind.of_evidence and ready is None:
        raise BadInput(f"There is no {kind.name} document without a decision: {read.unready}")
    run = read.facts_of_run(read.run) if read.run is not None else None
    facts = Facts(
        kind,
        read.env,
        read.made,
        command,
        sources,
        journal=read.journal,
        run=run,
        ready=ready,
        unready=read.unready,
        wrong=tuple(read.wrong),
    )
    if run is not None:
        release = run.state.release or ""
        measured = suites(read.kept, release, read.digest_of(release), read.env)
        facts = replace(facts, lessons=lessons(run), digests=_digests(run, read, sources), measured=measured)
        facts = replace(facts, statements=_statements(run, read))
    elif ready is not None and ready.release is not None:
        facts = replace(facts, digests=[(ready.release, ready.release_digest)])
    if kind.name == "alternatives":
        policy = sources.add_path(ROOT / "policies" / f"{read.policy_name}.yaml", f"policies/{read.policy_name}.yaml")
        return replace(facts, alternatives=alternative_facts(read.books, read.policy, policy, run, read.kept, sources))
    if run is not None and kind.name in ("health", "review"):
        days = DAYS if kind.name == "review" else 7
        health = _health(run, read, sources, days) if t_zero(run).value else None
        if kind.name == "review":
            return replace(facts, review=review_facts(run, ready, health, read.kept, facts.measured, as_of=read.as_of))
        if health is None:
            raise BadInput(
                f"Run {run.state.run} never left the candidate on hosts ({run.state.outcome}), so there is no day after T-0 to report; "
                f"`./inv document lessons --env {read.env} --run {run.state.run}` says why."
            )
        return replace(facts, health=health)
    return facts


def _health(run: RunFacts, read: Read, sources: Sources, days: int) -> HealthFacts:
    from datetime import timedelta

    start = datetime.fromisoformat(str(t_zero(run).value))
    asked = read.asked(run.state.release or "", start, min(start + timedelta(days=days), read.as_of))
    sources.add_statements(read.kept)  # the answers are one now
    feedback = feedback_in(read.feedback, sources)
    later = read.later(run.state.run or "")
    return health_facts(run, later, read.kept, feedback, asked, as_of=read.as_of, directory=str(read.feedback), days=days)


def _digests(run: RunFacts, read: Read, sources: Sources) -> list[tuple[str, Figure]]:
    found = []
    for name in dict.fromkeys(filter(None, (run.state.release, run.state.incumbent, run.state.load))):
        digest = read.digest_of(name)
        refs = (sources.add_file(f"releases/{name}", digest=digest, what="its manifest"),) if digest else ()
        found.append((name, Figure(digest, refs)))
    return found


def _statements(run: RunFacts, read: Read) -> list[tuple[str, Figure, str, Figure]]:
    """The newest statement of each check that names the candidate, and of each tool."""
    version = (run.state.release or "").rpartition("-")[0].replace("_", "+")
    digest = read.digest_of(run.state.release or "")
    newest: dict[str, Kept] = {}
    for one in sorted(read.kept.values(), key=lambda one: one.statement.predicate.finished):
        at = one.statement.predicate
        about = one.statement.digests().get(f"release:{version}")
        if at.check.startswith("tool.") or (about is not None and about == digest and at.env in (None, read.env)):
            newest[at.check] = one
    told = []
    for check, one in sorted(newest.items()):
        at, refs = one.statement.predicate, (of_statement(one.digest),)
        told.append((check, Figure(at.result, refs), at.summary, Figure(at.finished.isoformat(timespec="seconds"), refs, "time")))
    return told
