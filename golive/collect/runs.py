"""Evidence from the journal: the newest go-live of a release, and the newest way back, as they really were."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from golive import engine
from golive.engine import BACK, Record, RunState
from golive.environment import Environment
from golive.evidence import Kept, Subject, record, release_subject, runbook_subject
from golive.evidence.judging import VALID
from golive.evidence.statement import canonical
from golive.releases import Release

__all__ = ["recorded"]

_LINE = ("seq", "at", "kind", "stage", "step", "token", "data", "prev", "hash")


def recorded(env: Environment, release: Release) -> list[Kept]:
    """Keeps what the journal says of the newest run that brought users to ``release`` and is over, and of the newest way back.

    A journal that does not verify says nothing: then the statements are FAIL, with what is wrong.
    """
    if not engine.has_journal(env):
        return []
    journal = engine.open_journal(env)
    every, wrong = journal.read(), journal.verify()
    runs = [_of(every, run) for run in dict.fromkeys(record.run for record in every if record.kind == "run.started")]
    kept = []
    over = [(state, lines) for state, lines in runs if not state.open]
    forward = [(state, lines) for state, lines in over if state.release == release.id and (state.signed_off or state.max_candidate_weight)]
    back = [(state, lines) for state, lines in over if state.outcome == "rolled-back"]
    if forward:
        state, lines = forward[-1]
        steps = {name: step.verdict for name, step in state.steps.items() if not name.startswith(BACK)}
        kept.append(_kept(env, "run", "succeeded", state, lines, steps, wrong, [release_subject(release)]))
    if back:
        state, lines = back[-1]
        steps = {name.removeprefix(BACK): step.verdict for name, step in state.steps.items() if name.startswith(BACK)}
        kept.append(_kept(env, "rollback", "rolled-back", state, lines, steps, wrong, []))
    return kept


def _of(every: Iterable[Record], run: str) -> tuple[RunState, list[Record]]:
    lines = [record for record in every if record.run == run]
    return engine.fold(lines), lines


def _kept(
    env: Environment,
    kind: str,
    outcome: str,
    state: RunState,
    lines: list[Record],
    steps: dict[str, str | None],
    wrong: list[str],
    subjects: list[Subject],
) -> Kept:
    started = datetime.fromisoformat(state.started) if state.started else datetime.now(UTC)
    ended = datetime.fromisoformat(state.ended) if state.ended else started
    good = state.outcome == outcome and not wrong
    return record(
        check=kind,
        env=env.name,
        subjects=[*subjects, runbook_subject(state.runbook or "golive", state.runbook_digest or "")],
        command=f"./inv report --env {env.name} --run {state.run}",
        result="PASS" if good else "FAIL",
        summary=wrong[0] if wrong else f"run {state.run} of {state.release} {state.outcome}",
        facts={
            "run": state.run,
            "outcome": state.outcome if not wrong else "not known: its journal does not verify",
            "asked_outcome": outcome,
            "wrong": wrong,
            "steps": steps,
            "seconds": {name: step.seconds for name, step in state.steps.items()},
            "rollback": state.rollback,
            "requests": state.requests,
        },
        output=b"".join(canonical({name: getattr(line, name) for name in _LINE}) + b"\n" for line in lines),
        started=started,
        # It holds from the run's end on, whenever it is collected.
        valid_for=VALID[kind] - max(timedelta(0), datetime.now(UTC) - ended),
    )
