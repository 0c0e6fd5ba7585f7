"""``ansible.play`` with real Ansible, real SSH and the real ``dwcp-host``, on one host that is a directory of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from golive import actions
from golive.actions import _world, ansible_play
from golive.actions.port import Finding, Found, StepContext
from golive.environment import ROOT
from golive.fleet import ansible
from golive.fleet.model import Fleet, Host
from golive.gates.verdict import Verdict
from golive.onhost.build import build
from tests.support import action_step
from tests.support.action_step import found, named
from tests.support.ssh_server import SshServer, new_key

actions.load_all()
pytestmark = pytest.mark.timeout(300)

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.shell: "echo {{ dwcp_unfinished | default('whole') | string }} >> {{ root }}/played"
      changed_when: true
    - ansible.builtin.fail: {msg: cut off}
      when: cut | default(false) | bool
"""


@dataclass
class One:
    """A step and its one host."""

    step: action_step.Step
    root: Path
    server: SshServer

    def ctx(self, **change: Any) -> StepContext:
        return self.step.ctx({"playbook": "trace.yml"}, **change)

    def probed(self, **change: Any) -> Finding:
        there = named("ansible.play").probe(self.ctx(**change))
        assert set(there) == {"ops"}
        return there["ops"]

    def applied(self, **change: Any) -> Any:
        return named("ansible.play").apply(self.ctx(**change), {"ops": self.probed(**change)})

    @property
    def played(self) -> list[str]:
        path = self.root / "played"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[One]:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    env = action_step.environment()
    (env.state / "keys").mkdir()
    server = SshServer(tmp_path, new_key(env.state / "keys" / "operator"))
    root, programs, project = tmp_path / "host", tmp_path / "bin", tmp_path / "project"
    for directory in (root, programs, project / "playbooks"):
        directory.mkdir(parents=True)
    (programs / "dwcp-host").write_text(f'#!/bin/sh\nexec {sys.executable} {build()} --root {root} "$@"\n')
    (programs / "dwcp-host").chmod(0o755)
    (programs / "systemctl").write_text("#!/bin/sh\nexit 0\n")
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    (project / "playbooks" / "trace.yml").write_text(PLAY)
    (project / "ansible.cfg").write_text((ROOT / "ansible.cfg").read_text())
    monkeypatch.setattr(ansible, "ROOT", project)
    for module in (ansible, ansible_play):
        monkeypatch.setattr(module, "variables", lambda _: {})
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "root": str(root)}
    (env.state / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"ops": local}}}))
    host = Host(name="ops", site="ams", address="127.0.0.1", role="ops", ssh_port=server.port, host_key=server.public)
    step = action_step.Step(env, action_step.Hosts(), {}, env.state / "runs" / "run-1" / "base", fleet=Fleet(env="unit", hosts=(host,)))
    yield One(step, root, server)
    _world._open.pop(_world.key_of(env)).shell.close()
    server.close()


def test_a_play_that_was_cut_off_is_partial_and_played_again_and_a_done_one_is_left_alone(
    one: One, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one.probed().found is Found.ABSENT
    monkeypatch.setattr(ansible, "variables", lambda _: {"cut": True})
    assert one.applied().verdict is Verdict.FAIL
    there = one.probed(attempt=2)
    assert there.found is Found.PARTIAL and "did not come to its end" in there.reason
    monkeypatch.setattr(ansible, "variables", lambda _: {})
    assert one.applied(attempt=2).verdict is Verdict.PASS
    assert one.played == ["whole", "[ops]"]
    assert one.probed(attempt=2).found is Found.DONE and one.probed(token=8).found is Found.DONE
    assert one.probed(run="run-2").found is Found.ABSENT  # a new run plays again, for what drifted


def test_a_controller_that_was_replaced_is_refused_before_the_play(one: One) -> None:
    assert one.applied(token=9, run="run-9").verdict is Verdict.PASS
    outcome = one.applied()
    assert outcome.verdict is Verdict.FAIL and "stale" in outcome.summary and len(one.played) == 1


def test_a_host_that_went_silent_is_unknown(one: One) -> None:
    one.server.close()
    assert found({"ops": one.probed()}) == {"ops": Found.UNKNOWN}
