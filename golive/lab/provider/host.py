"""``dwcp_host``: one host of the lab, a container that boots systemd and lets the operator in over SSH."""

from __future__ import annotations

import json
import socket
import time

from tf import schema, types

from golive.errors import Refused, Unprepared
from golive.lab import keys, podman
from golive.lab.commands import must, run
from golive.lab.provider.resource import UP, Resource, State, attribute, state_attribute

__all__ = ["Host"]

_BOOT_S = 90.0
"""Longest time from start to `systemctl is-system-running`; seen: 2 s, and 20 s on a machine that was busy."""


class Host(Resource):
    """A container booting systemd, with pinned host key, the operator's key and routes mounted read-only at ``/etc/dwcp-lab``."""

    @classmethod
    def get_name(cls) -> str:
        return "host"

    @classmethod
    def get_schema(cls) -> schema.Schema:
        return schema.Schema(
            version=1,
            attributes=[
                attribute("name", types.String(), "Host name and container name.", required=True, replace=True),
                attribute("site", types.String(), "Site it stands in; a label.", required=True, replace=True),
                attribute("image", types.String(), "Image it boots from.", required=True, replace=True),
                attribute("memory_mb", types.Number(), "Memory limit in MiB.", required=True, replace=True),
                attribute("networks", types.Map(types.String()), "Its address in each network.", required=True, replace=True),
                attribute("routes", types.Map(types.String()), "Gateway by destination.", required=True),
                attribute("host_key", types.String(), "Public SSH host key.", computed=True),
                state_attribute(),
            ],
        )

    def make(self, planned: State) -> State:
        name = planned["name"]
        podman.remove_container(name, self.settings.env, self.settings.owner)
        if not run(["podman", "image", "exists", planned["image"]]).ok:
            raise Unprepared(f"The lab's host image {planned['image']} is missing; `./inv provision --env {self.settings.env}` builds it.")
        public = keys.host_key(self.settings.keys, name)
        self._write_routes(planned)
        must(self._run_command(planned), timeout_s=120)
        _wait_up(name, _addresses(planned)[0])
        return {**planned, "host_key": public, "state": UP}

    def look(self, current: State) -> State | None:
        there = podman.container(current["name"])
        if there is None or podman.labels(there).get(podman.ENV_LABEL) != self.settings.env:
            return None
        networks = {name: entry["IPAddress"] for name, entry in there["NetworkSettings"]["Networks"].items()}
        seen = {
            **current,
            "image": there["ImageName"],
            "memory_mb": there["HostConfig"]["Memory"] // 2**20,
            "host_key": keys.host_key(self.settings.keys, current["name"]),
        }
        pid = podman.started(there)
        if pid is None:
            return {**seen, "state": there["State"]["Status"]}
        return {**seen, "networks": networks, "state": _fault(pid, current, there) or UP}

    def change(self, current: State, planned: State) -> State:
        name = planned["name"]
        there = podman.container(name)
        if there is None:
            return self.make(planned)
        podman.check_ours(f"Container {name}", podman.labels(there), self.settings.env, self.settings.owner)
        self._write_routes(planned)
        if there["State"].get("Paused"):
            must(["podman", "unpause", name])
        elif podman.started(there) is None:
            must(["podman", "start", name], timeout_s=120)
        elif current["state"] != UP or current["routes"] != planned["routes"]:
            must(["podman", "restart", "--time", "10", name], timeout_s=120)
        _wait_up(name, _addresses(planned)[0])
        return {**planned, "host_key": keys.host_key(self.settings.keys, name), "state": UP}

    def remove(self, current: State) -> None:
        podman.remove_container(current["name"], self.settings.env, self.settings.owner)

    def _write_routes(self, planned: State) -> None:
        lines = [f"route replace {to} via {via}\n" for to, via in sorted(planned["routes"].items())]
        directory = keys.host_directory(self.settings.keys, planned["name"])
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "routes").write_text("".join(lines), encoding="utf-8")

    def _run_command(self, planned: State) -> list[str]:
        name = planned["name"]
        labels = {podman.ENV_LABEL: self.settings.env, podman.OWNER_LABEL: self.settings.owner, "dwcp.site": planned["site"]}
        return [
            *("podman", "run", "--detach", "--name", name, "--hostname", name, "--runtime", self.settings.runtime),
            *(f"--label={key}={value}" for key, value in labels.items()),
            *(f"--network={network}:ip={address}" for network, address in sorted(planned["networks"].items())),
            *("--no-hosts", "--dns", "none", "--memory", f"{int(planned['memory_mb'])}m"),
            *("--volume", f"{keys.host_directory(self.settings.keys, name)}:/etc/dwcp-lab:ro"),
            *podman.resource_limits(),
            *podman.privileges(),
            *(planned["image"], "/sbin/init"),
        ]


def _addresses(planned: State) -> list[str]:
    return [address for _, address in sorted(planned["networks"].items())]


def _fault(pid: int, wanted: State, there: State) -> str | None:
    """What is wrong with a running host's cables and routes, in words."""
    enter = ["nsenter", "--target", str(pid), "--net", "ip", "-json"]
    links = run([*enter, "address", "show"])
    if not links.ok:
        return "just ended"
    devices = {entry["local"]: device for device in json.loads(links.stdout) for entry in device.get("addr_info", [])}
    bridges = {}
    for device in json.loads(must(["ip", "-json", "link", "show", "type", "veth"]) or "[]"):
        bridges[device.get("ifindex")] = device.get("master")
    for network, address in wanted["networks"].items():
        device = devices.get(address)
        if device is None:
            return f"without address {address}"
        if bridges.get(device.get("link_index")) is None:
            return f"unplugged from {network}"
    routes = {route["dst"]: route.get("gateway") for route in json.loads(must([*enter, "route", "show"]) or "[]")}
    for to, via in wanted["routes"].items():
        if routes.get(to) != via:
            return f"without route to {to}"
    if "default" in routes:
        return "with a default route"
    return None


def _wait_up(name: str, address: str) -> None:
    """SSH answers and systemd says ``running``. Raises Refused naming what failed, or that the container ended."""
    deadline = time.monotonic() + _BOOT_S
    last = "it did not answer"
    while time.monotonic() < deadline:
        there = podman.container(name)
        pid = podman.started(there) if there else None
        if pid is None:
            said = run(["podman", "logs", "--tail", "3", name])
            raise Refused(f"Host {name} ended while it booted: {(said.stdout + said.stderr).strip() or 'it said nothing'}.")
        while time.monotonic() < deadline:
            state = run(["nsenter", "--target", str(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "systemctl", "is-system-running"])
            last = f"systemd says {state.stdout.strip() or state.complaint}"
            if state.stdout.strip() == "degraded":
                failed = must(["podman", "exec", name, "systemctl", "--failed", "--plain", "--no-legend"])
                units = ", ".join(line.split()[0] for line in failed.splitlines() if line.split())
                raise Refused(f"Host {name} booted degraded: {units or 'a unit'} failed; see `podman exec {name} journalctl -b`.")
            if state.stdout.strip() == "running" and _banner(address):
                return
            if "No such process" in state.stderr or "nsenter: " in state.stderr:
                break
            time.sleep(0.1)
    raise Refused(f"Host {name} was not up {_BOOT_S:.0f} s after its start: {last}. Run the command again; it will be made anew.")


def _banner(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
