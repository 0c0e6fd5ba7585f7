"""``dwcp_wan_link``: what joins two sites."""

from __future__ import annotations

from dataclasses import fields

from tf import schema, types

from golive.errors import BadInput
from golive.lab import sites
from golive.lab.provider.resource import UP, Resource, State, attribute, state_attribute
from golive.lab.wan import Wan

__all__ = ["WanLink"]


class WanLink(Resource):
    """A link between the routers of two sites, the same both ways."""

    @classmethod
    def get_name(cls) -> str:
        return "wan_link"

    @classmethod
    def get_schema(cls) -> schema.Schema:
        return schema.Schema(
            version=1,
            attributes=[
                attribute("a", types.String(), "Network of one site.", required=True, replace=True),
                attribute("b", types.String(), "Network of the other.", required=True, replace=True),
                attribute("cidr_a", types.String(), "Addresses of site a.", required=True, replace=True),
                attribute("cidr_b", types.String(), "Addresses of site b.", required=True, replace=True),
                attribute("transit", types.String(), "The link's own /31.", required=True, replace=True),
                attribute("rtt_ms", types.Number(), "Delay there and back in ms; none when absent.", optional=True),
                attribute("jitter_ms", types.Number(), "By how much a packet's delay each way differs at most, in ms.", optional=True),
                attribute("rate_mbit", types.Number(), "Rate each way in Mbit/s; not limited when absent.", optional=True),
                attribute("loss_percent", types.Number(), "Share of packets lost each way, in percent.", optional=True),
                attribute("queue_kb", types.Number(), "Queue before the wire in bytes/1000; 50 ms of the rate when absent.", optional=True),
                state_attribute(),
            ],
        )

    def make(self, planned: State) -> State:
        setting = _setting(planned)
        if planned["a"] == planned["b"]:
            raise BadInput(f"A WAN link joins two sites, not {planned['a']} to itself.")
        sites.make_link(planned["a"], planned["cidr_a"], planned["b"], planned["cidr_b"], planned["transit"], setting)
        return {**planned, "state": UP}

    def look(self, current: State) -> State | None:
        fault = sites.link_fault(current["a"], current["cidr_a"], current["b"], current["cidr_b"], _setting(current))
        return {**current, "state": fault or UP}

    def change(self, current: State, planned: State) -> State:
        return self.make(planned)

    def remove(self, current: State) -> None:
        sites.remove_link(current["a"], current["b"])


def _setting(state: State) -> Wan:
    given = {field.name: state.get(field.name) for field in fields(Wan)}
    return Wan(**{name: value for name, value in given.items() if value is not None})
