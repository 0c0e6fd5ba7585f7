"""What a person signs: one canonical JSON object, bound to one question of one run. Pure data."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golive.errors import BadInput, Refused

__all__ = ["NAMESPACE", "Evidence", "Question", "Statement", "canonical", "digest"]

NAMESPACE = "dwcp-approval"
"""The ``ssh-keygen -Y`` namespace of decisions: a signature of a release, or of anything else, is none of these."""

Decision = Literal["approve", "reject", "waive"]


def canonical(value: Any) -> str:
    """The one way to write ``value`` as JSON. The same object has the same bytes wherever it is signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of ``value`` as canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Evidence(_Frozen):
    """What was known when the question was asked. The head of the journal's chain stands for everything recorded before it."""

    head: str
    gates: str
    """Digest over the results of all gates of the run so far, in order."""


class _Bound(_Frozen):
    """What a question and its answers have in common; an answer in which any of it differs is an answer to something else."""

    env: str
    run: str
    stage: str
    step: str
    nonce: str = Field(min_length=32)
    expires: str
    release: str
    manifest: str | None
    """SHA-256 of the release's manifest; None only in a waiver on a machine that does not have the release."""
    runbook: str
    evidence: Evidence

    @property
    def expires_at(self) -> datetime:
        return datetime.fromisoformat(self.expires)

    @property
    def where(self) -> str:
        return f"{self.stage}/{self.step}"


class Question(_Bound):
    """``approval.asked``, as journaled: what is asked, of whom, and until when an answer is worth anything."""

    roles: list[str] = Field(min_length=1)
    count: int = Field(ge=1)
    not_by: list[str] = Field(default_factory=list)
    issued: str
    gates: list[dict[str, Any]] = Field(default_factory=list)
    """For people: gate, stage, step, verdict and digest of each result."""
    waived: list[str] = Field(default_factory=list)
    """For people: steps that were left out before this was asked, and who signed that."""

    @classmethod
    def of(cls, data: Any) -> Question:
        """The question in a journaled fact, whatever else the fact says. Raises Refused."""
        try:
            return cls.model_validate({name: data[name] for name in cls.model_fields if name in data})
        except (ValidationError, TypeError, KeyError) as error:
            raise Refused(f"What was asked cannot be read from the journal: {_first(error)}.") from None

    def answered(self, decision: Decision, role: str, issued: datetime, comment: str = "") -> Statement:
        """The answer that ``role`` gives."""
        bound = self.model_dump(include=set(_Bound.model_fields))
        return Statement.of({**bound, "role": role, "decision": decision, "issued": _written(issued), "comment": comment})


class Statement(_Bound):
    """What is signed."""

    format: Literal[1] = 1
    type: Literal["dwcp-approval"] = "dwcp-approval"
    role: str
    decision: Decision
    issued: str
    comment: str = Field(default="", max_length=1000)

    @property
    def text(self) -> str:
        return canonical(self.model_dump(mode="json"))

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Statement:
        """The statement with ``fields``. Raises BadInput: the comment is too long, for one."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise BadInput(f"This cannot be signed: {_first(error)}.") from None

    @classmethod
    def read(cls, text: str) -> Statement:
        """The statement that ``text`` is, to the byte. Raises Refused: a text with two readings is none."""
        try:
            found = cls.model_validate(json.loads(text))
            times = (found.expires_at, datetime.fromisoformat(found.issued))
        except (ValueError, TypeError, RecursionError) as error:
            raise Refused(f"This is no statement: {_first(error)}.") from None
        if found.text != text or any(time.tzinfo is None for time in times):
            raise Refused("This statement is not written as statements are; sign it anew.")
        return found

    def unfit(self, question: Question) -> str:
        """Why this is no answer to ``question``; empty when it is one."""
        for name in _Bound.model_fields:
            if getattr(self, name) != getattr(question, name):
                return f"it is about another {_SAID.get(name, name)}"
        if self.decision not in ("approve", "reject"):
            return f"it says {self.decision}, which is no answer"
        if self.role not in question.roles:
            return f"role {self.role} was not asked, {' or '.join(question.roles)} was"
        return ""


_SAID = {"env": "environment", "nonce": "question (its nonce differs)", "expires": "expiry", "manifest": "content of the release"}


def _written(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error).rstrip(".") or type(error).__name__
