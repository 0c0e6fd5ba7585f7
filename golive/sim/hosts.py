"""`golive.fleet.port.Hosts` over a simulated world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from golive.engine.ports import Timing
from golive.environment import Environment
from golive.fleet.model import Fleet, Host
from golive.sim.world import World

if TYPE_CHECKING:
    import httpx

    from golive.fleet.ansible import PlayResult
    from golive.ground.look import Looked
    from golive.ground.provision import Provisioned
    from golive.releases.model import Release
    from golive.sim.load import SimMetrics, SimRequests
    from golive.sim.shell import SimShell

__all__ = ["SimHosts", "hosts_of"]

_TIMING = Timing(tick_s=0.02, look_s=0.1, grace_s=5.0, breach_grace_s=1.0)


class SimHosts:
    """The simulated hosts of one environment, as the toolkit reaches them."""

    def __init__(self, env: Environment) -> None:
        self.world = World(env)
        self.clock = self.world.clock
        self.timing = _TIMING
        self.on_point: Callable[[], None] = lambda: None
        """Called at every command on a host, before it and after it: where chaos strikes inside a step."""

    def shell(self, fleet: Fleet) -> SimShell:
        from golive.sim.shell import SimShell

        return SimShell(self.world, fleet, self._point)

    def provision(self) -> Provisioned:
        from golive.sim.plays import provision

        self._point()
        return provision(self.world)

    def look(self) -> Looked:
        from golive.sim.plays import look

        return look(self.world)

    def play(self, ctx: Any, playbook: str, extravars: Mapping[str, Any], limit: Sequence[str] | None, check: bool) -> PlayResult:
        from golive.sim.plays import play

        return play(self.world, self._point, ctx, playbook, extravars, limit, check=check)

    def web(self, timeout_s: float) -> httpx.Client:
        import httpx

        from golive.sim.web import SimWeb

        return httpx.Client(transport=SimWeb(self.world, timeout_s))

    def metrics(self) -> SimMetrics:
        from golive.sim.load import SimMetrics

        return SimMetrics(self.world)

    def requests(self, host: Host, since: float) -> SimRequests:
        from golive.sim.load import SimRequests

        return SimRequests(self.world, host, since)

    def release(self, version: str) -> Release:
        from golive.sim.release import made

        return made(self.world.env, version)

    def _point(self) -> None:
        self.on_point()


_open: dict[str, SimHosts] = {}


def hosts_of(env: Environment) -> SimHosts:
    """The hosts of ``env``, one object a process."""
    key = str(env.state.resolve())
    if key not in _open:
        _open[key] = SimHosts(env)
    return _open[key]
