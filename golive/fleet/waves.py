"""Waves: in which order, and how many at a time, a change reaches the hosts of a fleet. Pure functions of the fleet and the policy.

Labelled canaries come first; the rest of each site follows, one site after the other, each in the order of a hash of the host's name.
The hash is salted by the environment and by nothing else: every run, and every process that goes on with one, has the same order, 50 % of a
site holds the same hosts as its 10 %, and a host that is added moves no other.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from golive.errors import BadInput
from golive.fleet.model import Host

__all__ = ["FailureBudget", "Size", "Wave", "WavePolicy", "budget_of", "order", "policy_of", "remaining", "waves"]

_Model = TypeVar("_Model", bound=BaseModel)

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")


@dataclass(frozen=True)
class Size:
    """How many hosts of a site are done when a wave is: a number, or a part of the site."""

    number: float
    percent: bool = False

    def of(self, hosts: int) -> int:
        """In hosts; a part is rounded up, so that none is nobody."""
        wanted = math.ceil(round(hosts * self.number / 100, 9)) if self.percent else int(self.number)
        return max(1, min(hosts, wanted)) if hosts else 0

    def __str__(self) -> str:
        return f"{self.number:g} %" if self.percent else f"{self.number:g}"


def _size(value: object) -> Size:
    if isinstance(value, Size):
        return value
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is neither a number of hosts nor a part like '10 %'")
    size = Size(float(match[1]), bool(match[2]))
    if not size.number or (size.percent and size.number > 100) or (not size.percent and size.number != int(size.number)):
        raise ValueError(f"{value!r} is no size: a whole number from 1 on, or more than 0 % and at most 100 %")
    return size


class WavePolicy(BaseModel):
    """``waves:`` of a policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    sizes: tuple[Annotated[Size, BeforeValidator(_size)], ...] = Field(
        default=(Size(1), Size(10, True), Size(50, True), Size(100, True)), min_length=1
    )
    """How much of a site is done after its first, second, ... wave. The last wave always takes what is left."""
    hosts_at_once: int | None = Field(default=None, ge=1)
    """No wave has more hosts than this."""
    one_site_at_a_time: bool = True
    """False: the fleet is one pool. For fleets whose sites are no domains of failure of their own, as the lab's."""


class FailureBudget(BaseModel):
    """``failure_budget:`` of a policy: how many hosts of the whole fleet a run may lose on the way and still go on without them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    failed: int = Field(default=0, ge=0)
    unreachable: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Wave:
    """Hosts that a change reaches together."""

    number: int
    """From 1; the same in every run over the same fleet."""
    of: int
    site: str
    """Empty when it spans sites."""
    canary: bool
    hosts: tuple[str, ...]

    def __str__(self) -> str:
        where = f", {self.site}" if self.site else ""
        return f"wave {self.number} of {self.of}{where}{', canaries' if self.canary else ''}"

    def to_json(self) -> dict[str, Any]:
        return {"wave": self.number, "of": self.of, "site": self.site, "canary": self.canary, "hosts": list(self.hosts)}


def policy_of(policy: Mapping[str, Any], shown: str = "the policy") -> WavePolicy:
    """The ``waves:`` of an environment's policy. Raises BadInput saying what is wrong with it."""
    return _parsed(WavePolicy, policy, "waves", shown)


def budget_of(policy: Mapping[str, Any], shown: str = "the policy") -> FailureBudget:
    """The ``failure_budget:`` of an environment's policy; nothing may fail when it has none. Raises BadInput saying what is wrong."""
    return _parsed(FailureBudget, policy, "failure_budget", shown)


def _parsed(model: type[_Model], policy: Mapping[str, Any], key: str, shown: str) -> _Model:
    try:
        return model.model_validate(policy.get(key) or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (key, *first["loc"]))
        raise BadInput(f"{shown}: {where}: {first['msg'].removeprefix('Value error, ')}.") from None


def _hash(salt: str, name: str) -> bytes:
    return hashlib.sha256(f"{salt}/{name}".encode()).digest()


def order(hosts: Iterable[Host], salt: str, *, one_site_at_a_time: bool = True) -> list[list[Host]]:
    """All ``hosts``, each once, in groups that no wave crosses: labelled canaries, the rest (per site or as one), ops."""

    def rank(host: Host) -> int:
        return 0 if host.canary else 2 if host.role == "ops" else 1

    def group(host: Host) -> tuple[int, bytes, str]:
        site = host.site if one_site_at_a_time else ""
        return rank(host), _hash(salt, f"site/{site}") if site else b"", site

    groups: dict[tuple[int, bytes, str], list[Host]] = {}
    for host in hosts:
        groups.setdefault(group(host), []).append(host)
    return [sorted(groups[key], key=lambda host: (_hash(salt, host.name), host.name)) for key in sorted(groups)]


def waves(hosts: Iterable[Host], policy: WavePolicy, *, salt: str) -> tuple[Wave, ...]:
    """The waves of ``hosts``, first to last; every host is in exactly one.

    Args:
        hosts: All that the change is meant for, done or not: only so does a process that goes on have the waves of the one before.
        policy: How many at a time.
        salt: The environment's name.
    """
    cut: list[tuple[bool, list[Host]]] = []
    for group in order(hosts, salt, one_site_at_a_time=policy.one_site_at_a_time):
        begin = 0
        for end in [*(size.of(len(group)) for size in policy.sizes), len(group)]:
            step = policy.hosts_at_once or len(group)
            while begin < end:
                upto = min(end, begin + step)
                cut.append((group[0].canary, group[begin:upto]))
                begin = upto
    found = []
    for number, (canary, members) in enumerate(cut, 1):
        sites = {host.site for host in members}
        site = sites.pop() if len(sites) == 1 else ""
        found.append(Wave(number, len(cut), site, canary, tuple(host.name for host in members)))
    return tuple(found)


def remaining(planned: Sequence[Wave], todo: Collection[str]) -> list[Wave]:
    """``planned`` with the hosts of ``todo`` alone; a wave that has none left is left out, the others keep their numbers."""
    kept = [Wave(w.number, w.of, w.site, w.canary, tuple(name for name in w.hosts if name in todo)) for w in planned]
    return [wave for wave in kept if wave.hosts]
