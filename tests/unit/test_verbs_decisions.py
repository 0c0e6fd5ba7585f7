"""What people type: they see what they sign, sign it with their own key, and nothing is left behind that would not count."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from approval_world import ASKS, MANIFEST, People, go_asking, interrupted_when, question, records, while_asked
from engine_world import ROLLBACK, World, actions, environment
from golive import approvals, engine
from golive import notify as notices
from golive.actions import approval_required, notify_send
from golive.approvals import Need
from golive.engine.process import owner
from golive.environment import ROOT, Environment
from golive.errors import BadInput, GoliveError, Held, Refused, Unprepared
from golive.runbook import parse
from golive.verbs import _people
from golive.verbs import waive as waive_verb
from golive.verbs.approve import approve
from golive.verbs.golive import runbooks
from golive.verbs.reject import reject
from golive.verbs.waive import skip, waive

CHECKOUT = ROOT


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run that was interrupted while it waits for people; no process lives."""
    monkeypatch.setattr("golive.environment.ROOT", tmp_path)
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(approval_required, "_LOOK_S", 0.01)
    monkeypatch.setattr(approval_required, "manifest_of", lambda release: MANIFEST)
    world = World(tmp_path)
    world.people = People(tmp_path)  # type: ignore[attr-defined]
    known = {**actions(world), "approval.required": approval_required.ApprovalRequired(), "notify.send": notify_send.NotifySend()}
    monkeypatch.setattr(waive_verb, "runbooks", lambda: (parse(ASKS, known), parse(ROLLBACK, known)))
    monkeypatch.setattr(waive_verb.actions, "registered", lambda: known)
    state = while_asked(lambda _: os.kill(os.getpid(), signal.SIGTERM), lambda: go_asking(world))
    assert state.outcome == "held" and state.held["interrupted"] and question() is not None
    return world


def _key(world: Any, name: str) -> str:
    return str(world.people.keys[name])


def test_an_approval_is_shown_signed_left_and_taken_by_the_next_process(asked, capsys):
    nonce = question().nonce
    result = approve(environment(), key=_key(asked, "alice"), comment="seen", yes=True)
    assert result.exit_code == 0 and "alice (technical-lead) signed approve for go/approved" in result.text
    shown = capsys.readouterr().err
    for told in (MANIFEST, engine.state(environment()).runbook_digest, "3.0.0-bbbbbbbbbbbb", "look (go): PASS", "next: "):
        assert told in shown
    assert [request.kind for request in engine.left(environment())] == ["approval"]
    state = go_asking(asked)
    assert state.outcome == "succeeded"
    assert state.questions[0]["nonce"] == nonce and state.questions[0]["answers"][0]["comment"] == "seen"


def test_a_rejection_needs_a_reason_and_fails_the_step(asked):
    with pytest.raises(BadInput, match="needs a reason"):
        reject(environment(), key=_key(asked, "alice"), yes=True)
    reject(environment(), reason="customers are at work", key=_key(asked, "alice"), yes=True)
    state = go_asking(asked)
    assert state.outcome == "held" and "rejected by alice (technical-lead): customers are at work" in state.held["reason"]


def _left_nothing(call: Any, match: str, kind: type[GoliveError] = BadInput) -> None:
    with pytest.raises(kind, match=match) as raised:
        call()
    assert "\n" not in raised.value.message
    assert engine.left(environment()) == []


def test_a_wrong_key_is_one_sentence_and_leaves_nothing(asked, tmp_path):
    env = environment()
    _left_nothing(lambda: approve(env, key=_key(asked, "mallory"), yes=True), "is the key of nobody")
    _left_nothing(lambda: approve(env, key=_key(asked, "carol"), yes=True), "carol holds operations-manager; what is asked for is")
    _left_nothing(lambda: approve(env, key=str(tmp_path / "none"), yes=True), "does not exist")
    _left_nothing(
        lambda: approve(env, key=_key(asked, "alice"), stage="canary", yes=True), "No approval is asked for in sim at stage canary"
    )
    _left_nothing(lambda: approve(env, key=_key(asked, "bob"), role="operations-manager", yes=True), "what is asked for is technical-lead")
    _left_nothing(lambda: approve(env, key=_key(asked, "alice"), comment="x" * 2000, yes=True), "comment")
    # a public key of alice beside a private one of mallory: what counts is who signed
    shutil.copy(_key(asked, "mallory"), tmp_path / "mixed")
    shutil.copy(_key(asked, "alice") + ".pub", tmp_path / "mixed.pub")
    _left_nothing(lambda: approve(env, key=str(tmp_path / "mixed"), yes=True), "would not count|cannot sign")


def test_nobody_signs_without_having_said_so(asked):
    _left_nothing(lambda: approve(environment(), key=_key(asked, "alice")), "repeat the command with --yes")


def test_nobody_signs_on_a_journal_that_was_changed(asked, tmp_path):
    path = tmp_path / "state" / "sim" / "journal.db"
    with sqlite3.connect(path) as database:
        database.execute("DROP TRIGGER records_keep_update")
        database.execute("""UPDATE records SET data = replace(data, '"verdict":"PASS"', '"verdict":"FAIL"') WHERE kind = 'gate'""")
    _left_nothing(lambda: approve(environment(), key=_key(asked, "alice"), yes=True), "Do not sign on it", Held)


def test_an_envelope_that_is_changed_in_the_database_does_not_count(asked, tmp_path):
    reject(environment(), reason="no", key=_key(asked, "alice"), yes=True)
    with sqlite3.connect(tmp_path / "state" / "sim" / "journal.db") as database:
        said = 'data = replace(data, \'\\"decision\\":\\"reject\\"\', \'\\"decision\\":\\"approve\\"\')'
        assert database.execute(f"UPDATE requests SET kind = 'approval', {said}").rowcount == 1
    assert '"decision":"approve"' in engine.left(environment())[0].data["statement"]

    def end_when_refused(_: Any) -> None:
        interrupted_when(lambda: bool(records("approval.refused")), "it is refused")

    state = while_asked(end_when_refused, lambda: go_asking(asked))
    assert state.outcome == "held" and state.questions[0]["answers"] == []
    refused = [record.data["why"] for record in engine.open_journal(environment()).read() if record.kind == "approval.refused"]
    assert refused == ["The signature is by nobody who may decide here, or not of this statement."]


def test_a_key_that_only_an_agent_holds_signs(asked, tmp_path, monkeypatch):
    said = subprocess.run(["ssh-agent", "-s", "-a", str(tmp_path / "agent")], capture_output=True, text=True, check=True).stdout
    pid = int(said.split("SSH_AGENT_PID=")[1].split(";")[0])
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        private = Path(_key(asked, "alice"))
        subprocess.run(["ssh-add", "-q", str(private)], check=True, capture_output=True)
        private.unlink()
        approve(environment(), key=str(private), yes=True)
        assert go_asking(asked).outcome == "succeeded"
    finally:
        os.kill(pid, signal.SIGTERM)


def test_a_waiver_is_by_the_owner_for_what_may_be_waived_and_skip_needs_one(asked):
    env = environment()
    _left_nothing(lambda: skip(env, step="deploy/installed"), "devops-engineer signs that first")
    _left_nothing(lambda: skip(env, step="go/look"), "has passed already")
    _left_nothing(lambda: skip(env, step="nowhere/none"), "There is no step")
    wanted = {"reason": "flaky", "until": "24h", "key": _key(asked, "alice"), "yes": True}
    _left_nothing(lambda: waive(env, step="go/approved", **wanted), "cannot be waived")
    _left_nothing(lambda: waive(env, step="canary/shift-10", **wanted), "cannot be waived")
    _left_nothing(lambda: waive(env, step="deploy/installed", **wanted), "waived by its owner, devops-engineer")
    _left_nothing(lambda: waive(env, step="deploy/installed", **{**wanted, "reason": ""}), "needs a reason")
    _left_nothing(lambda: waive(env, step="deploy/installed", **{**wanted, "until": "2001-01-01"}), "cannot be|owner|over")
    asked.people.entry("dave")["roles"] = ["devops-engineer"]
    asked.people.write()
    wanted["key"] = _key(asked, "dave")
    _left_nothing(lambda: waive(env, step="deploy/installed", **{**wanted, "until": "2001-01-01"}), "is over already")
    _left_nothing(lambda: waive(env, step="deploy/installed", **{**wanted, "until": "soon"}), "--until is a duration")
    waive(env, step="deploy/installed", **wanted)
    skip(env, step="deploy/installed")
    approve(env, key=_key(asked, "alice"), yes=True)
    state = go_asking(asked)
    assert state.outcome == "succeeded", state.held
    assert state.steps["deploy/installed"].verdict == "WAIVED"
    assert not any(effect.startswith("SimInstall") for _, effect in asked.effects())


def test_what_is_shown_of_people_in_report_and_status(asked, tmp_path):
    from golive.verbs.status import status
    from golive.views.report import Facts, html, markdown
    from golive.views.view import run_view

    told = status(environment())
    assert told.data["approvals"][0]["roles"] == ["technical-lead"] and "./inv approve --env sim --stage go" in told.text
    asked.people.entry("dave")["roles"] = ["devops-engineer"]
    asked.people.write()
    waive(environment(), step="deploy/installed", reason="done <by> hand", until="24h", key=_key(asked, "dave"), yes=True)
    skip(environment(), step="deploy/installed")
    approve(environment(), key=_key(asked, "alice"), comment="*bold*", yes=True)
    go_asking(asked)
    told = status(environment())
    assert told.data["waived"] == [{"step": "deploy/installed", "why": "waived by dave (devops-engineer): done <by> hand"}]
    assert "WAIVED deploy/installed" in told.text
    view = run_view(engine.open_journal(environment()).read())
    text, page = markdown(view, Facts()), html(view, Facts())
    assert "**WAIVED** deploy/installed: waived by dave (devops-engineer): done \\<by\\> hand" in text
    assert "approve: alice (technical-lead), \\*bold\\*" in text
    assert "WAIVED</strong> deploy/installed" in page and "<by>" not in page


def _static(people: People) -> Environment:
    settings = environment().settings.model_copy(update={"kind": "static", "approvers_digest": approvals.digest_of(people.file)})
    return environment().model_copy(update={"settings": settings})


def test_a_run_that_nobody_could_approve_is_refused_before_it_begins(asked):
    people, me, lead = asked.people, owner(), Need("go", ("technical-lead",))
    unpinned = _static(people).settings.model_copy(update={"approvers_digest": None})
    with pytest.raises(Unprepared, match=r"is not pinned.*approvers_digest: [0-9a-f]{64}"):
        approvals.ready(_static(people).model_copy(update={"settings": unpinned}), [lead], me)
    approvals.ready(_static(people), [lead, Need("go", ("nobody", "operations-manager"), 2, ("starter",))], me)
    for need, match in (
        (Need("go", ("security-officer",)), "go needs 1 of security-officer with a valid key, and has 0"),
        (Need("go", ("technical-lead",), 3), "go needs 3 of technical-lead with a valid key, and has 2"),
        (Need("go", ("qa-lead",), 1, ("starter",)), "and has 0, whoever begins the run left out"),
    ):
        with pytest.raises(BadInput, match=match):
            approvals.ready(_static(people), [need], me)
    with pytest.raises(BadInput, match="stranger@nowhere begins this run and is nobody's account"):
        approvals.ready(_static(people), [Need("go", ("technical-lead",), 1, ("starter",))], "stranger@nowhere")
    people.entry("alice")["valid_until"] = people.entry("bob")["valid_until"] = "2001-01-01"
    people.write()
    with pytest.raises(BadInput, match="technical-lead with a valid key, and has 0"):
        approvals.ready(_static(people), [lead], me)
    people.file.unlink()
    with pytest.raises(Unprepared, match=r"approvers\.yaml is missing"):
        approvals.approvers_of(environment())


def test_a_way_back_and_a_repair_wait_for_no_one(asked, monkeypatch):
    known = {**actions(asked), "approval.required": approval_required.ApprovalRequired(), "notify.send": notify_send.NotifySend()}
    monkeypatch.setattr(_people.actions, "registered", lambda: known)
    book = parse(ASKS, known)
    asked.people.file.unlink()
    with pytest.raises(Unprepared, match="is missing"):
        _people.people_ready(environment(), book, "new", "old")
    _people.people_ready(environment(), book, "same", "same")
    monkeypatch.setattr(_people.engine, "state", lambda env: engine.RunState(rolling_back=True, outcome="held"))
    _people.people_ready(environment(), book, "new", "old")


@pytest.mark.parametrize("name", ["not_by", "evidence"])
def test_a_step_that_names_one_that_is_not_before_it_is_refused_before_the_run_begins(asked, monkeypatch, name):
    known = {**actions(asked), "approval.required": approval_required.ApprovalRequired(), "notify.send": notify_send.NotifySend()}
    monkeypatch.setattr(_people.actions, "registered", lambda: known)
    text = ASKS.replace("evidence: [look]", f"{name}: [shift-10]")
    with pytest.raises(BadInput, match="step approved names shift-10"):
        _people.needs_of(parse(text, known))


def test_the_runbook_that_is_shipped_asks_two_people_for_go_and_two_for_sign_off():
    needs = {need.step: need for need in _people.needs_of(runbooks()[0])[0]}
    for first, second in (("go-technical", "go-operations"), ("signed-technical", "signed-operations")):
        assert set(needs[second].not_by) == {"starter", first} and "starter" in needs[first].not_by
        assert not set(needs[first].roles) & set(needs[second].roles)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"person": "*"}, "person"),
        ({"person": "a,b"}, "person"),
        ({"keys": ["ssh-ed25519 AAAA\nmallory ssh-ed25519 BBBB"]}, "one public key"),
        ({"keys": ["cert-authority ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]}, "one public key"),
        ({"keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}, "one public key"),
        ({"keys": []}, "keys"),
        ({"roles": []}, "roles"),
        ({"rolls": ["x"]}, "rolls"),
    ],
)
def test_a_file_of_approvers_with_more_than_people_and_keys_is_refused(asked, change, match):
    asked.people.entry("alice").update(change)
    asked.people.write()
    with pytest.raises(BadInput, match=match):
        approvals.approvers_of(environment())


def test_a_key_is_one_person_s_and_a_person_is_listed_once(asked):
    asked.people.listed.append({"person": "eve", "roles": ["technical-lead"], "keys": [asked.people.public("alice")]})
    asked.people.write()
    with pytest.raises(BadInput, match="eve and alice have the same key"):
        approvals.approvers_of(environment())
    asked.people.listed[-1] = {**asked.people.entry("alice"), "keys": [asked.people.public("mallory")]}
    asked.people.write()
    with pytest.raises(BadInput, match="alice is listed twice"):
        approvals.approvers_of(environment())


def test_a_key_that_the_toolkit_made_decides_nothing_outside_a_lab(asked, tmp_path):
    made = tmp_path / "state" / "sim" / "keys"
    made.mkdir(parents=True)
    (made / "operator.pub").write_text(asked.people.public("alice"))
    settings = environment().settings.model_copy(update={"kind": "static", "approvers_digest": approvals.digest_of(asked.people.file)})
    with pytest.raises(Refused, match="made by the toolkit"):
        approvals.approvers_of(environment().model_copy(update={"settings": settings}))


def test_the_examples_of_prod_can_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr("golive.environment.ROOT", tmp_path)
    inventory = tmp_path / "inventories" / "sim"
    inventory.mkdir(parents=True)
    for name in ("approvers", "notify"):
        shutil.copy(CHECKOUT / "inventories" / "prod" / f"{name}.yaml.example", inventory / f"{name}.yaml")
    assert {person.person for person in approvals.approvers_of(environment()).people} == {"alice", "bob", "carol", "dave"}
    routes = notices.routes_of(environment())
    assert [level.after.total_seconds() for level in routes.escalation] == [0, 900, 1800]
    assert routes.unrouted(["stakeholders", "technical-lead", "security-officer", "executives"]) == []
