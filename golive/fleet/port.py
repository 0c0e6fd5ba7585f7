"""Where an environment's hosts are: machines over SSH and HTTPS, or simulated ones in this process.

Actions, runbooks, engine and journal are the same for both; what differs is behind :class:`Hosts`, and asked for by :func:`stand_in` at the
five places where the toolkit reaches out: commands, plays, Terraform, HTTPS, measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from golive.environment import Environment

if TYPE_CHECKING:
    import httpx

    from golive.engine.ports import Timing
    from golive.errors import GoliveError
    from golive.fleet.ansible import PlayResult
    from golive.fleet.connection import Completed
    from golive.fleet.model import Fleet, Host
    from golive.gates.metrics import Metrics, Requests
    from golive.ground.look import Looked
    from golive.ground.provision import Provisioned
    from golive.releases.model import Release
    from golive.runbook.clock import Clock

__all__ = ["Commands", "Hosts", "stand_in"]


class Commands(Protocol):
    """Commands on hosts: `golive.fleet.ssh.Shell`, and whatever keeps its contract."""

    def run(self, host: Host, argv: Sequence[str], *, input: bytes | None = None, timeout_s: float = 30) -> Completed: ...

    def each(
        self, hosts: Sequence[Host], argv: Sequence[str], *, input: bytes | None = None, timeout_s: float = 30
    ) -> dict[str, Completed | GoliveError]: ...

    def close(self) -> None: ...


class Hosts(Protocol):
    """Hosts that stand in for machines."""

    @property
    def clock(self) -> Clock: ...
    @property
    def timing(self) -> Timing: ...

    def shell(self, fleet: Fleet) -> Commands:
        """Commands on the hosts of ``fleet``."""

    def provision(self) -> Provisioned:
        """The hosts are there and recorded; run again, nothing changes."""

    def look(self) -> Looked:
        """How far the hosts are from what was recorded of them. Changes nothing."""

    def play(self, ctx: Any, playbook: str, extravars: Mapping[str, Any], limit: Sequence[str] | None, check: bool) -> PlayResult:
        """What the play of this name leaves on hosts; with ``check`` only how much it would change."""

    def web(self, timeout_s: float) -> httpx.Client:
        """A client for what listens on the hosts."""

    def metrics(self) -> Metrics:
        """What Prometheus on ops scraped."""

    def requests(self, host: Host, since: float) -> Requests:
        """What the load client on ``host`` counted from about ``since`` (unix seconds) on."""

    def release(self, version: str) -> Release:
        """A signed release of ``version`` that these hosts can run."""


def stand_in(env: Environment) -> Hosts | None:
    """The simulated hosts of ``env``; None where its hosts are machines."""
    if not env.is_sim:
        return None
    from golive.sim import hosts_of

    return hosts_of(env)
