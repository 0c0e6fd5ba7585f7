"""Undoing every fault of the lab, whoever planted it and however that one died: each leaves a mark of a fixed name."""

from __future__ import annotations

import json

from golive.environment import Environment
from golive.fleet.model import Fleet, Host
from golive.lab import podman
from golive.lab.commands import run
from golive.lab.names import router_namespace

__all__ = ["DISK", "REAL", "SSH", "TABLE", "mended", "network_of", "rules_gone", "ssh_goes_on", "unmounted"]

TABLE = "dwcp_chaos"
"""The packet filter table of every cut, on this machine, in a router or in a host."""

DISK = "/var/lib/dwcp/host"
"""What is on a small disk of its own while a full disk is played."""
REAL = "/run/dwcp-chaos-real"
"""Inside a host: where the directory under that disk is to be found meanwhile."""

SSH = "for p in $(pidof sshd); do kill -{signal} $p; done; true"

_UNMOUNT = f"""
mountpoint -q {REAL} || exit 0
cp -a {DISK}/. {REAL}/ && rm -f {REAL}/.full && umount -l {DISK} && umount -l {REAL} && rmdir {REAL} && echo mended
"""
"""What was written under the fault is kept: that it was is what the host has promised."""


def mended(env: Environment, fleet: Fleet) -> list[str]:
    """No cut, full disk, paused or stopped host and no stopped SSH is left of any round. Returns what was."""
    found = ["the controller was cut off"] if rules_gone() else []
    for site in sorted({host.site for host in fleet.hosts}):
        network = network_of(env, site)
        if rules_gone(["ip", "netns", "exec", router_namespace(network)]):
            found.append(f"site {site} was cut off")
    for host in fleet.hosts:
        found += _host_mended(host)
    return found


def network_of(env: Environment, site: str) -> str:
    """The network of a site, as Terraform's module names it."""
    return f"dwcp-{env.name}-{site}"


def _host_mended(host: Host) -> list[str]:
    inspected = podman.container(host.name)
    if inspected is None:
        return []
    found, state = [], inspected["State"]
    if state.get("Paused"):
        run(["podman", "unpause", host.name])
        found.append(f"{host.name} was paused")
    elif not state.get("Running"):
        run(["podman", "start", host.name])
        found.append(f"{host.name} was down")
        inspected = podman.container(host.name) or inspected
    pid = podman.started(inspected)
    if pid is not None and rules_gone(["nsenter", "-t", str(pid), "-n"]):
        found.append(f"{host.name} was cut off")
    if unmounted(host.name):
        found.append(f"the disk of {host.name} was small")
    ssh_goes_on(host.name)
    return found


def rules_gone(inside: list[str] | None = None) -> bool:
    """Whether there was a cut here; there is none any more."""
    listed = run([*(inside or []), "nft", "--json", "list", "tables"])
    tables = json.loads(listed.stdout or "{}").get("nftables", []) if listed.ok else []
    if not any(entry.get("table", {}).get("name") == TABLE for entry in tables):
        return False
    return run([*(inside or []), "nft", "delete", "table", "inet", TABLE]).ok


def unmounted(name: str) -> bool:
    """Whether a small disk was mounted; there is none any more."""
    return "mended" in run(["podman", "exec", name, "sh", "-c", _UNMOUNT]).stdout


def ssh_goes_on(name: str) -> None:
    """No process of the host's SSH is stopped."""
    run(["podman", "exec", name, "sh", "-c", SSH.format(signal="CONT")])
