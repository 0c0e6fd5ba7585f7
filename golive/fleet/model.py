"""The hosts of an environment, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Bastion", "Fleet", "Host"]


class Bastion(BaseModel):
    """A machine through which others are reached over SSH; nothing is installed on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str
    """Address or name by which the operator's machine reaches it."""
    ssh_user: str = "root"
    ssh_port: int = 22
    host_key: str
    """The pinned public host key, ``ssh-ed25519 AAAA...``."""

    @property
    def spec(self) -> str:
        """``user@address:port ssh-ed25519 AAAA...``, in one line."""
        return f"{self.ssh_user}@{self.address}:{self.ssh_port} {self.host_key}"

    @classmethod
    def from_spec(cls, spec: str) -> Bastion:
        """The bastion that ``spec`` describes; its name is its address. Raises ValueError when it is no such line."""
        where, _, host_key = spec.partition(" ")
        user, _, place = where.rpartition("@")
        address, _, port = place.rpartition(":")
        if not (user and address and host_key):
            raise ValueError(f"{spec[:60]!r} does not describe a bastion")
        return cls(name=address, address=address, ssh_user=user, ssh_port=int(port), host_key=host_key)


class Host(BaseModel):
    """One machine that the toolkit installs on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    site: str
    address: str
    """IPv4 address by which the operator's machine and the other hosts of its site reach it."""
    role: Literal["agent", "ops"]
    gateway: bool = False
    """Whether a gateway (HAProxy and dwcp-guard) runs here: host 1 of each site."""
    load: bool = False
    """Whether the load client runs here: host 2 of each site."""
    ssh_user: str = "root"
    ssh_port: int = 22
    host_key: str
    """The pinned public host key, ``ssh-ed25519 AAAA...``."""
    bastion: Bastion | None = None
    """The machine through which this one is reached; None when it is reached directly."""
    cache: bool = False
    """Whether this host keeps bundles for the other hosts of its site, where ``site_cache`` is on."""
    labels: dict[str, str] = {}
    """What the owner says about the machine, such as ``canary: "true"``."""

    def __hash__(self) -> int:
        # Labels are a mapping, which has none; equal hosts have equal names and addresses.
        return hash((self.name, self.address))

    @property
    def canary(self) -> bool:
        """Whether it is among the first that get something new."""
        return self.labels.get("canary") == "true"


class Fleet(BaseModel):
    """All hosts of one environment, ordered by name; exactly one of them is ``ops``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str
    hosts: tuple[Host, ...]

    @model_validator(mode="after")
    def _one_ops(self) -> Fleet:
        found = sum(host.role == "ops" for host in self.hosts)
        if found != 1:
            raise ValueError(f"a fleet has exactly one host with the role ops, this one has {found}")
        return self

    @property
    def agents(self) -> Sequence[Host]:
        return [h for h in self.hosts if h.role == "agent"]

    @property
    def gateways(self) -> Sequence[Host]:
        return [h for h in self.hosts if h.gateway]

    @property
    def loads(self) -> Sequence[Host]:
        return [h for h in self.hosts if h.load]

    @property
    def ops(self) -> Host:
        return next(h for h in self.hosts if h.role == "ops")

    @property
    def bastions(self) -> Sequence[Bastion]:
        """Every machine that others are reached through, once, ordered by name."""
        return sorted({h.bastion for h in self.hosts if h.bastion is not None}, key=lambda bastion: bastion.name)

    def named(self, name: str) -> Host:
        """The host called ``name``. Raises ``KeyError`` when there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)
