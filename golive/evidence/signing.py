"""What a person signs of an item: that it is so, that it is not, or that the release may go without it. Bound to the item's very words."""

from __future__ import annotations

import hashlib
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from golive.approvals.approvers import Approvers
from golive.errors import BadInput, Refused
from golive.evidence.checklist import Item
from golive.evidence.statement import canonical
from golive.releases import signing

__all__ = ["NAMESPACE", "Word", "opened", "said", "sealed", "word_of"]

NAMESPACE = "dwcp-attestation"
"""The ``ssh-keygen -Y`` namespace: an approval or a release's signature is none of these."""

Decision = Literal["attest", "deny", "waive"]


class Word(BaseModel):
    """The statement of one person about one item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    type: Literal["dwcp-attestation"] = "dwcp-attestation"
    env: str
    item: str
    says: str
    """Digest of the item as it stood: another sentence or role is another item."""
    release: str
    """SHA-256 of the release's manifest."""
    decision: Decision
    role: str
    comment: str = Field(min_length=3, max_length=1000)
    issued: AwareDatetime
    expires: AwareDatetime

    @property
    def text(self) -> str:
        return canonical(self.model_dump(mode="json")).decode()


def said(item: Item) -> str:
    """Digest of what ``item`` asks of people."""
    return hashlib.sha256(canonical({"id": item.id, "says": item.says, "role": item.attest.role if item.attest else None})).hexdigest()


def sealed(word: Word, key: Path) -> bytes:
    """``word`` signed with a person's own SSH key. Raises BadInput when it cannot sign."""
    text = word.text
    return canonical({"statement": text, "signature": signing.sign(text.encode(), key, NAMESPACE).decode()})


def opened(content: bytes, approvers: Approvers, at: datetime) -> tuple[Word, str]:
    """What was signed, and by whom.

    Raises Refused: nobody known signed this with a key valid at ``at``, or they do not hold the role they signed for.
    """
    try:
        envelope: Any = json.loads(content)
        text, signature = str(envelope["statement"]), str(envelope["signature"])
        word = Word.model_validate_json(text)
        if word.text != text:
            raise ValueError
    except (ValueError, KeyError, TypeError, ValidationError):
        raise Refused("what was signed is no statement about an item") from None
    known = approvers.allowed_signers(at).replace('namespaces="dwcp-approval"', f'namespaces="{NAMESPACE}"')
    with tempfile.TemporaryDirectory(prefix="golive-attestation-") as scratch:
        signers, armored = Path(scratch, "allowed_signers"), Path(scratch, "signature")
        signers.write_text(known, encoding="utf-8")
        armored.write_text(signature, encoding="utf-8")
        try:
            name = signing.check(text.encode(), armored, signing.Trust(signers, NAMESPACE))
        except Refused:
            raise Refused("its signature is by nobody who may sign here, or not of what it says") from None
    person = approvers.person(name)
    if person is None or word.role not in person.roles:
        raise Refused(f"{name} does not hold the role {word.role}")
    return word, name


def word_of(fields: dict[str, Any]) -> Word:
    """Raises BadInput naming what cannot be signed."""
    try:
        return Word.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"This cannot be signed: {'.'.join(str(p) for p in first['loc'])}: {first['msg']}.") from None
