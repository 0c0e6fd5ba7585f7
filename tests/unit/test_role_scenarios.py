"""Scenarios of roles: what molecule says is judged strictly, and they run only where and when nothing else works on the hosts."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import yaml

from golive import environment
from golive.environment import ROOT
from golive.errors import BadInput, Occupied, Unprepared
from golive.fleet import lock
from golive.fleet import molecule as scenarios
from golive.fleet.connection import Completed
from golive.fleet.inventory import write_fleet
from golive.fleet.model import Host
from golive.fleet.molecule import Scenario, _Reader
from golive.verbs import molecule as verb

CHOSEN = Scenario("dwcp_x", ("one", "two"), ("syntax", "converge", "idempotence", "check"))


def recap(host, changed=0, unreachable=0, failed=0):
    return f"{host:26} : ok=3    changed={changed}    unreachable={unreachable}    failed={failed}    skipped=0"


def said(step, *lines, end="Executed: Successful"):
    return [f"INFO     [default > {step}] Executing", *lines, f"INFO     [default > {step}] {end}"]


def whole(**changes):
    steps = {
        "syntax": said("syntax", "playbook: converge.yml"),
        "converge": said("converge", recap("one", changed=2), recap("two")),
        "idempotence": said("idempotence", recap("one"), recap("two")),
        "check": said("check", recap("one"), recap("two")),
    }
    return [line for lines in (steps | changes).values() for line in lines]


def judged(lines, rc=0):
    reader = _Reader(CHOSEN)
    for line in lines:
        reader.take(line)
    return {step.name: step.trouble for step in reader.steps(rc)}


def test_a_scenario_whose_steps_all_ended_well_passes():
    assert judged(whole()) == dict.fromkeys(CHOSEN.steps, "")


def test_changes_of_the_first_time_are_counted_by_host():
    reader = _Reader(CHOSEN)
    for line in whole():
        reader.take(line)
    assert {step.name: step.changed for step in reader.steps(0)}["converge"] == {"one": 2, "two": 0}


@pytest.mark.parametrize("step", ["idempotence", "check"])
def test_a_change_after_the_first_time_is_named_even_when_molecule_is_content(step):
    wrong = judged(whole(**{step: said(step, recap("one"), recap("two", changed=1))}))
    assert wrong[step] == "something is still changed on two (1)"


def test_a_step_that_molecule_writes_in_colour_is_read():
    lines = said("idempotence", recap("one", changed=1), recap("two"), end="\x1b[31mExecuted: Failed\x1b[0m")
    assert judged(whole(idempotence=lines))["idempotence"] == "something is still changed on one (1)"


def test_a_host_of_which_nothing_is_said_is_no_pass():
    assert judged(whole(converge=said("converge", recap("one"))))["converge"] == "says nothing of two"


def test_a_step_that_did_not_run_or_did_not_end_is_no_pass():
    cut = said("converge", recap("one"), recap("two"))[:-1]
    wrong = judged(said("syntax") + cut, rc=-9)
    assert wrong == {"syntax": "", "converge": "did not end", "idempotence": "did not run", "check": "did not run"}


def test_silence_is_no_pass():
    assert set(judged([]).values()) == {"did not run"}


def test_failed_and_unreachable_hosts_are_named():
    lines = said("converge", recap("one", failed=1), recap("two", unreachable=1), end="Executed: Failed")
    assert judged(whole(converge=lines))["converge"] == "one failed, two was unreachable"


def test_a_step_that_molecule_does_not_call_successful_is_no_pass():
    wrong = judged(whole(syntax=said("syntax", end="Executed: Missing playbook")))
    assert wrong["syntax"] == "molecule says Missing playbook"


def test_molecules_own_failure_is_told_when_no_step_failed():
    wrong = judged([*whole(), "CRITICAL something broke"], rc=4)
    assert wrong["check"] == "molecule ended with status 4: CRITICAL something broke"


def test_every_role_has_a_scenario_whose_hosts_the_lab_has_and_checks_of_its_own():
    assert scenarios.roles() == sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
    common = yaml.safe_load((ROOT / "roles/molecule.yml").read_text())
    for role in scenarios.roles():
        chosen = scenarios.scenario(role)
        assert chosen.hosts
        assert set(common["scenario"]["test_sequence"]) <= set(chosen.steps)
        assert ("prepare" in chosen.steps) is (chosen.directory / "molecule/default/prepare.yml").exists()
        assert (ROOT / f"tests/roles/test_{role}.py").is_file()


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return environment.load("lab")


def provisioned(env, *names):
    hosts = [
        Host(name=name, site="ams", address=f"10.77.1.{n}", role="ops" if name.endswith("ops") else "agent", host_key="ssh-ed25519 AAAA")
        for n, name in enumerate(names, 10)
    ]
    return write_fleet(env, {"hosts": [host.model_dump() for host in hosts]})


def test_an_environment_that_is_no_lab_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    with pytest.raises(BadInput, match="on a lab only"):
        verb.molecule(environment.load("staging"))


def test_an_unknown_role_is_refused_with_the_known_ones(lab):
    with pytest.raises(BadInput, match="dwcp_agent, dwcp_backup, dwcp_gateway"):
        verb.molecule(lab, role="dwcp_nothing")


def test_a_lab_without_hosts_is_refused(lab):
    with pytest.raises(Unprepared, match="inv provision"):
        verb.molecule(lab)


def test_a_lab_without_a_host_of_the_scenario_is_refused_by_name(lab):
    provisioned(lab, "dwcp-lab-ops")
    with pytest.raises(Unprepared, match="dwcp-lab-ams-1"):
        verb.molecule(lab, role="dwcp_tuning")


@pytest.fixture
def untouched(monkeypatch):
    """Ends the test when a scenario would reach a host."""
    monkeypatch.setattr(verb, "_run", lambda *_: pytest.fail("a scenario was run"))


def test_a_lab_that_a_golive_holds_is_refused(lab, untouched, monkeypatch):
    provisioned(lab, "dwcp-lab-ams-1", "dwcp-lab-ops")
    holder = SimpleNamespace(sentence="root@vm (host vm, pid 7, since now)")
    monkeypatch.setattr(verb.engine, "standing", lambda _: SimpleNamespace(holder=holder))
    with pytest.raises(Occupied, match="pid 7"):
        verb.molecule(lab, role="dwcp_tuning")


def test_a_lab_that_is_being_provisioned_is_refused(lab, untouched):
    provisioned(lab, "dwcp-lab-ams-1", "dwcp-lab-ops")
    with lock.held(lab, "provision"), pytest.raises(Occupied, match="inv provision"):
        verb.molecule(lab, role="dwcp_tuning")


def row(role, ok):
    step = {"name": "converge", "seconds": 1.0, "changed": {}, "trouble": "" if ok else "one failed"}
    return {"role": role, "hosts": ["one"], "ok": ok, "seconds": 1.0, "steps": [step], "output": "output.txt"}


def test_one_role_that_does_not_pass_fails_the_verb_and_the_others_run_all_the_same(lab, monkeypatch, capsys):
    provisioned(lab, "dwcp-lab-ams-1", "dwcp-lab-ams-2", "dwcp-lab-ops")
    monkeypatch.setattr(verb, "_run", lambda _env, _fleet, chosen: row(chosen.role, chosen.role != "dwcp_gateway"))
    result = verb.molecule(lab)
    assert result.exit_code == 4
    assert {entry["role"]: entry["ok"] for entry in json.loads(json.dumps(result.data))["roles"]} == {
        role: role != "dwcp_gateway" for role in scenarios.roles()
    }
    lines = capsys.readouterr().err.splitlines()
    assert "dwcp_gateway: NOT passed in 1.0 s on one (converge 1.0 s)" in lines
    assert "  converge: one failed" in lines
    assert verb.molecule(lab, role="dwcp_tls", quiet=True).exit_code == 0


class Systemd:
    """Stands in for the hosts: what systemd says of the units of releases, one answer after the other."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def each(self, hosts, argv):
        invocation = next(self.answers)
        text = f"Id=dwcp-agent@3.0.0-x.service\nActiveState=active\nInvocationID={invocation}\n\n"
        return {host.name: Completed(0, text.encode(), b"") for host in hosts}


@pytest.mark.parametrize(("answers", "ok"), [(("aa", "aa"), True), (("aa", "bb"), False)])
def test_a_release_that_was_restarted_meanwhile_fails_the_scenario(lab, monkeypatch, answers, ok):
    fleet = provisioned(lab, "dwcp-lab-ams-1", "dwcp-lab-ops")
    monkeypatch.setattr(verb, "Shell", lambda *_: Systemd(answers))
    monkeypatch.setattr(verb.scenarios, "apply", lambda *_: [scenarios.Step("converge")])
    monkeypatch.setattr(verb, "_look", lambda *_: scenarios.Step("3 checks"))
    said = verb._run(lab, fleet, scenarios.scenario("dwcp_tuning"))
    assert said["ok"] is ok
    assert ("dwcp-lab-ams-1: dwcp-agent@3.0.0-x.service" in said["steps"][-1]["trouble"]) is not ok
