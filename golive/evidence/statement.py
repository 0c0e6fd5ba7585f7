"""What was checked, on what, how, with what result, and until when that holds: an in-toto Statement v1. Pure data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from golive.errors import Refused

__all__ = ["PREDICATE", "RESULTS", "Check", "Result", "Statement", "Subject", "canonical"]

TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE: Literal["tag:dwcp.example,2026:readiness-check/v1"] = "tag:dwcp.example,2026:readiness-check/v1"
Result = Literal["PASS", "FAIL", "UNKNOWN"]
RESULTS: tuple[Result, ...] = ("PASS", "FAIL", "UNKNOWN")
_HEX = r"^[0-9a-f]{64}$"


def canonical(value: Any) -> bytes:
    """The one way to write ``value`` as JSON: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Subject(_Frozen):
    """Something that was looked at, and exactly what it was: ``release:3.0.0-0123456789ab``, ``agent-source``, ``host:lab-ams-1``."""

    name: str = Field(min_length=1)
    digest: dict[Literal["sha256"], str]

    @classmethod
    def of(cls, name: str, sha256: str) -> Subject:
        return cls(name=name, digest={"sha256": sha256})

    @property
    def sha256(self) -> str:
        return self.digest["sha256"]


class Collector(_Frozen):
    """What made the statement: the toolkit as it was."""

    name: Literal["golive"] = "golive"
    source: str = Field(pattern=_HEX)
    """SHA-256 of the toolkit's own sources (golive.evidence.subjects)."""
    host: str = ""
    """``user@host`` of the controller."""


class Output(_Frozen):
    """What the check printed or made, kept beside the statement under its digest."""

    sha256: str = Field(pattern=_HEX)
    size: int = Field(ge=0)


class Check(_Frozen):
    """The predicate."""

    check: str = Field(pattern=r"^[a-z]+(\.[A-Za-z0-9_-]+)*$")
    """Its name: ``tests.AMST-006``, ``bench.core``, ``tool.terraform-validate``, ``verify`` ..."""
    env: str | None
    """The environment it was made in; None for what has none, as a test of the sources."""
    collector: Collector
    command: str = Field(min_length=1)
    """What to type, or to ask, to repeat it."""
    inputs: list[Subject] = []
    """Files that decided what was checked: tests, benchmark programs, queries."""
    result: Result
    summary: str = Field(min_length=1, max_length=2000)
    facts: dict[str, Any] = {}
    """What was found, for machines: rows, test outcomes, values."""
    output: Output
    started: AwareDatetime
    finished: AwareDatetime
    valid_until: AwareDatetime
    seq: int = Field(ge=0)
    previous: str | None = Field(pattern=_HEX)
    """Digest of the envelope that the same key signed before; a statement that was taken out leaves a gap."""


class Statement(_Frozen):
    """One check, as signed."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(default=TYPE, alias="_type")
    subject: list[Subject] = Field(min_length=1)
    predicate_type: Literal["tag:dwcp.example,2026:readiness-check/v1"] = Field(default=PREDICATE, alias="predicateType")
    predicate: Check

    def written(self) -> bytes:
        """The bytes that are signed."""
        return canonical(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def read(cls, payload: bytes) -> Statement:
        """The statement that ``payload`` is. Raises Refused."""
        try:
            return cls.model_validate(json.loads(payload))
        except (ValidationError, ValueError, RecursionError) as error:
            raise Refused(f"this is no statement: {_first(error)}") from None

    def digests(self) -> Mapping[str, str]:
        """SHA-256 by name of everything that has to be the same for the statement to be about what stands there now."""
        return {subject.name: subject.sha256 for subject in (*self.subject, *self.predicate.inputs)}

    def holds_at(self, now: datetime) -> bool:
        return self.predicate.finished <= now < self.predicate.valid_until


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
