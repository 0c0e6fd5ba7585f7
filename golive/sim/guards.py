"""The guards of simulated gateways: the real guard, asked to look once."""

from __future__ import annotations

import contextlib
import io

from golive.onhost import machine
from golive.onhost.failures import HostFailure
from golive.onhost.guard import Guard, Rules
from golive.onhost.watch import Alert
from golive.sim.load import alerts
from golive.sim.machine import SimMachine
from golive.sim.world import World

__all__ = ["pass_time"]

_GRACE_S = 20.0


class _Monitoring:
    """`golive.onhost.alertmanager.Monitoring` over the world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def about(self, release: str) -> tuple[Alert, list[str]]:
        ops = self._world.host(self._world.fleet.ops.name).condition
        if "prometheus" in ops.dead or ops.cut or ops.hangs:
            return Alert.UNKNOWN, ["no answer"]
        names = [labels["alertname"] for labels in alerts(self._world) if labels.get("release") == release]
        return (Alert.FIRING if names else Alert.QUIET), names


def pass_time(world: World, seconds: float, *, every_s: float = 15.0) -> None:
    """``seconds`` pass in which no controller does anything; guards look meanwhile."""
    left = seconds
    while left > 0:
        world.clock.advance(min(left, every_s))
        left -= every_s
        for gateway in world.fleet.gateways:
            host = world.host(gateway.name)
            if host.bare or "guard" in host.condition.dead:
                continue
            machine.put(SimMachine(world, host))
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    Guard(host.places, Rules(_Monitoring(world), 1.0, _GRACE_S)).turn()  # type: ignore[arg-type]
            except (HostFailure, OSError):
                continue  # it looks again a second later, as on a host
            finally:
                machine.put(None)
