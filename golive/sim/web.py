"""What listens on simulated hosts: Prometheus, Alertmanager and the agents, as actions ask them over HTTPS."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import httpx

from golive.sim.load import alerts, targets
from golive.sim.machine import agent_at
from golive.sim.world import SimHost, World

__all__ = ["SimWeb"]

_RULES = ("DwcpErrorRateHigh", "DwcpCorruption", "DwcpAgentDown", "DwcpMetricsAbsent", "DwcpLatencyHigh")
_SLOT = {7400: "a", 7402: "a", 7410: "b", 7412: "b"}


class SimWeb(httpx.BaseTransport):
    """Answers by address and port; a host that is cut or hangs takes its time and answers nothing."""

    def __init__(self, world: World, timeout_s: float) -> None:
        self._world = world
        self._timeout_s = timeout_s
        self._objects: dict[str, bytes] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        there = self._world.by_address.get(request.url.host)
        if there is None:
            raise httpx.ConnectError("No route to host", request=request)
        host = self._world.host(there.name)
        if host.condition.cut or host.condition.hangs:
            self._world.clock.advance(self._timeout_s / 20)  # many are asked side by side
            raise httpx.ConnectTimeout("timed out", request=request)
        port, path = request.url.port or 443, request.url.path
        answer = self._ops(port, path, host) if there.role == "ops" else self._agent(request, host, _SLOT.get(port, ""), path)
        if answer is None:
            raise httpx.ConnectError("Connection refused", request=request)
        return answer

    def _ops(self, port: int, path: str, host: SimHost) -> httpx.Response | None:
        if "prometheus" in host.condition.dead or host.bare:
            return None
        if port == 9093:
            return httpx.Response(200, text="OK")
        fires: list[dict[str, Any]] = [
            {"labels": labels, "annotations": {"summary": "simulated"}, "state": "firing"} for labels in alerts(self._world)
        ]
        data: dict[str, Any] = {"alerts": fires}
        if path.endswith("/targets"):
            data = {"activeTargets": self._targets()}
        elif path.endswith("/rules"):
            at = datetime.fromtimestamp(self._world.clock.world(), UTC).isoformat()
            rules = [
                {"name": name, "health": "ok", "lastEvaluation": at, "alerts": [f for f in fires if f["labels"]["alertname"] == name]}
                for name in _RULES
            ]
            data = {"groups": [{"name": "simulated", "rules": rules}]}
        return httpx.Response(200, json={"status": "success", "data": data})

    def _targets(self) -> list[dict[str, Any]]:
        world, found = self._world, []
        for group in targets(world):
            labels = group["labels"]
            up = agent_at(world, world.host(labels["host"]), labels["slot"]) == labels["release"]
            found.append(_target("agent", labels["host"], up))
        found += [_target("load", host.name, True) for host in world.fleet.loads]
        found += [_target("gateway", host.name, world.host(host.name).ledger.read().haproxy) for host in world.fleet.gateways]
        return found + [_target("node", host.name, not world.host(host.name).condition.cut) for host in world.fleet.hosts]

    def _agent(self, request: httpx.Request, host: SimHost, slot: str, path: str) -> httpx.Response | None:
        release = agent_at(self._world, host, slot)
        if release is None:
            return None
        if path == "/health":
            return httpx.Response(200, json={"status": "ok"})
        if path == "/ready":
            return httpx.Response(200, json={"ready": True, "id": release})
        key = f"{host.name}{slot}{path}"
        if request.method == "PUT":
            if host.condition.full:
                return httpx.Response(507, json={"error": "no space"})
            self._objects[key] = request.read()
            return httpx.Response(201, json={"sha256": hashlib.sha256(self._objects[key]).hexdigest()})
        content = self._objects.get(key)
        return httpx.Response(404) if content is None else httpx.Response(200, content=content)


def _target(job: str, host: str, up: bool) -> dict[str, Any]:
    return {
        "labels": {"job": job, "host": host},
        "scrapeUrl": f"https://{host}/metrics",
        "health": "up" if up else "down",
        "lastError": "" if up else "connection refused",
    }
