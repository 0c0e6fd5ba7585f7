"""Everything of a lab is gone from this machine, whatever Terraform's state says of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from golive.errors import Refused
from golive.lab import podman, sites, wan
from golive.lab.commands import must, run

__all__ = ["leftovers", "strangers", "sweep"]


def sweep(env: str, owner: str) -> list[str]:
    """Removes containers, networks, routers and filters of ``env`` that this checkout (or one that is gone) made; returns their names."""
    if shutil.which("podman") is None:
        return []
    removed = []
    for name, labels in _containers(env):
        if _ours(labels, owner):
            podman.remove_container(name, env, owner)
            removed.append(name)
    for name, labels, bridge in _networks(env):
        if _ours(labels, owner):
            ran = run(["podman", "network", "rm", "--force", name])
            if not ran.ok and podman.network(name) is not None:
                raise Refused(f"Network {name} could not be removed: {ran.complaint}.")
            sites.remove_site(name, bridge)
            removed.append(name)
    # With every network of this environment gone, routers and filters under its names serve no one.
    if not _networks(env):
        removed += _plumbing(env)
    return removed


def leftovers(env: str) -> list[str]:
    """Names of what still exists of ``env``: containers, networks, namespaces, cables and filters."""
    found = [name for name, _ in _containers(env)] + [name for name, _, _ in _networks(env)]
    return found + wan.names(f"dwcp-{env}-") + _namespaces(env) + _devices(env) + _tables(env)


def strangers(env: str, owner: str, declared: set[str]) -> list[str]:
    """Containers labelled as ours that are in nobody's declaration."""
    return [name for name, labels in _containers(env) if _ours(labels, owner) and name not in declared]


def _plumbing(env: str) -> list[str]:
    removed = []
    for link in wan.names(f"dwcp-{env}-"):
        wan.end(link)
        removed.append(link)
    for namespace in _namespaces(env):
        must(["ip", "netns", "delete", namespace])
        removed.append(namespace)
    for device in _devices(env):
        run(["ip", "link", "delete", device])
        removed.append(device)
    for table in _tables(env):
        must(["nft", "delete", "table", "inet", table])
        removed.append(table)
    return removed


def _containers(env: str) -> list[tuple[str, dict[str, str]]]:
    listed = must(["podman", "ps", "--all", "--filter", f"label={podman.ENV_LABEL}={env}", "--format", "json"])
    return [(entry["Names"][0], entry.get("Labels") or {}) for entry in json.loads(listed or "[]") or []]


def _networks(env: str) -> list[tuple[str, dict[str, str], str]]:
    names = must(["podman", "network", "ls", "--filter", f"label={podman.ENV_LABEL}={env}", "--format", "{{.Name}}"]).split()
    found = [(name, podman.network(name)) for name in names]
    return [(name, podman.labels(entry), entry["network_interface"]) for name, entry in found if entry is not None]


def _ours(labels: dict[str, str], owner: str) -> bool:
    maker = labels.get(podman.OWNER_LABEL, "")
    return maker == owner or not Path(maker).is_dir()


def _namespaces(env: str) -> list[str]:
    return sorted(path.name for path in Path("/run/netns").glob(f"dwcp-{env}-*-router"))


def _devices(env: str) -> list[str]:
    devices = json.loads(must(["ip", "-json", "link", "show"]) or "[]")
    return sorted(device["ifname"] for device in devices if sites.made_by(device["ifname"]) == env)


def _tables(env: str) -> list[str]:
    tables = must(["nft", "list", "tables", "inet"]).splitlines()
    return sorted(line.split()[-1] for line in tables if line.split()[-1].startswith(f"dwcp-{env}-"))
