"""Sites without a gateway: the agents admit a session or name the other slot's port, by the same hash of the session id.

``dwcp-host`` on each agent host writes ``/var/lib/dwcp/admission.json``, which both releases on the host watch. The same verbs, the same
lease and the same guard as on a gateway; only what carries the weight out differs.
"""

from __future__ import annotations

from collections.abc import Sequence

from golive.fleet.model import Fleet, Host
from golive.traffic._points import Asks, HostPoints
from golive.traffic.port import SlotName

__all__ = ["AdmissionTraffic", "admitting"]


def admitting(fleet: Fleet) -> Sequence[Host]:
    """Agent hosts at sites that have no gateway."""
    served = {host.site for host in fleet.gateways}
    return [host for host in fleet.agents if host.site not in served]


class AdmissionTraffic(HostPoints):
    """`golive.traffic.port.Traffic` at agent hosts that admit sessions themselves."""

    def __init__(self, shell: Asks, fleet: Fleet, *, run: str, token: int, candidate_slot: SlotName) -> None:
        super().__init__(shell, admitting(fleet), run=run, token=token, candidate_slot=candidate_slot)
