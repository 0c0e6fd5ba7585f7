"""One OpenSSH configuration for all hosts of an environment, for programs that connect by themselves."""

from __future__ import annotations

import hashlib
from pathlib import Path

from golive.environment import Environment
from golive.fleet.inventory import control_directory
from golive.fleet.model import Fleet

__all__ = ["write_ssh_config"]


def write_ssh_config(env: Environment, fleet: Fleet, path: Path) -> Path:
    """Writes ``path``: hosts by name, their pinned keys and no others, the operator's key and no password. Returns it.

    One connection a host is shared by all commands, and ends a minute after the last one.
    """
    control = control_directory()
    control.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket = f"{hashlib.sha256(str(env.state.resolve()).encode()).hexdigest()[:8]}-%C"
    hosts = "".join(f"Host {h.name}\n  HostName {h.address}\n  User {h.ssh_user}\n  Port {h.ssh_port}\n" for h in fleet.hosts)
    common = (
        f"Host *\n  IdentityFile {env.state / 'keys' / 'operator'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {env.state / 'known_hosts'}\n"
        "  StrictHostKeyChecking yes\n  PasswordAuthentication no\n  ConnectTimeout 10\n"
        "  ServerAliveInterval 5\n  ServerAliveCountMax 3\n"
        f"  ControlMaster auto\n  ControlPersist 60\n  ControlPath {control / socket}\n"
    )
    path.write_text(hosts + common, encoding="utf-8")
    return path
