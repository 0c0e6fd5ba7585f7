"""Whether what a plan would make is free to be made: asked of the whole plan, before any of it is done."""

from __future__ import annotations

from collections.abc import Iterable

from golive.environment import Environment
from golive.fleet.terraform import Change
from golive.lab import podman, sites

__all__ = ["check"]


def check(env: Environment, changes: Iterable[Change]) -> None:
    """Raises Unprepared or Occupied naming the first name or network that something else on this machine has; nothing was changed then."""
    owner = str(env.state.resolve())
    for change in changes:
        if change.action not in ("create", "replace"):
            continue
        if change.kind == "dwcp_host" and (found := podman.container(change.name)) is not None:
            podman.check_ours(f"Container {change.name}", podman.labels(found), env.name, owner)
        if change.kind == "dwcp_network":
            if (there := podman.network(change.name)) is not None:
                podman.check_ours(f"Network {change.name}", podman.labels(there), env.name, owner)
            else:
                sites.check_free(change.planned["cidr"], ours=env.name)
