"""The documents: which there are, what each is made of, and their text as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from golive.documents.alternatives import AlternativeFacts
from golive.documents.figure import Figure, moment
from golive.documents.health import HealthFacts
from golive.documents.lessons import KINDS as LESSONS
from golive.documents.lessons import Lesson
from golive.documents.markup import Markdown, code, escaped, quoted
from golive.documents.measured import Suite
from golive.documents.ready import ReadyFacts
from golive.documents.review import ReviewFacts
from golive.documents.run import RunFacts
from golive.documents.sources import Sources
from golive.documents.steps import StepFact
from golive.evidence.judging import STATES
from golive.views.view import version_of

__all__ = ["KINDS", "Facts", "JournalFacts", "Kind", "markdown", "title"]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Kind:
    """One kind of document."""

    name: str
    title: str
    of_run: bool
    """Whether there is none without a run."""
    of_evidence: bool
    """Whether there is none without evidence."""


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("readiness", "Readiness checklist", False, True),
        Kind("recommendation", "GO/NO-GO recommendation", False, True),
        Kind("runbook", "Go-live runbook as executed", True, False),
        Kind("completion", "Completion report", True, False),
        Kind("lessons", "Lessons", True, False),
        Kind("health", "Daily health report", True, False),
        Kind("alternatives", "Alternative scenarios considered", False, False),
        Kind("review", "Review thirty days later", True, False),
    )
}


@dataclass(frozen=True)
class JournalFacts:
    """The journal as it was read."""

    records: int
    head_seq: int
    head: str
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Everything that one document is made of."""

    kind: Kind
    env: str
    made: datetime
    command: str
    """What to type to make it again."""
    sources: Sources
    journal: JournalFacts | None = None
    run: RunFacts | None = None
    ready: ReadyFacts | None = None
    unready: str = ""
    """Why readiness is not known, when it is not."""
    wrong: tuple[str, ...] = ()
    """What of the evidence, or of the release, is not as it was signed."""
    lessons: tuple[Lesson, ...] = ()
    health: HealthFacts | None = None
    alternatives: AlternativeFacts | None = None
    review: ReviewFacts | None = None
    digests: Sequence[tuple[str, Figure]] = ()
    """Releases and what they are to the byte; no data for one that is not on this machine."""
    measured: tuple[Suite, ...] = ()
    """What was measured of the candidate on purpose."""
    statements: Sequence[tuple[str, Figure, str, Figure]] = ()
    """Newest statement of each check that is about the release: check, result, summary, when."""

    @property
    def untrue(self) -> tuple[str, ...]:
        """What of journal and evidence is not as it was written."""
        journal = [f"The journal does not verify: {sentence}" for sentence in (self.journal.wrong if self.journal else ())]
        return (*journal, *self.wrong)

    @property
    def slowest(self) -> tuple[StepFact, ...]:
        """The ten steps that came nearest to their budgets."""
        steps = [step for stage in (self.run.stages if self.run else ()) for step in stage.steps if step.share is not None]
        return tuple(sorted(steps, key=lambda step: -(step.share or 0))[:10])


def title(facts: Facts) -> str:
    """``Completion report: 3.0.0 in lab``."""
    release = facts.run.state.release if facts.run is not None else facts.ready.release if facts.ready is not None else None
    return f"{facts.kind.title}: {version_of(release) or 'no release'} in {facts.env}"


def markdown(facts: Facts) -> str:
    """The document. What is put into its template is text, and becomes nothing else.

    Raises KeyError for a figure from a source that is none, ValueError for one that names none at all.
    """
    import jinja2

    environment = jinja2.Environment(  # noqa: S701  # `finalize` escapes for Markdown, which is what is made here
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: _put(value, facts.sources),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "code": code,
        "quoted": quoted,
        "when": moment,
        "version": version_of,
        "plain": _plain,
        "marks": facts.sources.marks,
    }
    given: dict[str, Any] = {"facts": facts, "run": facts.run, "ready": facts.ready, "title": title(facts)}
    given |= {"states": STATES, "lesson_kinds": LESSONS, "cited": facts.sources.cited}
    return environment.get_template(f"{facts.kind.name}.md.j2").render(given)


def _plain(figure: Figure) -> Markdown:
    """A figure without its mark, where the mark stands beside it already."""
    return escaped(figure.text)


def _put(value: Any, sources: Sources) -> str:
    if isinstance(value, Figure):
        if value.value is not None and not value.refs:
            raise ValueError(f"{value.text} is from nowhere: a figure of a document names its source")
        text = code(value.text) if value.unit == "digest" and value.value is not None else escaped(value.text)
        return Markdown(text + sources.marks(value.refs)) if value.value is not None else text
    if isinstance(value, Markdown):
        return value
    return escaped("" if value is None else value)
