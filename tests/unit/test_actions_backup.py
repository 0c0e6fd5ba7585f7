"""``backup.take``, ``backup.verify``: what the repository does not say is unknown, what is not verified is no backup."""

from __future__ import annotations

import json
from typing import Any

import pytest

from golive import actions
from golive.actions._backup import password, settings
from golive.actions.port import Found
from golive.environment import Backup
from golive.errors import BadInput
from golive.fleet.connection import Completed
from golive.gates.verdict import Verdict
from tests.support import action_step
from tests.support.action_step import AGENTS, Call, Step, answer, environment, found, named

actions.load_all()
step = action_step.step


class Repository:
    """What the hosts' repository holds, as ``dwcp-host backup`` tells it."""

    def __init__(self, step: Step) -> None:
        self.snapshots: dict[str, str] = {}
        self.verified: dict[str, str] = {}
        self.silent: set[str] = set()
        self.bad: set[str] = set()
        self.taken: list[str] = []
        step.hosts.special = self

    def __call__(self, call: Call) -> Completed | None:
        if not call.says("backup"):
            return None
        if call.host in self.silent:
            return answer(rc=4, stderr="The backup repository at ops:7460 does not answer (timed out).")
        if call.says("status"):
            snapshot, verified = self.snapshots.get(call.host), self.verified.get(call.host)
            told = {"snapshot": verified} if verified else None
            return answer({"configured": True, "snapshot": {"id": snapshot, "time": "t"} if snapshot else None, "verified": told})
        if call.says("take"):
            changed = call.host not in self.snapshots
            if changed:
                self.snapshots[call.host] = f"{len(self.taken):064x}"
                self.taken.append(call.host)
            size = {"files": 10, "bytes": 1000, "databases": 1, "seconds": 1.0}
            return answer({"changed": changed, "snapshot": self.snapshots[call.host], **size, "settings_changed": True})
        if call.host in self.bad:
            return answer(rc=4, stderr="Snapshot 0000 does not restore what was saved: a has other content.")
        self.verified[call.host] = self.snapshots[call.host]
        told = {"snapshot": self.snapshots[call.host], "files": 10, "bytes": 1000, "databases": 1, "last": None}
        return answer({**told, "changed": True})


def _todo(findings: Any) -> dict[str, Any]:
    return {name: finding for name, finding in findings.items() if finding.found is not Found.DONE}


def test_every_host_is_saved_once_and_its_snapshot_journaled(step: Step) -> None:
    repository, take, ctx = Repository(step), named("backup.take"), step.ctx()
    assert found(take.probe(ctx)) == dict.fromkeys(AGENTS, Found.ABSENT)
    outcome = take.apply(ctx, take.probe(ctx))
    assert outcome.verdict is Verdict.PASS and "state of 4 hosts saved: 40 files" in outcome.summary
    assert {fact["host"]: fact["snapshot"] for fact in step.noted("backup")} == repository.snapshots
    assert found(take.probe(ctx)) == dict.fromkeys(AGENTS, Found.DONE)


def test_a_snapshot_that_a_killed_controller_did_not_journal_is_taken_over_and_not_made_again(step: Step) -> None:
    repository, take, ctx = Repository(step), named("backup.take"), step.ctx()
    take.apply(ctx, take.probe(ctx))
    step.facts = [fact for fact in step.facts if fact[1].get("host") != "nyc-1"]
    todo = _todo(take.probe(ctx))
    assert found(todo) == {"nyc-1": Found.PARTIAL}
    assert take.apply(ctx, todo).verdict is Verdict.PASS
    assert sorted(repository.taken) == sorted(AGENTS) and {fact["host"] for fact in step.noted("backup")} == set(AGENTS)


@pytest.mark.parametrize("name", ["backup.take", "backup.verify"])
def test_a_repository_that_does_not_answer_leaves_it_unknown(step: Step, name: str) -> None:
    repository = Repository(step)
    repository.silent.add("ams-2")
    finding = named(name).probe(step.ctx({"least_of_last": 0.5}))["ams-2"]
    assert finding.found is Found.UNKNOWN and "does not answer" in finding.reason


def test_the_password_is_on_stdin_and_nowhere_else(step: Step) -> None:
    Repository(step)
    take, ctx = named("backup.take"), step.ctx()
    outcome = take.apply(ctx, take.probe(ctx))
    secret = password(step.env)
    assert secret and len(secret) >= 32 and (step.env.state / "keys/backup_password").stat().st_mode & 0o777 == 0o600
    taken = [call for call in step.hosts.calls if call.says("take")]
    assert all(secret not in " ".join(call.words) for call in taken)
    assert all(json.loads(call.input or b"")["password"] == secret for call in taken)
    assert secret not in json.dumps([step.facts, step.told, outcome.data, outcome.summary])


def test_a_pass_needs_every_hosts_snapshot_restored(step: Step) -> None:
    repository, take, verify, ctx = Repository(step), named("backup.take"), named("backup.verify"), step.ctx({"least_of_last": 0.5})
    take.apply(ctx, take.probe(ctx))
    repository.bad.add("nyc-2")
    outcome = verify.apply(ctx, verify.probe(ctx))
    assert outcome.verdict is Verdict.FAIL and "nyc-2" in outcome.summary and "other content" in outcome.summary
    repository.bad.clear()
    todo = _todo(verify.probe(ctx))
    assert found(todo) == {"nyc-2": Found.ABSENT}, "the others are not restored again"
    outcome = verify.apply(ctx, todo)
    assert outcome.verdict is Verdict.PASS and "no earlier one to compare with" in outcome.summary


def test_what_a_killed_controller_had_verified_is_journaled_before_it_counts(step: Step) -> None:
    repository, take, verify, ctx = Repository(step), named("backup.take"), named("backup.verify"), step.ctx({"least_of_last": 0.5})
    take.apply(ctx, take.probe(ctx))
    repository.verified["nyc-1"] = repository.snapshots["nyc-1"]
    assert verify.probe(ctx)["nyc-1"].found is Found.PARTIAL
    outcome = verify.apply(ctx, verify.probe(ctx))
    assert "snapshots of 4 hosts restored" in outcome.summary
    assert found(verify.probe(ctx)) == dict.fromkeys(AGENTS, Found.DONE)


def test_nothing_is_verified_that_was_not_saved_in_this_run(step: Step) -> None:
    Repository(step)
    verify, ctx = named("backup.verify"), step.ctx({"least_of_last": 0.5})
    assert verify.apply(ctx, verify.probe(ctx)).verdict is Verdict.ERROR


def test_a_verified_snapshot_of_another_run_is_not_this_ones(step: Step) -> None:
    repository, verify, ctx = Repository(step), named("backup.verify"), step.ctx({"least_of_last": 0.5})
    repository.snapshots = repository.verified = dict.fromkeys(AGENTS, "f" * 64)
    assert found(verify.probe(ctx)) == dict.fromkeys(AGENTS, Found.ABSENT)


# secret-scan: example
@pytest.mark.parametrize("url", ["rest:https://ann:secret@backup.example/dwcp", "sftp://ann:secret@host//srv"])
def test_a_repository_with_a_password_in_it_is_refused(step: Step, url: str) -> None:
    env = environment(backup=Backup(repository=url))
    with pytest.raises(BadInput, match="holds a password") as raised:
        settings(env, step.fleet)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["s3:https://s3.example/bucket", "rest:https://ann@backup.example/x", "sftp:ann@host:/srv/dwcp", "/srv/dwcp"]
)
def test_another_repository_has_its_password_on_the_hosts(step: Step, url: str) -> None:
    assert settings(environment(backup=Backup(repository=url)), step.fleet) == {"repository": url, "password": None, "certificate": False}


@pytest.mark.parametrize("text", ["", "two\nlines\n"])
def test_a_password_file_that_holds_none_is_refused(step: Step, text: str) -> None:
    path = step.env.state / "keys/backup_password"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(BadInput, match="one line"):
        password(step.env)


def test_a_password_file_that_others_read_is_refused(step: Step) -> None:
    path = step.env.state / "keys/backup_password"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("secret\n")
    path.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        password(step.env)
