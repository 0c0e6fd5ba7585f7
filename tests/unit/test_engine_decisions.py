"""A gate that people decide: nothing but their own signatures on this very question passes it, whatever dies or is forged meanwhile."""

from __future__ import annotations

import base64
import json
import os
import random
import sqlite3
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from approval_world import (
    ASKS,
    MANIFEST,
    Later,
    People,
    go_asking,
    interrupted_when,
    left,
    question,
    records,
    tries,
    until,
    while_asked,
)
from engine_world import HOSTS, KILLED, TIMING, World, environment, forked, kill_at_records, killed_at
from golive import approvals, engine
from golive.actions import approval_required
from golive.approvals import Question
from golive.notify import Level, Notice, due
from golive.releases import signing


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch):
    """``make(number)`` gives a world with a controller state of its own; the people are the same in all of them."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as base:
        monkeypatch.setattr("golive.environment.ROOT", Path(base))
        monkeypatch.setattr(approval_required, "_LOOK_S", 0.01)
        monkeypatch.setattr(approval_required, "manifest_of", lambda release: MANIFEST)

        def make(number: int = 0) -> World:
            directory = Path(base) / str(number)
            directory.mkdir()
            monkeypatch.setenv("GOLIVE_STATE", str(directory))
            return World(directory)

        make.people = People(Path(base))
        yield make


@pytest.fixture
def people(sim) -> People:
    return sim.people


def _asks(**changed: Any) -> str:
    params = {"role": "technical-lead", "expires": "1h", "evidence": ["look"], **changed}
    return ASKS.replace("{role: technical-lead, expires: 1h, evidence: [look]}", json.dumps(params))


def test_a_run_waits_for_the_signature_and_goes_on_with_it(sim, people):
    state = while_asked(lambda asked: left(people.sealed("alice", asked, comment="looks good")), lambda: go_asking(sim()))
    assert state.outcome == "succeeded", state.held
    assert state.steps["go/approved"].summary == "approved by alice (technical-lead)"
    given = records("approval.given")[0]
    assert (given.stage, given.step, given.data["person"], given.data["comment"]) == ("go", "approved", "alice", "looks good")
    asked = records("approval.asked")[0].data
    assert (asked["manifest"], len(asked["nonce"]), asked["gates"][0]["verdict"]) == (MANIFEST, 32, "PASS")
    before = [
        record.hash for record in engine.open_journal(environment()).read() if record.kind == "step.intent" and record.step == "approved"
    ]
    assert asked["evidence"]["head"] == before[0]
    assert engine.open_questions(state) == [] and state.incidents == []


def test_a_rejection_by_any_holder_of_the_role_fails_at_once_and_the_next_try_asks_anew(sim, people):
    here = sim()
    state = while_asked(
        lambda asked: left(people.sealed("bob", asked, "reject", comment="not on a Friday"), "rejection"), lambda: go_asking(here)
    )
    assert (state.outcome, state.deployed) == ("held", False)
    assert "FAIL: rejected by bob (technical-lead): not on a Friday" in state.held["reason"]
    again = while_asked(lambda asked: left(people.sealed("alice", asked)), lambda: go_asking(here))
    assert again.outcome == "succeeded"
    first, second = (record.data["nonce"] for record in records("approval.asked"))
    assert first != second


def test_a_question_that_nobody_answers_is_an_error_and_never_a_pass(sim):
    state = go_asking(sim(), _asks(expires="1s"))
    assert state.outcome == "held" and "ERROR: nobody decided in time" in state.held["reason"]
    assert not state.deployed


def test_a_rejection_stays_one_when_the_question_expires_before_the_run_goes_on(sim, people, monkeypatch):
    here = sim()

    def rejected_then_dead() -> None:
        monkeypatch.setattr(approval_required, "_LOOK_S", 3600)

        def reject(asked: Question) -> None:
            left(people.sealed("bob", asked, "reject"), "rejection")
            until(lambda: bool(records("approval.rejected")), "bob is taken")
            os._exit(KILLED)

        while_asked(reject, lambda: go_asking(here))

    assert forked(rejected_then_dead) == KILLED
    state = go_asking(here, ports={"clock": Later(120)})
    assert state.outcome == "held" and "FAIL: rejected by bob" in state.held["reason"]


def test_an_approval_that_was_given_and_expired_before_the_run_goes_on_is_none(sim, people):
    def half(asked: Question) -> None:
        left(people.sealed("alice", asked))
        left(people.sealed("bob", asked))
        os._exit(KILLED)

    here = sim()
    assert forked(lambda: while_asked(half, lambda: go_asking(here, _asks(count=2)))) == KILLED
    state = go_asking(here, _asks(count=2), ports={"clock": Later(120)})
    assert state.outcome == "held" and "ERROR: nobody decided in time" in state.held["reason"]


def test_an_approval_of_an_earlier_try_does_not_answer_the_next(sim, people):
    here, kept = sim(), []

    def reject(asked: Question) -> None:
        kept.append(people.sealed("alice", asked))
        left(people.sealed("bob", asked, "reject"), "rejection")

    def replay(asked: Question) -> None:
        left(kept[0])
        interrupted_when(lambda: bool(records("approval.refused")), "the old one is refused")

    assert while_asked(reject, lambda: go_asking(here)).outcome == "held"
    state = while_asked(replay, lambda: go_asking(here))
    assert state.outcome == "held" and state.held["interrupted"]
    assert "no question that is open" in records("approval.refused")[0].data["why"]


def _forged(people: People, asked: Question, kind: str) -> dict[str, str]:
    """An envelope that must not count."""
    good = people.sealed("alice", asked)
    match kind:
        case "by nobody known":
            return people.sealed("mallory", asked)
        case "in another namespace":
            text = good["statement"]
            return {"statement": text, "signature": signing.sign(text.encode(), people.keys["alice"], "dwcp-release").decode()}
        case "without the role":
            return people.sealed("dave", asked)
        case "for a role that was not asked":
            return people.sealed("carol", asked, role="operations-manager")
        case "about another stage":
            return people.sealed("alice", asked, stage="canary")
        case "about another step":
            return people.sealed("alice", asked, step="shift-10")
        case "about another run":
            return people.sealed("alice", asked, run="20300101T000000Z-abcdef")
        case "about another environment":
            return people.sealed("alice", asked, env="prod")
        case "about another release":
            return people.sealed("alice", asked, release="9.9.9-dddddddddddd")
        case "about another content":
            return people.sealed("alice", asked, manifest="d" * 64)
        case "about another runbook":
            return people.sealed("alice", asked, runbook="e" * 64)
        case "on other evidence":
            return people.sealed("alice", asked, evidence={"head": "0" * 64, "gates": asked.evidence.gates})
        case "with another nonce":
            return people.sealed("alice", asked, nonce="f" * 32)
        case "with a later expiry":
            return people.sealed("alice", asked, expires="2099-01-01T00:00:00+00:00")
        case "a rejection handed in as approval":
            return people.sealed("alice", asked, "reject")
        case "a waiver handed in as approval":
            return people.sealed("alice", asked, "waive")
        case "changed after it was signed":
            return {**good, "statement": people.sealed("alice", asked, comment="other")["statement"]}
        case "a rejection changed to approve":
            no = people.sealed("alice", asked, "reject")
            return {**no, "statement": no["statement"].replace('"decision":"reject"', '"decision":"approve"')}
        case "with a second reading":
            text = good["statement"][:-1] + ',"decision":"approve"}'
            return {"statement": text, "signature": signing.sign(text.encode(), people.keys["alice"], approvals.NAMESPACE).decode()}
        case "without a signature":
            return {**good, "signature": ""}
        case "with a broken signature":
            return {**good, "signature": good["signature"].replace("U1NI", "U1NJ", 1)}
        case "no envelope":
            return {}
    raise AssertionError(kind)


FORGERIES = [
    *("by nobody known", "in another namespace", "without the role", "for a role that was not asked", "about another stage"),
    *("about another step", "about another run", "about another environment", "about another release", "about another content"),
    *("about another runbook", "on other evidence", "with another nonce", "with a later expiry", "a rejection handed in as approval"),
    *("a waiver handed in as approval", "changed after it was signed", "a rejection changed to approve", "with a second reading"),
    *("without a signature", "with a broken signature", "no envelope"),
]


def test_no_forgery_is_taken_and_each_is_journaled_with_its_reason(sim, people):
    """All of them into one run. Put into the journal as if they had been taken, they would not count either."""
    kept: list[dict[str, str]] = []
    asked_: list[Question] = []

    def all_forged(asked: Question) -> None:
        asked_.append(asked)
        for kind in FORGERIES:
            kept.append(_forged(people, asked, kind))
            left(kept[-1])
        interrupted_when(lambda: len(records("approval.refused")) + len(records("approval.given")) >= len(FORGERIES), "all looked at")

    here = sim()
    state = while_asked(all_forged, lambda: go_asking(here))
    assert state.outcome == "held" and state.held["interrupted"] and not state.deployed
    assert len(engine.open_questions(state)) == 1 and records("approval.given") == []
    refused = [record.data["why"] for record in records("approval.refused")]
    assert len(refused) == len(FORGERIES), list(zip(FORGERIES, refused, strict=False))
    now = datetime.fromisoformat(asked_[0].issued)
    found = approvals.tally(asked_[0], kept, approvals.approvers_of(environment()), now, {})
    assert found.approved == () and not found.enough
    # and the untampered one would have
    good = approvals.tally(asked_[0], [people.sealed("alice", asked_[0])], approvals.approvers_of(environment()), now, {})
    assert good.enough


@pytest.mark.parametrize("seed", range(6))
def test_no_sequence_of_envelopes_without_enough_valid_signatures_passes(sim, people, seed):
    """Forgeries, bit flips, duplicates and too few real ones, in any order: never enough. One real one more is enough, unless rejected."""
    rng = random.Random(seed)
    asked = Question(
        **{"env": "sim", "run": "r", "stage": "go", "step": "approved", "nonce": "a" * 32, "release": "3.0.0-b", "manifest": MANIFEST},
        **{"runbook": "d" * 64, "evidence": {"head": "e" * 64, "gates": "f" * 64}, "roles": ["technical-lead"], "count": 2},
        **{"issued": "2030-01-01T00:00:00+00:00", "expires": "2030-01-02T00:00:00+00:00"},
    )
    at = datetime(2030, 1, 1, 12, tzinfo=UTC)
    approvers = approvals.approvers_of(environment())
    real = people.sealed("alice", asked)
    pool: list[Any] = [_forged(people, asked, kind) for kind in FORGERIES] + [None, 7, "x", [], real, real]
    for _ in range(8):
        text = bytearray(real["statement"].encode())
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(7)
        pool.append({**real, "statement": text.decode(errors="replace")})
        raw = bytearray(base64.b64decode("".join(real["signature"].splitlines()[1:-1])))
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        armored = "-----BEGIN SSH SIGNATURE-----\n" + base64.b64encode(raw).decode() + "\n-----END SSH SIGNATURE-----\n"
        pool.append({**people.sealed("bob", asked), "signature": armored})
    rng.shuffle(pool)
    few = approvals.tally(asked, pool, approvers, at, {})
    assert (few.approved in ((), (("alice", "technical-lead"),)) and not few.enough and few.rejected is None) or few.rejected[0] == "alice"
    rejections = [one for one in pool if isinstance(one, dict) and '"decision":"reject"' in one.get("statement", "")]
    honest = [one for one in pool if one not in rejections]
    pool.insert(rng.randrange(len(pool)), people.sealed("bob", asked))
    assert not approvals.tally(asked, pool, approvers, at, {}).enough  # a real rejection by alice is among them
    assert not approvals.tally(asked, honest, approvers, at, {}).enough
    honest.insert(rng.randrange(len(honest)), people.sealed("bob", asked))
    assert approvals.tally(asked, honest, approvers, at, {}).enough
    assert not approvals.tally(asked, honest, approvers, at, {"bob": "began the run"}).enough
    assert not approvals.tally(asked, honest, approvers, asked.expires_at, {}).enough


def test_the_same_person_counts_once_however_often_and_with_however_many_keys(sim, people):
    people.keys["alice-2"] = people.key("alice-2")
    people.entry("alice")["keys"].append(people.public("alice-2"))
    people.write()

    def thrice(asked: Question) -> None:
        left(people.sealed("alice", asked))
        left(people.sealed("alice", asked, comment="again"))
        left(people.sealed("alice-2", asked, comment="other key"))
        interrupted_when(lambda: len(records("approval.given")) == 3, "all taken")

    def another_once_three_were_not_enough(asked: Question) -> None:
        until(lambda: tries() == 2, "the next process looked at the three")
        left(people.sealed("bob", asked))

    here = sim()
    assert while_asked(thrice, lambda: go_asking(here, _asks(count=2))).outcome == "held"
    state = while_asked(another_once_three_were_not_enough, lambda: go_asking(here, _asks(count=2)))
    assert state.outcome == "succeeded" and state.steps["go/approved"].summary.endswith("alice (technical-lead), bob (technical-lead)")


def test_four_eyes_are_two_people(sim, people):
    def both(asked: Question) -> None:
        left(people.sealed("alice", asked))
        left(people.sealed("bob", asked))

    state = while_asked(both, lambda: go_asking(sim(), _asks(count=2)))
    assert state.outcome == "succeeded" and "alice (technical-lead), bob (technical-lead)" in state.steps["go/approved"].summary


def test_whoever_began_the_run_does_not_approve_it(sim, people):
    people.entry("alice")["accounts"], people.entry("dave")["accounts"] = people.entry("dave")["accounts"], []
    people.write()

    def starter_then_other(asked: Question) -> None:
        left(people.sealed("alice", asked))
        until(lambda: bool(records("approval.refused")), "alice is refused")
        left(people.sealed("bob", asked))

    state = while_asked(starter_then_other, lambda: go_asking(sim(), _asks(not_by="starter")))
    assert state.outcome == "succeeded" and state.steps["go/approved"].summary == "approved by bob (technical-lead)"
    assert "alice started the run" in records("approval.refused")[0].data["why"]


def test_when_it_cannot_be_told_who_began_the_run_nobody_is_asked(sim, people):
    people.entry("dave")["accounts"] = []
    people.write()
    state = go_asking(sim(), _asks(not_by="starter"))
    assert state.outcome == "held" and "Who started the run cannot be told" in state.held["reason"]
    assert records("approval.asked") == []


def test_a_second_approval_is_by_somebody_else_than_the_first(sim, people):
    given = "{role: operations-manager, expires: 1h, not_by: [approved]}"
    second = f"      - {{id: second, uses: approval.required, with: {given}}}\n  - stage: deploy"
    text = ASKS.replace("  - stage: deploy", second, 1)

    def bob_everywhere(asked: Question) -> None:
        left(people.sealed("bob", asked, role=asked.roles[0]))
        if asked.step == "second":
            interrupted_when(lambda: bool(records("approval.refused")), "bob is refused")

    here = sim()
    state = while_asked(bob_everywhere, lambda: go_asking(here, text))
    assert state.outcome == "held" and state.step == "second"
    assert "bob approved approved already" in records("approval.refused")[0].data["why"]
    state = while_asked(lambda asked: left(people.sealed("carol", asked, role="operations-manager")), lambda: go_asking(here, text))
    assert state.outcome == "succeeded"


def test_a_key_that_is_revoked_while_others_are_waited_for_counts_no_more(sim, people):
    alice = people.entry("alice")

    def revoke(asked: Question) -> None:
        left(people.sealed("alice", asked))
        until(lambda: bool(records("approval.given")), "alice is taken")
        people.listed.remove(alice)
        people.write()
        left(people.sealed("bob", asked))
        interrupted_when(lambda: len(records("approval.given")) == 2, "bob is taken")

    def come_back(asked: Question) -> None:
        until(lambda: tries() == 2, "the next process looked at the two")
        people.listed.append(alice)
        people.write()
        left(people.sealed("alice", asked, comment="new key, same person"))

    here = sim()
    assert while_asked(revoke, lambda: go_asking(here, _asks(count=2))).outcome == "held"
    assert while_asked(come_back, lambda: go_asking(here, _asks(count=2))).outcome == "succeeded"


def test_an_approvers_file_that_is_not_the_pinned_one_stops_it(sim, people):
    settings = environment().settings.model_copy(update={"approvers_digest": approvals.digest_of(people.file)})
    env = environment().model_copy(update={"settings": settings})
    people.listed.append({"person": "mallory", "roles": ["technical-lead"], "keys": [people.public("mallory")]})
    people.write()
    state = go_asking(sim(), env=env)
    assert state.outcome == "held" and "not the file that environment.yaml pins" in state.held["reason"]
    assert records("approval.asked") == []


def test_an_approvers_file_that_is_edited_while_the_run_waits_passes_nobody(sim, people):
    settings = environment().settings.model_copy(update={"approvers_digest": approvals.digest_of(people.file)})
    env = environment().model_copy(update={"settings": settings})

    def edit(asked: Question) -> None:
        people.listed.append({"person": "mallory", "roles": ["technical-lead"], "keys": [people.public("mallory")]})
        people.write()
        left(people.sealed("mallory", asked))
        interrupted_when(lambda: bool(records("approval.refused")), "mallory is refused")

    state = while_asked(edit, lambda: go_asking(sim(), env=env))
    assert state.outcome == "held" and not state.deployed and records("approval.given") == []
    assert "not the file that environment.yaml pins" in records("approval.refused")[0].data["why"]


JUNK = [
    *("[]", "null", "7", "{", '"text"', '{"statement": 1, "signature": 2}', '{"statement": {"a": []}, "signature": null}', "[" * 5000),
    *('{"statement": "{}", "signature": "-----BEGIN SSH SIGNATURE-----"}', '{"stage": ["x"], "step": {"y": 1}}'),
    '{"statement": "\\ud800"}',
]


def test_whatever_is_written_into_the_requests_stops_no_run(sim, people):
    count = len(JUNK) * 4

    def flood(asked: Question) -> None:
        with sqlite3.connect(environment().state / "journal.db", timeout=60) as database:
            for kind in ("approval", "rejection", "waiver", "skip"):
                for text in JUNK:
                    row = ("sim", kind, "r", "o", "2030-01-01T00:00:00+00:00", text)
                    database.execute("INSERT INTO requests (env, kind, reason, owner, at, data) VALUES (?, ?, ?, ?, ?, ?)", row)
        until(lambda: len(records("approval.refused")) >= count, "all refused")
        left(people.sealed("alice", asked))

    state = while_asked(flood, lambda: go_asking(sim()))
    assert state.outcome == "succeeded" and state.bugs == []
    assert len(records("approval.refused")) == count and len(records("approval.given")) == 1


class _Pager:
    """Calls level 1 at once, and keeps what it was asked to send."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def due(self, listed: Any, told: Any, now: datetime) -> list[Notice]:
        return due(listed, [Level(level=1, to=["team-leads"], after="0m")], told, now, "sim")

    def send(self, notice: Notice, note: Any) -> None:
        note("notice.sending", {"key": notice.key, "route": "r"})
        self.sent.append(notice.key)
        note("notice.sent", {"key": notice.key, "route": "r"})


def test_who_is_waited_for_is_called_once_while_the_run_waits(sim, people):
    pager = _Pager()

    def approve_when_called(asked: Question) -> None:
        until(lambda: bool(pager.sent), "somebody is called")
        left(people.sealed("alice", asked))

    timing = engine.Timing(**{**vars(TIMING), "page_s": 0.01})
    state = while_asked(approve_when_called, lambda: go_asking(sim(), ports={"pager": pager}, timing=timing))
    assert state.outcome == "succeeded" and state.incidents == []
    assert pager.sent == [f"approval/{state.questions[0]['nonce']}/level-1"]


def test_a_pager_that_breaks_stops_nothing(sim, people):
    class Broken(_Pager):
        def send(self, notice: Notice, note: Any) -> None:
            raise ZeroDivisionError

    timing = engine.Timing(**{**vars(TIMING), "page_s": 0.01})
    answer = lambda asked: left(people.sealed("alice", asked))  # noqa: E731
    state = while_asked(answer, lambda: go_asking(sim(), ports={"pager": Broken()}, timing=timing))
    assert state.outcome == "succeeded"


def test_nobody_is_asked_on_evidence_that_is_not_there(sim):
    text = ASKS.replace("      - {id: look, uses: sim.watch, with: {for: 1m}}\n", "")
    state = go_asking(sim(), text)
    assert state.outcome == "held" and "nobody was asked: look has not passed" in state.held["reason"]


def test_auto_passes_a_lab_visibly_and_is_refused_anywhere_else(sim):
    auto = environment().model_copy(update={"policy": {**environment().policy, "approvals": {"mode": "auto"}}})
    state = go_asking(sim(), env=auto)
    assert state.outcome == "succeeded" and state.questions[0]["ended"] == "auto"
    assert records("approval.auto")[0].data == {"roles": ["technical-lead"], "count": 1, "policy": "lab"}
    settings = auto.settings.model_copy(update={"kind": "static"})
    state = go_asking(sim(1), env=auto.model_copy(update={"settings": settings}))
    assert state.outcome == "held" and "approvals.mode auto is for a lab" in state.held["reason"]
    assert state.bugs == []


def test_an_approval_given_while_no_process_lives_is_found_by_the_next(sim, people):
    here = sim()

    def until_asked() -> None:
        threading.Thread(target=lambda: _exit_when_asked(), daemon=True).start()
        go_asking(here)

    def _exit_when_asked() -> None:
        until(lambda: question() is not None, "asked")
        os._exit(KILLED)

    assert forked(until_asked) == KILLED
    asked = question()
    assert asked is not None
    left(people.sealed("alice", asked))
    state = go_asking(here)
    assert state.outcome == "succeeded"
    assert [record.data["nonce"] for record in records("approval.asked")] == [asked.nonce]


@pytest.mark.timeout(900)
def test_killed_at_every_record_while_it_is_asked_and_answered_it_asks_once_and_counts_once(sim, people):
    def answering(here: World) -> engine.RunState:
        return while_asked(lambda asked: left(people.sealed("alice", asked)), lambda: go_asking(here))

    point = 0
    while True:
        point += 1
        here = sim(point)
        if not killed_at(here, point, answering):
            break
        state = answering(here)
        assert state.outcome == "succeeded" or state.already_live, (point, state.held, state.bugs)
        assert state.bugs == [], point
        asked = [record.data["nonce"] for record in records("approval.asked")]
        assert len(asked) == 1, point
        assert {record.data["person"] for record in records("approval.given")} == {"alice"}
        seals = [record.data["seal"] for record in records("approval.given")]
        assert len(seals) == len(set(seals)), point
        assert all(here.weight(host) == 10 for host in HOSTS), point
        assert engine.open_journal(environment()).verify() == []
    assert point > 15


@pytest.mark.timeout(900)
def test_killed_at_every_record_while_it_is_rejected_it_never_passes(sim, people):
    def rejecting(here: World) -> engine.RunState:
        return while_asked(lambda asked: left(people.sealed("bob", asked, "reject"), "rejection"), lambda: go_asking(here))

    point = 0
    while True:
        point += 1
        here = sim(point)
        killed = killed_at(here, point, rejecting)
        state = engine.state(environment())
        if not killed:
            break
        if state.outcome != "held":
            state = rejecting(here)
        assert state.outcome == "held" and "rejected by bob" in state.held["reason"], (point, state.held)
        assert not state.deployed and here.effects() == [], point
    assert point > 8


def _waiver(people: People, name: str, role: str, stage: str, named: str, **changed: Any) -> dict[str, str]:
    state = engine.state(environment())
    said = {
        **{"env": "sim", "run": state.run, "stage": stage, "step": named, "nonce": "b" * 32, "release": state.release, "manifest": None},
        **{"runbook": state.runbook_digest, "evidence": {"head": "0" * 64, "gates": ""}, "role": role, "decision": "waive"},
        **{"issued": "2030-01-01T00:00:00+00:00", "expires": "2099-01-01T00:00:00+00:00", "comment": "known flake", **changed},
    }
    return approvals.sealed(approvals.Statement.model_validate(said), people.keys[name])


def _skip(stage: str, step: str) -> None:
    engine.request(environment(), "skip", "skip", {"stage": stage, "step": step})


@pytest.fixture
def failing(sim):
    """A world whose step ``look`` fails, in a run held there."""
    here = sim()
    here.verdicts["look"] = ["FAIL"]
    text = _asks(evidence=[]).replace('"evidence": []', '"evidence": []')
    assert go_asking(here, text).outcome == "held"
    return here, text


def test_a_step_is_left_out_with_a_waiver_by_its_owner_and_shows_as_waived(failing, people):
    here, text = failing
    left(_waiver(people, "dave", "qa-lead", "go", "look"), "waiver")
    _skip("go", "look")
    state = while_asked(lambda asked: left(people.sealed("alice", asked)), lambda: go_asking(here, text))
    assert state.outcome == "succeeded"
    step = state.steps["go/look"]
    assert (step.status, step.verdict, step.passed) == ("waived", "WAIVED", True)
    assert step.summary == "waived by dave (qa-lead): known flake"
    assert records("step.waived")[0].data["person"] == "dave"
    assert state.waivers[0]["used"] is True


@pytest.mark.parametrize(
    ("name", "role", "changed", "why"),
    [
        ("alice", "technical-lead", {}, "qa-lead answers for this step"),
        ("mallory", "qa-lead", {}, "Nobody signed a waiver"),
        ("alice", "qa-lead", {}, "Nobody signed a waiver"),
        ("dave", "qa-lead", {"expires": "2001-01-01T00:00:00+00:00"}, "Nobody signed a waiver"),
        ("dave", "qa-lead", {"run": "another"}, "Nobody signed a waiver"),
        ("dave", "qa-lead", {"release": "9.9.9-dddddddddddd"}, "Nobody signed a waiver"),
        ("dave", "qa-lead", {"decision": "approve"}, "Nobody signed a waiver"),
        ("dave", "qa-lead", {"step": "approved"}, "Nobody signed a waiver"),
    ],
    ids=["not the owner", "nobody known", "role not held", "over", "another run", "another release", "an approval", "another step"],
)
def test_without_a_waiver_that_covers_it_nothing_is_left_out(failing, people, name, role, changed, why):
    here, text = failing
    left(_waiver(people, name, role, "go", "look", **changed), "waiver")
    _skip("go", "look")
    state = go_asking(here, text)
    assert state.outcome == "held" and state.steps["go/look"].verdict == "FAIL"
    said = [
        record.data["why"] for record in engine.open_journal(environment()).read() if record.kind in ("approval.refused", "skip.refused")
    ]
    assert any(why in one for one in said), said
    assert records("step.waived") == []


@pytest.mark.parametrize(("stage", "step", "owner"), [("go", "approved", "qa-lead"), ("canary", "shift-10", "technical-lead")])
def test_approvals_and_what_reaches_users_are_never_left_out(sim, people, stage, step, owner):
    here = sim()
    here.verdicts["look"] = ["FAIL", "PASS"]
    text = _asks(evidence=[])
    assert go_asking(here, text).outcome == "held"
    left(_waiver(people, "dave" if owner == "qa-lead" else "alice", owner, stage, step), "waiver")
    _skip(stage, step)

    def answer(asked: Question) -> None:
        if stage != "go":
            left(people.sealed("alice", asked))
        else:
            interrupted_when(lambda: bool(records("skip.refused")), "the skip is refused")

    state = while_asked(answer, lambda: go_asking(here, text))
    assert "is not waived" in records("skip.refused")[0].data["why"]
    assert state.outcome == ("held" if stage == "go" else "succeeded")
    assert here.weight("ams-1") == (0 if stage == "go" else 10)
    assert records("step.waived") == []


@pytest.mark.timeout(300)
def test_killed_at_every_record_while_a_step_is_waived_it_is_waived_once(sim, people):
    def waiving(here: World) -> engine.RunState:
        here.verdicts["look"] = ["FAIL"]
        return while_asked(lambda asked: left(people.sealed("alice", asked)), lambda: go_asking(here, _asks(evidence=[])))

    for point in range(1, 12):
        here = sim(100 + point)
        assert waiving(here).outcome == "held"
        left(_waiver(people, "dave", "qa-lead", "go", "look"), "waiver")
        _skip("go", "look")

        def killed(here: World = here, point: int = point) -> None:
            here.points, here.kill_at = 0, point
            kill_at_records(here)
            waiving(here)

        assert forked(killed) in (0, KILLED)
        state = waiving(here)
        assert state.outcome == "succeeded" or state.already_live, (point, state.held)
        assert len(records("step.waived")) == 1 and len(records("waiver.given")) == 1, point
