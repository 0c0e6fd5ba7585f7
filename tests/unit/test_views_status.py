"""``inv status``: its shape, and that what is not known is never shown as fine."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from golive import engine, environment
from golive.engine import RunState, Standing
from golive.environment import Environment
from golive.errors import Unreachable
from golive.fleet.model import Fleet, Host
from golive.verbs import status as verb
from golive.views.view import run_view
from tests.support.run_records import NEW, OLD, Run

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
_ASKED = {
    *("schema", "env", "run", "outcome", "stage", "step", "release", "incumbent", "traffic", "max_candidate_weight"),
    *("verdict", "hosts", "requests", "started", "ended"),
}


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return environment.load("lab")


def _host(name: str, **more: Any) -> Host:
    return Host(name=name, site="ams", address="127.0.0.1", role=more.pop("role", "agent"), host_key=_KEY, **more)


def _row(release: str, active: bool) -> dict[str, Any]:
    version, digest = release.split("-")
    return {"id": release, "version": version, "digest": digest * 5, "unit": f"dwcp-agent@{release}.service", "active": active}


def test_an_environment_without_a_run_has_every_key_and_nothing_claimed(env: Environment) -> None:
    said = verb.status(env)
    assert set(said.data) >= _ASKED
    assert said.data["outcome"] == "none" and said.data["run"] is None and said.data["hosts"] == []
    assert said.data["requests"] == {"total": None, "failed": None}
    assert json.loads(json.dumps(said.data)) == said.data and said.exit_code == 0
    assert "./inv golive --env lab" in said.text


def test_a_run_is_told_in_versions_and_traffic_says_that_it_is_the_journals(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    run.start()
    run.shift("canary", 10)
    run.rollback("errors above the limit")
    monkeypatch.setattr(engine, "standing", lambda _: Standing(OLD, run_view(run.records).state, None))
    data = verb.status(env).data
    assert (data["release"], data["incumbent"], data["outcome"]) == ("3.0.0", "2.9.0", "rolled-back")
    assert data["traffic"]["ams-1"] == {"3.0.0": 0, "2.9.0": 100} and data["traffic_from"] == "journal"
    assert data["max_candidate_weight"] == 10 and data["verdict"]["trigger"] == "errors above the limit"


@pytest.mark.parametrize(
    ("got", "state", "running"),
    [
        (Unreachable("no answer"), "unreachable", 0),
        (None, "unreachable", 0),
        (SimpleNamespace(rc=127, stdout=b"", stderr=b"sh: dwcp-host: command not found"), "bare", 0),
        (SimpleNamespace(rc=1, stdout=b"Traceback", stderr=b"boom"), "unknown", 0),
        (SimpleNamespace(rc=0, stdout=json.dumps({"releases": [_row(NEW, True), _row(OLD, False)]}).encode(), stderr=b""), "up", 1),
    ],
)
def test_a_host_is_what_it_says_or_what_is_unknown_about_it(got: Any, state: str, running: int) -> None:
    said = verb._host(_host("ams-1"), got)
    assert said["state"] == state and len(said["running"]) == running
    if running:
        assert said["running"][0]["version"] == "3.0.0"


def test_gateways_that_do_not_answer_leave_the_journals_word() -> None:
    class Silent:
        def each(self, hosts: Any, argv: Any, *, timeout_s: float = 30) -> dict[str, Any]:
            return {host.name: Unreachable(f"{host.name} does not answer") for host in hosts}

    fleet = Fleet(env="lab", hosts=(_host("ams-1", gateway=True), _host("ops", role="ops")))
    state = RunState(env="lab", run="r", release=NEW, incumbent=OLD, traffic={"ams-1": {NEW: 50.0, OLD: 50.0}})
    traffic, source = verb._traffic(Standing(OLD, state, None), fleet, Silent())  # type: ignore[arg-type]
    assert source == "journal" and traffic == {"ams-1": {"3.0.0": 50, "2.9.0": 50}}


def test_two_builds_of_one_version_share_its_line() -> None:
    assert verb._by_version({"3.0.0-aaaaaaaaaaaa": 30, "3.0.0-bbbbbbbbbbbb": 20, OLD: 50}) == {"3.0.0": 50, "2.9.0": 50}
