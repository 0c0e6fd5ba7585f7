"""Names and addresses of the lab's plumbing. Linux allows 15 characters for an interface."""

from __future__ import annotations

import hashlib

__all__ = ["link_name", "peer_interface", "router_namespace", "router_uplink"]


def router_namespace(network: str) -> str:
    """The network namespace that routes for one site."""
    return f"{network}-router"


def router_uplink(network: str) -> str:
    """The end of the router's cable that sits on the site's bridge."""
    return f"dwr-{_short(network)}"


def peer_interface(network: str) -> str:
    """Inside a router: the interface towards the site ``network``."""
    return f"wan-{_short(network)}"


def link_name(a: str, b: str) -> str:
    """The WAN link between two networks."""
    return f"{a}--{b}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
