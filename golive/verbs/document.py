"""``inv document``: what happened and what is known, as documents that name their sources."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from golive import actions, engine, releases, runbook
from golive.documents import KINDS, Facts, JournalFacts, Kind, Sources, markdown, page, pdf, title, written
from golive.documents.gather import Read, facts_of
from golive.documents.prometheus import asked_of
from golive.documents.ready import ReadyFacts, ready_facts
from golive.engine import Record
from golive.environment import ROOT, Environment
from golive.errors import BadInput, GoliveError, Refused
from golive.evidence.standing import Standing
from golive.verbs.readiness import where
from golive.verbs.result import Result
from golive.views.view import version_of

__all__ = ["FORMATS", "document"]

FORMATS = ("md", "html", "pdf")
_CHANGED = 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")


def document(env: Environment, kind: str, *, run: str = "", formats: str = "md,html,pdf", out: str = "") -> Result:
    """Writes the document ``kind``, or ``all`` of them, and says where.

    Exit code 4 when journal or evidence is not as it was written, 2 when one of several could not be made.

    Args:
        run: a run; the last one when empty.
        formats: of md, html, pdf, separated by commas.
        out: the directory; ``.golive/<env>/documents`` when empty.

    Raises BadInput for a kind, run or format that is none, and for a document with nothing to make it from; nothing is written then.
    """
    kinds, wanted = _kinds(kind), _formats(formats)
    directory = Path(out) if out else env.state / "documents"
    read = _read(env, run)
    files: dict[Path, bytes] = {}
    made: list[dict[str, Any]] = []
    lacking: list[dict[str, str]] = []
    for one in kinds:
        try:
            facts = facts_of(one, read, _command(env, one, read, formats, out))
        except BadInput as error:
            if len(kinds) == 1:
                raise
            lacking.append({"kind": one.name, "why": error.message})
            continue
        made.append(_rendered(facts, wanted, directory, files))
    if not made:
        raise BadInput(" ".join(dict.fromkeys(one["why"] for one in lacking)))
    written(files)
    untrue = list(dict.fromkeys(sentence for one in made for sentence in one.pop("untrue")))
    data = {
        "schema": 1,
        "env": env.name,
        "run": read.run,
        "journal_intact": read.journal is None or not read.journal.wrong,
        "untrue": untrue,
        "documents": made,
        "not_made": lacking,
    }
    lines = [f"{one['kind']}: {', '.join(str(one[form]['path']) for form in wanted)}" for one in made]
    lines += [f"NOT AS IT WAS WRITTEN: {sentence}" for sentence in untrue]
    lines += [f"{one['kind']} was not made: {one['why']}" for one in lacking]
    return Result(data, "\n".join(lines), _CHANGED if untrue else 2 if lacking else 0)


def _kinds(name: str) -> list[Kind]:
    if name == "all":
        return list(KINDS.values())
    if name not in KINDS:
        raise BadInput(f"There is no document {name!r}; there are {', '.join(KINDS)}, and all.")
    return [KINDS[name]]


def _formats(text: str) -> list[str]:
    wanted = list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    wrong = [part for part in wanted if part not in FORMATS]
    if wrong or not wanted:
        raise BadInput(f"--format is one or more of {','.join(FORMATS)}, not {(wrong or [text])[0]!r}.")
    return wanted


def _command(env: Environment, kind: Kind, read: Read, formats: str, out: str) -> str:
    run = f" --run {read.run}" if read.run is not None else ""
    return f"./inv document {kind.name} --env {env.name}{run} --format {formats}" + (f" --out {out}" if out else "")


def _rendered(facts: Facts, formats: list[str], directory: Path, files: dict[Path, bytes]) -> dict[str, Any]:
    """The document in each of ``formats``, put into ``files``; what ``--json`` says of it."""
    text = markdown(facts)
    told: dict[str, Any] = {"kind": facts.kind.name, "title": title(facts), "untrue": list(facts.untrue)}
    name = facts.kind.name if facts.run is None or not facts.kind.of_run else f"{facts.kind.name}-{facts.run.state.run}"
    markup = page(text, title(facts)) if set(formats) & {"html", "pdf"} else ""
    for form in formats:
        content = text.encode() if form == "md" else markup.encode()
        extra: dict[str, Any] = {}
        if form == "pdf":
            content, extra["pages"] = pdf(markup)
        path = directory / f"{name}.{form}"
        files[path] = content
        told[form] = {"path": str(path), "sha256": hashlib.sha256(content).hexdigest(), **extra}
    return told


def _read(env: Environment, run: str) -> Read:
    records, journal = _journal(env)
    runs = list(dict.fromkeys(record.run for record in records if record.kind == "run.started"))
    if run and run not in runs:
        raise BadInput(f"There is no run {run} in {env.name}; known are {', '.join(runs[-5:]) or 'none'}.")
    chosen = run or (runs[-1] if runs else None)
    if chosen is not None and not _NAME.fullmatch(chosen):
        # Files are called by it, and whoever could write the journal could have written this.
        raise Refused(f"{chosen!r} in the journal of {env.name} is no run's name; `./inv journal.verify --env {env.name}` says more.")
    made = datetime.now(UTC)
    at, unready = _standing(env, chosen, records)
    kept = dict(at.kept) if at is not None else {}
    actions.load_all()
    books = {name: runbook.load(ROOT / "runbooks" / f"{name}.yaml", actions.registered()) for name in ("golive", "rollback", "return")}
    return Read(
        env=env.name,
        made=made,
        journal=journal,
        records=records,
        run=chosen,
        kept=kept,
        ready=_ready(env, at, made) if at is not None and at.kept else None,
        unready=unready,
        wrong=at.wrong if at is not None else (),
        books=books,
        policy=env.policy,
        policy_name=env.settings.policy,
        feedback=env.state / "feedback",
        asked=lambda release, start, end: asked_of(env, release, start, end, kept),
        digest_of=_digest,
    )


def _journal(env: Environment) -> tuple[list[Record], JournalFacts | None]:
    if not engine.has_journal(env):
        return [], None
    journal = engine.open_journal(env)
    try:
        records = journal.read()
    except ValueError:
        raise Refused(
            f"The journal of {env.name} was changed so that it cannot be read; `./inv journal.verify --env {env.name}` says where."
        ) from None
    head = (records[-1].seq, records[-1].hash) if records else (0, "")
    return records, JournalFacts(len(records), *head, tuple(journal.verify()))


def _standing(env: Environment, run: str | None, records: list[Record]) -> tuple[Standing | None, str]:
    """What the evidence says of the run's candidate (of the environment's own release without a run), or why nothing is known of it."""
    candidate = next((record.data.get("candidate") for record in records if record.run == run and record.kind == "run.started"), None)
    missing = ""
    try:
        try:
            at = where(env, version_of(candidate) or "")
        except BadInput as error:
            # The release of an old run may be gone from here. That its readiness is not known hides nothing of what was changed.
            at, missing = where(env), error.message
    except GoliveError as error:
        return None, error.message
    if missing or (candidate is not None and (at.release is None or at.release.id != candidate)):
        found = at.release.id if at.release is not None else "none"
        return replace(at, kept={}), missing or f"the run's release {candidate} is not the one of that version here ({found})."
    if not at.kept:
        return at, f"there is no evidence yet; `./inv readiness --env {env.name}` makes it."
    return at, ""


def _ready(env: Environment, at: Standing, made: datetime) -> Callable[[Sources], ReadyFacts]:
    return lambda sources: ready_facts(
        checklist=at.checklist,
        judged=at.judged,
        kept=at.kept,
        decision=at.decision,
        policy=at.policy,
        policy_name=env.settings.policy,
        foreign=at.foreign,
        release=(at.release.id, at.release.digest) if at.release is not None else None,
        at=made,
        sources=sources,
    )


def _digest(name: str) -> str | None:
    try:
        return releases.find_id(name).digest
    except GoliveError:
        return None
