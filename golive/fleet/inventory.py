"""From Terraform's outputs to the fleet: ``fleet.json``, pinned ``known_hosts`` and Ansible's ``hosts.yml``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from golive.environment import ROOT, Environment
from golive.errors import BadInput, GoliveError, Unprepared
from golive.fleet.model import Fleet, Host

__all__ = ["ansible_inventory", "control_directory", "forget_fleet", "read_fleet", "read_static_hosts", "write_fleet"]

_STATIC = {"name", "site", "address", "role", "gateway", "load", "ssh_user", "ssh_port", "host_key", "canary"}


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
    known = "".join(f"{_known_name(host)} {host.host_key}\n" for host in fleet.hosts)
    _write(env.state / "known_hosts", known)
    _write(env.state / "hosts.yml", yaml.safe_dump(ansible_inventory(env, fleet), sort_keys=True))
    _write(env.state / "fleet.json", fleet.model_dump_json(indent=2) + "\n")
    return fleet


def forget_fleet(env: Environment) -> None:
    """No fleet, known hosts or inventory are recorded."""
    for name in ("fleet.json", "known_hosts", "hosts.yml"):
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
    hosts = {
        host.name: {
            "ansible_host": host.address,
            "ansible_user": host.ssh_user,
            "ansible_port": host.ssh_port,
            "site": host.site,
            "address": host.address,
            "pki_dir": str(state / "pki" / host.name),
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
                "ansible_ssh_common_args": " ".join(_quoted(argument) for argument in common),
                "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=60s",
                "ansible_control_path_dir": str(control),
                "ansible_pipelining": True,
                "dwcp_env": env.name,
                "pki_root": str(state / "pki"),
            },
            "children": {name: {"hosts": {host.name: {} for host in members}} for name, members in groups.items()},
        }
    }


def read_static_hosts(env: Environment) -> list[dict[str, Any]]:
    """Hosts listed in ``inventories/<env>/hosts.yaml``, checked. Raises BadInput naming file and entry, Unprepared when it is missing."""
    path = env.inventory_dir / "hosts.yaml"
    shown = path.relative_to(ROOT)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Unprepared(f"{shown} does not exist; list your machines there, as inventories/{env.name}/hosts.yaml.example shows.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise BadInput(f"{shown}{f':{mark.line + 1}' if mark else ''}: not valid YAML: {getattr(error, 'problem', error)}.") from None
    entries = data.get("hosts") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"{shown}: expected a list under `hosts:` with at least one machine.")
    seen: set[str] = set()
    checked = []
    for number, entry in enumerate(entries, 1):
        try:
            host = Host.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(f"{shown}: host {number}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}.") from None
        if host.name in seen:
            raise BadInput(f"{shown}: host {number}: there is another host called {host.name}.")
        seen.add(host.name)
        checked.append(host.model_dump(include=_STATIC))
    return checked


def _first(error: Exception) -> str:
    """The first thing that is wrong, in one line."""
    return error.errors()[0]["msg"].removeprefix("Value error, ") if isinstance(error, ValidationError) else str(error)


def _known_name(host: Host) -> str:
    names: Iterable[str] = (host.address, host.name)
    return ",".join(name if host.ssh_port == 22 else f"[{name}]:{host.ssh_port}" for name in names)


def control_directory() -> Path:
    """Where SSH keeps the sockets of connections that are shared; the path is short, as a socket's has to be."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/run")
    return (base if os.access(base, os.W_OK) else Path.home() / ".ansible") / "golive-ssh"


def _quoted(argument: str) -> str:
    return f"'{argument}'" if " " in argument else argument


def _write(path: Path, text: str) -> None:
    """Replaces ``path`` in one step."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
