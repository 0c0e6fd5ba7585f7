"""``inv status`` shows what hosts are, also where somebody changed them behind the toolkit's back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from golive import environment
from golive.environment import Environment
from golive.sim import hosts_of
from golive.sim.world import SimHost, World
from golive.verbs.status import status

HOSTS = "sim:5"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def half_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A run that stands at the canary, both releases running and a tenth of the traffic on the candidate."""
    before = os.environ.get("GOLIVE_STATE")
    os.environ["GOLIVE_STATE"] = str(tmp_path_factory.mktemp("state"))
    command = [sys.executable, "-P", "-m", "golive.program", "--search-root", str(environment.ROOT)]
    command += ["golive", "--env", "lab", "--hosts", HOSTS, "--until", "canary", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield environment.load("lab", HOSTS)
    if before is None:
        os.environ.pop("GOLIVE_STATE")
    else:
        os.environ["GOLIVE_STATE"] = before


def real(host: SimHost) -> set[str]:
    """Units of the agent that run there, as the machine itself has them."""
    return {name for name, unit in host.ledger.read().units.items() if unit.on and name.startswith("dwcp-agent@")}


def shown(env: Environment) -> tuple[dict[str, Any], World]:
    data = status(env).data
    assert json.loads(json.dumps(data)) == data
    return data, hosts_of(env).world


def running(data: dict[str, Any]) -> dict[str, set[str]]:
    return {host["name"]: {each["unit"] for each in host["running"]} for host in data["hosts"]}


def test_units_and_weights_are_those_of_the_hosts(half_way: Environment) -> None:
    data, world = shown(half_way)
    assert running(data) == {host.name: real(world.host(host.name)) for host in world.fleet.hosts}
    assert all(len(running(data)[host.name]) == 2 for host in world.fleet.agents)
    weights = {host.name: int(world.host(host.name).ledger.maps["weights.map"]["slot_b"]) for host in world.fleet.gateways}
    assert set(weights.values()) == {10} and data["traffic_from"] == "gateways"
    assert {gateway: by["3.0.0"] for gateway, by in data["traffic"].items()} == weights


def test_what_was_changed_behind_its_back_shows_at_once(half_way: Environment) -> None:
    _, world = shown(half_way)
    stopped, gateway, cut = world.fleet.agents[1], world.fleet.gateways[0], world.fleet.agents[-1]
    unit = next(name for name in real(world.host(stopped.name)) if "@3.0.0-" in name)
    world.host(stopped.name).ledger.write(world.clock.world(), "stop", unit=unit)
    file = world.host(gateway.name).places.gateway / "weight.json"
    world.host(gateway.name).ledger.write(world.clock.world(), "map", map="weights.map", key="slot_b", value="35")
    # A gateway whose record says another weight than HAProxy has is not believed at all.
    assert shown(half_way)[0]["traffic_from"] == "journal"
    record = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(record | {"slot_b": 35}), encoding="utf-8")
    before = world.host(cut.name).condition
    world.host(cut.name).put(replace(before, cut=True))
    try:
        data, _ = shown(half_way)
    finally:
        world.host(cut.name).put(before)
    assert running(data)[stopped.name] == real(world.host(stopped.name)) and unit not in running(data)[stopped.name]
    assert data["traffic"][gateway.name] == {"3.0.0": 35, "2.9.0": 65} and data["traffic_from"] == "gateways"
    assert {host["name"]: (host["state"], host["running"]) for host in data["hosts"]}[cut.name] == ("unreachable", [])
