"""One OpenSSH configuration for all hosts of an environment, for programs that connect by themselves."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from golive.environment import Environment
from golive.fleet.model import Bastion, Fleet, Host

__all__ = ["control_directory", "write_ssh_config"]


def control_directory() -> Path:
    """Where SSH keeps the sockets of connections that are shared; the path is short, as a socket's has to be."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/run")
    return (base if os.access(base, os.W_OK) else Path.home() / ".ansible") / "golive-ssh"


def write_ssh_config(env: Environment, fleet: Fleet, path: Path) -> Path:
    """Writes ``path``: hosts and bastions by name, their pinned keys and no others, the operator's key and no password. Returns it.

    One connection a host is shared by all commands, and ends a minute after the last one.
    """
    control = control_directory()
    control.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket = f"{hashlib.sha256(str(env.state.resolve()).encode()).hexdigest()[:8]}-%C"
    hosts = "".join(_entry(h, h.bastion) for h in fleet.hosts) + "".join(_entry(b, None) for b in fleet.bastions)
    common = (
        f"Host *\n  IdentityFile {env.state.resolve() / 'keys' / 'operator'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {env.state.resolve() / 'known_hosts'}\n"
        "  StrictHostKeyChecking yes\n  PasswordAuthentication no\n  ConnectTimeout 10\n"
        "  ServerAliveInterval 5\n  ServerAliveCountMax 3\n"
        f"  ControlMaster auto\n  ControlPersist 60\n  ControlPath {control / socket}\n"
    )
    path.write_text(hosts + common, encoding="utf-8")
    return path


def _entry(machine: Host | Bastion, through: Bastion | None) -> str:
    jump = f"  ProxyJump {through.name}\n" if through is not None else ""
    return f"Host {machine.name}\n  HostName {machine.address}\n  User {machine.ssh_user}\n  Port {machine.ssh_port}\n{jump}"
