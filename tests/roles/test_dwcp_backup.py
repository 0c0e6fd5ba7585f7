"""The role dwcp_backup: the repositories are served, to hosts alone, each its own, and what is in them is root's."""

from __future__ import annotations

TLS = "/etc/dwcp/tls"
_CURL = "curl -s -o /dev/null -w %%{http_code} --max-time 5 --cacert /etc/dwcp/tls/ca.crt"


def test_the_service_runs_now_and_after_a_reboot(ops, on):
    unit = on(ops).service("dwcp-backup")
    assert unit.is_running and unit.is_enabled


def test_who_shows_no_certificate_gets_no_answer(ops, on, want):
    port = want.defaults["dwcp_backup_port"]
    assert on(ops).run(f"{_CURL} https://%s:{port}/dwcp-lab-ams-1/config", ops.name).stdout == "000"


def test_who_is_no_agent_host_is_refused(ops, on, want):
    port = want.defaults["dwcp_backup_port"]
    shown = f"--cert {TLS}/monitor.crt --key {TLS}/monitor.key"
    assert on(ops).run(f"{_CURL} {shown} https://%s:{port}/dwcp-lab-ams-1/config", ops.name).stdout == "403"


def test_only_root_reads_the_repositories(ops, modes, want):
    directory = want.defaults["dwcp_backup_directory"]
    assert modes(ops, directory) == {directory: "root root 700"}


def test_the_service_can_write_nothing_but_its_repositories(ops, on, want):
    shown = on(ops).check_output("systemctl show dwcp-backup --property=ProtectSystem,ReadWritePaths,NoNewPrivileges,CapabilityBoundingSet")
    said = dict(line.split("=", 1) for line in shown.splitlines())
    written = want.defaults["dwcp_backup_directory"]
    assert said == {"ProtectSystem": "strict", "ReadWritePaths": written, "NoNewPrivileges": "yes", "CapabilityBoundingSet": ""}
