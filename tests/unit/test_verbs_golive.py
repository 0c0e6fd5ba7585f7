"""What the verbs refuse before anything happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from golive import environment
from golive.errors import BadInput
from golive.releases import signing as releases
from golive.verbs.golive import golive, rollback, runbooks


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_rollback_without_a_reason_is_refused_and_asks_no_one(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.verbs.golive.engine.rollback", lambda *_, **__: pytest.fail("the engine was asked"))
    with pytest.raises(BadInput, match="needs a reason"):
        rollback(environment.load("lab"), reason=reason)


def test_an_unknown_pace_is_refused_before_a_release_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.verbs.golive.releases.build", lambda *_, **__: pytest.fail("a release was built"))
    with pytest.raises(BadInput, match="no pace 'warp'"):
        golive(environment.load("lab"), pace="warp")


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
