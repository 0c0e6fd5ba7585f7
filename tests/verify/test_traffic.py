"""Gateways send everything to the live release, their guard is quiet, and the load really flows."""

from __future__ import annotations

import json
import time

import pytest


def test_gateway_runs(gateway, on):
    for unit in ("haproxy.service", "dwcp-guard.service"):
        service = on(gateway).service(unit)
        assert service.is_running, unit
        assert service.is_enabled, unit


def test_every_session_goes_to_the_live_release(gateway, on, want):
    said = json.loads(on(gateway).check_output("dwcp-host weight get"))
    assert said["slot_b"] == (100 if want.slot == "b" else 0)
    assert said["slots"][want.slot]["release"] == want.release
    assert said["consistent"], said["problem"]


def test_the_retired_slot_has_no_server_in(gateway, on, want):
    other = "a" if want.slot == "b" else "b"
    out = on(gateway).check_output("echo 'show servers state' | socat - UNIX-CONNECT:/run/haproxy/admin.sock")
    rows = [line.split() for line in out.splitlines() if line and not line.startswith("#") and len(line.split()) > 10]
    admin = {row[3]: int(row[6]) for row in rows if row[1] == f"slot_{other}"}
    assert admin, f"the gateway knows no servers of slot {other}"
    assert all(state & 1 for state in admin.values()), f"servers of the retired slot are in: {admin}"


def test_the_live_slot_has_its_servers_up(gateway, on, want):
    out = on(gateway).check_output("echo 'show servers state' | socat - UNIX-CONNECT:/run/haproxy/admin.sock")
    rows = [line.split() for line in out.splitlines() if line and not line.startswith("#") and len(line.split()) > 10]
    live = {row[3]: (int(row[5]), int(row[6])) for row in rows if row[1] == f"slot_{want.slot}"}
    assert len(live) == len([h for h in want.fleet.agents if h.site == gateway.site])
    assert all(operational == 2 and admin == 0 for operational, admin in live.values()), live


def test_no_weight_lease_is_left_open(gateway, on):
    said = json.loads(on(gateway).check_output("dwcp-host weight get"))
    assert not said.get("lease"), "a finished go-live leaves no lease behind"
    assert said["control"] is None, "the control lane still leads somewhere"


def test_load_client_runs_from_its_own_release(loader, status, want):
    assert [e["id"] for e in status(loader)["load"] if e["active"] and e["enabled"]] == [want.load]


@pytest.mark.parametrize("job", ["agent", "load", "gateway"])
def test_metrics_are_scraped(prometheus, want, job):
    hosts = {"agent": want.fleet.agents, "load": want.fleet.loads, "gateway": want.fleet.gateways}[job]
    up = {labels["host"]: value for labels, value in prometheus(f'up{{job="{job}"}}')}
    assert up == {h.name: 1.0 for h in hosts}


def test_requests_flow_to_the_live_release_without_error(loader, prometheus, want):
    # Until it was retired the incumbent answered the control lane; that is over within the time that the rate looks back.
    deadline = time.monotonic() + 45
    while True:
        rates = prometheus(f'sum by (release, result) (rate(dwcp_load_requests_total{{host="{loader.name}"}}[30s])) > 0')
        seen = {(labels["release"], labels["result"]) for labels, _ in rates}
        if seen == {(want.release, "ok")} or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert seen == {(want.release, "ok")}


def test_alert_rules_are_loaded_and_none_fires(prometheus_api):
    groups = prometheus_api("/api/v1/rules")["groups"]
    names = {rule["name"] for group in groups for rule in group["rules"]}
    assert names >= {"DwcpErrorRateHigh", "DwcpCorruption", "DwcpAgentDown", "DwcpMetricsAbsent", "DwcpLatencyHigh"}
    # These checks load small machines themselves; an alert on latency that this caused clears within its window, a real one stays.
    deadline = time.monotonic() + 90
    while True:
        firing = [a["labels"]["alertname"] for a in prometheus_api("/api/v1/alerts")["alerts"] if a["state"] == "firing"]
        if set(firing) != {"DwcpLatencyHigh"} or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert firing == []
