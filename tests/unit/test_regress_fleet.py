"""A regression on hosts: whom it refuses to disturb, what it starts and stops, and that nothing of it is left however it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from golive import engine, environment
from golive.actions import _world
from golive.engine.fold import RunState
from golive.engine.holding import held
from golive.engine.ports import Ports
from golive.errors import Held, Occupied, Unprepared
from golive.fleet.connection import Completed
from golive.fleet.inventory import read_fleet, write_fleet
from golive.regress import fleet as ground
from golive.regress.fleet import beside, places

OLD, NEW, LOAD = "2.9.0-0123456789ab", "3.0.0-ba9876543210", "1.1.0-aaaaaaaaaaaa"


def release(id_: str) -> Any:
    return SimpleNamespace(id=id_, version=id_.partition("-")[0])


class Hosts:
    """What ``dwcp-host`` would say and do, host by host; both releases are installed everywhere."""

    def __init__(self) -> None:
        self.running: dict[str, set[str]] = {}
        self.offering = {"ams-2": True, "nyc-2": True}
        self.done: list[tuple[str, str]] = []
        self.tokens: set[int] = set()
        self.refuses = ""

    def run(self, host: Any, argv: Sequence[str], *, input: bytes | None = None, timeout_s: float = 30) -> Completed:
        words = list(argv)
        if words[0] != "dwcp-host":
            self.done.append((host.name, json.loads(words[-1])["do"] if words[0] == "python3" else words[0]))
            return Completed(0, b"{}", b"")
        verb = words[1]
        if verb == "status":
            return Completed(0, json.dumps(self._status(host.name)).encode(), b"")
        self.tokens.add(int(words[words.index("--token") + 1]))
        self.done.append((host.name, f"{verb} {words[2]}"))
        if verb == self.refuses:
            return Completed(4, b"", b"no")
        if verb == "activate":
            self.running[host.name].add(words[2])
        elif verb == "deactivate":
            self.running[host.name].discard(words[2])
        else:
            self.offering[host.name] = verb == "load-start"
        return Completed(0, b'{"changed": true}', b"")

    def each(self, hosts: Sequence[Any], argv: Sequence[str], **more: Any) -> dict[str, Any]:
        return {host.name: self.run(host, argv, **more) for host in hosts}

    def close(self) -> None:
        pass

    def _status(self, name: str) -> dict[str, Any]:
        runs = self.running.setdefault(name, {OLD} if not name.startswith("ops") else set())
        slots = {OLD: "a", NEW: "b"}
        found = [{"id": id_, "slot": slot, "active": id_ in runs, "enabled": id_ in runs} for id_, slot in slots.items()]
        offering = self.offering.get(name)
        return {"releases": found, "load": [] if offering is None else [{"id": LOAD, "active": offering, "enabled": offering}]}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> environment.Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    env = environment.load("lab")
    agents = [
        {"name": f"{site}-{n}", "site": site, "address": f"10.77.{at}.1{n}", "role": "agent", "gateway": n == 1, "load": n == 2}
        for at, site in ((1, "ams"), (2, "nyc"))
        for n in (1, 2)
    ]
    ops = {"name": "ops", "site": "ams", "address": "10.77.1.10", "role": "ops"}
    write_fleet(env, {"hosts": [{**host, "host_key": "ssh-ed25519 AAAA"} for host in [*agents, ops]]})
    return env


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    made = Hosts()

    def world(env: Any, fleet: Any) -> Any:
        return _world.World(fleet, made)

    monkeypatch.setattr(_world, "world", world)
    monkeypatch.setattr(ground, "world", world)
    return made


def test_sender_and_receiver_are_of_two_sites_and_requests_come_from_beside_the_receiver(lab: environment.Environment) -> None:
    sender, receiver, neighbour = places(read_fleet(lab))
    assert (sender.site, receiver.site, neighbour.site) == ("nyc", "ams", "ams") and neighbour.name != receiver.name


def test_the_candidate_runs_only_at_the_receiver_and_only_meanwhile_and_no_load_is_offered(
    lab: environment.Environment, hosts: Hosts
) -> None:
    with beside(lab, release(OLD), release(NEW)) as found:
        assert hosts.running["ams-1"] == {OLD, NEW} and hosts.offering == {"ams-2": False, "nyc-2": False}
        assert (found.incumbent.port, found.candidate.port) == (7400, 7410) and found.address == "10.77.1.11"
        assert found.candidate.process == {"unit": f"dwcp-agent@{NEW}.service"}
        assert found.still() is None
    assert hosts.running == {"ams-1": {OLD}, "nyc-1": {OLD}, "ams-2": {OLD}, "nyc-2": {OLD}}
    assert hosts.offering == {"ams-2": True, "nyc-2": True} and ("nyc-1", "remove") in hosts.done
    assert not [what for _, what in hosts.done if "weight" in what or "slot" in what or "lease" in what], "no gateway learns of it"
    kinds = [record.kind for record in engine.open_journal(lab).read()]
    assert kinds == ["regress.begun", "regress.ended"] and engine.standing(lab).holder is None and len(hosts.tokens) == 1


@pytest.mark.parametrize("breaks", [KeyboardInterrupt(), Held("it broke")])
def test_however_it_ends_the_candidate_is_stopped_and_load_is_offered_again(
    lab: environment.Environment, hosts: Hosts, breaks: BaseException
) -> None:
    with pytest.raises(type(breaks)), beside(lab, release(OLD), release(NEW)):
        raise breaks
    assert hosts.running["ams-1"] == {OLD} and hosts.offering == {"ams-2": True, "nyc-2": True}
    assert engine.standing(lab).holder is None


def test_a_candidate_that_does_not_start_is_said_and_nothing_else_was_touched(lab: environment.Environment, hosts: Hosts) -> None:
    hosts.refuses = "activate"
    with pytest.raises(Held, match=f"{NEW} did not start to be measured"), beside(lab, release(OLD), release(NEW)):
        pytest.fail("it is not there")
    assert hosts.offering == {"ams-2": True, "nyc-2": True} and engine.standing(lab).holder is None


def test_one_that_runs_already_keeps_running(lab: environment.Environment, hosts: Hosts) -> None:
    hosts.running = {"ams-1": {OLD, NEW}}
    with beside(lab, release(OLD), release(NEW)):
        pass
    assert hosts.running["ams-1"] == {OLD, NEW}
    assert not [what for _, what in hosts.done if what.startswith(("activate", "deactivate"))]


def test_while_a_process_works_on_the_environment_it_ends_with_5_and_asks_no_host(lab: environment.Environment, hosts: Hosts) -> None:
    with held(lab, Ports(), take_over=False), pytest.raises(Occupied) as refused, beside(lab, release(OLD), release(NEW)):
        pytest.fail("it was let in")
    assert refused.value.exit_code == 5 and hosts.done == [] and hosts.tokens == set()


def test_no_run_begins_while_it_is_measured(lab: environment.Environment, hosts: Hosts) -> None:
    with beside(lab, release(OLD), release(NEW)), pytest.raises(Occupied), held(lab, Ports(), take_over=False):
        pytest.fail("two have the environment")


def test_users_on_the_candidate_of_a_run_that_stands_are_not_disturbed(
    lab: environment.Environment, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = RunState(env="lab", run="r1", outcome="held", exposed=True)
    monkeypatch.setattr(engine, "standing", lambda env: engine.Standing(OLD, last, None))
    with pytest.raises(Held, match=r"inv golive --env lab"), beside(lab, release(OLD), release(NEW)):
        pytest.fail("it was let in")
    assert hosts.done == []


def test_hosts_without_either_release_are_refused_with_what_to_type(lab: environment.Environment, hosts: Hosts) -> None:
    hosts.running = {"ams-1": set()}
    with pytest.raises(Unprepared, match=r"`./inv golive --env lab --until infrastructure`"), beside(lab, release(OLD), release(NEW)):
        pytest.fail("it was let in")
    assert hosts.done == [] and engine.standing(lab).holder is None


def test_simulated_hosts_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    with pytest.raises(Unprepared, match="--local"), beside(environment.load("sim-6"), release(OLD), release(NEW)):
        pytest.fail("they are no machines")
