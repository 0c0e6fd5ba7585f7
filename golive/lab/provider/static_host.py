"""``dwcp_static_host``: a machine that exists already. Nothing is made or removed; it is looked at."""

from __future__ import annotations

from tf import schema, types

from golive.errors import BadInput
from golive.lab.provider.resource import Resource, State, attribute

__all__ = ["StaticHost"]

_FACTS = ("fingerprint", "kernel", "cores", "numa_nodes", "cpu_features", "reachable", "reason")


class StaticHost(Resource):
    """Adopts a machine over SSH. That it does not answer is a fact about it (``reachable``, ``reason``), not a failed plan."""

    heals = False

    @classmethod
    def get_name(cls) -> str:
        return "static_host"

    @classmethod
    def get_schema(cls) -> schema.Schema:
        return schema.Schema(
            version=1,
            attributes=[
                attribute("name", types.String(), "Host name.", required=True, replace=True),
                attribute("site", types.String(), "Site it stands in.", required=True),
                attribute("address", types.String(), "Address the operator's machine reaches it by.", required=True),
                attribute("ssh_user", types.String(), "Who to log in as.", required=True),
                attribute("ssh_port", types.Number(), "Port of its SSH service.", required=True),
                attribute("host_key", types.String(), "Its pinned public host key.", required=True),
                attribute("bastion", types.String(), "The machine it is reached through: user@address:port and pinned key.", optional=True),
                attribute("reachable", types.Bool(), "Whether it let the operator in, by the pinned key.", computed=True),
                attribute("reason", types.String(), "Why it is not reachable; empty when it is.", computed=True),
                attribute("fingerprint", types.String(), "SHA-256 fingerprint of the pinned host key.", computed=True),
                attribute("kernel", types.String(), "Kernel release; null when unknown.", computed=True),
                attribute("cores", types.Number(), "CPUs it may use; null when unknown.", computed=True),
                attribute("numa_nodes", types.Number(), "NUMA nodes; null when unknown.", computed=True),
                attribute("cpu_features", types.List(types.String()), "CPU flags that matter here; null when unknown.", computed=True),
            ],
        )

    def make(self, planned: State) -> State:
        return self._surveyed(planned)

    def look(self, current: State) -> State | None:
        return self._surveyed(current)

    def change(self, current: State, planned: State) -> State:
        # An update was planned with the facts of the last look: Terraform wants exactly those back; the next plan looks again.
        return planned

    def remove(self, current: State) -> None:
        return None

    def _surveyed(self, state: State) -> State:
        # Imported here: the lab's plans, which start the provider several times, need no SSH library.
        from golive.fleet.model import Bastion
        from golive.fleet.survey import survey

        try:
            bastion = Bastion.from_spec(str(state["bastion"])) if state.get("bastion") else None
        except ValueError as error:
            raise BadInput(f"{state['name']}: {error}; correct hosts.yaml.") from None
        seen = survey(
            str(state["address"]),
            int(state["ssh_port"]),
            str(state["ssh_user"]),
            str(state["host_key"]),
            self.settings.keys / "operator",
            bastion=bastion,
        )
        return {**state, **{fact: getattr(seen, fact) for fact in _FACTS}}
