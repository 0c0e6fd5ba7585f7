"""Configuration of the agent and of the load client, read from YAML and validated before anything starts."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dwcp_agent.cpus import parse_cpu_list
from dwcp_agent.errors import BadInput
from dwcp_agent.features import Switch
from dwcp_agent.transport.plain import parse_network

__all__ = ["CONTROL_PORTS", "AgentConfig", "Cpus", "Features", "Limits", "LoadConfig", "Mix", "Ports", "Tls", "load_config", "ports_of"]

Seconds = Annotated[float, Field(gt=0, le=86400)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ports(_Strict):
    """The three ports of a slot."""

    control: int
    data: int
    health: int


_PORTS = {"a": Ports(control=7400, data=7401, health=7402), "b": Ports(control=7410, data=7411, health=7412)}


CONTROL_PORTS = {slot: ports.control for slot, ports in _PORTS.items()}


def ports_of(slot: str) -> Ports:
    """Ports of slot ``a`` or ``b``. Raises BadInput for any other name."""
    if slot not in _PORTS:
        raise BadInput(f"DWCP_SLOT is {slot!r}; it must be a or b.")
    return _PORTS[slot]


class Tls(_Strict):
    """Paths of the CA, the certificate and the key."""

    ca: Path
    cert: Path
    key: Path


class Cpus(_Strict):
    """CPU lists by thread role; None means every CPU the process may use."""

    net: str | None = None
    codec: str | None = None
    control: str | None = None

    @field_validator("net", "codec", "control")
    @classmethod
    def _is_a_cpu_list(cls, value: str | None) -> str | None:
        if value is not None:
            parse_cpu_list(value)
        return value


class Limits(_Strict):
    """Bounds of everything that callers can make grow."""

    max_streams: int = Field(default=64, ge=1, le=1024)
    max_sessions: int = Field(default=10_000, ge=1)
    max_requests: int = Field(default=128, ge=1, le=4096)
    max_transfer_bytes: int = Field(default=1 << 40, ge=1, le=1 << 62)
    max_state_keys: int = Field(default=100_000, ge=1)
    max_state_bytes: int = Field(default=1 << 30, ge=1)
    ticket_ttl_s: Seconds = 60
    stall_timeout_s: Seconds = 20
    idle_timeout_s: Seconds = 60
    drain_timeout_s: Seconds = 30
    drain_grace_s: float = Field(default=1, ge=0, le=60)


class Features(_Strict):
    """Optimisations that are switched off at start."""

    disable: tuple[Switch, ...] = ()


class AgentConfig(_Strict):
    """``/etc/dwcp/agent.yaml``: settings of a host, the same for every release on it."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    host: str = Field(min_length=1, max_length=253)
    site: str = Field(min_length=1, max_length=64)
    listen: str
    advertise: str = ""
    tls: Tls
    store: Path
    admission: Path = Path("/var/lib/dwcp/admission.json")
    senders: Path = Path("/var/lib/dwcp/senders")
    """Ledger of the transfers that run from this host, for metrics; read only."""
    streams: int = Field(default=4, ge=1, le=64)
    plain_from: tuple[str, ...] = ()
    """Networks whose link is encrypted by itself: senders there that ask for it may send content without TLS."""
    cpus: Cpus = Cpus()
    limits: Limits = Limits()
    features: Features = Features()

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return _address(value)

    @field_validator("plain_from")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_network(text)
        return value

    @model_validator(mode="after")
    def _streams_fit(self) -> AgentConfig:
        if self.streams > self.limits.max_streams:
            raise ValueError("streams must not exceed limits.max_streams")
        return self

    @property
    def data_host(self) -> str:
        """Where clients are told to open data streams."""
        if self.advertise:
            return self.advertise
        return self.host if ipaddress.ip_address(self.listen).is_unspecified else self.listen


class Mix(_Strict):
    """Relative weights of what the load client sends."""

    put_4k: float = Field(default=70, ge=0)
    put_64k: float = Field(default=25, ge=0)
    transfer_1m: float = Field(default=5, ge=0)

    @model_validator(mode="after")
    def _sends_something(self) -> Mix:
        if self.put_4k + self.put_64k + self.transfer_1m <= 0:
            raise ValueError("at least one weight must be above 0")
        return self


class LoadConfig(_Strict):
    """``/etc/dwcp/load.yaml``: the open-loop client of one site."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    host: str = Field(min_length=1, max_length=253)
    site: str = Field(min_length=1, max_length=64)
    gateway: str = Field(pattern=r"^https://[^/\s]+$")
    tls: Tls
    rate_per_s: float = Field(gt=0, le=10_000)
    control_share: float = Field(default=0, ge=0, le=1)
    """Requests on the control lane, in addition, as a share of ``rate_per_s``: they go to the incumbent while a candidate is judged."""
    listen: str
    port: int = Field(default=7450, ge=1, le=65535)
    timeout_s: Seconds = 5
    max_in_flight: int = Field(default=256, ge=1, le=4096)
    sessions: int = Field(default=20, ge=1, le=10_000)
    session_requests: float = Field(default=40, ge=1)
    single_share: float = Field(default=0.3, ge=0, le=1)
    mix: Mix = Mix()
    objects: int = Field(default=200, ge=1, le=100_000)
    streams: int = Field(default=2, ge=1, le=16)
    drain_timeout_s: Seconds = 10
    seed: int | None = None

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return _address(value)


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a directory that may not be looked into
        return False


_Config = TypeVar("_Config", AgentConfig, LoadConfig)


def load_config(path: Path, kind: type[_Config]) -> _Config:
    """The configuration in ``path``. Raises BadInput with one sentence that names file and key, or file and line."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not UTF-8 text.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise BadInput(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or 'cannot be parsed'}.") from None
    except (
        Exception
    ) as error:  # of a value that looks like a date or a number and is none, or of too many brackets: YAML lets it all through
        raise BadInput(f"{path}: a value cannot be read: {error}.") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: expected a mapping at the top.")
    try:
        config = kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise BadInput(f"{path}: {where + ': ' if where else ''}{message}.") from None
    for name, file in (("ca", config.tls.ca), ("cert", config.tls.cert), ("key", config.tls.key)):
        if not _is_file(file):
            raise BadInput(f"{path}: tls.{name}: there is no file {file}.")
    return config
