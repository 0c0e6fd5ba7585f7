"""What every host must look like, whatever runs on it: open ports, sshd, kernel settings, routes."""

from __future__ import annotations

import re

AGENT_PORTS = {"a": {7400, 7401, 7402}, "b": {7410, 7411, 7412}}


def listening(host):
    """Ports open to others: what listens on loopback only does not count."""
    out = host.check_output("ss -H -l -n -t -u")
    ports = set()
    for line in out.splitlines():
        fields = line.split()
        address, port = fields[4].rsplit(":", 1)
        if not address.startswith(("127.", "[::1]")) and not address.endswith("%lo"):
            ports.add((fields[0], int(port)))
    return ports


def test_only_the_declared_ports_are_open(anyhost, on, want):
    ports = {22, 9100}
    if anyhost.role == "agent":
        ports |= AGENT_PORTS[want.slot]
    if anyhost.gateway:
        ports |= {7443, 7480}
    if anyhost.load:
        ports |= {7450}
    if anyhost.role == "ops":
        # Where no other place is named, the hosts' backups are kept there.
        ports |= {9090, 9093} | ({7460} if want.env.settings.backup.repository is None else set())
    assert listening(on(anyhost)) == {("tcp", port) for port in ports}


def test_sshd_takes_keys_only(anyhost, on):
    said = on(anyhost).check_output("sshd -T")
    settings = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    assert settings["passwordauthentication"] == "no"
    assert settings["kbdinteractiveauthentication"] == "no"
    assert settings["permitemptypasswords"] == "no"


def test_system_is_running_with_no_failed_unit(anyhost, on):
    failed = on(anyhost).check_output("systemctl list-units --state=failed --plain --no-legend")
    assert failed == ""


def test_kernel_settings_are_applied(anyhost, on):
    host = on(anyhost)
    declared = re.findall(r"^\s*([a-z0-9_.]+)\s*=\s*(.+?)\s*$", host.file("/etc/sysctl.d/60-dwcp.conf").content_string, re.MULTILINE)
    assert declared
    for name, value in declared:
        assert host.check_output("sysctl -n %s", name).split() == value.split(), name


def test_fleet_names_resolve(anyhost, on, want):
    out = on(anyhost).check_output("getent hosts %s", want.fleet.ops.name)
    assert want.fleet.ops.name in out


def test_node_metrics_reach_prometheus(anyhost, prometheus):
    up = prometheus(f'up{{job="node",host="{anyhost.name}"}}')
    assert [value for _, value in up] == [1.0]
