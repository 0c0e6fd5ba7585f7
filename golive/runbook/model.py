"""What a run is: stages of steps, as data. The YAML that people write is read by :mod:`golive.runbook.loader`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from golive.runbook.duration import Duration, Offset, format_duration, parse_duration

__all__ = ["NotCovered", "Reaction", "Reactions", "Runbook", "Stage", "Step"]

Follow = Literal["rollback", "hold", "abort"]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]{0,62}$")]
"""Names of stages and steps. No slash and no colon: they part names in the journal and in directories."""

Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]

_REACTION = re.compile(r"(?P<now>rollback|hold|abort)|hold (?P<time>\S+) then (?P<then>rollback|hold|abort)")


@dataclass(frozen=True)
class Reaction:
    """What happens when a step does not pass.

    ``hold_for`` is how long the step is tried again first (None: not at all); ``then`` is what follows: ``rollback``, ``hold`` (the
    run stands still and a person decides) or ``abort`` (the run ends).
    """

    then: Follow
    hold_for: timedelta | None = None

    @classmethod
    def parse(cls, text: Any) -> Reaction:
        """Reads ``rollback``, ``hold``, ``abort`` or ``hold 20m then rollback``. Raises ValueError."""
        if isinstance(text, cls):
            return text
        match = _REACTION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"expected rollback, hold, abort or, for example, hold 20m then rollback; got {text!r}")
        if match["now"]:
            return cls(then=match["now"])  # type: ignore[arg-type]
        return cls(then=match["then"], hold_for=parse_duration(match["time"]))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.then if self.hold_for is None else f"hold {format_duration(self.hold_for)} then {self.then}"


_ReactionField = Annotated[
    Reaction,
    BeforeValidator(Reaction.parse),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(rollback|hold|abort|hold \\S+ then (rollback|hold|abort))$"}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=False, arbitrary_types_allowed=True)


class Reactions(_Strict):
    """``on:`` of a step. What is not written follows the default: hold while nothing of the candidate is on hosts, then rollback."""

    fail: _ReactionField | None = None
    inconclusive: _ReactionField | None = None
    error: _ReactionField | None = None


class Step(_Strict):
    """One use of one action."""

    id: Name
    uses: str
    """Name of a registered action, like ``traffic.shift``."""
    params: dict[str, Any] = Field(default_factory=dict, alias="with")
    """As written; the action's own ``Params`` model gives it types."""
    owner: Role | None = None
    budget: Duration | None = None
    """Longest time of the step; None: the action's own."""
    on: Reactions = Field(default_factory=Reactions)


class Stage(_Strict):
    """Steps that start together at an offset from T-0."""

    name: Name = Field(alias="stage")
    at: Offset
    owner: Role
    """Role that answers for the stage, and for each of its steps that names none."""
    title: str | None = None
    budget: Duration | None = None
    """Longest time from the start of the stage to its end; waiting for its time and holds do not count."""
    converge: bool = False
    """Whether the stage also runs when the release is already live, to repair what is missing."""
    steps: Annotated[tuple[Step, ...], Field(min_length=1, strict=False)]


class NotCovered(_Strict):
    """A fact of the plan that no action does yet; shown in every report."""

    stage: str
    what: str
    why: str


class Runbook(_Strict):
    """One file under ``runbooks/``."""

    format: Literal[1] = Field(default=1, alias="schema")
    name: Name = Field(alias="runbook")
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, strict=False)]
    not_covered: Annotated[tuple[NotCovered, ...], Field(strict=False)] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over what the file means: comments, order of keys and spelling of durations do not matter."""
        data = self.model_dump(mode="json", by_alias=True)
        return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def stage(self, name: str) -> Stage:
        """The stage called ``name``. Raises KeyError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def steps(self) -> Iterator[tuple[Stage, Step]]:
        """Every step with its stage, in order."""
        for stage in self.stages:
            for step in stage.steps:
                yield stage, step
