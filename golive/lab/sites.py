"""A site's network as the kernel has it: bridge, router namespace, packet filter. And the cables between two routers.

Podman (netavark) makes a network's bridge with its first container and removes it with the last. The lab makes the bridge itself, before
any container, and plugs the site's router into it: netavark takes a bridge it finds, and leaves one that still has a port. So the order of
hosts and links is free, and a site whose hosts all died still has its router.

``make_*`` and ``remove_*`` are safe to repeat and finish what an interrupted one began; ``*_fault`` says what is missing, or None.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

from golive.errors import Refused, Unprepared
from golive.lab import wan
from golive.lab.commands import must, run
from golive.lab.names import link_name, peer_interface, router_namespace, router_uplink

__all__ = ["check_free", "clear_leftovers", "link_fault", "made_by", "make_link", "make_site", "remove_link", "remove_site", "site_fault"]

_ALIAS = "dwcp.env="
_WAITING_PACKETS = 5000
"""What the kernel keeps while a link's relay waits for a processor; the link's own queue is the relay's."""


def make_site(env: str, name: str, bridge: str, cidr: str) -> None:
    """The bridge has the operator's address (first of ``cidr``), the router has ``.254`` on it, nothing leaves the lab through it."""
    net = ipaddress.ip_network(cidr)
    namespace, uplink = router_namespace(name), router_uplink(name)
    if not _exists(bridge):
        must(["ip", "link", "add", bridge, "type", "bridge"])
    must(["ip", "link", "set", bridge, "alias", _ALIAS + env])
    must(["ip", "address", "replace", f"{net[1]}/{net.prefixlen}", "dev", bridge])
    must(["ip", "link", "set", bridge, "up"])
    if not _namespace_exists(namespace):
        must(["ip", "netns", "add", namespace])
    _sysctl(namespace, "net/ipv4/ip_forward", "1")
    _sysctl(namespace, "net/ipv4/conf/all/rp_filter", "0")
    _sysctl(namespace, "net/ipv4/conf/default/rp_filter", "0")
    must(["ip", "-n", namespace, "link", "set", "lo", "up"])
    if not _exists(uplink) or not _exists("site", namespace):
        run(["ip", "link", "delete", uplink])
        run(["ip", "-n", namespace, "link", "delete", "site"])
        must(["ip", "link", "add", uplink, "type", "veth", "peer", "name", "site", "netns", namespace])
    must(["ip", "link", "set", uplink, "alias", _ALIAS + env])
    must(["ip", "link", "set", uplink, "master", bridge, "up"])
    must(["ip", "-n", namespace, "address", "flush", "dev", "site"])
    must(["ip", "-n", namespace, "address", "replace", f"{net[254]}/{net.prefixlen}", "dev", "site"])
    must(["ip", "-n", namespace, "link", "set", "site", "up"])
    must(["nft", "-f", "-"], text=_filter(name, bridge))


def _filter(name: str, bridge: str) -> str:
    """Rules of one site's own table.

    ``prerouting``: where bridged frames pass the IP filters (bridge-nf-call-iptables=1), connection tracking would give them to other
    people's NAT rules; frames that are not for this machine stay out of it. ``forward``: the machine forwards nothing into or out of the
    site; other sites are reached through the routers only.
    """
    return f"""
table inet {name}
delete table inet {name}
table inet {name} {{
  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{bridge}" fib daddr type != local notrack
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname "{bridge}" oifname != "{bridge}" drop
    oifname "{bridge}" iifname != "{bridge}" drop
  }}
}}
"""


def site_fault(name: str, bridge: str, cidr: str) -> str | None:
    """What of ``make_site`` is not there, in words; None when all is."""
    net = ipaddress.ip_network(cidr)
    namespace = router_namespace(name)
    if (device := _device(bridge)) is None:
        return f"no bridge {bridge}"
    if str(net[1]) not in _addresses(device):
        return f"bridge {bridge} without address {net[1]}"
    if not _namespace_exists(namespace):
        return f"no router namespace {namespace}"
    uplink = _device(router_uplink(name))
    if uplink is None or uplink.get("master") != bridge:
        return f"router not plugged into {bridge}"
    inside = _device("site", namespace)
    if inside is None or str(net[254]) not in _addresses(inside) or "UP" not in inside.get("flags", []):
        return f"router without address {net[254]}"
    if not run(["nft", "list", "table", "inet", name]).ok:
        return f"no packet filter table {name}"
    return None


def check_free(cidr: str, ours: str | None = None) -> None:
    """Raises Unprepared when this machine already reaches some of ``cidr`` another way than by a bridge of environment ``ours``."""
    net = ipaddress.ip_network(cidr)
    for route in json.loads(must(["ip", "-json", "-4", "route", "show", "table", "main"]) or "[]"):
        if route["dst"] == "default" or not ipaddress.ip_network(route["dst"], strict=False).overlaps(net):
            continue
        by = str(route.get("dev", "another way"))
        if ours is not None and made_by(by) == ours:
            continue
        raise Unprepared(
            f"The lab needs {cidr}, but this machine already has a route to {route['dst']} by {by}; nothing was changed. "
            f"Take that interface down, or choose other addresses in terraform/environments/lab."
        )


def clear_leftovers(env: str, cidr: str) -> None:
    """Bridges that a network with these addresses left behind are gone. Its router stays, with the links plugged into it."""
    operator = str(ipaddress.ip_network(cidr)[1])
    devices = json.loads(must(["ip", "-json", "address", "show", "type", "bridge"]) or "[]")
    bridges = [device["ifname"] for device in devices if made_by(device["ifname"]) == env and operator in _addresses(device)]
    for bridge in bridges:
        must(["ip", "link", "delete", bridge])


def made_by(device: str) -> str | None:
    """The environment whose lab made this interface, by its alias; None when none did."""
    try:
        alias = Path("/sys/class/net", device, "ifalias").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return alias.removeprefix(_ALIAS) if alias.startswith(_ALIAS) else None


def remove_site(name: str, bridge: str | None) -> None:
    """Router, filter and bridge are gone. The containers on the bridge must be gone before."""
    run(["ip", "link", "delete", router_uplink(name)])
    if _namespace_exists(router_namespace(name)):
        must(["ip", "netns", "delete", router_namespace(name)])
    run(["nft", "delete", "table", "inet", name])
    if bridge and _exists(bridge):
        must(["ip", "link", "delete", bridge])


def make_link(a: str, cidr_a: str, b: str, cidr_b: str, transit: str, setting: wan.Wan) -> None:
    """The routers of sites ``a`` and ``b`` forward to each other over ``transit`` (a /31), as slow and as lossy as ``setting`` says.

    A link that differs in nothing else is told so while it is used.
    """
    if _cable_fault(a, cidr_a, b, cidr_b) is None:
        wan.change(link_name(a, b), setting)
        return
    remove_link(a, b)
    left, right = ipaddress.ip_network(transit)[0], ipaddress.ip_network(transit)[1]
    ns_a, ns_b, to_b, to_a = router_namespace(a), router_namespace(b), peer_interface(b), peer_interface(a)
    for namespace, site in ((ns_a, a), (ns_b, b)):
        if not _namespace_exists(namespace):
            raise Refused(f"Site {site} has no router namespace {namespace}; run the command again, it will be repaired first.")
    wan.start(link_name(a, b), (ns_a, to_b), (ns_b, to_a), setting)
    for namespace, device, mine, peer, cidr in ((ns_a, to_b, left, right, cidr_b), (ns_b, to_a, right, left, cidr_a)):
        must(["ip", "-n", namespace, "address", "add", f"{mine}/31", "dev", device])
        must(["ip", "-n", namespace, "link", "set", device, "txqueuelen", str(_WAITING_PACKETS), "up"])
        must(["ip", "-n", namespace, "route", "replace", cidr, "via", str(peer), "dev", device])


def link_fault(a: str, cidr_a: str, b: str, cidr_b: str, setting: wan.Wan) -> str | None:
    """What of ``make_link`` is not there or differs, in words; None when all is right."""
    return _cable_fault(a, cidr_a, b, cidr_b) or wan.fault(link_name(a, b), setting)


def _cable_fault(a: str, cidr_a: str, b: str, cidr_b: str) -> str | None:
    for here, there, cidr in ((a, b, cidr_b), (b, a, cidr_a)):
        namespace, name = router_namespace(here), peer_interface(there)
        device = _device(name, namespace) if _namespace_exists(namespace) else None
        if device is None:
            return f"no cable from {here} to {there}"
        if "UP" not in device.get("flags", []):
            return f"cable from {here} to {there} is down"
        routes = json.loads(must(["ip", "-n", namespace, "-json", "route", "show", cidr]) or "[]")
        if not any(route.get("dev") == name for route in routes):
            return f"no route from {here} to {there}"
    return None if wan.ask(link_name(a, b)) is not None else f"no relay between {a} and {b}"


def remove_link(a: str, b: str) -> None:
    """No cable joins the routers of ``a`` and ``b``; its routes went with it."""
    wan.end(link_name(a, b))
    for here, there in ((a, b), (b, a)):
        if _namespace_exists(router_namespace(here)):
            run(["ip", "-n", router_namespace(here), "link", "delete", peer_interface(there)])


def _device(name: str, namespace: str | None = None) -> dict[str, Any] | None:
    ran = run(["ip", *(["-n", namespace] if namespace else []), "-json", "address", "show", "dev", name])
    if not ran.ok:
        return None
    found = [entry for entry in json.loads(ran.stdout or "[]") if entry]
    return found[0] if found else None


def _exists(name: str, namespace: str | None = None) -> bool:
    return _device(name, namespace) is not None


def _addresses(device: dict[str, Any]) -> set[str]:
    return {entry["local"] for entry in device.get("addr_info", [])}


def _namespace_exists(name: str) -> bool:
    return Path("/run/netns", name).exists()


def _sysctl(namespace: str, key: str, value: str) -> None:
    must(["ip", "netns", "exec", namespace, "sh", "-c", f"echo {value} > /proc/sys/{key}"])
