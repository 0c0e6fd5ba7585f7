"""The role dwcp_tuning: settings that the host owns are in force, names resolve, the journal keeps its size."""

from __future__ import annotations

KEPT = "/etc/sysctl.d/60-dwcp.conf"


def kept(host):
    lines = host.file(KEPT).content_string.splitlines()
    return {name.strip(): value.strip() for name, value in (line.split("=", 1) for line in lines)}


def test_every_setting_that_is_kept_is_declared_and_in_force(place, on, want):
    declared = {name: " ".join(str(value).split()) for name, value in want.defaults["dwcp_tuning_sysctl"].items()}
    settings = kept(on(place))
    assert settings
    in_force = on(place).check_output("sysctl " + " ".join(settings)).splitlines()
    assert {line.split(" = ")[0]: " ".join(line.split(" = ")[1].split()) for line in in_force} == settings
    assert {name: declared[name] for name in settings} == settings


def test_what_a_host_owns_is_all_kept_and_nothing_else(place, on, want):
    host = on(place)
    contained = host.run("systemd-detect-virt --container").rc == 0
    known = host.check_output("sysctl -N -a").split()
    controls = host.check_output("sysctl -n net.ipv4.tcp_available_congestion_control").split()
    declared = want.defaults["dwcp_tuning_sysctl"]
    owned = {name for name in declared if name in known and (not contained or name.startswith("net.ipv4."))}
    if declared["net.ipv4.tcp_congestion_control"] not in controls:
        owned.remove("net.ipv4.tcp_congestion_control")
    assert set(kept(host)) == owned


def test_every_name_of_the_fleet_resolves_to_its_address(place, on, want):
    names = [other.name for other in want.fleet.hosts]
    lines = on(place).check_output("getent ahostsv4 " + " ".join(names)).splitlines()
    found = {(line.split()[2], line.split()[0]) for line in lines if len(line.split()) == 3}
    assert found == {(other.name, other.address) for other in want.fleet.hosts}


def test_what_others_wrote_to_etc_hosts_is_still_there_and_ours_once(place, on):
    lines = on(place).file("/etc/hosts").content_string.splitlines()
    assert lines.count("# dwcp: begin") == lines.count("# dwcp: end") == 1
    assert any(line.startswith("127.0.0.1") and "localhost" in line for line in lines[: lines.index("# dwcp: begin")])


def test_the_journal_is_kept_on_disk_and_limited(place, on, want):
    host = on(place)
    settings = host.check_output("systemd-analyze cat-config systemd/journald.conf").splitlines()
    assert [line for line in settings if line.startswith("Storage=")][-1] == "Storage=persistent"
    assert [line for line in settings if line.startswith("SystemMaxUse=")][-1] == f"SystemMaxUse={want.defaults['dwcp_tuning_journal_max']}"
    machine = host.file("/etc/machine-id").content_string.strip()
    assert host.file(f"/var/log/journal/{machine}/system.journal").exists


def test_a_login_of_the_agents_user_has_its_limit(place, on, want):
    limit = want.defaults["dwcp_tuning_nofile"]
    lines = on(place).file("/etc/security/limits.d/60-dwcp.conf").content_string.splitlines()
    assert lines == [f"dwcp soft nofile {limit}", f"dwcp hard nofile {limit}"]
