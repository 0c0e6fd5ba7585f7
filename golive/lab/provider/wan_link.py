"""``dwcp_wan_link``: what joins two sites."""

from __future__ import annotations

from tf import schema, types

from golive.errors import BadInput
from golive.lab import sites
from golive.lab.provider.resource import UP, Resource, State, attribute, state_attribute

__all__ = ["WanLink"]


class WanLink(Resource):
    """A cable between the routers of two sites; both ways, at ``rate_mbit`` when given."""

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
                attribute("rate_mbit", types.Number(), "Rate each way in Mbit/s; not limited when absent.", optional=True),
                state_attribute(),
            ],
        )

    def make(self, planned: State) -> State:
        rate = _rate(planned)
        if planned["a"] == planned["b"]:
            raise BadInput(f"A WAN link joins two sites, not {planned['a']} to itself.")
        sites.make_link(planned["a"], planned["cidr_a"], planned["b"], planned["cidr_b"], planned["transit"], rate)
        return {**planned, "state": UP}

    def look(self, current: State) -> State | None:
        fault = sites.link_fault(current["a"], current["cidr_a"], current["b"], current["cidr_b"], _rate(current))
        return {**current, "state": fault or UP}

    def change(self, current: State, planned: State) -> State:
        return self.make(planned)

    def remove(self, current: State) -> None:
        sites.remove_link(current["a"], current["b"])


def _rate(state: State) -> int | None:
    rate = state.get("rate_mbit")
    if rate is None:
        return None
    if rate != int(rate) or not 1 <= rate <= 100_000:
        raise BadInput(f"rate_mbit must be a whole number from 1 to 100000, not {rate}.")
    return int(rate)
