"""From Terraform's outputs to what Ansible, SSH and the toolkit read; and what an operator may get wrong on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from golive import environment
from golive.environment import Environment
from golive.errors import BadInput, GoliveError, Occupied, Unprepared
from golive.fleet.hosts_file import read_hosts_file
from golive.fleet.inventory import ansible_inventory, forget_fleet, read_fleet, read_static_hosts, write_fleet
from golive.fleet.lock import held
from golive.fleet.model import Host

KEY = "ssh-ed25519 AAAA"


def real_key(letter: str) -> str:
    return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 42}{letter}"


def entry(name: str, role: str = "agent", **more: Any) -> dict[str, Any]:
    host = {"name": name, "site": "ams", "address": "10.0.0.1", "role": role, "gateway": False, "load": False}
    return {**host, "ssh_user": "root", "ssh_port": 22, "host_key": KEY, "addresses": ["10.0.0.1"], **more}


OUTPUTS = {
    "hosts": [
        entry("ops", "ops"),
        entry("a2", load=True, address="10.0.0.12"),
        entry("a1", gateway=True, address="10.0.0.11", ssh_port=2222, site="nyc"),
    ]
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return environment.load("lab")


def test_a_fleet_is_read_as_it_was_written(lab: Environment) -> None:
    written = write_fleet(lab, OUTPUTS)
    assert read_fleet(lab) == written
    assert [host.name for host in written.hosts] == ["a1", "a2", "ops"]
    assert [host.name for host in written.gateways] == ["a1"] and [host.name for host in written.loads] == ["a2"]
    assert written.ops.name == "ops"


def test_known_hosts_pins_address_name_and_port(lab: Environment) -> None:
    write_fleet(lab, OUTPUTS)
    assert (lab.state / "known_hosts").read_text().splitlines() == [
        f"[10.0.0.11]:2222,[a1]:2222 {KEY}",
        f"10.0.0.12,a2 {KEY}",
        f"10.0.0.1,ops {KEY}",
    ]


def test_ansible_gets_groups_and_pinned_connections(lab: Environment) -> None:
    fleet = write_fleet(lab, OUTPUTS)
    written = yaml.safe_load((lab.state / "hosts.yml").read_text())
    assert written == ansible_inventory(lab, fleet)
    groups = {name: sorted(group["hosts"]) for name, group in written["all"]["children"].items()}
    assert groups == {
        "agents": ["a1", "a2"],
        "gateways": ["a1"],
        "loads": ["a2"],
        "ops": ["ops"],
        "site_ams": ["a2", "ops"],
        "site_nyc": ["a1"],
    }
    variables = written["all"]["vars"]
    assert "StrictHostKeyChecking=yes" in variables["ansible_ssh_common_args"]
    assert f"UserKnownHostsFile={lab.state / 'known_hosts'}" in variables["ansible_ssh_common_args"]
    assert "ControlPersist" in variables["ansible_ssh_args"] and variables["ansible_pipelining"] is True


def test_before_provisioning_the_operator_is_told_what_to_run(lab: Environment) -> None:
    with pytest.raises(Unprepared, match=r"\./inv provision --env lab"):
        read_fleet(lab)
    write_fleet(lab, OUTPUTS)
    forget_fleet(lab)
    with pytest.raises(Unprepared):
        read_fleet(lab)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"env": "lab", "hosts": [{}]}', b'{"env": "lab\xff", "hosts": []}'])
def test_a_damaged_fleet_is_not_a_fleet(lab: Environment, content: bytes) -> None:
    (lab.state / "fleet.json").write_bytes(content)
    with pytest.raises(Unprepared, match=r"fleet\.json is damaged .*`\./inv provision --env lab`"):
        read_fleet(lab)


@pytest.mark.parametrize("ops", [0, 2])
def test_a_fleet_without_exactly_one_ops_host_is_damaged(lab: Environment, ops: int) -> None:
    hosts = [entry("a1"), *(entry(f"ops{number}", "ops") for number in range(ops))]
    text = json.dumps({"env": "lab", "hosts": [{key: value for key, value in host.items() if key != "addresses"} for host in hosts]})
    (lab.state / "fleet.json").write_text(text)
    with pytest.raises(Unprepared, match=f"exactly one host with the role ops, this one has {ops}"):
        read_fleet(lab)


def test_a_fleet_that_cannot_be_read_is_named(lab: Environment) -> None:
    (lab.state / "fleet.json").mkdir()
    with pytest.raises(Unprepared, match=r"fleet\.json cannot be read \(Is a directory\)"):
        read_fleet(lab)


@pytest.mark.parametrize(
    "outputs", [{}, {"hosts": [{"name": "x"}]}, {"hosts": [entry("a1")]}, {"hosts": [entry("o1", "ops"), entry("o2", "ops")]}]
)
def test_outputs_that_are_no_fleet_change_nothing(lab: Environment, outputs: dict[str, Any]) -> None:
    write_fleet(lab, OUTPUTS)
    with pytest.raises(GoliveError):
        write_fleet(lab, outputs)
    assert len(read_fleet(lab).hosts) == 3


@pytest.fixture
def listed(lab: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``hosts.yaml`` of an environment whose inventory is in a directory of the test's own."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    path = tmp_path / "inventories" / "lab" / "hosts.yaml"
    path.parent.mkdir(parents=True)
    return path


GOOD = f"""\
defaults: {{ssh_user: deploy, bastion: jump, labels: {{rack: "7"}}}}
bastions:
  - {{name: jump, address: jump.example.net, ssh_user: hop, ssh_port: 2222, host_key: "{real_key("A")}"}}
hosts:
  - {{name: a1, site: ams, address: 192.0.2.1, role: agent, gateway: true, labels: {{canary: true}}, host_key: "{real_key("B")}"}}
  - {{name: a2, site: ams, address: 192.0.2.2, role: agent, load: true, bastion: null, host_key: "{real_key("C")} comment"}}
  - {{name: ops, site: ams, address: 192.0.2.3, role: ops, ssh_user: root, ssh_port: 22022, host_key: "{real_key("D")}"}}
"""


def test_listed_machines_are_read_with_defaults_bastion_and_labels(lab: Environment, listed: Path) -> None:
    listed.write_text(GOOD)
    hosts = {host.name: host for host in read_static_hosts(lab)}
    jump = hosts["a1"].bastion
    assert jump is not None and jump.spec == f"hop@jump.example.net:2222 {real_key('A')}"
    assert (hosts["a1"].ssh_user, hosts["a1"].ssh_port, hosts["a1"].labels, hosts["a1"].canary) == (
        "deploy",
        22,
        {"rack": "7", "canary": "true"},
        True,
    )
    assert hosts["a2"].bastion is None and hosts["a2"].host_key == real_key("C") and not hosts["a2"].canary
    assert (hosts["ops"].ssh_user, hosts["ops"].ssh_port, hosts["ops"].bastion) == ("root", 22022, jump)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts: [", r"hosts\.yaml:\d+: not valid YAML"),
        ("- a", r"hosts\.yaml:1: expected a mapping"),
        ("x: 1\nhosts: []", r"hosts\.yaml:1: unknown key 'x'\n.*hosts\.yaml:2: hosts: at least one machine"),
        ("hosts:\n- name: a\n  name: b", r"hosts\.yaml:3: the key 'name' is written twice"),
        ("hosts:\n- {name: a, site: 7}", r"hosts\.yaml:2: a: site: .*string"),
        (GOOD.replace("role: ops", "role: chef"), r"hosts\.yaml:7: ops: role: "),
        (GOOD.replace("192.0.2.2", "a2.example.net"), r"hosts\.yaml:6: a2: address: 'a2.example.net' is not an IP address"),
        (GOOD.replace("192.0.2.2", "192.0.2.1"), r"hosts\.yaml:6: a2: this is the address of a1 \(line 5\)"),
        (GOOD.replace(real_key("C"), real_key("B")), r"hosts\.yaml:6: a2: this is the host key of a1 \(line 5\)"),
        (GOOD.replace("name: a2", "name: a1"), r"hosts\.yaml:6: there is another host called a1 \(line 5\)"),
        (
            GOOD.replace(real_key("C"), "ssh-ed25519 AAAA"),
            r"hosts\.yaml:6: a2: host_key: 'ssh-ed25519 AAAA comment' is not a public host key",
        ),
        (GOOD.replace("bastion: jump", "bastion: jmp"), r"hosts\.yaml:1: defaults: there is no bastion 'jmp'; known are jump"),
        (GOOD.replace("role: ops", "role: agent"), r"hosts\.yaml:4: exactly one host has the role ops .*none has it"),
        (GOOD.replace(", load: true", ""), r"hosts\.yaml:4: no host is a load client"),
        (GOOD.replace("role: agent, load", "role: agent, sport: 22, load"), r"hosts\.yaml:6: a2: unknown key 'sport'"),
        (GOOD.replace("22022", "99999"), r"hosts\.yaml:7: ops: ssh_port: "),
        (GOOD.replace("canary: true", "canary: 2024-01-01"), r"hosts\.yaml:5: '2024-01-01' is read as timestamp; put it in quotes"),
    ],
)
def test_what_is_wrong_in_hosts_yaml_is_named_with_its_line(lab: Environment, listed: Path, text: str, said: str) -> None:
    listed.write_text(text)
    with pytest.raises(BadInput, match=said):
        read_static_hosts(lab)


def test_everything_that_is_wrong_in_hosts_yaml_is_said_at_once(lab: Environment, listed: Path) -> None:
    listed.write_text(GOOD.replace("192.0.2.1", "nowhere").replace("role: ops", "role: chef").replace("ssh_port: 2222", "ssh_port: x"))
    with pytest.raises(BadInput) as caught:
        read_static_hosts(lab)
    assert [line.split(":")[1] for line in caught.value.message.splitlines()] == ["3", "5", "7"]


def test_a_host_behind_a_bastion_is_reached_by_the_pinned_key_of_both(lab: Environment, listed: Path) -> None:
    listed.write_text(GOOD)
    fleet = write_fleet(lab, {"hosts": [{**host.model_dump(), "addresses": [host.address]} for host in read_static_hosts(lab)]})
    assert f"[jump.example.net]:2222,[jump]:2222 {real_key('A')}" in (lab.state / "known_hosts").read_text().splitlines()
    config = (lab.state / "ssh_config").read_text()
    assert "Host a1\n  HostName 192.0.2.1\n  User deploy\n  Port 22\n  ProxyJump jump\n" in config
    assert "Host jump\n  HostName jump.example.net\n  User hop\n  Port 2222\nHost" in config
    hosts = ansible_inventory(lab, fleet)["all"]["hosts"]
    assert f"ProxyCommand='ssh -F {lab.state / 'ssh_config'} -W [%h]:%p jump'" in hosts["a1"]["ansible_ssh_common_args"]
    assert "StrictHostKeyChecking=yes" in hosts["a1"]["ansible_ssh_common_args"]
    assert "ansible_ssh_common_args" not in hosts["a2"]


def test_a_missing_hosts_yaml_says_what_to_do(lab: Environment, listed: Path) -> None:
    with pytest.raises(Unprepared, match=r"hosts\.yaml\.example"):
        read_static_hosts(lab)


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_the_samples_are_good_lists(name: str) -> None:
    sample = environment.ROOT / "inventories" / name / "hosts.yaml.example"
    hosts = read_hosts_file(sample, sample.name)
    assert all(host.bastion is not None and host.ssh_user == "deploy" for host in hosts)
    assert [host.name for host in hosts if host.canary] == ["fra-2"]


def test_one_at_a_time_and_the_second_is_told_who(lab: Environment) -> None:
    with held(lab, "provision"), pytest.raises(Occupied, match=r"`inv provision` \(pid \d+"), held(lab, "destroy"):
        pass
    with held(lab, "destroy"):
        assert json.loads((lab.state / "terraform.lock").read_text())["verb"] == "destroy"


def test_a_host_can_be_a_key_whatever_its_labels() -> None:
    """Checks over the hosts keep what they asked by host."""
    first, again = (
        Host.model_validate({k: v for k, v in entry("a", labels={"canary": "true"}).items() if k != "addresses"}) for _ in range(2)
    )
    assert {first: 1}[again] == 1
