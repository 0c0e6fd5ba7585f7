"""What the verbs refuse before anything happens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from golive import engine, environment
from golive.errors import BadInput, Unprepared
from golive.releases import signing as releases
from golive.runbook import Runbook
from golive.verbs.golive import golive, runbooks
from golive.verbs.rollback import rollback


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_rollback_without_a_reason_is_refused_and_asks_no_one(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.verbs.rollback.engine.rollback", lambda *_, **__: pytest.fail("the engine was asked"))
    with pytest.raises(BadInput, match="needs a reason"):
        rollback(environment.load("lab"), reason=reason)


def test_an_unknown_pace_is_refused_before_a_release_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.verbs.golive.releases.build", lambda *_, **__: pytest.fail("a release was built"))
    with pytest.raises(BadInput, match="no pace 'warp'"):
        golive(environment.load("lab"), pace="warp")


def test_an_unknown_stage_is_refused_before_keys_or_a_release_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    monkeypatch.setattr("golive.verbs.golive.releases.build", lambda *_, **__: pytest.fail("a release was built"))
    with pytest.raises(BadInput, match="no stage 'nosuch'"):
        golive(environment.load("lab"), from_stage="nosuch", until_stage="nosuch")
    assert not (tmp_path / "lab" / "keys").exists()


def test_a_policy_with_a_gate_that_is_none_is_refused_before_a_release_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.verbs.golive.releases.build", lambda *_, **__: pytest.fail("a release was built"))
    env = environment.load("lab")
    wrong = env.model_copy(update={"policy": {**env.policy, "gates": {"confidence": 2}}})
    with pytest.raises(BadInput, match=r"policies/lab\.yaml: gates: confidence"):
        golive(wrong)


def test_a_fleet_on_which_nothing_is_live_needs_to_be_told_what_serves_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    with pytest.raises(BadInput, match=r"Nothing is live in prod .* first_incumbent in inventories/prod/environment\.yaml"):
        golive(environment.load("prod"))


@pytest.mark.parametrize(("version", "kind"), [("1.1.0", "load"), ("3.0.0", "agent")])
def test_a_release_is_taken_for_what_it_is(version: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    made = SimpleNamespace(id=f"{version}-aaaaaaaaaaaa", kind="load")
    monkeypatch.setattr("golive.verbs.golive.releases.build", lambda *_: made)
    monkeypatch.setattr("golive.verbs.golive.releases.verified", lambda *_: made)
    with pytest.raises(BadInput, match=f"{version} is a release of kind load"):
        golive(environment.load("lab"), release=version)


def test_a_spoilt_way_forward_or_policy_does_not_stand_in_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.verbs.golive.runbooks", lambda: pytest.fail("the way forward was read"))
    asked: dict[str, Any] = {}

    def went_back(env: environment.Environment, book: Runbook, **words: Any) -> engine.RunState:
        asked.update(words, book=book.name)
        return engine.RunState(env="lab", outcome="rolled-back", rollback={"reason": "outage"})

    monkeypatch.setattr("golive.verbs.rollback.engine.rollback", went_back)
    env = environment.load("lab")
    result = rollback(env.model_copy(update={"policy": {"rehearsal": "spoilt"}}), reason="outage", quiet=True)
    assert (result.exit_code, asked["book"], asked["pace"].name) == (3, "rollback", "real")


def test_how_a_run_ended_is_told_also_when_its_hosts_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(env: environment.Environment) -> None:
        raise Unprepared("The operator's key is missing.")

    monkeypatch.setattr("golive.verbs._run.status", silent)
    monkeypatch.setattr(
        "golive.verbs.rollback.engine.rollback",
        lambda *_, **__: engine.RunState(env="lab", outcome="rolled-back", rollback={"reason": "x"}),
    )
    result = rollback(environment.load("lab"), reason="outage", quiet=True)
    assert result.exit_code == 3 and result.data["outcome"] == "rolled-back"
    assert "Rolled back" in result.text and "key is missing" in result.text


@pytest.mark.parametrize("signed", [True, False])
def test_only_what_was_signed_off_is_called_live(signed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    state = engine.RunState(
        env="lab",
        outcome="succeeded",
        release="3.0.0-a",
        incumbent="2.9.0-b",
        signed_off=signed,
        first_stage="readiness",
        last_stage="staging",
    )
    monkeypatch.setattr("golive.verbs.rollback.engine.rollback", lambda *_, **__: state)
    monkeypatch.setattr("golive.verbs._run.status", lambda env: SimpleNamespace(data={}))
    text = rollback(environment.load("lab"), reason="outage", quiet=True).text
    assert ("is live in lab at 100 %" in text) is signed
    assert ("nothing of it is live" in text) is not signed


def test_a_lab_that_was_never_provisioned_has_keys_before_a_release_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))

    def build(env: environment.Environment, version: str) -> None:
        assert releases.signer(env, None).is_file()
        assert releases.trust(env).allowed_signers.is_file()
        raise BadInput(f"{version} was asked for")

    monkeypatch.setattr("golive.verbs.golive.releases.build", build)
    with pytest.raises(BadInput, match=r"3\.0\.0 was asked for"):
        golive(environment.load("lab"))


def test_the_runbooks_that_are_shipped_name_only_actions_that_exist() -> None:
    forward, back = runbooks()
    assert len(list(forward.steps())) > 30
    assert next(step.uses for _, step in back.steps()) == "traffic.shift"
