"""testinfra's connections to hosts of the fleet, one a host, kept for the whole session."""

from __future__ import annotations

from functools import cache
from typing import Any

import testinfra

from golive.fleet.model import Host


@cache
def connected(host: Host, ssh_config: str) -> Any:
    """testinfra's host object, as root there."""
    return testinfra.get_host(f"ssh://{host.name}", ssh_config=ssh_config, sudo=host.ssh_user != "root")
