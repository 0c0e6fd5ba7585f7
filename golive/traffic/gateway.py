"""Sites with a gateway: HAProxy splits sessions between the slots, ``dwcp-host`` on the gateway sets the weight."""

from __future__ import annotations

from golive.fleet.model import Fleet
from golive.traffic._points import Asks, HostPoints
from golive.traffic.port import SlotName

__all__ = ["GatewayTraffic"]


class GatewayTraffic(HostPoints):
    """`golive.traffic.port.Traffic` at the fleet's gateways."""

    def __init__(self, shell: Asks, fleet: Fleet, *, run: str, token: int, candidate_slot: SlotName) -> None:
        super().__init__(shell, fleet.gateways, run=run, token=token, candidate_slot=candidate_slot)
