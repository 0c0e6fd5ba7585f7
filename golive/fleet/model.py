"""The hosts of an environment, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Fleet", "Host"]


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
    canary: bool = False
    """Whether a change reaches this host before the others of the fleet."""
    ssh_user: str = "root"
    ssh_port: int = 22
    host_key: str
    """The pinned public host key, ``ssh-ed25519 AAAA...``."""


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

    def named(self, name: str) -> Host:
        """The host called ``name``. Raises ``KeyError`` when there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)
