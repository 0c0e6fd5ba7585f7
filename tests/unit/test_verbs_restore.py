"""``inv restore``: refused while anything else has the environment, journaled, and never a part of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from golive import engine, environment
from golive.errors import BadInput, GoliveError, Held, Refused
from golive.fleet.connection import Completed
from golive.fleet.inventory import write_fleet
from golive.verbs import restore as verb
from golive.verbs.restore import restore
from tests.unit.engine_world import World, go

SNAPSHOT = "0123456789abcdef"


class Shell:
    """The hosts' shells, in memory."""

    def __init__(self, env: Any, fleet: Any) -> None:
        pass

    calls: list[tuple[str, list[str], bytes]] = []  # noqa: RUF012 of the class: the verb makes the object
    answer = Completed(0, json.dumps({"changed": True, "run": "r1", "files": 3, "before": "/aside", "content": True}).encode(), b"")

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, host: Any, argv: list[str], *, input: bytes, timeout_s: float) -> Completed:
        type(self).calls.append((host.name, argv, input))
        return type(self).answer


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> environment.Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    env = environment.load("lab")
    host = {"site": "ams", "host_key": "ssh-ed25519 AAAA"}
    hosts = [
        {**host, "name": "ams-1", "address": "10.77.1.11", "role": "agent"},
        {**host, "name": "ops", "address": "10.77.1.10", "role": "ops"},
    ]
    write_fleet(env, {"hosts": hosts})
    Shell.calls = []
    monkeypatch.setattr(verb, "Shell", Shell)
    return env


def test_it_is_done_with_a_token_of_its_own_and_journaled(lab: environment.Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    result = restore(lab, host="ams-1", snapshot=SNAPSHOT, reason="disk lost")
    [(host, argv, given)] = Shell.calls
    assert host == "ams-1" and argv[:3] == ["dwcp-host", "backup", "restore"] and int(argv[argv.index("--token") + 1]) >= 1
    secret = json.loads(given)["password"]
    assert secret and secret not in " ".join(argv) and secret not in json.dumps(result.data)
    records = list(engine.open_journal(lab).read())
    assert [record.kind for record in records] == ["restore.begun", "restore.ended"]
    assert records[0].data["reason"] == "disk lost" and secret not in json.dumps([record.data for record in records])
    assert engine.open_journal(lab).verify() == []


@pytest.mark.parametrize("change", [{"reason": " "}, {"snapshot": "latest"}, {"snapshot": ""}, {"host": "ops"}, {"host": "nobody"}])
def test_what_is_not_meant_exactly_is_refused_before_anything(lab: environment.Environment, change: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        restore(lab, **{"host": "ams-1", "snapshot": SNAPSHOT, "reason": "disk lost", **change})
    assert Shell.calls == [] and not (lab.state / "journal.db").exists()


@pytest.mark.parametrize(("code", "error"), [(4, Refused), (1, Held)])
def test_a_host_that_says_no_is_journaled_and_said(
    lab: environment.Environment, monkeypatch: pytest.MonkeyPatch, code: int, error: type[GoliveError]
) -> None:
    monkeypatch.setattr(Shell, "answer", Completed(code, b"", b"dwcp-agent@x runs on this host; stop it first."))
    with pytest.raises(error, match="stop it first"):
        restore(lab, host="ams-1", snapshot=SNAPSHOT, reason="disk lost")
    assert "stop it first" in list(engine.open_journal(lab).read())[-1].data["trouble"]


def test_an_open_run_is_finished_or_taken_back_first_and_a_closed_one_stays_the_last(
    lab: environment.Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit import engine_world

    monkeypatch.setattr(engine_world, "environment", lambda: lab)
    world = World(tmp_path / "world", verdicts={"watch-50": ["INCONCLUSIVE"]})
    world.directory.mkdir()
    assert go(world, until_stage="deploy").outcome == "held"
    with pytest.raises(Held, match="rollback"):
        restore(lab, host="ams-1", snapshot=SNAPSHOT, reason="disk lost")
    assert Shell.calls == []
    engine_world.back(world)
    before = engine.state(lab)
    restore(lab, host="ams-1", snapshot=SNAPSHOT, reason="disk lost")
    after = engine.state(lab)
    assert (after.run, after.outcome) == (before.run, before.outcome) == (before.run, "rolled-back")
