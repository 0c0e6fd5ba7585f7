"""A signed statement: made with a person's own key, opened only by those whom the environment knows."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from golive.approvals.approvers import Approvers
from golive.approvals.statement import NAMESPACE, Statement
from golive.errors import Refused
from golive.releases import signing

__all__ = ["Judged", "opened", "sealed"]

_LONGEST = 64 * 1024


@dataclass(frozen=True)
class Judged:
    """A statement whose signature was checked."""

    statement: Statement
    person: str


def sealed(statement: Statement, key: Path) -> dict[str, str]:
    """``statement`` signed with ``key``: a private key, or a public one whose private half an agent or a token holds.

    Raises BadInput when it cannot sign.
    """
    text = statement.text
    return {"statement": text, "signature": signing.sign(text.encode(), key, NAMESPACE).decode()}


def opened(envelope: Any, approvers: Approvers, at: datetime) -> Judged:
    """Who signed what. Says nothing about whether it answers a question.

    Raises Refused: it is no envelope, nobody known signed it with a key valid at ``at``, or they do not hold the role they signed for.
    """
    if not isinstance(envelope, Mapping):
        raise Refused("This is no signed statement.")
    text, signature = envelope.get("statement"), envelope.get("signature")
    if not isinstance(text, str) or not isinstance(signature, str) or len(text) + len(signature) > _LONGEST:
        raise Refused("This is no signed statement.")
    statement = Statement.read(text)
    with tempfile.TemporaryDirectory(prefix="dwcp-approval-") as directory:
        known, armored = Path(directory) / "allowed_signers", Path(directory) / "signature"
        known.write_text(approvers.allowed_signers(at), encoding="utf-8")
        armored.write_bytes(signature.encode("utf-8", errors="replace"))
        try:
            name = signing.check(text.encode(), armored, signing.Trust(known, NAMESPACE))
        except Refused:
            raise Refused("The signature is by nobody who may decide here, or not of this statement.") from None
    person = approvers.person(name)
    if person is None or statement.role not in person.roles:
        raise Refused(f"{name} does not hold the role {statement.role}.")
    return Judged(statement, name)
