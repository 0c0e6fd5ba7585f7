"""What a runbook's gate says: thresholds as an operator writes them, parsed strictly. No numerics here: loading a runbook stays quick."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from golive.errors import BadInput

__all__ = ["GatePolicy", "GateSpec", "Looser", "Threshold", "both", "duration", "parse_policy", "parse_spec", "threshold"]

_M = TypeVar("_M", bound=BaseModel)
_THRESHOLD = re.compile(r"\s*(<)\s*(\d+(?:\.\d+)?)\s*(%|ms|s|MB|GB|MiB|GiB)\s*")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SCALES = {"%": 0.01, "ms": 0.001, "s": 1.0, "MB": 1e6, "GB": 1e9, "MiB": 2.0**20, "GiB": 2.0**30}
_UNITS_OF = {
    "error_rate": ("%",),
    "latency_p99": ("ms", "s"),
    "degradation": ("%",),
    "cpu": ("%",),
    "memory": ("MB", "GB", "MiB", "GiB"),
    "memory_growth": ("%",),
}


@dataclass(frozen=True)
class Threshold:
    """An upper limit. ``value`` is in base units: a share of 1, seconds, or bytes; ``text`` is what the operator wrote."""

    value: float
    text: str


def threshold(metric: str, text: object) -> Threshold:
    """Parses ``"< 0.1 %"`` for ``metric``. Raises ``ValueError`` with one sentence that shows the right form."""
    units = _UNITS_OF[metric]
    wanted = f"{metric} is written like '< 10 {units[0]}' (units: {', '.join(units)})"
    if not isinstance(text, str):
        raise ValueError(f"{wanted}, not {text!r}")
    match = _THRESHOLD.fullmatch(text)
    if match is None or match.group(3) not in units:
        raise ValueError(f"{wanted}, not {text!r}")
    value = float(match.group(2)) * _SCALES[match.group(3)]
    if value <= 0:
        raise ValueError(f"{metric}: a limit of {text!r} can never be met; it must be above zero")
    if metric in ("error_rate", "cpu") and value >= 1:
        raise ValueError(f"{metric}: a limit of {text!r} refuses nothing; it must be below 100 %")
    return Threshold(value, f"< {match.group(2)} {match.group(3)}")


def both(stated: Threshold, decides: Threshold) -> str:
    """What was asked, as printed: where an environment decides by a looser threshold, that one and production's."""
    return stated.text if stated == decides else f"{decides.text} here, {stated.text} in production"


def duration(text: object) -> timedelta:
    """Parses ``90s``, ``10m``, ``1h30m``. Raises ``ValueError`` for anything else, zero included."""
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not re.fullmatch(rf"(?:{_DURATION.pattern})+", text.replace(" ", "")):
        raise ValueError(f"a duration is written like 30s, 10m or 1h30m, not {text!r}")
    seconds = sum(float(n) * _DURATION_UNITS[unit] for n, unit in _DURATION.findall(text.replace(" ", "")))
    if seconds <= 0:
        raise ValueError(f"a duration must be longer than zero, not {text!r}")
    return timedelta(seconds=seconds)


class GateSpec(BaseModel):
    """The ``with:`` of ``uses: gate.metrics``. At least one claim has to be made."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    for_: timedelta = Field(alias="for")
    """Length of the watch. A rehearsal's scaling is applied by the caller."""
    every: timedelta = timedelta(seconds=2)
    """How often the early-failure tests look; never scaled. The tests hold whatever this is."""
    error_rate: Threshold | None = None
    latency_p99: Threshold | None = None
    latency_from: Literal["samples", "histogram"] = "samples"
    """Where the share of slow requests is counted: the load clients' samples, or their histogram (which then needs that very edge)."""
    against: Literal["incumbent", "baseline", "none"] = "none"
    degradation: Threshold | None = None
    """How much slower than what ``against`` names the candidate may be."""
    cpu: Threshold | None = None
    memory: Threshold | None = None
    memory_growth: Threshold | None = None
    """Growth of resident memory over the watch, as a share of its median. Where ``memory`` is limited and this is left out: 10 % of the
    median, or of a tenth of the limit for a process smaller than that."""
    restarts: int | None = Field(default=None, ge=0)
    disruptions: int | None = Field(default=None, ge=0)
    """Requests that no release answered, whoever they were meant for."""

    @field_validator("for_", "every", mode="before")
    @classmethod
    def _duration(cls, value: object) -> timedelta:
        return duration(value)

    @field_validator("error_rate", "latency_p99", "degradation", "cpu", "memory", "memory_growth", mode="before")
    @classmethod
    def _threshold(cls, value: object, info: Any) -> Threshold | None:
        if isinstance(value, Mapping):  # a spec that was written out and is read again
            value = value.get("text")
        return value if value is None or isinstance(value, Threshold) else threshold(info.field_name, value)

    @model_validator(mode="after")
    def _claims(self) -> GateSpec:
        claims = ("error_rate", "latency_p99", "degradation", "cpu", "memory", "memory_growth", "restarts", "disruptions")
        if all(getattr(self, name) is None for name in claims):
            raise ValueError(f"a gate that claims nothing would pass anything; state at least one of {', '.join(claims)}")
        if self.degradation is not None and self.against == "none":
            raise ValueError("degradation needs 'against: incumbent' or 'against: baseline'")
        if self.degradation is None and self.against != "none":
            raise ValueError(f"'against: {self.against}' needs a degradation, such as degradation: '< 20 %'")
        return self

    @property
    def growth(self) -> Threshold | None:
        """The limit on memory growth that applies."""
        if self.memory_growth is None and self.memory is not None:
            return Threshold(0.10, "< 10 %")
        return self.memory_growth


class Looser(BaseModel):
    """Thresholds of an environment whose traffic cannot prove what the runbook asks. Printed beside the runbook's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    because: str = Field(min_length=10)
    error_rate: Threshold | None = None
    latency_p99: Threshold | None = None

    @field_validator("error_rate", "latency_p99", mode="before")
    @classmethod
    def _threshold(cls, value: object, info: Any) -> Threshold | None:
        return value if value is None or isinstance(value, Threshold) else threshold(info.field_name, value)


class GatePolicy(BaseModel):
    """``gates:`` of ``policies/<env>.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float = Field(default=0.95, ge=0.8, le=0.9999)
    """Of every claim that a PASS makes. A watch that is extended splits it, see ``spent``."""
    false_alarm: float = Field(default=0.002, gt=0, le=0.05)
    """Total probability that one gate fails a candidate which keeps the runbook's thresholds, over all its tests and looks."""
    false_alarm_alike: float = Field(default=0.01, gt=0, le=0.05)
    """The same for a candidate that breaks a threshold, but no more than the incumbent does in the same seconds: the site is sick then."""
    stale_after_s: float = Field(default=10.0, gt=0)
    """Data older than this is no data."""
    trigger_error_rate: Threshold = Threshold(0.01, "> 1 %")
    """Errors above this roll back even when the incumbent errs as much."""
    looser: Looser | None = None

    @field_validator("trigger_error_rate", mode="before")
    @classmethod
    def _trigger(cls, value: object) -> Threshold:
        if isinstance(value, Threshold):
            return value
        if not isinstance(value, str) or not value.strip().startswith(">"):
            raise ValueError(f"trigger_error_rate is written like '> 1 %', not {value!r}")
        parsed = threshold("error_rate", value.replace(">", "<", 1))
        return Threshold(parsed.value, parsed.text.replace("<", ">"))

    def spent(self, attempt: int) -> float:
        """Share of 1 - confidence that the ``attempt``-th decision (0 first) on a growing watch may use: 65 %, 23 %, 8 % ...

        The shares of all attempts together stay below 1, so extending a watch any number of times keeps the stated confidence.
        """
        return float((1.0 - self.confidence) * self.part(attempt))

    @staticmethod
    def part(attempt: int) -> float:
        """Part of a probability that belongs to the ``attempt``-th decision; the parts of all attempts sum to 1."""
        return float(0.65 * 0.35**attempt)

    def limit(self, spec: GateSpec, metric: Literal["error_rate", "latency_p99"]) -> Threshold | None:
        """The threshold that decides here: the environment's looser one where it states one, else the runbook's."""
        stated: Threshold | None = getattr(spec, metric)
        own: Threshold | None = getattr(self.looser, metric) if self.looser else None
        return own if stated is not None and own is not None and own.value > stated.value else stated


def parse_spec(data: Mapping[str, Any], where: str = "gate") -> GateSpec:
    """The spec in a runbook's ``with:``. Raises BadInput with one sentence, naming ``where``."""
    return _parse(GateSpec, data, where)


def parse_policy(policy: Mapping[str, Any], where: str = "policy") -> GatePolicy:
    """The ``gates`` section of an environment's policy. Raises BadInput with one sentence, naming ``where``."""
    return _parse(GatePolicy, policy.get("gates") or {}, f"{where}: gates")


def _parse(model: type[_M], data: Mapping[str, Any], where: str) -> _M:
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        lead = f"{field}: " if field and not message.startswith(field) else ""
        raise BadInput(f"{where}: {lead}{message}.") from None
