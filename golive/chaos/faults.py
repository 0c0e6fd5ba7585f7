"""The faults that can strike simulated hosts and their controller, and how each is lifted."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace

from golive.sim.guards import pass_time
from golive.sim.plays import start_haproxy
from golive.sim.world import SimHost, World

__all__ = ["FAULTS", "Fault", "named"]


@dataclass(frozen=True)
class Fault:
    """One kind of fault. ``strike`` returns how it is lifted."""

    name: str
    strike: Callable[[World, random.Random], Callable[[], None]]
    kills: bool = False
    """The controller is killed where it stands."""
    what: str = "record"
    spares_run: bool = False
    """A good candidate has to go live in spite of it."""
    kills_gateway: bool = False
    """Requests may be lost by it."""
    keeps_hold: bool = False
    """What it leaves only a person with tools beside this one can mend: a run may stay held."""
    jumps: bool = False
    second: bool = False
    """Another operator types the same command meanwhile."""
    types: str = ""
    """What another operator types meanwhile: ``pause`` (and later ``resume``), or ``abort``."""
    stage: str = ""
    """Strikes in this stage only."""
    early: bool = False
    """Strikes what happens before T-0 only."""
    database: bool = False
    """The round's journal is in a PostgreSQL of its own, which is killed."""


def _nothing(world: World, rng: random.Random) -> Callable[[], None]:
    return lambda: None


def _wrong(host: SimHost, **what: object) -> Callable[[], None]:
    host.put(replace(host.condition, **what))  # type: ignore[arg-type]
    undone = {name: getattr(type(host.condition)(), name) for name in what}

    def lift() -> None:
        host.put(replace(host.condition, **undone))

    return lift


def _any(world: World, rng: random.Random) -> SimHost:
    return world.host(rng.choice(world.fleet.agents).name)


def _all(world: World, names: list[str], **what: object) -> Callable[[], None]:
    lifts = [_wrong(world.host(name), **what) for name in names]

    def lift_all() -> None:
        for lift in lifts:
            lift()

    return lift_all


def _cut_site(world: World, rng: random.Random) -> Callable[[], None]:
    site = rng.choice(sorted({host.site for host in world.fleet.agents}))
    return _all(world, [host.name for host in world.fleet.agents if host.site == site], cut=True)


def _prometheus(world: World, rng: random.Random) -> Callable[[], None]:
    return _wrong(world.host(world.fleet.ops.name), dead=("prometheus",))


def _storage(**what: object) -> Callable[[World, random.Random], Callable[[], None]]:
    """Of the backups: they are on the ops host."""
    return lambda world, rng: _wrong(world.host(world.fleet.ops.name), **what)


def _haproxy(world: World, rng: random.Random) -> Callable[[], None]:
    host = world.host(rng.choice(world.fleet.gateways).name)
    if not host.ledger.read().haproxy:
        return lambda: None
    host.ledger.write(world.clock.world(), "haproxy", up=False)

    def lift() -> None:
        if not host.ledger.read().haproxy:
            start_haproxy(world, host, world.clock.world())

    return lift


def _load_client(world: World, rng: random.Random) -> Callable[[], None]:
    host = world.host(rng.choice(world.fleet.loads).name)
    for name, unit in list(host.ledger.read().units.items()):
        if unit.on and name.startswith("dwcp-load@"):
            host.ledger.write(world.clock.world(), "stop", unit=name, why="killed")
            host.ledger.write(world.clock.world(), "start", unit=name, why="Restart=on-failure")
    return lambda: None


def _agent(world: World, rng: random.Random) -> Callable[[], None]:
    host = _any(world, rng)
    for name, unit in list(host.ledger.read().units.items()):
        if unit.on and name.startswith("dwcp-agent@"):
            host.ledger.write(world.clock.world(), "stop", unit=name, why="killed")
            host.ledger.write(world.clock.world(), "start", unit=name, slot=unit.slot, why="Restart=on-failure")
    return lambda: None


def _stopped(world: World, rng: random.Random) -> Callable[[], None]:
    pass_time(world, 60.0)
    return lambda: None


def _reboot(world: World, rng: random.Random) -> Callable[[], None]:
    host = _any(world, rng)
    was_up = host.ledger.read().haproxy
    host.ledger.write(world.clock.world(), "boot")
    shutil.rmtree(host.root / "run", ignore_errors=True)
    if was_up:
        host.ledger.write(world.clock.world(), "haproxy", up=False)
    uncut = _wrong(host, cut=True)

    def lift() -> None:
        uncut()
        if was_up and not host.ledger.read().haproxy:
            start_haproxy(world, host, world.clock.world())

    return lift


def _replaced(world: World, rng: random.Random) -> Callable[[], None]:
    gateways = {host.name for host in world.fleet.gateways} | {host.name for host in world.fleet.loads}
    others = [host.name for host in world.fleet.agents if host.name not in gateways] or [world.fleet.agents[-1].name]
    host = world.host(rng.choice(others))
    host.ledger.write(world.clock.world(), "replaced")
    shutil.rmtree(host.root, ignore_errors=True)
    return lambda: None


def _flag(name: str) -> Callable[[World, random.Random], Callable[[], None]]:
    def strike(world: World, rng: random.Random) -> Callable[[], None]:
        path = world.directory / name
        path.touch()
        return lambda: path.unlink(missing_ok=True)

    return strike


FAULTS = (
    Fault("kill -9 controller at a record", _nothing, kills=True, spares_run=True),
    Fault("kill -9 controller inside a step", _nothing, kills=True, what="command", spares_run=True),
    Fault("kill ansible-playbook", _flag("kill-ansible"), early=True),
    Fault("kill terraform", _flag("kill-terraform"), early=True),
    Fault("kill prometheus", _prometheus),
    Fault("cut the backups' storage", _storage(cut=True)),
    Fault("fill the backups' storage", _storage(full=True)),
    Fault("kill haproxy", _haproxy, kills_gateway=True),
    Fault("kill a load client", _load_client),
    Fault("kill an agent", _agent),
    Fault("cut a host", lambda w, r: _wrong(_any(w, r), cut=True)),
    Fault("cut a site", _cut_site),
    Fault("cut the controller", lambda w, r: _all(w, [h.name for h in w.fleet.hosts], cut=True)),
    Fault("fill a disk", lambda w, r: _wrong(_any(w, r), full=True)),
    Fault("SIGSTOP for a minute", _stopped, spares_run=True),
    Fault("clock of the controller jumps", _nothing, jumps=True),
    Fault("two operators", _nothing, second=True, spares_run=True),
    Fault("another operator pauses, and resumes", _nothing, types="pause", spares_run=True),
    Fault("another operator aborts", _nothing, types="abort"),
    Fault("kill -9 controller in the drill", _nothing, kills=True, what="command", stage="rehearsal", spares_run=True),
    Fault("kill -9 controller in the backup", _nothing, kills=True, what="command", stage="pre-deployment", spares_run=True),
    Fault("host reboots", _reboot, kills_gateway=True),
    Fault("host replaced by another of its name", _replaced, keeps_hold=True),
    Fault("SSH accepts and hangs", lambda w, r: _wrong(_any(w, r), hangs=True)),
    Fault("kill PostgreSQL", _nothing, database=True),
    Fault("host is slow", lambda w, r: _wrong(_any(w, r), slow_s=8.0), spares_run=True),
)
"""No worker is drawn: simulated hosts are played by the controller itself."""


def named(name: str) -> Fault:
    """The fault called ``name``. Raises KeyError."""
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise KeyError(name)
