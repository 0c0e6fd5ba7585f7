"""Checks of what a role promises, on the hosts of its scenario, over SSH. Run by ``inv molecule --env E`` after the role was applied.

The verb says which environment, role and hosts (``GOLIVE_ROLES``, a JSON file). Without that file nothing is collected and pytest
ends with an error.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from golive.environment import ROOT, Environment, load
from golive.fleet.inventory import read_fleet
from golive.fleet.model import Fleet, Host
from tests.support.over_ssh import connected


@dataclass(frozen=True)
class Expected:
    """Where the role was applied, and with what."""

    env: Environment
    fleet: Fleet
    role: str
    hosts: tuple[Host, ...]
    ssh_config: str

    @property
    def defaults(self) -> dict[str, Any]:
        """The role's own defaults, as written."""
        data: dict[str, Any] = yaml.safe_load((ROOT / "roles" / self.role / "defaults/main.yml").read_text(encoding="utf-8"))
        return data


@cache
def expected() -> Expected:
    path = os.environ.get("GOLIVE_ROLES")
    if not path:
        raise pytest.UsageError("These checks are run by `inv molecule --env E`, which says where the role was applied.")
    said = json.loads(Path(path).read_text(encoding="utf-8"))
    env = load(said["env"])
    fleet = read_fleet(env)
    return Expected(env, fleet, said["role"], tuple(fleet.named(name) for name in said["hosts"]), said["ssh_config"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``place`` is each host of the scenario; ``gateway``, ``loader``, ``agent`` and ``ops`` those of them that are one."""
    hosts = expected().hosts
    groups = {
        "place": list(hosts),
        "agent": [host for host in hosts if host.role == "agent"],
        "gateway": [host for host in hosts if host.gateway],
        "loader": [host for host in hosts if host.load],
        "ops": [host for host in hosts if host.role == "ops"],
    }
    for name, members in groups.items():
        if name in metafunc.fixturenames:
            assert members, f"the scenario has no host for {metafunc.function.__name__}"
            metafunc.parametrize(name, members, ids=[host.name for host in members])


@pytest.fixture(scope="session")
def want() -> Expected:
    return expected()


@pytest.fixture(scope="session")
def on() -> Any:
    """``on(host)`` is testinfra's host object for it."""
    return lambda host: connected(host, expected().ssh_config)


@pytest.fixture(scope="session")
def modes(on: Any) -> Any:
    """``modes(host, path...)`` is "user group mode" of each path, by path."""

    def read(host: Host, *paths: str) -> dict[str, str]:
        out = on(host).check_output("stat -c '%n %U %G %a' " + " ".join(f"'{path}'" for path in paths))
        return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in out.splitlines()}

    return read


@pytest.fixture(scope="session")
def shown(on: Any) -> Any:
    """``shown(host, unit, name...)`` is what systemd says of a unit's properties."""

    def read(host: Host, unit: str, *names: str) -> dict[str, str]:
        out = on(host).check_output("systemctl show %s --property=%s", unit, ",".join(names))
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    return read
