"""``dwcp_network``: one site's network, with its router, closed to the outside."""

from __future__ import annotations

import ipaddress

from tf import schema, types

from golive.errors import BadInput, Refused, Unprepared
from golive.lab import podman, sites
from golive.lab.commands import must, run
from golive.lab.provider.resource import UP, Resource, State, attribute, state_attribute

__all__ = ["Network"]


class Network(Resource):
    """A Podman network without a way out, its bridge (the operator's machine is the first address) and its router (``.254``)."""

    @classmethod
    def get_name(cls) -> str:
        return "network"

    @classmethod
    def get_schema(cls) -> schema.Schema:
        return schema.Schema(
            version=1,
            attributes=[
                attribute("name", types.String(), "Name of the network.", required=True, replace=True),
                attribute("cidr", types.String(), "IPv4 /24 of the site.", required=True, replace=True),
                attribute("bridge", types.String(), "The bridge's interface on this machine.", computed=True),
                state_attribute(),
            ],
        )

    def make(self, planned: State) -> State:
        name, cidr = planned["name"], planned["cidr"]
        net = _parsed(cidr)
        there = podman.network(name)
        if there is not None:
            podman.check_ours(f"Network {name}", podman.labels(there), self.settings.env, self.settings.owner)
            if there["subnets"][0]["subnet"] != cidr:
                must(["podman", "network", "rm", "--force", name])
                there = None
        if there is None:
            sites.clear_leftovers(self.settings.env, cidr)
            sites.check_free(cidr)
            labels = [f"{podman.ENV_LABEL}={self.settings.env}", f"{podman.OWNER_LABEL}={self.settings.owner}"]
            options = ["--internal", "--disable-dns", "--subnet", cidr, "--gateway", str(net[1])]
            must(["podman", "network", "create", *options, *(f"--label={label}" for label in labels), name])
            there = podman.network(name)
            if there is None:
                raise Unprepared(f"Podman made network {name} and does not list it; is something else removing networks?")
        bridge = there["network_interface"]
        sites.make_site(self.settings.env, name, bridge, cidr)
        return {"name": name, "cidr": cidr, "bridge": bridge, "state": UP}

    def look(self, current: State) -> State | None:
        there = podman.network(current["name"])
        if there is None or podman.labels(there).get(podman.ENV_LABEL) != self.settings.env:
            return None
        cidr, bridge = there["subnets"][0]["subnet"], there["network_interface"]
        return {"name": current["name"], "cidr": cidr, "bridge": bridge, "state": sites.site_fault(current["name"], bridge, cidr) or UP}

    def change(self, current: State, planned: State) -> State:
        return self.make(planned)

    def remove(self, current: State) -> None:
        there = podman.network(current["name"])
        if there is not None:
            podman.check_ours(f"Network {current['name']}", podman.labels(there), self.settings.env, self.settings.owner)
            members = must(["podman", "ps", "--all", "--quiet", "--filter", f"network={current['name']}"]).split()
            if members:
                raise Refused(f"Network {current['name']} still has {len(members)} containers; remove them and run the command again.")
            ran = run(["podman", "network", "rm", current["name"]])
            if not ran.ok and podman.network(current["name"]) is not None:
                raise Refused(f"Network {current['name']} could not be removed: {ran.complaint}.")
        sites.remove_site(current["name"], current.get("bridge"))


def _parsed(cidr: str) -> ipaddress.IPv4Network:
    try:
        net = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        raise BadInput(f"cidr {cidr!r} is not an IPv4 network: {error}.") from None
    if net.prefixlen != 24:
        raise BadInput(f"cidr {cidr} must be a /24: hosts, the router and the operator's machine have fixed places in it.")
    return net
