"""Terraform for real, with the provider for real, on machines that exist: adopted, changed, gone silent, forgotten.

What depends on which Terraform it is runs with the one that the toolkit finds on this machine and with the one it carries.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from golive import actions, environment
from golive.actions.port import Found, registered
from golive.environment import ROOT, Environment
from golive.errors import GoliveError, Unprepared
from golive.fleet import provider_mirror
from golive.fleet.inventory import read_fleet, write_fleet
from golive.fleet.model import Host
from golive.fleet.terraform import BUNDLED, Terraform, executable
from tests.support import action_step
from tests.support.action_step import Step, found
from tests.support.ssh_server import SshServer, new_key

actions.load_all()
step = action_step.step

MODULES = [path.parent for path in sorted((ROOT / "terraform").glob("*/*/tests"))]


both = pytest.mark.parametrize("prod", ["found", BUNDLED], indirect=True)


@pytest.fixture
def prod(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    if getattr(request, "param", "found") == BUNDLED:
        monkeypatch.setenv("GOLIVE_TERRAFORM", BUNDLED)
    else:
        monkeypatch.delenv("GOLIVE_TERRAFORM", raising=False)
    return environment.load("prod")


@pytest.fixture
def server(prod: Environment, tmp_path: Path) -> Iterator[SshServer]:
    (prod.state / "keys").mkdir()
    made = SshServer(tmp_path, new_key(prod.state / "keys" / "operator"))
    yield made
    made.close()


def machine(server: SshServer, **more: Any) -> dict[str, Any]:
    entry = {"name": "ops", "site": "fra", "address": "127.0.0.1", "role": "ops", "ssh_port": server.port, "host_key": server.public}
    return {**entry, **more}


def provisioned(env: Environment, hosts: list[dict[str, Any]]) -> Terraform:
    tool = Terraform(env, {"hosts": hosts})
    tool.init()
    tool.apply(tool.plan())
    return tool


@both
def test_a_machine_is_adopted_and_the_second_plan_is_empty(prod: Environment, server: SshServer) -> None:
    tool = Terraform(prod, {"hosts": [machine(server)]})
    assert not tool.has_state
    tool.init()
    plan = tool.plan()
    assert [(change.name, change.action) for change in plan.changes] == [("ops", "create")]
    tool.apply(plan)
    assert tool.has_state and not plan.file.exists()
    facts = tool.outputs()["facts"]["ops"]
    assert facts["reachable"] is True and facts["kernel"] == os.uname().release and facts["cores"] == os.cpu_count()
    fleet = write_fleet(prod, tool.outputs())
    assert fleet.ops.ssh_port == server.port and read_fleet(prod) == fleet
    again = tool.plan()
    assert (again.changes, again.drift, again.outputs_change) == ((), (), False)


@both
def test_a_machine_that_went_silent_is_drift_not_a_failed_plan(prod: Environment, server: SshServer) -> None:
    tool = provisioned(prod, [machine(server)])
    server.close()
    plan = tool.plan()
    assert [change.name for change in plan.drift] == ["ops"]
    assert "reachable true -> false" in plan.drift[0].why
    tool.apply(plan)
    facts = tool.outputs()["facts"]["ops"]
    assert facts["reachable"] is False and "does not answer" in facts["reason"] and facts["kernel"] is None


def test_a_machine_with_another_key_is_not_reachable_and_nothing_runs_on_it(prod: Environment, server: SshServer, tmp_path: Path) -> None:
    tool = provisioned(prod, [machine(server, host_key=new_key(tmp_path / "other"))])
    facts = tool.outputs()["facts"]["ops"]
    assert facts["reachable"] is False and "another host key" in facts["reason"]
    assert server.commands == []


def test_a_change_in_the_list_is_an_update_in_place(prod: Environment, server: SshServer) -> None:
    provisioned(prod, [machine(server)])
    moved = Terraform(prod, {"hosts": [machine(server, site="ber")]})
    moved.init()
    plan = moved.plan()
    assert [(change.action, change.why) for change in plan.changes] == [("update", "site fra -> ber")]
    moved.apply(plan)
    assert moved.outputs()["hosts"][0]["site"] == "ber"


@both
def test_only_the_plan_that_was_shown_is_applied(prod: Environment, server: SshServer) -> None:
    tool = Terraform(prod, {"hosts": [machine(server)]})
    tool.init()
    stale = tool.plan()
    kept = stale.file.with_name("kept.bin")
    shutil.copy(stale.file, kept)
    tool.apply(stale)
    shutil.copy(kept, stale.file)
    with pytest.raises(GoliveError, match=r"(?i)stale"):
        tool.apply(stale)


def test_a_list_the_module_refuses_says_what_to_do(prod: Environment, server: SshServer) -> None:
    tool = Terraform(prod, {"hosts": [machine(server, role="agent")]})
    tool.init()
    with pytest.raises(GoliveError, match="Exactly one host must have the role"):
        tool.plan()
    assert not tool.has_state


@both
def test_forgetting_leaves_no_state_and_the_machine_alone(prod: Environment, server: SshServer) -> None:
    tool = provisioned(prod, [machine(server)])
    asked = len(server.commands)
    tool.apply(tool.plan(destroy=True))
    assert not tool.has_state
    assert all("uname" in command for command in server.commands[asked:])


def test_no_private_key_is_in_anything_terraform_wrote(prod: Environment, server: SshServer) -> None:
    tool = provisioned(prod, [machine(server)])
    tool.plan()
    secret = (prod.state / "keys" / "operator").read_text().splitlines()[1]
    written = [path for path in (prod.state / "terraform").rglob("*") if path.is_file()]
    assert written
    assert [path for path in written if secret.encode() in path.read_bytes() or b"PRIVATE KEY" in path.read_bytes()] == []


def test_a_terraform_directory_that_is_not_there_is_named(prod: Environment) -> None:
    settings = prod.settings.model_copy(update={"terraform": "nowhere"})
    with pytest.raises(Unprepared, match="terraform/environments/nowhere"):
        Terraform(prod.model_copy(update={"settings": settings}), {"hosts": []}).init()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_module(module: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "terraform", tmp_path / "terraform")
    where = tmp_path / "terraform" / module.relative_to(ROOT / "terraform")
    settings = provider_mirror.install(tmp_path)
    names = {"TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    for command in (["init", "-backend=false", "-input=false", "-no-color"], ["validate", "-no-color"], ["test", "-no-color"]):
        done = subprocess.run([executable(), *command], cwd=where, env={**os.environ, **names}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout and " 0 passed" not in done.stdout


def test_every_module_has_tests_and_every_environment_is_valid(tmp_path: Path) -> None:
    modules = {path.parent.name for path in (ROOT / "terraform" / "modules").glob("*/main.tf")}
    assert modules <= {module.name for module in MODULES}
    shutil.copytree(ROOT / "terraform", tmp_path / "terraform")
    names = {**os.environ, "TF_CLI_CONFIG_FILE": str(provider_mirror.install(tmp_path)), "CHECKPOINT_DISABLE": "1"}
    for place in sorted((tmp_path / "terraform" / "environments").iterdir()):
        subprocess.run([executable(), "init", "-backend=false", "-input=false"], cwd=place, env=names, capture_output=True, check=True)
        said = subprocess.run([executable(), "validate", "-json"], cwd=place, env=names, capture_output=True, text=True, check=False).stdout
        assert json.loads(said)["valid"], f"{place.name}: {said}"


def test_the_configuration_is_formatted(tmp_path: Path) -> None:
    command = [executable(), "fmt", "-recursive", "-check", "-diff", str(ROOT / "terraform")]
    names = {**os.environ, "TF_CLI_CONFIG_FILE": str(provider_mirror.install(tmp_path))}
    done = subprocess.run(command, env=names, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# -- what terraform.apply probes with ------------------------------------------------------------------------------------------------


def _probed(env: Environment, hosts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, step: Any) -> Any:
    """What the action finds, with ``hosts`` as the inventory's."""
    monkeypatch.setattr("golive.ground.tool.read_static_hosts", lambda _: [Host.model_construct(**host) for host in hosts])
    monkeypatch.setattr("golive.fleet.pki.check_ca", lambda _: None)
    step.env = env
    return registered()["terraform.apply"].probe(step.ctx())


def _applied(env: Environment, hosts: list[dict[str, Any]]) -> None:
    write_fleet(env, provisioned(env, hosts).outputs())


def test_a_plan_tells_done_from_absent_from_partial_by_name(
    prod: Environment, server: SshServer, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [machine(server)]
    assert found(_probed(prod, hosts, monkeypatch, step)) == {"environment": Found.ABSENT}
    _applied(prod, hosts)
    assert found(_probed(prod, hosts, monkeypatch, step)) == {"environment": Found.DONE}
    more = [*hosts, machine(server, name="fra-1", role="agent")]
    assert found(_probed(prod, more, monkeypatch, step)) == {"fra-1": Found.ABSENT}
    (prod.state / "fleet.json").unlink()
    there = _probed(prod, hosts, monkeypatch, step)
    assert found(there) == {"environment": Found.PARTIAL} and "fleet.json" in there["environment"].reason
    _applied(prod, hosts)
    server.close()
    there = _probed(prod, hosts, monkeypatch, step)
    assert found(there) == {"ops": Found.PARTIAL} and "reachable" in there["ops"].reason


def test_a_machine_that_was_silent_at_the_last_apply_is_not_done(
    prod: Environment, server: SshServer, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.close()
    _applied(prod, [machine(server)])
    there = _probed(prod, [machine(server)], monkeypatch, step)
    assert found(there) == {"ops": Found.PARTIAL} and "did not let the operator in" in there["ops"].reason


def test_a_plan_that_fails_is_unknown_and_says_what_to_do(
    prod: Environment, server: SshServer, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    _applied(prod, [machine(server)])
    there = _probed(prod, [machine(server, role="king")], monkeypatch, step)
    assert found(there) == {"environment": Found.UNKNOWN} and "neither" in there["environment"].reason
    assert "./inv drift --env prod" in there["environment"].data["do"]


def test_a_lock_that_a_living_process_holds_is_unknown_and_one_of_the_dead_is_told(
    prod: Environment, server: SshServer, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [machine(server)]
    _applied(prod, hosts)
    state = prod.state / "terraform" / "terraform.tfstate"
    note = {"ID": "1", "Operation": "OperationTypeApply", "Who": "root@there", "Created": "2026-01-01T00:00:00Z"}
    state.with_name(".terraform.tfstate.lock.info").write_text(json.dumps(note))
    script = "import fcntl,sys,time\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\ntime.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", script, str(state)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        there = _probed(prod, hosts, monkeypatch, step)
        assert found(there) == {"environment": Found.UNKNOWN}
        assert f"held by pid {holder.pid} of root@there" in there["environment"].reason
    finally:
        holder.kill()
        holder.wait()
    more = [*hosts, machine(server, name="fra-1", role="agent")]
    there = _probed(prod, more, monkeypatch, step)
    assert there["fra-1"].found is Found.PARTIAL and "was ended before it was done" in there["fra-1"].reason
    _applied(prod, more)
    assert found(_probed(prod, more, monkeypatch, step)) == {"environment": Found.DONE}
