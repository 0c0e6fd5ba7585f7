"""What a host says of itself becomes sentences; nothing that is wrong is left unsaid, and nothing is said of a host that is right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from golive.fleet.model import Fleet, Host
from golive.preflight.clocks import Offset, judged_clocks
from golive.preflight.finding import Finding, Grade
from golive.preflight.judge import Expected, judged
from golive.preflight.question import needed_ports, question
from golive.preflight.report import Report
from golive.releases.needs import Needs

HOST = Host(name="a1", site="fra", address="10.0.0.1", role="agent", gateway=True, load=True, ssh_user="deploy", host_key="k")
NEED = Needs("3.0.0-0123456789ab", "3.11", "x86_64", (2, 34), 200 << 20)
EXPECTED = Expected("prod", "0-1", "1G", [NEED], "ca", "dwcp-release", lambda run: run == "ours")
GOOD: dict[str, Any] = {
    "root": True,
    "sudo": "",
    "python": "3.11.2",
    "pythons": {"3.11": "/usr/bin/python3.11"},
    "os": {"id": "debian", "version": "12", "glibc": "2.36", "machine": "x86_64", "kernel": "6.1"},
    "services": {"state": "running", "failed": []},
    "disks": {
        path: {"device": 1, "free": 8 << 30, "inodes": 900_000, "read_only": False, "noexec": False}
        for path in ("/opt/dwcp", "/var/lib/dwcp", "/etc")
    },
    "memory": {"total": 8 << 30, "available": 4 << 30},
    "cpus": [0, 1, 2, 3],
    "numa": {"0": "0-1", "1": "2-3"},
    "synchronised": True,
    "listeners": [
        {"port": 22, "unit": "ssh.service", "command": "sshd"},
        {"port": 7400, "unit": "dwcp-agent@2.9.0-040638b4b52e.service", "command": "dwcp"},
        {"port": 7443, "unit": "haproxy.service", "command": "haproxy"},
        {"port": 8080, "unit": "shop.service", "command": "java"},
    ],
    "congestion": {"current": "cubic", "available": ["cubic", "bbr"], "allowed": ["cubic", "bbr"], "module": True},
    "limits": {"files": "1048576", "processes": "63000", "nr_open": "1048576"},
    "confinement": {"selinux": None, "apparmor": []},
    "programs": {"haproxy": "/usr/sbin/haproxy"},
    "configurations": {"haproxy": "ours", "prometheus": None},
    "dwcp": {
        "host": {"name": "a1"},
        "fence": '{"token": 4, "owner": "ours"}',
        "command": True,
        "ca": "ca",
        "namespace": "dwcp-release",
        "user": {"uid": 999, "shell": "/usr/sbin/nologin"},
        "directories": ["/etc/dwcp"],
        "units": ["dwcp-agent@.service"],
    },
    "ways": [["b1", "10.0.0.2", 7400, ""]],
    "large": [["b1", "10.0.0.2", True]],
}


def after(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    answer = copy.deepcopy(GOOD)
    change(answer)
    return answer


def test_a_host_that_is_right_is_told_nothing() -> None:
    assert judged(HOST, GOOD, EXPECTED, []) == []


def wrong(*path: Any, to: Any) -> Callable[[dict[str, Any]], object]:
    def change(answer: dict[str, Any]) -> None:
        for part in path[:-1]:
            answer = answer[part]
        answer[path[-1]] = to

    return change


CASES: list[tuple[Callable[[dict[str, Any]], object], str, Grade, str]] = [
    (lambda a: a.update(root=False, sudo="sudo: a password is required"), "sudo", Grade.PROBLEM, "deploy cannot become root without"),
    (wrong("services", "state", to=None), "systemd", Grade.PROBLEM, "systemd does not run here"),
    (wrong("services", to={"state": "degraded", "failed": ["a.service"]}), "systemd", Grade.WARNING, "systemd is degraded: a.service"),
    (wrong("os", "version", to="11"), "os", Grade.WARNING, "runs debian 11; tried are debian 12"),
    (wrong("os", "glibc", to="2.31"), "wheelhouse", Grade.PROBLEM, "needs glibc 2.34 and this has 2.31"),
    (wrong("os", "machine", to="aarch64"), "wheelhouse", Grade.PROBLEM, "is built for x86_64 and this is aarch64"),
    (wrong("pythons", to={"3.9": "/usr/bin/python3.9"}), "wheelhouse", Grade.PROBLEM, "needs Python 3.11 and there is 3.9"),
    (wrong("programs", "haproxy", to=None), "packages", Grade.PROBLEM, "lacks haproxy; apt-get install"),
    (wrong("configurations", "haproxy", to="foreign"), "packages", Grade.WARNING, "haproxy has a configuration of somebody else's"),
    (wrong("disks", "/opt/dwcp", "free", to=100 << 20), "disk", Grade.PROBLEM, "/opt/dwcp have 100 MiB free and need 200 MiB"),
    (wrong("disks", "/opt/dwcp", "noexec", to=True), "disk", Grade.PROBLEM, "mounted noexec"),
    (wrong("disks", "/etc", "read_only", to=True), "disk", Grade.PROBLEM, "/etc is on a read-only filesystem"),
    (wrong("memory", "total", to=2 << 30), "memory", Grade.PROBLEM, "has 2048 MiB and both releases may take 2560"),
    (wrong("cpus", to=[0]), "cpus", Grade.PROBLEM, "has no CPU 1, which agent_cpus"),
    (wrong("numa", to={"0": "0", "1": "1"}), "numa", Grade.WARNING, "lies on NUMA nodes 0, 1"),
    (wrong("listeners", 3, "port", to=7450), "ports", Grade.PROBLEM, "port 7450 is held by java (shop.service)"),
    (wrong("ways", 0, 3, to="no answer within 3 s"), "network", Grade.PROBLEM, "does not reach b1 (10.0.0.2) on port 7400: no answer"),
    (wrong("large", 0, 2, to=False), "mtu", Grade.WARNING, "packets of 1500 bytes do not reach b1"),
    (wrong("synchronised", to=False), "time", Grade.WARNING, "not synchronised"),
    (wrong("congestion", to={"current": "cubic", "available": ["cubic"], "allowed": [], "module": False}), "bbr", Grade.WARNING, "no TCP"),
    (wrong("congestion", "allowed", to=["cubic"]), "bbr", Grade.WARNING, "not allowed"),
    (wrong("limits", "files", to="1024"), "limits", Grade.PROBLEM, "open files of systemd is at most 1024"),
    (wrong("confinement", "selinux", to="enforcing"), "confinement", Grade.WARNING, "SELinux"),
    (wrong("dwcp", "host", to={"name": "b7"}), "foreign", Grade.PROBLEM, "is set up as 'b7', not as a1"),
    (wrong("dwcp", "ca", to="other"), "foreign", Grade.PROBLEM, "is not the one of prod"),
    (wrong("dwcp", "namespace", to="dwcp-release-lab"), "foreign", Grade.PROBLEM, "takes releases of namespace dwcp-release-lab"),
    (wrong("dwcp", "command", to=False), "foreign", Grade.PROBLEM, "what another installation left"),
    (wrong("dwcp", "fence", to='{"token": 9, "owner": "theirs"}'), "fence", Grade.PROBLEM, "run theirs of another controller"),
    (wrong("dwcp", "fence", to="{"), "fence", Grade.PROBLEM, "does not hold a token"),
]


@pytest.mark.parametrize(("change", "check", "grade", "says"), CASES, ids=[f"{case[1]}-{number}" for number, case in enumerate(CASES)])
def test_each_thing_that_is_wrong_is_said_with_its_remedy(change: Any, check: str, grade: Grade, says: str) -> None:
    found = judged(HOST, after(change), EXPECTED, [])
    assert [finding for finding in found if finding.check == check and finding.grade is grade and says in finding.says], found


def test_a_silent_peer_is_no_fault_of_the_way_to_it() -> None:
    answer = after(wrong("ways", 0, 3, to="no answer within 3 s"))
    assert judged(HOST, answer, EXPECTED, ["b1"]) == []


def test_without_root_ports_are_not_guessed_at() -> None:
    answer = after(lambda a: a.update(root=False, sudo="no", listeners=[{"port": 7450, "unit": None, "command": None}]))
    assert [finding.check for finding in judged(HOST, answer, EXPECTED, [])] == ["sudo"]


def test_only_a_clock_that_is_certainly_off_is_said_to_be() -> None:
    exact = Offset(-0.01, 0.01)
    assert judged_clocks({"a": exact, "b": Offset(-30, 30)}) == {}
    assert "5.0 s ahead of" in judged_clocks({"a": Offset(5.0, 5.1)})["a"][0].says
    assert "5.0 s behind" in judged_clocks({"a": Offset(-5.1, -5.0)})["a"][0].says


def test_two_hosts_within_the_limit_may_be_too_far_apart_from_one_another() -> None:
    found = judged_clocks({"a": Offset(-1.8, -1.7), "b": Offset(1.6, 1.7), "c": Offset(0, 0.1)})
    assert list(found) == ["b"] and "3.3 s ahead of a's" in found["b"][0].says


def test_a_measured_offset_contains_the_true_one() -> None:
    """A host 3 s ahead; the question took 0.2 s to it, the answer 0.4 s back."""
    offset = Offset.measured(100.0, 103.2, 104.0, 101.4)
    assert offset.least <= 3.0 <= offset.most
    assert (round(offset.least, 3), round(offset.most, 3)) == (2.6, 3.2)


def fleet(sites: int, each: int) -> Fleet:
    hosts = [Host(name="ops", site="s0", address="10.9.0.1", role="ops", host_key="k")]
    for s in range(sites):
        for n in range(each):
            hosts.append(
                Host(name=f"s{s}-{n}", site=f"s{s}", address=f"10.{s}.0.{n + 1}", role="agent", gateway=n == 0, load=n == 1, host_key="k")
            )
    return Fleet(env="prod", hosts=tuple(hosts))


def test_every_host_tries_few_others_and_together_they_try_all() -> None:
    wide = fleet(3, 40)
    asked = {host.name: question(wide, host) for host in wide.hosts}
    tried = {name: {way[0] for way in each["ways"]} for name, each in asked.items() if name != "ops"}
    assert max(len(asked[f"s1-{n}"]["ways"]) for n in range(2, 40)) <= 2 * (2 * 4 + 1)
    assert set().union(*(tried[f"s0-{n}"] for n in range(40))) >= {f"s{s}-{n}" for s in (1, 2) for n in range(40)}
    assert {way[0] for way in asked["ops"]["ways"]} == {host.name for host in wide.agents}
    assert ["ops", "10.9.0.1", 9090] in [list(way) for way in asked["s1-0"]["ways"]]
    assert 7443 in needed_ports(wide.named("s0-0")) and 7443 not in needed_ports(wide.named("s0-1"))


def test_a_report_groups_by_host_and_keeps_warnings_apart() -> None:
    bad, odd = Finding("disk", Grade.PROBLEM, "is full."), Finding("os", Grade.WARNING, "is old.")
    report = Report("prod", [bad], {"a": [odd, bad], "b": []}, ["c"], 3.2)
    lines = report.text.splitlines()
    assert lines[:5] == ["Problems:", "  this machine", "    - is full.", "  a", "    - is full."]
    assert lines[5:8] == ["Warnings:", "  a", "    - is old."]
    assert lines[-1].startswith("Environment prod: 2 hosts in 3 s, 2 problems, 1 warnings; mend")
    assert not report.ok and Report("prod", [odd], {"a": []}, [], 1).ok
    assert report.to_json()["hosts"][0] == {
        "name": "a",
        "asked": True,
        "findings": [
            {"check": "os", "grade": "warning", "says": "is old."},
            {"check": "disk", "grade": "problem", "says": "is full."},
        ],
    }
