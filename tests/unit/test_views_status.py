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


def _paused(run: Run) -> None:
    run.say("run.paused", {"request": 1, "reason": "lunch", "by": "ann@desk", "at": "2030-01-02T12:00:00+00:00"})


def test_a_paused_run_says_by_whom_and_why_and_who_is_asked(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    run.start()
    run.shift("canary", 10)
    _paused(run)
    monkeypatch.setattr(engine, "standing", lambda _: Standing(OLD, run_view(run.records).state, None))
    said = verb.status(env)
    assert (said.data["outcome"], said.data["paused"]["reason"]) == ("running", "lunch")
    assert [ask["of"] for ask in said.data["asks"]] == ["ann@desk"]
    assert "paused by ann@desk" in said.text and "./inv resume --env lab" in said.text


def test_a_held_run_asks_the_owner_of_its_stage_and_one_that_waits_for_time_asks_nobody(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run()
    run.start()
    run.shift("canary", 10)
    run.say("run.held", {"reason": "nyc-1 is gone", "do": "Make nyc-1 answer"})
    monkeypatch.setattr(engine, "standing", lambda _: Standing(OLD, run_view(run.records).state, None))
    said = verb.status(env)
    assert said.data["asks"] == [{"of": "technical-lead", "what": "Make nyc-1 answer"}] and said.data["waiting_until"] is None
    run.say("run.resumed")
    run.say("run.held", {"reason": "stage half is due later", "do": "wait", "waiting_until": "2030-01-03T00:00:00+00:00"})
    said = verb.status(env)
    assert (said.data["asks"], said.data["waiting_until"]) == ([], "2030-01-03T00:00:00+00:00")
    assert "waits until 2030-01-03" in said.text


def test_a_process_that_lives_through_a_wait_says_until_when(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    run.start()
    run.say("stage.waiting", {"due": "2030-01-03T00:00:00+00:00"}, "half")
    monkeypatch.setattr(engine, "standing", lambda _: Standing(OLD, run_view(run.records).state, None))
    assert verb.status(env).data["waiting_until"] == "2030-01-03T00:00:00+00:00"


def test_an_abort_and_a_way_back_past_its_budget_are_told(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    run.start()
    run.shift("canary", 10)
    run.say("run.aborting", {"request": 2, "reason": "enough", "by": "bob@desk", "at": "2030-01-02T12:00:00+00:00"})
    run.rollback("enough")
    run.say("rollback.overrun", {"budget_s": 300, "seconds": 412.0}, "rollback:candidate-out")
    monkeypatch.setattr(engine, "standing", lambda _: Standing(OLD, run_view(run.records).state, None))
    said = verb.status(env)
    assert said.data["aborting"]["by"] == "bob@desk" and "asked by bob@desk: enough" in said.text
    assert "rollback:candidate-out (412 s)" in said.text


def test_the_timeline_tells_what_operators_asked_and_what_was_refused() -> None:
    run = Run()
    run.start()
    _paused(run)
    run.say("run.unpaused", {"request": 2, "reason": "back", "by": "ann@desk"})
    run.say("request.refused", {"request": 3, "kind": "explode", "why": "there is no request of kind 'explode'"})
    run.say("run.aborting", {"request": 4, "reason": "enough", "by": "bob@desk"})
    run.say("rollback.overrun", {"budget_s": 300, "seconds": 412.0}, "rollback:candidate-out")
    told = [str(event) for event in run_view(run.records).timeline]
    for text in (
        "paused by ann@desk: lunch",
        "let go on by ann@desk: back",
        "explode refused",
        "abort asked for: enough",
        "budget of 300 s",
    ):
        assert any(text in line for line in told), text


def test_a_run_whose_process_died_asks_to_be_continued(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    run.start()
    monkeypatch.setattr(engine, "standing", lambda _: Standing(OLD, run_view(run.records).state, None))
    assert "no process works on the run" in verb.status(env).text
    holder = SimpleNamespace(sentence="ann@desk (pid 77)")
    monkeypatch.setattr(engine, "standing", lambda _: Standing(OLD, run_view(run.records).state, holder))  # type: ignore[arg-type]
    assert verb.status(env).data["asks"] == []
