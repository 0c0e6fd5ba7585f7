"""Which host of a site keeps bundles for the others."""

from __future__ import annotations

from collections.abc import Sequence

from golive.fleet.model import Host

__all__ = ["PORT", "cache_of"]

PORT = 7465
"""Where it gives them (golive.onhost.cache)."""


def cache_of(hosts: Sequence[Host], site: str) -> Host:
    """The one marked ``cache: true``, else the site's gateway, else its first by name. Raises KeyError for a site without hosts."""
    there = sorted((host for host in hosts if host.site == site), key=lambda host: (not host.cache, not host.gateway, host.name))
    if not there:
        raise KeyError(site)
    return there[0]
