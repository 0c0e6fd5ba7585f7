"""A simulated fleet on disk: who is in it, where each host's files are, and what is wrong with it at the moment."""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64encode
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from golive.environment import Environment
from golive.fleet.model import Fleet, Host
from golive.onhost.places import Places
from golive.sim.clock import SimClock
from golive.sim.ledger import Ledger

__all__ = ["Condition", "SimHost", "World", "fleet_of"]


@dataclass(frozen=True)
class Condition:
    """What is wrong with a host. All of it can be lifted."""

    cut: bool = False
    """Nothing reaches it from the controller."""
    hangs: bool = False
    """SSH is accepted, then nothing comes any more."""
    slow_s: float = 0.0
    full: bool = False
    """Its disk takes nothing more."""
    skew_s: float = 0.0
    dead: tuple[str, ...] = ()
    """Programs that were killed: prometheus, haproxy, guard."""


def fleet_of(env: str, count: int, keys: dict[str, str]) -> Fleet:
    """``count`` hosts: ops, and agents at sites of up to twenty; the first of a site is its gateway, the second bears its load client."""
    agents = count - 1
    sites = max(2, min(10, -(-agents // 20)))
    hosts = []
    for number in range(agents):
        site, place = number % sites, number // sites
        name = f"{env}-s{site}-{place + 1}"
        address = f"10.{70 + site}.{place // 250}.{place % 250 + 1}"
        hosts.append(
            Host(name=name, site=f"s{site}", address=address, role="agent", gateway=place == 0, load=place == 1, host_key=keys[name])
        )
    hosts.append(Host(name=f"{env}-ops", site="ops", address="10.69.0.1", role="ops", host_key=keys[f"{env}-ops"]))
    return Fleet(env=env, hosts=tuple(sorted(hosts, key=lambda host: host.name)))


@dataclass
class SimHost:
    """One simulated machine."""

    name: str
    directory: Path
    clock: SimClock
    ledger: Ledger = field(init=False)
    _condition: Condition = Condition()
    _changes: int = -1

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.directory / "machine.jsonl", self.clock)

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def places(self) -> Places:
        return Places(self.root)

    @property
    def bare(self) -> bool:
        """Whether the base play has never been here: there is no ``dwcp-host``."""
        return not (self.root / "etc/dwcp/host.json").exists()

    @property
    def key(self) -> str:
        """The public host key that this very machine has; another machine of the same name has another."""
        replaced = sum(1 for event in self.ledger.read().events if event["do"] == "replaced")
        digest = hashlib.sha256(f"{self.name}/{replaced}".encode()).digest()
        blob = b"\0\0\0\x0bssh-ed25519\0\0\0 " + digest
        return f"ssh-ed25519 {b64encode(blob).decode()}"

    @property
    def condition(self) -> Condition:
        changes = self.clock.changes
        if changes != self._changes:
            try:
                data: dict[str, Any] = json.loads((self.directory / "condition.json").read_text(encoding="utf-8"))
                self._condition = Condition(**{**data, "dead": tuple(data["dead"])})
            except FileNotFoundError:
                self._condition = Condition()
            self._changes = changes
        return self._condition

    def put(self, condition: Condition) -> None:
        """``condition`` is so from now on."""
        path = self.directory / "condition.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".condition.{os.getpid()}")
        fresh.write_text(json.dumps(asdict(condition)), encoding="utf-8")
        fresh.replace(path)
        self.clock.changed()


class World:
    """All machines of one simulated environment, and their clock."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.directory = env.state / "world"
        self.clock = SimClock(self.directory / "clock")
        self.count = int(env.name.removeprefix("sim-"))
        self._hosts: dict[str, SimHost] = {}
        self._defects: dict[str, dict[str, Any]] = {}
        self.fleet = fleet_of(env.name, self.count, _Keys(self))
        """Who is there now; the fleet that was provisioned may have pinned other keys."""
        self.by_address = {host.address: host for host in self.fleet.hosts}

    def host(self, name: str) -> SimHost:
        """The machine called ``name``."""
        known = self._hosts.get(name)
        if known is None:
            known = self._hosts[name] = SimHost(name, self.directory / "hosts" / name, self.clock)
        return known

    def servers(self, site: str) -> list[Host]:
        """The agents behind a site's gateway."""
        return [host for host in self.fleet.agents if host.site == site]

    def defect(self, release: str) -> dict[str, Any]:
        """What was planted in ``release``, as its manifest says."""
        from golive.releases.store import store

        if release not in self._defects:
            path = store() / release / "manifest.json"
            if not path.is_file():
                return {}
            self._defects[release] = dict(json.loads(path.read_text(encoding="utf-8"))["defect"] or {})
        return self._defects[release]


class _Keys(dict[str, str]):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def __missing__(self, name: str) -> str:
        return self._world.host(name).key
