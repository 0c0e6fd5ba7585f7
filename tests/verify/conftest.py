"""Checks of what really runs on the hosts, over SSH. Run by ``inv verify --env E`` and after every go-live.

The verb says which environment and which release is live (``GOLIVE_VERIFY``, a JSON file); the hosts are asked, the toolkit's own
records are not. Without that file nothing is collected and pytest ends with an error.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from golive.actions._https import client
from golive.environment import Environment, load
from golive.fleet.inventory import read_fleet
from golive.fleet.model import Fleet, Host
from tests.support.over_ssh import connected

CONTROL = {"a": 7400, "b": 7410}
DATA = {"a": 7401, "b": 7411}
HEALTH = {"a": 7402, "b": 7412}


@dataclass(frozen=True)
class Expected:
    """What must be true: the live release, its slot, and the settings of the environment."""

    env: Environment
    fleet: Fleet
    release: str
    slot: str
    load: str
    ssh_config: str

    @property
    def version(self) -> str:
        return self.release.rsplit("-", 1)[0]

    @property
    def digest12(self) -> str:
        return self.release.rsplit("-", 1)[1]

    @property
    def unit(self) -> str:
        return f"dwcp-agent@{self.release}.service"


@cache
def expected() -> Expected:
    path = os.environ.get("GOLIVE_VERIFY")
    if not path:
        raise pytest.UsageError("These checks are run by `inv verify --env E`, which says what to expect.")
    said = json.loads(Path(path).read_text(encoding="utf-8"))
    env = load(said["env"])
    return Expected(env, read_fleet(env), said["release"], said["slot"], said["load"], said["ssh_config"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for group in ("agent", "gateway", "loader", "ops", "anyhost"):
        if group in metafunc.fixturenames:
            fleet = expected().fleet
            hosts = {"agent": fleet.agents, "gateway": fleet.gateways, "loader": fleet.loads, "ops": [fleet.ops], "anyhost": fleet.hosts}[
                group
            ]
            metafunc.parametrize(group, list(hosts), ids=[h.name for h in hosts])


@pytest.fixture(scope="session")
def want() -> Expected:
    return expected()


@pytest.fixture(scope="session")
def on() -> Any:
    """``on(host)`` is testinfra's host object for it."""

    def connect(host: Host) -> Any:
        return connected(host, expected().ssh_config)

    return connect


@pytest.fixture(scope="session")
def status(on: Any) -> Any:
    """``status(host)`` is what ``dwcp-host status`` says there, now."""

    def read(host: Host) -> dict[str, Any]:
        out = on(host).check_output("dwcp-host status")
        data: dict[str, Any] = json.loads(out)
        return data

    return read


@pytest.fixture(scope="session")
def prometheus_api(want: Expected) -> Any:
    """``prometheus_api(path, **params)`` is the ``data`` of Prometheus' answer; anything but success fails the check."""

    def ask(path: str, **params: str) -> Any:
        with client(want.env) as opened:
            answer = opened.get(f"https://{want.fleet.ops.address}:9090{path}", params=params)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["status"] == "success", body
        return body["data"]

    return ask


@pytest.fixture(scope="session")
def prometheus(prometheus_api: Any) -> Any:
    """``prometheus(query)`` is a list of (labels, value); an empty answer fails the check."""

    def query(expression: str) -> list[tuple[dict[str, str], float]]:
        rows = prometheus_api("/api/v1/query", query=expression)["result"]
        assert rows, f"no data for {expression}"
        return [(row["metric"], float(row["value"][1])) for row in rows]

    return query
