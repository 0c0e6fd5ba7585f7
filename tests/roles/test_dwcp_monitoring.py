"""The role dwcp_monitoring: a node exporter everywhere, Prometheus and Alertmanager on ops, for holders of a certificate."""

from __future__ import annotations

import pytest

from golive.actions._https import client

NODE = "prometheus-node-exporter.service"
SERVERS = ("prometheus.service", "prometheus-alertmanager.service")
CONFINED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectControlGroups": "yes",
    "RestrictNamespaces": "yes",
    "User": "prometheus",
}


def units(host):
    return (NODE, *SERVERS) if host.role == "ops" else (NODE,)


def ports(host):
    return (9100, 9090, 9093) if host.role == "ops" else (9100,)


def refused(host, name, port, *options):
    words = ["curl", "-s", "--http1.1", "-m", "5", "--cacert", "/etc/dwcp/tls/ca.crt", *options, f"https://{name}:{port}/metrics"]
    return host.run(" ".join(words)).rc in (35, 55, 56)


@pytest.fixture(scope="module")
def asked(want):
    """``asked(port, path)`` is the answer of a service on ops to the operator, as JSON."""

    def ask(port, path, **params):
        with client(want.env) as opened:
            answer = opened.get(f"https://{want.fleet.ops.address}:{port}{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


def test_services_run_confined_and_start_at_boot(place, on, shown):
    for unit in units(place):
        service = on(place).service(unit)
        assert service.is_running, unit
        assert service.is_enabled, unit
        assert shown(place, unit, *CONFINED) == CONFINED, unit
        assert shown(place, unit, "NeedDaemonReload") == {"NeedDaemonReload": "no"}, unit


def test_prometheus_runs_on_ops_only(agent, shown):
    for unit in SERVERS:
        said = shown(agent, unit, "ActiveState", "UnitFileState")
        assert said["ActiveState"] == "inactive", unit
        assert said["UnitFileState"] in ("masked", "disabled", ""), unit


def test_every_service_answers_the_operator(place, want):
    with client(want.env) as opened:
        for port in ports(place):
            answer = opened.get(f"https://{place.address}:{port}/metrics")
            assert answer.status_code == 200
            assert "process_start_time_seconds" in answer.text


def test_no_certificate_and_no_older_tls_gets_in(place, on):
    name = "monitor" if place.role == "ops" else "agent"
    shown = ("--cert", f"/etc/dwcp/tls/{name}.crt", "--key", f"/etc/dwcp/tls/{name}.key")
    for port in ports(place):
        assert not refused(on(place), place.name, port, *shown)
        assert refused(on(place), place.name, port)
        assert refused(on(place), place.name, port, *shown, "--tls-max", "1.2")


def test_the_key_is_open_to_the_services_alone(place, on, modes):
    wanted = {f"/etc/prometheus/tls/{name}": "root prometheus 640" for name in ("ca.crt", "tls.crt", "tls.key")}
    assert modes(place, *wanted) == wanted
    tried = on(place).run("setpriv --reuid=nobody --regid=nogroup --clear-groups cat /etc/prometheus/tls/tls.key")
    assert tried.rc != 0
    assert "Permission denied" in tried.stderr


def test_only_declared_collectors_run(place, want):
    with client(want.env) as opened:
        lines = opened.get(f"https://{place.address}:9100/metrics").text.splitlines()
    said = {line.split('"')[1]: line.rsplit(" ", 1)[1] for line in lines if line.startswith("node_scrape_collector_success{")}
    assert said == dict.fromkeys(want.defaults["dwcp_monitoring_collectors"], "1")


def test_prometheus_took_its_configuration(ops, on, asked, want):
    on(ops).check_output("promtool check config /etc/prometheus/prometheus.yml")
    flags = asked(9090, "/api/v1/status/flags")["data"]
    assert flags["storage.tsdb.retention.time"] in (want.defaults["dwcp_monitoring_retention"], "1w")
    with client(want.env) as opened:
        text = opened.get(f"https://{ops.address}:9090/metrics").text
    assert "prometheus_config_last_reload_successful 1" in text.splitlines()


def test_every_host_of_the_fleet_is_a_target(ops, asked, want):
    targets = asked(9090, "/api/v1/targets", state="active")["data"]["activeTargets"]
    seen = {job: {t["labels"]["host"] for t in targets if t["labels"]["job"] == job} for job in ("node", "gateway", "load")}
    fleet = want.fleet
    assert seen == {
        "node": {host.name for host in fleet.hosts},
        "gateway": {host.name for host in fleet.gateways},
        "load": {host.name for host in fleet.loads},
    }
    assert {t["scrapeUrl"].split(":", 1)[0] for t in targets} == {"https"}


def test_the_alert_rules_are_loaded(ops, asked, on):
    groups = asked(9090, "/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
    assert {rule["name"] for rule in rules} >= {
        "DwcpErrorRateHigh",
        "DwcpCorruption",
        "DwcpAgentDown",
        "DwcpMetricsAbsent",
        "DwcpLatencyHigh",
    }
    assert {rule["health"] for rule in rules} == {"ok"}
    on(ops).check_output("promtool check rules /etc/prometheus/dwcp.rules.yml")


def test_prometheus_and_alertmanager_know_each_other(ops, asked):
    active = asked(9090, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    assert [entry["url"] for entry in active] == [f"https://{ops.name}:9093/api/v2/alerts"]
    assert asked(9093, "/api/v2/status")["config"]["original"].count("receiver:") >= 1
