"""``checks.monitoring``: what the gates will ask is really being measured, and no alert fires before the candidate is there."""

from __future__ import annotations

from typing import Any

import httpx

from golive.actions._check import Check
from golive.actions._https import client, get
from golive.actions._world import aside
from golive.actions.port import Outcome, StepContext, action
from golive.errors import Held
from golive.gates.verdict import Verdict

__all__ = ["ChecksMonitoring"]

_RULES = {"DwcpErrorRateHigh", "DwcpCorruption", "DwcpAgentDown", "DwcpMetricsAbsent", "DwcpLatencyHigh"}
_SETTLE_S = 120
"""A change of targets takes a few scrapes, and an alert over the last minute clears a minute after its cause; so long is waited."""


@action
class ChecksMonitoring(Check):
    """Every target of every job is up, all alert rules are loaded, Alertmanager is ready, nothing fires."""

    name = "checks.monitoring"

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        deadline = ctx.clock.monotonic() + _SETTLE_S
        while True:
            ctx.check()
            try:
                trouble, data = self._look(ctx)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                trouble, data = f"Prometheus answered nonsense ({type(error).__name__}: {error})", {}
            except Held as error:
                trouble, data = str(error), {}
            if not trouble or ctx.clock.monotonic() > deadline:
                break
            ctx.sleep(1)
        if trouble:
            return Outcome(Verdict.FAIL, trouble, data)
        return Outcome(Verdict.PASS, f"{data['targets']} targets up, {len(_RULES)} alert rules, none firing", data)

    def _look(self, ctx: StepContext) -> tuple[str, dict[str, Any]]:
        fleet, without = ctx.fleet(), aside(ctx)
        ops = fleet.ops
        with client(ctx.env) as opened:
            base = f"https://{ops.address}:9090"
            targets = _data(get(opened, f"{base}/api/v1/targets?state=active", ops.name))["activeTargets"]
            rules = {r["name"] for g in _data(get(opened, f"{base}/api/v1/rules", ops.name))["groups"] for r in g["rules"]}
            alerts = [a for a in _data(get(opened, f"{base}/api/v1/alerts", ops.name))["alerts"] if a["state"] == "firing"]
            alertmanager = get(opened, f"https://{ops.address}:9093/-/ready", ops.name)
        # A host that this run goes on without is watched by nobody who decides.
        targets = [t for t in targets if t["labels"].get("host") not in without]
        counts = {job: sum(1 for t in targets if t["labels"]["job"] == job) for job in ("agent", "load", "gateway", "node")}
        kept = {"agent": fleet.agents, "load": fleet.loads, "gateway": fleet.gateways, "node": fleet.hosts}
        needed = {job: sum(1 for host in hosts if host.name not in without) for job, hosts in kept.items()}
        data = {"targets": len(targets), "jobs": counts, "firing": [a["labels"]["alertname"] for a in alerts]}
        down = [
            f"{t['labels']['job']} on {t['labels'].get('host', t['scrapeUrl'])}: {t['lastError'] or t['health']}"
            for t in targets
            if t["health"] != "up"
        ]
        if down:
            return f"{ops.name}: Prometheus cannot scrape {down[0]} (and {len(down) - 1} more)", data
        if any(counts[job] < needed[job] for job in needed):
            return f"{ops.name}: Prometheus scrapes {counts}, the fleet needs {needed}", data
        if not rules >= _RULES:
            return f"{ops.name}: alert rules {', '.join(sorted(_RULES - rules))} are not loaded", data
        if alertmanager.status_code != 200:
            return f"{ops.name}: Alertmanager is not ready ({alertmanager.status_code})", data
        if alerts:
            return (
                f"{ops.name}: {', '.join(a['labels']['alertname'] for a in alerts)} already fires; clear it before a candidate comes",
                data,
            )
        return "", data


def _data(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != 200 or answer.json().get("status") != "success":
        raise Held(f"Prometheus answered {answer.status_code}: {answer.text[:160]}")
    data: dict[str, Any] = answer.json()["data"]
    return data
