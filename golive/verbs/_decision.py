"""What ``approve``, ``reject`` and ``waive`` share: whose key it is, what they see before they sign, and where the decision is left."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from golive import approvals, engine
from golive.approvals import Person, Question, Statement
from golive.engine.decisions import judged
from golive.environment import Environment
from golive.errors import BadInput, GoliveError, Held
from golive.releases import signing

__all__ = ["agreed", "journal_holds", "key_of", "left_signed", "person_of"]

JSON = dict[str, Any]


def key_of(key: str | None) -> Path:
    """The operator's key: ``--key``, else ~/.ssh/id_ed25519; its public half where only an agent or a token holds the other."""
    path = Path(key or "~/.ssh/id_ed25519").expanduser()
    beside = path.with_name(path.name + ".pub")
    if path.is_file():
        return path
    if beside.is_file():
        return beside
    raise BadInput(f"{path} does not exist; give the SSH key that you sign with: --key PATH.")


def person_of(env: Environment, key: Path) -> Person:
    """Whose key it is. Raises BadInput when it is nobody's who may decide in ``env``."""
    fields = signing.public_half(key).split()
    for person in approvals.approvers_of(env).people:
        if len(fields) > 1 and fields[1] in {known.blob for known in person.all_keys}:
            return person
    raise BadInput(f"{key} is the key of nobody in inventories/{env.name}/approvers.yaml; nothing was signed.")


def journal_holds(env: Environment, question: Question) -> None:
    """The journal is whole, has the record that the question stands on, and the results that it names. Raises Held."""
    journal = engine.open_journal(env)
    wrong = journal.verify()
    if wrong:
        raise Held(f"The journal of {env.name} is not what was written: {wrong[0]}. Do not sign on it.")
    records = journal.read()
    facts = {
        approvals.digest({**record.data, "at": record.at, "stage": record.stage, "step": record.step})
        for record in records
        if record.kind == "gate" and record.run == question.run
    }
    digests = [gate.get("digest") for gate in question.gates]
    if question.evidence.head not in {record.hash for record in records}:
        raise Held(f"The journal of {env.name} does not have the record that this question stands on. Do not sign on it.")
    if not facts.issuperset(digests) or approvals.digest(digests) != question.evidence.gates:
        raise Held(f"The gates' results in the journal of {env.name} are not those that this question names. Do not sign on it.")


def agreed(shown: Sequence[str], ask: str, *, yes: bool) -> None:
    """The person saw ``shown`` and said yes. Raises BadInput otherwise, and where nobody can be asked."""
    for line in shown:
        print(line, file=sys.stderr)
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput("Nobody can be asked here; read what is shown and repeat the command with --yes.")
    print(f"{ask} [yes/no] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise BadInput("Nothing was signed.")


def left_signed(env: Environment, kind: str, statement: Statement, key: Path, reason: str) -> JSON:
    """Signs ``statement``, opens it again as the run will, and only then leaves it. Raises BadInput, with nothing left behind."""
    print(f"Signing with {key}; touch it if it waits for that.", file=sys.stderr)
    envelope = approvals.sealed(statement, key)
    try:
        judged(env, engine.state(env), kind, envelope, datetime.now(UTC))
    except GoliveError as error:
        raise BadInput(f"This would not count: {error} Nothing was left.") from None
    engine.request(env, kind, reason, envelope)
    return envelope
