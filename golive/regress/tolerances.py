"""What a candidate may cost: ``policies/regress.yaml``, read and checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from golive.environment import ROOT
from golive.errors import BadInput
from golive.regress.intervals import fewest_pairs

__all__ = ["KINDS", "EndToEnd", "Kind", "Policy", "Tolerance", "read_policy"]

Kind = Literal["throughput", "latency", "compression", "cpu", "memory", "errors"]
KINDS: tuple[Kind, ...] = ("throughput", "latency", "compression", "cpu", "memory", "errors")

_WRITTEN = re.compile(r"(>=|<=)\s*([0-9]+(?:\.[0-9]+)?)\s*x")


class Tolerance(BaseModel):
    """How much worse than the incumbent is still within: ``more`` says which way is better."""

    model_config = ConfigDict(frozen=True)

    more: bool
    """More is better: ``>=``."""
    factor: float = Field(gt=0)
    """Of candidate over incumbent."""

    @property
    def bar(self) -> float:
        """The least goodness: candidate over incumbent where more is better, incumbent over candidate where less is."""
        return self.factor if self.more else 1 / self.factor

    def __str__(self) -> str:
        return f"{'>=' if self.more else '<='} {self.factor:.2f}x"


class EndToEnd(BaseModel):
    """The bars of `inv validate end-to-end`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volume_MBps: float = Field(gt=0)
    connection_ms: float = Field(gt=0)
    operations_per_s: float = Field(gt=0)


class Policy(BaseModel):
    """``policies/regress.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = Field(alias="schema")
    confidence: float = Field(ge=0.8, lt=1)
    caught: float = Field(gt=1)
    pairs: int = Field(ge=5, le=200)
    tolerances: dict[Kind, Tolerance]
    errors_below_percent: float = Field(gt=0, le=100)
    end_to_end: EndToEnd

    @field_validator("tolerances", mode="before")
    @classmethod
    def _written(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        read = {}
        for kind, text in value.items():
            match = _WRITTEN.fullmatch(str(text).strip())
            if match is None:
                raise ValueError(f"{kind}: {text!r} is no tolerance like '>= 0.95x' or '<= 1.10x'")
            read[kind] = Tolerance(more=match[1] == ">=", factor=float(match[2]))
        return read

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = [kind for kind in KINDS if kind not in self.tolerances]
        if missing:
            raise ValueError(f"tolerances: {', '.join(missing)} is missing")
        for kind, tolerance in self.tolerances.items():
            if tolerance.bar > 1:
                raise ValueError(f"tolerances: {kind}: {tolerance} asks for more than the incumbent does; a tolerance allows for less")
            if tolerance.bar <= 1 / self.caught:
                raise ValueError(f"caught: {self.caught:g} is within the tolerance of {kind} ({tolerance}); nothing could be caught by it")
        least = fewest_pairs(self.confidence)
        if self.pairs < least:
            raise ValueError(f"pairs: {self.pairs} decide nothing at {self.confidence:.0%}; that takes {least}")
        return self


def read_policy(path: Path = ROOT / "policies/regress.yaml") -> Policy:
    """The policy in ``path``. Raises BadInput that names the file and what is wrong."""
    try:
        return Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: {str(error).splitlines()[0]}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInput(f"{path}: {where}{': ' if where else ''}{first['msg'].removeprefix('Value error, ')}.") from None
