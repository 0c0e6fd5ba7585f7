"""The live release runs on every agent host, alone, hardened, and where it was pinned."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from golive.fleet.cpus import parse_cpus

HARDENING = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectControlGroups": "yes",
    "RestrictSUIDSGID": "yes",
    "User": "dwcp",
}


def shown(host, unit, *names):
    out = host.check_output("systemctl show %s --property=%s", unit, ",".join(names))
    return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


def main_pid(host, want):
    pid = int(shown(host, want.unit, "MainPID")["MainPID"])
    assert pid > 0, f"{want.unit} has no main process"
    return pid


def test_unit_is_running_and_starts_at_boot(agent, on, want):
    service = on(agent).service(want.unit)
    assert service.is_running
    assert service.is_enabled


def test_unit_is_hardened(agent, on, want):
    got = shown(on(agent), want.unit, *HARDENING)
    assert got == HARDENING


def test_process_is_confined_by_the_kernel(agent, on, want):
    host = on(agent)
    status = host.file(f"/proc/{main_pid(host, want)}/status").content_string
    fields = dict(re.findall(r"^(\w+):\s*(\S+)", status, re.MULTILINE))
    assert fields["Seccomp"] == "2"
    assert fields["NoNewPrivs"] == "1"
    assert fields["CapEff"].strip("0") == "", "the agent holds capabilities"
    assert fields["Uid"] != "0"


def test_every_thread_keeps_to_the_units_cpus(agent, on, want):
    host = on(agent)
    allowed = parse_cpus(want.env.settings.agent_cpus)
    out = host.check_output(f"grep -h Cpus_allowed_list /proc/{main_pid(host, want)}/task/*/status")
    lists = [line.split(":", 1)[1].strip() for line in out.splitlines()]
    assert lists
    for each in lists:
        assert parse_cpus(each) <= allowed, f"a thread may run on CPUs {each}, the unit's are {sorted(allowed)}"
    process = host.check_output(f"taskset -cp {main_pid(host, want)}").rsplit(":", 1)[1].strip()
    assert parse_cpus(process) == allowed & parse_cpus(host.file("/sys/devices/system/cpu/online").content_string.strip())


def test_threads_are_where_the_agent_says(agent, on, want):
    host = on(agent)
    health = json.loads(host.check_output("curl -sf http://127.0.0.1:%s/health", {"a": "7402", "b": "7412"}[want.slot]))
    assert health["status"] == "ok"
    assert health["affinity"], "the agent reports no affinity"


def test_memory_is_limited(agent, on, want):
    got = shown(on(agent), want.unit, "MemoryMax")
    assert got["MemoryMax"] not in ("infinity", "")


def test_ready_names_the_release_and_its_digest(agent, on, want):
    port = {"a": 7400, "b": 7410}[want.slot]
    tls = "/etc/dwcp/tls"
    out = on(agent).check_output(
        f"curl -sf --tlsv1.3 --cacert {tls}/ca.crt --cert {tls}/agent.crt --key {tls}/agent.key https://{agent.name}:{port}/ready"
    )
    ready = json.loads(out)
    assert ready["ready"] is True
    assert (ready["id"], ready["version"], ready["slot"]) == (want.release, want.version, want.slot)
    assert ready["digest"].startswith(want.digest12)
    manifest = on(agent).file(f"/opt/dwcp/releases/{want.release}/manifest.json").content
    assert hashlib.sha256(manifest).hexdigest() == ready["digest"]


def test_installed_files_belong_to_root_and_cannot_be_changed_by_the_agent(agent, on, want):
    host = on(agent)
    directory = host.file(f"/opt/dwcp/releases/{want.release}")
    assert directory.user == "root"
    writable = host.check_output(f"find /opt/dwcp/releases/{want.release} ! -type l \\( -perm /022 -o ! -user root \\) | head -3")
    assert writable == ""


def test_no_other_release_runs_or_starts_at_boot(agent, on, want, status):
    said = status(agent)
    assert [e["id"] for e in said["releases"] if e["active"] or e["enabled"]] == [want.release]
    running = on(agent).check_output(
        "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -o '^/opt/dwcp/releases/[^/]*' | sort -u"
    )
    assert running.splitlines() == [f"/opt/dwcp/releases/{want.release}"]


def test_nothing_half_installed_lies_about(agent, on):
    assert on(agent).check_output("ls /opt/dwcp/releases | grep -c partial || true") == "0"


@pytest.mark.parametrize("path", ["/etc/dwcp/tls/agent.key"])
def test_keys_are_closed_to_others(agent, on, path):
    key = on(agent).file(path)
    assert key.exists
    assert key.mode & 0o007 == 0


def test_fence_holds_a_token(agent, status):
    assert status(agent)["fence"]["token"] >= 1
