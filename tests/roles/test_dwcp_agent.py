"""The role dwcp_agent: a host is ready for a release, with units that confine it, and nothing of it runs because of the role."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from golive.fleet.cpus import parse_cpus
from golive.fleet.variables import variables

CONFINED = {
    "User": "dwcp",
    "Group": "dwcp",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectProc": "invisible",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectControlGroups": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "UMask": "0077",
    "Type": "notify",
}
DIRECTORIES = {
    "/etc/dwcp": "root root 755",
    "/etc/dwcp/agent": "root root 755",
    "/opt/dwcp": "root root 755",
    "/opt/dwcp/releases": "root root 755",
    "/opt/dwcp/load": "root root 755",
    "/var/lib/dwcp": "root root 755",
    "/var/lib/dwcp/host": "root root 700",
    "/var/lib/dwcp/store": "dwcp dwcp 750",
    "/var/lib/dwcp/senders": "root dwcp 2770",
}


def test_the_user_has_no_login_and_no_home_of_its_own(place, on):
    host = on(place)
    user = host.user("dwcp")
    assert user.shell == "/usr/sbin/nologin"
    home = host.file(user.home)
    assert not home.exists or home.user == "root"
    assert 0 < user.uid < 1000
    assert user.groups == ["dwcp"]
    assert host.check_output("getent shadow dwcp").split(":")[1].startswith(("!", "*"))


def test_directories_have_their_owners(place, modes):
    assert modes(place, *DIRECTORIES) == DIRECTORIES


def test_dwcp_host_is_the_one_of_this_checkout_and_works(place, on, want, modes):
    host = on(place)
    built = Path(variables(want.env)["dwcp_host_zipapp"]).read_bytes()
    assert host.file("/usr/local/sbin/dwcp-host").sha256sum == hashlib.sha256(built).hexdigest()
    assert modes(place, "/usr/local/sbin/dwcp-host") == {"/usr/local/sbin/dwcp-host": "root root 755"}
    said = json.loads(host.check_output("dwcp-host status"))
    assert {"fence", "releases", "load", "incomplete"} <= set(said)


def test_a_host_knows_who_it_is_and_whom_it_trusts(place, on, want):
    host = on(place)
    assert json.loads(host.file("/etc/dwcp/host.json").content_string) == {
        "name": place.name,
        "site": place.site,
        "address": place.address,
    }
    told = variables(want.env)
    assert host.file("/etc/dwcp/allowed_signers").content_string.strip() == Path(told["dwcp_allowed_signers"]).read_text().strip()
    assert host.file("/etc/dwcp/signature_namespace").content_string.strip() == told["dwcp_signature_namespace"]


def test_the_agents_settings_are_this_hosts(agent, on):
    said = yaml.safe_load(on(agent).file("/etc/dwcp/agent.yaml").content_string)
    assert (said["schema"], said["host"], said["site"], said["advertise"]) == (1, agent.name, agent.site, agent.address)
    assert said["store"] == "/var/lib/dwcp/store"
    for path in said["tls"].values():
        assert path.startswith("/etc/dwcp/tls/")


def test_any_release_is_confined_by_the_unit(agent, shown):
    unit = "dwcp-agent@scenario-none.service"
    assert shown(agent, unit, *CONFINED) == CONFINED
    got = shown(agent, unit, "ReadWritePaths", "SystemCallFilter", "SystemCallErrorNumber", "LoadState")
    assert got["LoadState"] == "loaded"
    assert got["ReadWritePaths"] == "/var/lib/dwcp/store"
    allowed = got["SystemCallFilter"].split()
    assert "read" in allowed
    assert not {"mount", "ptrace", "init_module", "bpf", "reboot"} & set(allowed)


def test_a_release_runs_where_its_core_dumps_may_lie_and_nobody_else_reads_them(agent, shown):
    got = shown(agent, "dwcp-agent@scenario-none.service", "WorkingDirectory", "StateDirectoryMode", "LimitCORE")
    assert got == {"WorkingDirectory": "/var/lib/dwcp/cores/scenario-none", "StateDirectoryMode": "0700", "LimitCORE": str(2 << 30)}


def test_the_unit_has_the_environments_cpus_and_memory(agent, shown, want):
    got = shown(agent, "dwcp-agent@scenario-none.service", "CPUAffinity", "MemoryMax", "LimitNOFILE", "TasksMax")
    assert parse_cpus(got["CPUAffinity"].replace(" ", ",")) == parse_cpus(want.env.settings.agent_cpus)
    unit = {"K": 2**10, "M": 2**20, "G": 2**30}
    limit = want.env.settings.agent_memory_max
    assert int(got["MemoryMax"]) == int(limit[:-1]) * unit[limit[-1]]
    assert int(got["LimitNOFILE"]) == want.defaults["dwcp_agent_nofile"]
    assert int(got["TasksMax"]) == want.defaults["dwcp_agent_tasks_max"]


def test_what_is_not_installed_does_not_start(agent, on, shown):
    unit = "dwcp-agent@scenario-none.service"
    assert shown(agent, unit, "ActiveState") == {"ActiveState": "inactive"}
    enabled = on(agent).check_output("find /etc/systemd/system -type l -name '%s*'", "dwcp-agent@scenario")
    assert enabled == ""


def test_the_load_client_is_confined_and_offers_the_environments_load(loader, on, shown, want):
    assert shown(loader, "dwcp-load@scenario-none.service", *CONFINED) == CONFINED
    said = yaml.safe_load(on(loader).file("/etc/dwcp/load.yaml").content_string)
    own = [host.name for host in want.fleet.gateways if host.site == loader.site]
    assert said["gateway"] == f"https://{own[0]}:7443"
    assert said["rate_per_s"] == want.env.settings.load_rate_per_s
    assert said["sessions"] == 200


@pytest.mark.parametrize(("unit", "settings"), [("dwcp-agent@.service", "agent.yaml"), ("dwcp-load@.service", "load.yaml")])
def test_only_hosts_that_run_it_have_unit_and_settings(place, on, unit, settings):
    runs = place.role == "agent" if settings == "agent.yaml" else place.load
    assert on(place).file(f"/etc/systemd/system/{unit}").exists is runs
    assert on(place).file(f"/etc/dwcp/{settings}").exists is runs


def test_systemd_has_read_the_units_that_are_on_disk(agent, shown):
    assert shown(agent, "dwcp-agent@scenario-none.service", "NeedDaemonReload") == {"NeedDaemonReload": "no"}
