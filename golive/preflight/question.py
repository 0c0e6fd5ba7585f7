"""What a host is asked, and how: one command that carries the probe, for a host whose Python and sudo are not known yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from golive.fleet.caches import PORT as CACHE
from golive.fleet.caches import cache_of
from golive.fleet.model import Fleet, Host

__all__ = ["COMMAND", "PORTS", "needed_ports", "needed_programs", "question", "script"]

COMMAND = (
    "sh",
    "-c",
    # Says in words what is missing before Python could. `sudo -n` fails at once where it would ask for a password.
    "command -v python3 >/dev/null 2>&1 || { echo no-python; exit 0; }; "
    'said=; run=; if [ "$(id -u)" != 0 ]; then if said=$(sudo -n true 2>&1); then run="sudo -n"; fi; '
    '[ -n "$run" ] || said=${said:-sudo says no}; fi; exec $run python3 -IS - "$said"',
)

PORTS: Mapping[str, Sequence[int]] = {
    "agent": (7400, 7401, 7402, 7410, 7411, 7412),
    "gateway": (7443, 7480),
    "load": (7450,),
    "ops": (9090, 9093),
    "every": (9100,),
}
"""TCP ports that parts of DWCP listen on, by part (docs/architecture.md)."""

_PEERS_PER_SITE = 2
"""Ways that one host tries to each other site: more prove no more about the link between the sites."""
_PATIENCE_S = 3.0
_MTU = 1500


def needed_ports(host: Host, fleet: Fleet | None = None) -> list[int]:
    """Ports that must be free on ``host``, or held by DWCP; ``fleet`` where its sites have caches."""
    parts = [("agent", host.role == "agent"), ("gateway", host.gateway), ("load", host.load), ("ops", host.role == "ops"), ("every", True)]
    keeps = fleet is not None and host.role == "agent" and cache_of(fleet.agents, host.site) == host
    return [port for part, has in parts if has for port in PORTS[part]] + ([CACHE] if keeps else [])


def needed_programs(host: Host) -> dict[str, str]:
    """Programs that must be there, with the Debian package of each."""
    programs = {
        "systemctl": "systemd",
        "ssh-keygen": "openssh-client",
        "prometheus-node-exporter": "prometheus-node-exporter",
        "nice": "coreutils",
    }
    if host.gateway:
        programs["haproxy"] = "haproxy"
    if host.role == "ops":
        programs |= {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}
    return programs


def question(fleet: Fleet, host: Host, *, site_cache: bool = False) -> dict[str, Any]:
    """What the probe on ``host`` needs to know."""
    ways = _ways(fleet, host)
    if site_cache and host.role == "agent":
        ways.append((cache_of(fleet.agents, host.site), CACHE))
    return {
        "paths": ["/opt/dwcp", "/var/lib/dwcp", "/etc"],
        "programs": sorted(needed_programs(host)),
        "ways": sorted({(peer.name, peer.address, port) for peer, port in ways if peer.name != host.name}),
        "large": sorted({(peer.name, peer.address) for peer in _abroad(fleet, host, 1) if ":" not in peer.address}),
        "patience_s": _PATIENCE_S,
        "mtu": _MTU,
    }


def script(asked: Mapping[str, Any]) -> bytes:
    """The probe and its question as one program."""
    source = Path(__file__).with_name("probe.py").read_text(encoding="utf-8")
    return f"{source}\n\nmain(json.loads({json.dumps(asked)!r}))\n".encode()


def _ways(fleet: Fleet, host: Host) -> list[tuple[Host, int]]:
    """To whom ``host`` will talk, and on which ports."""
    near = [other for other in fleet.agents if other.site == host.site]
    found: list[tuple[Host, int]] = []
    if host.gateway:
        found += [(agent, port) for agent in near for port in (7400, 7410)]
        found += [(fleet.ops, port) for port in (9090, 9093)]
    if host.load:
        found += [(gateway, 7443) for gateway in fleet.gateways if gateway.site == host.site]
        found += [(agent, port) for agent in near for port in (7401, 7411)]
    if host.role == "agent":
        found += [(peer, port) for peer in _abroad(fleet, host, _PEERS_PER_SITE) for port in (7400, 7401, 7410, 7411)]
        found += [(gateway, 7443) for gateway in _abroad(fleet, host, 1, gateways=True)]
    if host.role == "ops":
        found += [(other, 9100) for other in fleet.hosts]
        found += [(agent, port) for agent in fleet.agents for port in (7400, 7410)]
        found += [(gateway, 7480) for gateway in fleet.gateways] + [(load, 7450) for load in fleet.loads]
    return found


def _abroad(fleet: Fleet, host: Host, most: int, *, gateways: bool = False) -> list[Host]:
    """Up to ``most`` agent hosts of each other site, others for each host of this one, so that together they try all."""
    found: list[Host] = []
    if host.role != "agent":
        return found
    turn = [other.name for other in fleet.agents if other.site == host.site].index(host.name)
    for site in sorted({other.site for other in fleet.agents} - {host.site}):
        there = [other for other in (fleet.gateways if gateways else fleet.agents) if other.site == site]
        found += [there[(turn * most + number) % len(there)] for number in range(min(most, len(there)))]
    return found
