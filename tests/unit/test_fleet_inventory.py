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
from golive.fleet import inventory
from golive.fleet.inventory import ansible_inventory, forget_fleet, read_fleet, read_static_hosts, write_fleet
from golive.fleet.lock import held

KEY = "ssh-ed25519 AAAA"


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
    monkeypatch.setattr(inventory, "ROOT", tmp_path)
    path = tmp_path / "inventories" / "lab" / "hosts.yaml"
    path.parent.mkdir(parents=True)
    return path


def test_listed_machines_are_read_with_defaults(lab: Environment, listed: Path) -> None:
    listed.write_text(f"hosts:\n  - {{name: a, site: s, address: 192.0.2.1, role: agent, host_key: {KEY}}}\n")
    assert read_static_hosts(lab) == [
        {
            "name": "a",
            "site": "s",
            "address": "192.0.2.1",
            "role": "agent",
            "gateway": False,
            "load": False,
            "canary": False,
            "ssh_user": "root",
            "ssh_port": 22,
            "host_key": KEY,
        }
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts: [", r"hosts\.yaml:\d+: not valid YAML"),
        ("- a", "expected a list under `hosts:`"),
        ("hosts: []", "at least one machine"),
        ("hosts: [{name: a}]", "host 1: site"),
        (f"hosts: [{{name: a, site: s, address: x, role: chef, host_key: {KEY}}}]", "host 1: role"),
        (f"hosts: [{', '.join([f'{{name: a, site: s, address: x, role: agent, host_key: {KEY}}}'] * 2)}]", "host 2: there is another host"),
    ],
)
def test_what_is_wrong_in_hosts_yaml_is_named(lab: Environment, listed: Path, text: str, said: str) -> None:
    listed.write_text(text)
    with pytest.raises(BadInput, match=said):
        read_static_hosts(lab)


def test_a_missing_hosts_yaml_says_what_to_do(lab: Environment, listed: Path) -> None:
    with pytest.raises(Unprepared, match=r"hosts\.yaml\.example"):
        read_static_hosts(lab)


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_the_samples_are_good_lists(name: str) -> None:
    from golive.fleet.model import Host

    sample = environment.ROOT / "inventories" / name / "hosts.yaml.example"
    hosts = [Host.model_validate(host) for host in yaml.safe_load(sample.read_text())["hosts"]]
    assert sum(host.role == "ops" for host in hosts) == 1 and any(host.gateway for host in hosts) and any(host.load for host in hosts)


def test_one_at_a_time_and_the_second_is_told_who(lab: Environment) -> None:
    with held(lab, "provision"), pytest.raises(Occupied, match=r"`inv provision` \(pid \d+"), held(lab, "destroy"):
        pass
    with held(lab, "destroy"):
        assert json.loads((lab.state / "terraform.lock").read_text())["verb"] == "destroy"
