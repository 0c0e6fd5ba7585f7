"""What a dry run asks of the real tools changes nothing: Terraform with the provider for real, Ansible on this machine itself."""

from __future__ import annotations

import hashlib
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from golive import environment, ground
from golive.actions.ansible_play import AnsiblePlay
from golive.actions.port import StepContext
from golive.environment import Environment
from golive.errors import Unprepared
from golive.fleet import ansible
from golive.fleet.model import Host
from golive.fleet.terraform import Terraform
from golive.lab import keys
from golive.runbook import Pace, RealClock
from tests.support.ssh_server import SshServer, new_key

BOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Writes a file
      dwcp_files:
        entries: [{path: "{{ place }}/{{ inventory_hostname }}", content: x, owner: "{{ owner }}", group: "{{ owner }}"}]
"""


def _snapshot(place: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(place.rglob("*")) if path.is_file()}


@pytest.fixture
def prod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    return environment.load("prod")


@pytest.fixture
def server(prod: Environment, tmp_path: Path) -> Iterator[SshServer]:
    (prod.state / "keys").mkdir()
    made = SshServer(tmp_path, new_key(prod.state / "keys" / "operator"))
    yield made
    made.close()


def test_terraforms_plan_is_told_and_the_environments_state_stays_as_it_is(
    prod: Environment, server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"name": "ops", "site": "fra", "address": "127.0.0.1", "role": "ops", "ssh_port": server.port, "host_key": server.public}
    listed = [Host.model_validate(entry)]
    monkeypatch.setattr("golive.ground.tool.read_static_hosts", lambda env: listed)
    before = _snapshot(prod.state)
    told = ground.planned(prod, tmp_path / "first")
    assert "dwcp_static_host" in told and "is not there" in told
    assert _snapshot(prod.state) == before and not (prod.state / "terraform" / "terraform.tfstate").exists()
    tool = Terraform(prod, {"hosts": [host.model_dump() for host in listed]})
    tool.init()
    tool.apply(tool.plan())
    before = _snapshot(prod.state)
    assert ground.planned(prod, tmp_path / "second") == "Nothing to do: everything is as declared."
    listed[0] = Host.model_validate({**entry, "site": "ber"})
    assert "site fra -> ber" in ground.planned(prod, tmp_path / "third")
    server.close()
    assert "drift: ops: " in ground.planned(prod, tmp_path / "fourth")
    assert _snapshot(prod.state) == before


def test_a_machine_whose_key_is_missing_is_no_plan(prod: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.ground.tool.read_static_hosts", lambda env: [])
    with pytest.raises(Unprepared, match="SSH key"):
        ground.planned(prod, tmp_path / "home")


def _step(env: Environment, workdir: Path, hosts: list[str]) -> StepContext:
    fleet = SimpleNamespace(hosts=[SimpleNamespace(name=name) for name in hosts])
    quiet: dict[str, Any] = {"note": lambda kind, data: None, "facts": lambda kind: [], "tell": lambda kind, data: None}
    named: dict[str, Any] = {"run": "dry-run", "stage": "infrastructure", "step": "base", "token": 0, "candidate": "", "load": ""}
    return StepContext(
        env=env,
        fleet=lambda: fleet,
        incumbent=None,
        params={"playbook": "x.yml"},
        clock=RealClock(),
        workdir=workdir,
        pace=Pace(),
        **named,
        **quiet,
    )


def test_ansibles_check_mode_is_told_with_what_would_become_of_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    lab = environment.load("lab")
    keys.ensure(lab)
    root, place = tmp_path / "root", tmp_path / "place"
    place.mkdir()
    (root / "playbooks").mkdir(parents=True)
    (root / "playbooks/x.yml").write_text(BOOK)
    (root / "ansible.cfg").write_text(f"[defaults]\nlibrary = {environment.ROOT / 'library'}\n")
    monkeypatch.setattr(ansible, "ROOT", root)
    owner = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr("golive.actions.ansible_play.variables", lambda env: {"place": str(place), "owner": owner})
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    dead = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_ssh_common_args": "-o ConnectTimeout=3"}
    (lab.state / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"one": local, "two": local, "three": dead}}}))
    before = _snapshot(lab.state)
    lines = AnsiblePlay().plan(_step(lab, tmp_path / "work", ["one", "two"]))
    assert lines[:2] == ["x.yml would change 1 things on one", "x.yml would change 1 things on two"]
    assert Path(lines[2].removeprefix("all of it: ")).is_file()
    assert list(place.iterdir()) == [] and _snapshot(lab.state) == before
    assert any("not known everywhere: three" in line for line in AnsiblePlay().plan(_step(lab, tmp_path / "work", ["one", "three"])))
    ansible.play(lab, "x.yml", extravars={"place": str(place), "owner": owner}, limit=["one", "two"], workdir=tmp_path / "real")
    assert sorted(path.name for path in place.iterdir()) == ["one", "two"], "the play does write where it is not only asked"
    assert AnsiblePlay().plan(_step(lab, tmp_path / "work", ["one", "two"]))[0] == "x.yml would change nothing on 2 hosts"
