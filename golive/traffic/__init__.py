"""Which release takes a session: the port `Traffic`, its adapters, and the beat that keeps the guards quiet."""

from __future__ import annotations

from golive.fleet.model import Fleet
from golive.traffic._points import Asks, HostPoints
from golive.traffic.admission import AdmissionTraffic, admitting
from golive.traffic.gateway import GatewayTraffic
from golive.traffic.heartbeat import Heartbeat, Pulse
from golive.traffic.port import Beat, Beats, Shift, Slot, SlotName, Traffic, Weights, other

__all__ = [
    "AdmissionTraffic",
    "Beat",
    "Beats",
    "GatewayTraffic",
    "Heartbeat",
    "Pulse",
    "Shift",
    "Slot",
    "SlotName",
    "Traffic",
    "Weights",
    "other",
    "traffic_of",
]


def traffic_of(shell: Asks, fleet: Fleet, *, run: str, token: int, candidate_slot: SlotName) -> Traffic:
    """The traffic of a whole fleet: its gateways, and the agents themselves at sites that have none."""
    return HostPoints(shell, [*fleet.gateways, *admitting(fleet)], run=run, token=token, candidate_slot=candidate_slot)
