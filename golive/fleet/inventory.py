"""From Terraform's outputs to the fleet: ``fleet.json``, pinned ``known_hosts`` and Ansible's ``hosts.yml``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from golive.environment import Environment
from golive.errors import GoliveError, Unprepared
from golive.fleet.hosts_file import read_hosts_file
from golive.fleet.model import Bastion, Fleet, Host
from golive.fleet.ssh_config import control_directory, write_ssh_config

__all__ = ["ansible_inventory", "control_directory", "forget_fleet", "read_fleet", "read_static_hosts", "write_fleet"]


def read_fleet(env: Environment) -> Fleet:
    """The fleet as last provisioned. Raises Unprepared, with what to run, before that or when the file is damaged."""
    path = env.state / "fleet.json"
    try:
        return Fleet.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Unprepared(f"Environment {env.name} has no hosts yet; run `./inv provision --env {env.name}` first.") from None
    except OSError as error:
        raise Unprepared(
            f"{path} cannot be read ({error.strerror}); make it readable, or remove it and run `./inv provision --env {env.name}`."
        ) from None
    except ValueError as error:
        raise Unprepared(f"{path} is damaged ({_first(error)}); `./inv provision --env {env.name}` writes it anew.") from None


def write_fleet(env: Environment, outputs: Mapping[str, Any]) -> Fleet:
    """Fleet, known hosts and inventory say what Terraform's ``outputs`` say. Raises GoliveError when those are no fleet."""
    try:
        entries = [{key: value for key, value in host.items() if key != "addresses"} for host in outputs["hosts"]]
        fleet = Fleet(env=env.name, hosts=tuple(sorted((Host.model_validate(entry) for entry in entries), key=lambda host: host.name)))
    except (KeyError, AttributeError, ValidationError) as error:
        raise GoliveError(f"Terraform's output `hosts` of environment {env.name} does not describe a fleet: {_first(error)}.") from None
    pinned: list[Host | Bastion] = [*fleet.hosts, *fleet.bastions]
    known = "".join(f"{_known_name(machine)} {machine.host_key}\n" for machine in pinned)
    _write(env.state / "known_hosts", known)
    write_ssh_config(env, fleet, env.state / "ssh_config")
    _write(env.state / "hosts.yml", yaml.safe_dump(ansible_inventory(env, fleet), sort_keys=True))
    _write(env.state / "fleet.json", fleet.model_dump_json(indent=2) + "\n")
    return fleet


def forget_fleet(env: Environment) -> None:
    """No fleet, known hosts or inventory are recorded."""
    for name in ("fleet.json", "known_hosts", "hosts.yml", "ssh_config"):
        (env.state / name).unlink(missing_ok=True)


def ansible_inventory(env: Environment, fleet: Fleet) -> dict[str, Any]:
    """Ansible's inventory: groups ``agents``, ``gateways``, ``loads``, ``ops`` and ``site_<site>``."""
    state = env.state.resolve()
    # The path of a control socket is limited to 108 bytes and a state directory may be deep; %C is a hash of the connection.
    common = [
        *("-o", f"UserKnownHostsFile={state / 'known_hosts'}", "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes"),
        *("-o", "IdentitiesOnly=yes", "-o", "PasswordAuthentication=no", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5"),
        *("-o", "ServerAliveCountMax=3"),
    ]
    control = control_directory()
    shared = " ".join(_quoted(argument) for argument in common)
    hosts = {
        host.name: {
            "ansible_host": host.address,
            "ansible_user": host.ssh_user,
            "ansible_port": host.ssh_port,
            "site": host.site,
            "address": host.address,
            "pki_dir": str(state / "pki" / host.name),
            "labels": dict(host.labels),
            # The bastion is asked as the toolkit's own configuration says: by its pinned key, with the operator's, and no other way.
            **({"ansible_ssh_common_args": f"{shared} {_proxy(state, host.bastion)}"} if host.bastion else {}),
        }
        for host in fleet.hosts
    }
    groups = {"agents": fleet.agents, "gateways": fleet.gateways, "loads": fleet.loads, "ops": [fleet.ops]}
    for site in sorted({host.site for host in fleet.hosts}):
        groups[f"site_{site}"] = [host for host in fleet.hosts if host.site == site]
    return {
        "all": {
            "hosts": hosts,
            "vars": {
                "ansible_ssh_private_key_file": str(state / "keys" / "operator"),
                "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_ssh_common_args": shared,
                "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=60s",
                "ansible_control_path_dir": str(control),
                "ansible_pipelining": True,
                "dwcp_env": env.name,
                "pki_root": str(state / "pki"),
            },
            "children": {name: {"hosts": {host.name: {} for host in members}} for name, members in groups.items()},
        }
    }


def read_static_hosts(env: Environment) -> list[Host]:
    """Hosts listed in ``inventories/<env>/hosts.yaml``, checked. Raises BadInput naming file and line of every error, Unprepared when it
    is missing.
    """
    path = env.inventory_dir / "hosts.yaml"
    shown = f"inventories/{env.name}/hosts.yaml"
    try:
        return read_hosts_file(path, shown)
    except FileNotFoundError:
        raise Unprepared(f"{shown} does not exist; list your machines there, as inventories/{env.name}/hosts.yaml.example shows.") from None
    except OSError as error:
        raise Unprepared(f"{shown} cannot be read ({error.strerror}).") from None


def _first(error: Exception) -> str:
    """The first thing that is wrong, in one line."""
    return error.errors()[0]["msg"].removeprefix("Value error, ") if isinstance(error, ValidationError) else str(error)


def _known_name(host: Host | Bastion) -> str:
    names: Iterable[str] = (host.address, host.name)
    return ",".join(name if host.ssh_port == 22 else f"[{name}]:{host.ssh_port}" for name in names)


def _proxy(state: Path, bastion: Bastion) -> str:
    return f"-o ProxyCommand='ssh -F {shlex.quote(str(state / 'ssh_config'))} -W [%h]:%p {bastion.name}'"


def _quoted(argument: str) -> str:
    return f"'{argument}'" if " " in argument else argument


def _write(path: Path, text: str) -> None:
    """Replaces ``path`` in one step."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
