"""From what a host said of itself to what is wrong with it. Pure: the same answer is always judged the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from golive.fleet.cpus import parse_cpus
from golive.fleet.model import Fleet, Host
from golive.preflight.finding import Finding, problem, warning
from golive.preflight.question import needed_ports, needed_programs
from golive.releases.needs import Needs

__all__ = ["Expected", "judged"]

_OUR_UNITS = ("dwcp-", "haproxy.service", "prometheus.service", "prometheus-alertmanager.service", "prometheus-node-exporter.service")
_UNITS_OF_OURS = ("dwcp.", "dwcp@", "dwcp-agent", "dwcp-load", "dwcp-guard")
_LOAD_MEMORY = 512 << 20
_SPARE_DISK = 512 << 20
_SPARE_INODES = 20_000
_NOFILE = 16384
"""What the roles ask for (dwcp_tuning_nofile)."""
_SYSTEMS = {("debian", "12")}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Expected:
    """What the environment asks of its hosts."""

    env: str
    cpus: str
    """CPUs of the agent's units, as in ``0-3``."""
    memory_max: str
    releases: Sequence[Needs]
    ca: str | None
    """SHA-256 of the environment's ``ca.crt``."""
    namespace: str
    knows: Callable[[str], bool]
    """Whether a run is in this environment's journal."""
    caches: Fleet | None = None
    """The fleet, where each site has a cache."""


def judged(host: Host, answer: Mapping[str, Any], expected: Expected, silent: Sequence[str]) -> list[Finding]:
    """Everything that is wrong with ``host``. Peers that are ``silent`` themselves are no fault of its ways."""
    found = [
        *_rights(host, answer),
        *_system(answer),
        *_programs(host, answer),
        *_room(host, answer, expected),
        *_processors(host, answer, expected),
    ]
    found += [*_ways(answer, silent), *_clock(answer), *_kernel(answer), *_strangers(host, answer, expected)]
    if host.role == "agent" or host.load:
        found += _runs_releases(answer, expected)
    if answer["root"]:
        found += _ports(answer, needed_ports(host, expected.caches))
    return found


def _rights(host: Host, answer: Mapping[str, Any]) -> Iterator[Finding]:
    if answer["root"]:
        return
    said = str(answer["sudo"]).strip().splitlines()
    how = f"`{host.ssh_user} ALL=(root) NOPASSWD: ALL` in /etc/sudoers.d/dwcp there"
    yield problem("sudo", f"{host.ssh_user} cannot become root without a password ({said[-1] if said else 'sudo says no'}); write {how}.")


def _system(answer: Mapping[str, Any]) -> Iterator[Finding]:
    system, state, failed = answer["os"], answer["services"]["state"], answer["services"]["failed"]
    if state is None or state in ("offline", "unknown", "stopping"):
        yield problem("systemd", f"systemd does not run here ({state or 'no systemctl'}); DWCP is units of systemd.")
    elif state != "running":
        units = f": {', '.join(failed[:5])}" if failed else ""
        yield warning("systemd", f"systemd is {state}{units}; see `systemctl --failed` there.")
    if (system["id"], system["version"].split(".")[0]) not in _SYSTEMS:
        known = ", ".join(f"{name} {version}" for name, version in sorted(_SYSTEMS))
        yield warning("os", f"runs {system['id'] or 'an unknown system'} {system['version']}; tried are {known}.")


def _runs_releases(answer: Mapping[str, Any], expected: Expected) -> Iterator[Finding]:
    system, pythons = answer["os"], answer["pythons"]
    for need in expected.releases:
        if need.machine != system["machine"]:
            yield problem("wheelhouse", f"{need.release} is built for {need.machine} and this is {system['machine']}; build it for both.")
            continue
        if need.python not in pythons:
            has = ", ".join(sorted(pythons)) or "none"
            yield problem(
                "wheelhouse", f"{need.release} needs Python {need.python} and there is {has}; apt-get install python{need.python}."
            )
        glibc = system["glibc"]
        if glibc is None:
            yield problem("wheelhouse", f"{need.release} needs glibc, and this system has another C library.")
        elif _version(glibc) < need.glibc:
            wanted = ".".join(map(str, need.glibc))
            yield problem(
                "wheelhouse", f"{need.release} needs glibc {wanted} and this has {glibc}; build it on a system as old as this one."
            )


def _programs(host: Host, answer: Mapping[str, Any]) -> Iterator[Finding]:
    packages = needed_programs(host)
    missing = sorted({packages[name] for name, path in answer["programs"].items() if path is None})
    if missing:
        yield problem("packages", f"lacks {', '.join(missing)}; apt-get install --no-install-recommends {' '.join(missing)}.")
    for name, whose in answer["configurations"].items():
        if whose == "foreign" and name in packages.values():
            yield warning(
                "packages", f"{name} has a configuration of somebody else's, which the roles would replace; move that use elsewhere."
            )


def _room(host: Host, answer: Mapping[str, Any], expected: Expected) -> Iterator[Finding]:
    by_device: dict[int, tuple[list[str], int]] = {}
    wanted = {"/opt/dwcp": sum(need.room_bytes for need in expected.releases), "/var/lib/dwcp": _SPARE_DISK}
    for path, disk in answer["disks"].items():
        if disk["read_only"]:
            yield problem("disk", f"{path} is on a read-only filesystem.")
        if path == "/opt/dwcp" and disk["noexec"]:
            yield problem("disk", f"{path} is on a filesystem mounted noexec; releases are run from there.")
        if disk["inodes"] is not None and disk["inodes"] < _SPARE_INODES and path == "/opt/dwcp":
            yield problem("disk", f"{path} has {disk['inodes']} inodes left and releases need {_SPARE_INODES}; make room.")
        names, needed = by_device.get(disk["device"], ([], 0))
        by_device[disk["device"]] = ([*names, path], needed + wanted.get(path, 0))
        free = disk["free"]
        if needed + wanted.get(path, 0) > free:
            total = (needed + wanted.get(path, 0)) >> 20
            yield problem("disk", f"{' and '.join([*names, path])} have {free >> 20} MiB free and need {total} MiB; make room.")
    total, most = answer["memory"]["total"], _bytes(expected.memory_max)
    needs = (2 * most if host.role == "agent" else 0) + (_LOAD_MEMORY if host.load else 0)
    if needs > total:
        yield problem("memory", f"has {total >> 20} MiB and both releases may take {needs >> 20}; lower agent_memory_max or give it more.")


def _processors(host: Host, answer: Mapping[str, Any], expected: Expected) -> Iterator[Finding]:
    if host.role != "agent":
        return
    wanted, there = parse_cpus(expected.cpus), set(answer["cpus"])
    if missing := sorted(wanted - there):
        yield problem(
            "cpus", f"has no CPU {', '.join(map(str, missing))}, which agent_cpus ({expected.cpus}) names; {len(there)} are there."
        )
    nodes = {node: parse_cpus(listed) for node, listed in answer["numa"].items() if listed}
    across = [node for node, cpus in nodes.items() if cpus & wanted]
    if len(across) > 1:
        yield warning("numa", f"agent_cpus ({expected.cpus}) lies on NUMA nodes {', '.join(across)}; keep it on one.")


def _ports(answer: Mapping[str, Any], needed: Sequence[int]) -> Iterator[Finding]:
    for listener in sorted(answer["listeners"], key=lambda each: each["port"]):
        unit = listener["unit"] or ""
        if listener["port"] in needed and not unit.startswith(_OUR_UNITS):
            who = f"{listener['command'] or 'a process that cannot be seen'}{f' ({unit})' if unit else ''}"
            yield problem("ports", f"port {listener['port']} is held by {who}; DWCP needs it.")


def _ways(answer: Mapping[str, Any], silent: Sequence[str]) -> Iterator[Finding]:
    closed: dict[tuple[str, str, str], list[int]] = {}
    for name, address, port, trouble in answer["ways"]:
        if trouble and name not in silent:
            closed.setdefault((name, address, trouble), []).append(port)
    for (name, address, trouble), ports in sorted(closed.items()):
        which = f"port{'s' if len(ports) > 1 else ''} {', '.join(map(str, sorted(ports)))}"
        yield problem("network", f"does not reach {name} ({address}) on {which}: {trouble}; open the way, both sites' firewalls included.")
    for name, address, arrives in answer["large"]:
        if arrives is False and name not in silent:
            says = (
                f"packets of 1500 bytes do not reach {name} ({address}) and small ones do; set the MTU of the link, or clamp the MSS on it."
            )
            yield warning("mtu", says)


def _clock(answer: Mapping[str, Any]) -> Iterator[Finding]:
    if answer["synchronised"] is False:
        yield warning("time", "the kernel says that its clock is not synchronised; run chrony or systemd-timesyncd.")


def _kernel(answer: Mapping[str, Any]) -> Iterator[Finding]:
    control = answer["congestion"]
    if "bbr" not in control["available"] and not control["module"]:
        yield warning("bbr", "this kernel has no TCP congestion control bbr; streams over long links will be slower.")
    elif "bbr" in control["available"] and "bbr" not in control["allowed"] and control["current"] != "bbr":
        yield warning("bbr", "bbr is there but not allowed; add it to net.ipv4.tcp_allowed_congestion_control.")
    limit = answer["limits"]
    for name, value in (("open files of systemd", limit["files"]), ("fs.nr_open", limit["nr_open"])):
        if value and value != "unlimited" and int(value) < _NOFILE:
            yield problem("limits", f"{name} is at most {value} and {_NOFILE} are needed; raise it.")
    confined = answer["confinement"]
    if confined["selinux"] == "enforcing":
        yield warning(
            "confinement", "SELinux is enforcing; its policy has to allow units to run from /opt/dwcp and to bind ports 7400 to 7480."
        )
    if confined["apparmor"]:
        yield warning("confinement", f"AppArmor confines {', '.join(confined['apparmor'])}; let it read /etc/dwcp and /var/lib/dwcp.")


def _strangers(host: Host, answer: Mapping[str, Any], expected: Expected) -> Iterator[Finding]:
    there = answer["dwcp"]
    named = there["host"]
    if named == "unreadable":
        yield problem("foreign", "/etc/dwcp/host.json cannot be read, so whose host this is cannot be told; look at it, then remove it.")
    elif isinstance(named, dict) and named.get("name") != host.name:
        yield problem("foreign", f"is set up as {named.get('name')!r}, not as {host.name}; correct hosts.yaml, or remove /etc/dwcp there.")
    if there["ca"] and expected.ca and there["ca"] != expected.ca:
        yield problem(
            "foreign", f"its CA (/etc/dwcp/tls/ca.crt) is not the one of {expected.env}; another environment has this host, or had."
        )
    if there["namespace"] and there["namespace"] != expected.namespace:
        yield problem(
            "foreign", f"takes releases of namespace {there['namespace']}, not {expected.namespace}; another environment has this host."
        )
    if there["directories"] and not there["command"]:
        where = ", ".join(there["directories"])
        yield problem("foreign", f"holds {where}, but no dwcp-host that put it there; move away what another installation left.")
    user = there["user"]
    if user is not None and not there["command"] and (user["uid"] >= 1000 or user["shell"].endswith(("sh", "bash"))):
        yield problem("foreign", f"has a user dwcp (uid {user['uid']}, {user['shell']}) that is a person's; the agent would run as it.")
    units = [unit for unit in there["units"] if unit.startswith(_UNITS_OF_OURS)]
    if units and not there["command"]:
        yield problem("foreign", f"has units {', '.join(units[:3])} of another installation; remove them.")
    yield from _fenced(there["fence"], expected)


def _fenced(fence: str | None, expected: Expected) -> Iterator[Finding]:
    if fence is None:
        return
    try:
        data = json.loads(fence)
        token, owner = int(data["token"]), str(data["owner"])
    except (ValueError, KeyError, TypeError):
        yield problem("fence", "/var/lib/dwcp/host/fence.json does not hold a token, so no run could change this host; look at it.")
        return
    if not expected.knows(owner):
        yield problem(
            "fence",
            f"run {owner} of another controller or environment holds it (token {token}); take its journal over, or, when that controller "
            "is gone for good, remove /var/lib/dwcp/host/fence.json there.",
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _bytes(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]] if text[-1:] in _UNITS else int(text)
