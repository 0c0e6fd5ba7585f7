"""A running step for tests of actions: its context, the hosts behind its shell, and the gateways behind its traffic port."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from golive.actions import _traffic, _world, registered
from golive.actions._world import World
from golive.actions.port import Action, Findings, Found, Outcome, StepContext
from golive.environment import Environment, Settings
from golive.errors import Held, Refused, Unreachable
from golive.fleet.model import Fleet, Host
from golive.fleet.ssh import Completed
from golive.runbook.clock import FakeClock
from golive.traffic.fake import FakePoint, FakeTraffic
from golive.traffic.port import Slot

NEW, OLD, LOAD = "3.0.0-aaaaaaaaaaaa", "2.9.0-bbbbbbbbbbbb", "1.0.0-cccccccccccc"
AGENTS, GATEWAYS, LOADS, OPS = ("ams-1", "ams-2", "nyc-1", "nyc-2"), ("ams-1", "nyc-1"), ("ams-2", "nyc-2"), "ops"
TOKEN, RUN = 7, "run-1"
ONE_WAVE = {"sizes": ["100 %"], "one_site_at_a_time": False}
"""For tests of what a step does on hosts, not of their order; ops is a wave of its own."""


def fleet(*, gateways: bool = True, user: str = "root") -> Fleet:
    """Two sites with two agent hosts each, and ops."""
    hosts = [
        Host(
            name=name,
            site=name[:3],
            address=f"10.9.{1 if name < 'b' else 2}.1{name[-1]}",
            role="agent",
            gateway=gateways and name in GATEWAYS,
            load=name in LOADS,
            ssh_user=user,
            host_key="ssh-ed25519 AAAA",
        )
        for name in AGENTS
    ]
    ops = Host(name=OPS, site="ams", address="10.9.1.10", role="ops", ssh_user=user, host_key="ssh-ed25519 AAAA")
    return Fleet(env="unit", hosts=(*hosts, ops))


def environment(**settings: Any) -> Environment:
    """An environment that nothing outside of a test knows, and whose hosts nobody can make: what is not faked fails at once."""
    base: dict[str, Any] = {"kind": "static", "policy": "none", "terraform": "none", "release": "3.0.0", "load_release": "1.0.0"}
    return Environment(
        name="unit", settings=Settings(**{**base, "load_rate_per_s": 1, **settings}), policy={"gates": {}, "waves": ONE_WAVE}
    )


def release_entry(release: str, slot: str | None = "a", *, active: bool = True, enabled: bool = True) -> dict[str, Any]:
    """A release as ``dwcp-host status`` lists it."""
    return {"id": release, "slot": slot, "active": active, "enabled": enabled}


@dataclass(frozen=True)
class Call:
    """One command on one host."""

    host: str
    words: tuple[str, ...]
    input: bytes | None = None

    def says(self, *words: str) -> bool:
        """Whether the command has ``words`` in a row."""
        return any(self.words[at : at + len(words)] == words for at in range(len(self.words)))


@dataclass
class Hosts:
    """`golive.fleet.ssh.Shell` in memory: each host has releases and load clients, and keeps what it was told."""

    names: Sequence[str] = (*AGENTS, OPS)
    silent: set[str] = field(default_factory=set)
    refusing: dict[tuple[str, str], str] = field(default_factory=dict)
    """By host and verb: what dwcp-host says while it refuses."""
    special: Callable[[Call], Completed | Held | None] | None = None
    """Answers before anything else does, when it answers."""
    calls: list[Call] = field(default_factory=list)
    releases: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    load: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.releases = {name: [] for name in self.names}
        self.load = {name: [] for name in self.names}

    def run(self, host: Host, argv: Sequence[str], *, input: bytes | None = None, timeout_s: float = 30) -> Completed:
        got = self._one(Call(host.name, tuple(argv), input))
        if isinstance(got, Held):
            raise got
        return got

    def each(
        self, hosts: Sequence[Host], argv: Sequence[str], *, input: bytes | None = None, timeout_s: float = 30
    ) -> dict[str, Completed | Held]:
        return {host.name: self._one(Call(host.name, tuple(argv), input)) for host in hosts}

    def close(self) -> None:
        pass

    def told(self, *words: str) -> list[str]:
        """The hosts on which a command with ``words`` in a row was tried, in order."""
        return [call.host for call in self.calls if call.says(*words)]

    def _one(self, call: Call) -> Completed | Held:
        self.calls.append(call)
        if call.host in self.silent:
            return Unreachable(f"{call.host}: no answer", host=call.host)
        special = self.special(call) if self.special else None
        if special is not None:
            return special
        words = [word for word in call.words if word not in ("sudo", "-n", "dwcp-host")]
        if (call.host, words[0]) in self.refusing:
            return Completed(4, b"", self.refusing[call.host, words[0]].encode())
        return Completed(0, json.dumps(self._do(call.host, words)).encode(), b"")

    def _do(self, host: str, words: list[str]) -> dict[str, Any]:
        verb, kept = words[0], self.load[host] if words[0].startswith("load") else self.releases[host]
        if verb == "status":
            return {"releases": self.releases[host], "load": self.load[host]}
        if verb in ("activate", "deactivate", "load-start", "load-stop"):
            on = verb in ("activate", "load-start")
            for entry in kept:
                if entry["id"] == words[1]:
                    entry.update(active=on, enabled=on)
        return {"changed": True}


def answer(data: object = None, *, rc: int = 0, stderr: str = "") -> Completed:
    """How a command ended."""
    return Completed(rc, b"" if data is None else json.dumps(data).encode(), stderr.encode())


@dataclass
class Step:
    """One step of a run, its hosts and its points of traffic; ``facts`` and ``told`` collect what it said."""

    env: Environment
    hosts: Hosts
    points: dict[str, FakePoint]
    workdir: Path
    fleet: Fleet = field(default_factory=fleet)
    clock: FakeClock = field(default_factory=FakeClock)
    facts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ctx(self, params: Mapping[str, Any] | None = None, **change: Any) -> StepContext:
        base: dict[str, Any] = {
            "env": self.env,
            "fleet": lambda: self.fleet,
            "run": RUN,
            "stage": "canary",
            "step": "step-1",
            "token": TOKEN,
            "candidate": NEW,
            "incumbent": OLD,
            "load": LOAD,
            "params": params or {},
            "clock": self.clock,
            "workdir": self.workdir,
            "note": lambda kind, data: self.facts.append((kind, json.loads(json.dumps(data)))),
            "facts": self.noted,
            "tell": lambda kind, data: self.told.append((kind, data)),
            "mark": f"unit/{RUN}/{TOKEN}",
        }
        return StepContext(**{**base, **change})

    def noted(self, kind: str) -> list[dict[str, Any]]:
        """The facts of one kind."""
        return [data for known, data in self.facts if known == kind]

    def slots(self, *, incumbent: str = "a", candidate: str = "b") -> None:
        """Journals the slots, as a step before this one did."""
        self.facts += [("slot", {"release": OLD, "slot": incumbent}), ("slot", {"release": NEW, "slot": candidate})]

    def traffic(self, **change: Any) -> FakeTraffic:
        """The traffic as this run's controller sees it."""
        return FakeTraffic([], **{"run": RUN, "token": TOKEN, "candidate_slot": "b", "points": self.points, **change})

    def serving(self, *, share: int = 0, attached: bool = True) -> None:
        """The incumbent serves in slot a, the candidate has ``share`` percent in slot b; both slots are journaled."""
        self.slots()
        for point in self.points.values():
            point.slots = {"a": Slot(OLD, True), "b": Slot(NEW if attached else None, attached)}
            point.slot_b = share


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    """A step in a fleet whose hosts and gateways are in memory."""
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    env = environment()
    workdir = env.state / "runs" / RUN / "step-1"
    workdir.mkdir(parents=True)
    made = Step(env, Hosts(), {name: FakePoint() for name in GATEWAYS}, workdir)
    monkeypatch.setitem(_world._open, _world.key_of(env), World(made.fleet, made.hosts))  # type: ignore[arg-type]

    def traffic_of(shell: object, fleet: Fleet, *, run: str, token: int, candidate_slot: Any) -> FakeTraffic:
        return FakeTraffic([], run=run, token=token, candidate_slot=candidate_slot, points=made.points)

    monkeypatch.setattr(_traffic, "traffic_of", traffic_of)
    return made


def use_fleet(step: Step, monkeypatch: pytest.MonkeyPatch, changed: Fleet) -> None:
    """The step's fleet is ``changed``."""
    step.fleet = changed
    monkeypatch.setitem(_world._open, _world.key_of(step.env), World(changed, step.hosts))  # type: ignore[arg-type]


def named(name: str) -> Action:
    """The registered action called ``name``."""
    return registered()[name]


def found(findings: Findings) -> dict[str, Found]:
    """Only how much each target shows."""
    return {target: finding.found for target, finding in findings.items()}


def ended(call: Callable[[], Outcome]) -> str:
    """The verdict of ``call`` as the engine takes it: an error that it raises on purpose is an ERROR."""
    try:
        return call().verdict.value
    except Held as error:
        assert str(error)
        return "REFUSED" if isinstance(error, Refused) else "ERROR"


def web(monkeypatch: pytest.MonkeyPatch, module: ModuleType, handler: Callable[[httpx.Request], httpx.Response]) -> list[httpx.Request]:
    """HTTPS of ``module`` is answered by ``handler``; returns the requests as they come."""
    seen: list[httpx.Request] = []

    def handled(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return handler(request)

    @contextmanager
    def client(env: Environment, *, timeout_s: float = 5) -> Iterator[httpx.Client]:
        with httpx.Client(transport=httpx.MockTransport(handled)) as opened:
            yield opened

    monkeypatch.setattr(module, "client", client)
    return seen
