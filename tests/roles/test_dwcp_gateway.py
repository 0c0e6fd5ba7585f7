"""The role dwcp_gateway: HAProxy and its guard run confined, with what is on disk, and turn away who has no business there."""

from __future__ import annotations

import json

import pytest

from golive.actions._https import client

SOCKET = "/run/haproxy/admin.sock"
UNITS = ("haproxy.service", "dwcp-guard.service")
CONFINED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectControlGroups": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
}


def curl(host, name, path, *options, port=7443, certificate="agent"):
    """Status and body of one request from the gateway itself; curl's own exit code in place of the status when there is no answer."""
    shown = ["--cert", f"/etc/dwcp/tls/{certificate}.crt", "--key", f"/etc/dwcp/tls/{certificate}.key"] if certificate else []
    words = ["curl", "-s", "-m", "5", "--cacert", "/etc/dwcp/tls/ca.crt", *shown, *options, "-w", "\\n%{http_code}"]
    done = host.run(" ".join(f"'{word}'" for word in [*words, f"https://{name}:{port}{path}"]))
    body, _, status = done.stdout.rpartition("\n")
    return (int(status), body) if done.rc == 0 else (-done.rc, done.stderr)


@pytest.mark.parametrize("unit", UNITS)
def test_unit_runs_and_starts_at_boot(gateway, on, unit):
    service = on(gateway).service(unit)
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize("unit", UNITS)
def test_unit_is_confined(gateway, shown, unit):
    assert shown(gateway, unit, *CONFINED) == CONFINED


@pytest.mark.parametrize("unit", UNITS)
def test_the_process_is_confined_by_the_kernel(gateway, on, shown, unit):
    pid = shown(gateway, unit, "MainPID")["MainPID"]
    lines = on(gateway).file(f"/proc/{pid}/status").content_string.splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    assert (fields["NoNewPrivs"].strip(), fields["Seccomp"].strip()) == ("1", "2")


@pytest.mark.parametrize("unit", UNITS)
def test_what_runs_is_what_is_on_disk(gateway, on, shown, unit):
    assert shown(gateway, unit, "NeedDaemonReload") == {"NeedDaemonReload": "no"}
    host = on(gateway)
    files = ["/etc/dwcp/tls/gateway.pem", "/etc/dwcp/tls/ca.crt"]
    files += ["/etc/haproxy/haproxy.cfg"] if unit == "haproxy.service" else ["/etc/dwcp/guard.json", "/usr/local/sbin/dwcp-host"]
    written = max(int(line) for line in host.check_output("stat -c %Y " + " ".join(files)).splitlines())
    # A reload makes a new worker and leaves the master; the youngest process of the unit is the one that read the files last.
    rows = [line.split() for line in host.check_output("date +%s; ps -e -o etimes= -o unit=").splitlines()]
    ages = [int(row[0]) for row in rows[1:] if row[1] == unit]
    assert ages, f"{unit} has no process"
    assert int(rows[0][0]) - min(ages) + 1 >= written


def test_the_configuration_holds(gateway, on):
    host = on(gateway)
    host.check_output("haproxy -c -q -f /etc/haproxy/haproxy.cfg")
    said = json.loads(host.check_output("dwcp-host weight get"))
    assert said["consistent"], said["problem"]


def test_both_slots_have_the_sites_agents_and_no_others(gateway, on, want):
    out = on(gateway).check_output(f"echo 'show servers state' | socat - UNIX-CONNECT:{SOCKET}")
    rows = [line.split() for line in out.splitlines() if line and not line.startswith("#") and len(line.split()) > 10]
    agents = {(host.name, host.address) for host in want.fleet.agents if host.site == gateway.site}
    for slot, port in (("a", "7400"), ("b", "7410")):
        servers = {(row[3], row[4]) for row in rows if row[1] == f"slot_{slot}"}
        assert servers == agents
        assert {row[18] for row in rows if row[1] == f"slot_{slot}"} == {port}


def test_the_runtime_socket_is_roots_alone(gateway, on, modes):
    assert modes(gateway, "/run/haproxy")["/run/haproxy"].split()[0::2] == ["root", "700"]
    assert modes(gateway, SOCKET)[SOCKET].split()[0::2] == ["root", "600"]
    tried = on(gateway).run(f"setpriv --reuid=dwcp --regid=dwcp --clear-groups socat -u OPEN:/dev/null UNIX-CONNECT:{SOCKET}")
    assert tried.rc != 0
    assert "Permission denied" in tried.stderr


@pytest.mark.parametrize("port", [7443, 7480])
def test_no_certificate_and_no_older_tls_gets_in(gateway, on, port):
    host = on(gateway)
    # A certificate gets an answer, whatever it is: the port is open, and what is refused is refused for the reason that is tested.
    assert curl(host, gateway.name, "/", port=port)[0] > 0
    assert curl(host, gateway.name, "/", port=port, certificate=None)[0] in (-35, -55, -56)
    assert curl(host, gateway.name, "/", "--tls-max", "1.2", port=port)[0] in (-35, -55, -56)


def test_a_request_needs_one_session(gateway, on):
    host = on(gateway)
    for headers in ([], ["-H", "X-DWCP-Session: a", "-H", "X-DWCP-Session: b"], ["-H", "X-DWCP-Session: no spaces"]):
        status, body = curl(host, gateway.name, "/v1/status", *headers)
        assert (status, json.loads(body)["error"]) == (400, "session")


def test_a_host_of_another_site_is_not_found(gateway, on, want):
    stranger = next(host.name for host in want.fleet.agents if host.site != gateway.site)
    status, body = curl(on(gateway), gateway.name, "/v1/status", "-H", "X-DWCP-Session: scenario", "-H", f"X-DWCP-Host: {stranger}")
    # A slot that is out answers for itself before hosts are looked at.
    assert (status, json.loads(body)["error"]) in {(404, "host"), (503, "slot")}


def test_metrics_are_for_monitoring_and_operators(gateway, on, want):
    assert curl(on(gateway), gateway.name, "/metrics", port=7480)[0] == 403
    with client(want.env) as opened:
        answer = opened.get(f"https://{gateway.address}:7480/metrics")
    assert answer.status_code == 200
    assert 'haproxy_backend_status{proxy="slot_b"' in answer.text


def test_the_guard_asks_the_monitoring_of_this_environment(gateway, on, want):
    said = json.loads(on(gateway).file("/etc/dwcp/guard.json").content_string)
    assert said["alertmanager"] == f"https://{want.fleet.ops.name}:9093"
    assert said["prometheus"] == f"https://{want.fleet.ops.name}:9090"
