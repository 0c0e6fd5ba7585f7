"""What actions share: slots are decided once and never guessed, refusals fail and silence errs."""

from __future__ import annotations

import pytest

from golive.actions._world import Answer, aside, ask, concluded, release_of, slot_of, unknown, world
from golive.actions.port import Found
from golive.errors import BadInput, Held
from golive.gates.verdict import Verdict
from tests.support import action_step
from tests.support.action_step import AGENTS, NEW, OLD, Step, answer, fleet, release_entry, use_fleet

step = action_step.step


@pytest.mark.parametrize(("taken", "free"), [("a", "b"), ("b", "a")])
def test_the_candidate_takes_the_slot_that_the_incumbent_has_not(step: Step, taken: str, free: str) -> None:
    for host in AGENTS:
        step.hosts.releases[host] = [release_entry(OLD, taken), release_entry("2.8.0-dddddddddddd", free)]
    assert (slot_of(step.ctx(), "incumbent"), slot_of(step.ctx(), "candidate")) == (taken, free)
    assert step.noted("slot") == [{"release": OLD, "slot": taken}, {"release": NEW, "slot": free}]


def test_a_slot_is_decided_once_and_then_needs_no_host(step: Step) -> None:
    step.hosts.releases["ams-1"] = [release_entry(OLD, "b")]
    assert slot_of(step.ctx(), "candidate") == "a"
    step.hosts.silent.update(AGENTS)
    step.hosts.calls.clear()
    assert slot_of(step.ctx(), "candidate") == "a"
    assert not step.hosts.calls and len(step.noted("slot")) == 1


def test_hosts_that_disagree_about_the_slot_hold_the_run(step: Step) -> None:
    step.hosts.releases["ams-1"] = [release_entry(OLD, "a")]
    step.hosts.releases["nyc-2"] = [release_entry(OLD, "b")]
    with pytest.raises(Held, match="slot a on some hosts and in slot b on others"):
        slot_of(step.ctx(), "candidate")
    assert not step.noted("slot")


def test_one_silent_host_keeps_the_slot_from_being_decided(step: Step) -> None:
    step.hosts.releases["ams-1"] = [release_entry(OLD, "a")]
    step.hosts.silent.add("nyc-2")
    with pytest.raises(Held, match="nyc-2: no answer"):
        slot_of(step.ctx(), "candidate")
    assert not step.noted("slot")


def test_a_candidate_that_is_the_incumbent_keeps_its_slot(step: Step) -> None:
    for host in AGENTS:
        step.hosts.releases[host] = [release_entry(OLD, "b")]
    assert slot_of(step.ctx(candidate=OLD), "candidate") == "b"


def test_a_run_without_an_incumbent_has_no_such_release(step: Step) -> None:
    with pytest.raises(BadInput, match="no incumbent"):
        release_of(step.ctx(incumbent=None), "incumbent")
    with pytest.raises(BadInput, match="no backup"):
        release_of(step.ctx(), "backup")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(rc=4, stderr="first\nthe token is stale"), "the token is stale"),
        (answer(rc=1), "exit status 1 without a word"),
        (answer([1]), "no JSON object"),
        (answer(), "not JSON"),
    ],
)
def test_an_answer_that_says_no_or_nothing_sensible_is_no_data(step: Step, said: object, why: str) -> None:
    step.hosts.special = lambda call: said if call.host == "ams-2" else None  # type: ignore[assignment,return-value]
    answers = ask(step.ctx(), step.fleet.agents)
    assert answers["ams-1"].data == {"releases": [], "load": []}
    assert answers["ams-2"].data is None and answers["ams-2"].trouble.startswith("ams-2: ") and why in answers["ams-2"].trouble
    assert {name: finding.found for name, finding in unknown(answers).items()} == {"ams-2": Found.UNKNOWN}


def test_refusals_fail_silence_errs_and_only_data_passes() -> None:
    good, silent, no = Answer({"changed": True}), Answer(None, "b: no answer"), Answer(None, "c: stale", refused=True)
    assert concluded({"a": good, "d": Answer({"changed": False})}, "done").verdict is Verdict.PASS
    assert concluded({"a": good, "d": Answer({"changed": False})}, "done").changed == 1
    assert concluded({"a": good, "b": silent}, "done").verdict is Verdict.ERROR
    both = concluded({"a": good, "b": silent, "c": no}, "done")
    assert both.verdict is Verdict.FAIL and both.summary == "b: no answer (and 1 more)"


def test_hosts_of_an_unprivileged_user_are_asked_by_sudo(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fleet(step, monkeypatch, fleet(user="deploy"))
    assert all(said.data is not None for said in ask(step.ctx(), step.fleet.agents).values())
    assert {call.words for call in step.hosts.calls} == {("sudo", "-n", "dwcp-host", "status")}


def test_a_changed_fleet_gets_connections_of_its_own(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(step.hosts, "close", lambda: closed.append(True), raising=False)
    before = world(step.env, step.fleet)
    assert world(step.env, step.fleet) is before and not closed
    after = world(step.env, fleet(user="deploy"))
    assert after is not before and after.fleet.hosts[0].ssh_user == "deploy" and closed == [True]


def test_the_way_back_leaves_out_who_is_bare_and_nobody_else(step: Step) -> None:
    for host, state in (("ams-1", "unreachable"), ("nyc-2", "failed")):
        step.ctx().note("host.set-aside", {"host": host, "state": state, "reason": "x", "by": "installed"})
    step.ctx().note("host.set-aside", {"host": "nyc-2", "state": "bare", "reason": "y", "by": "shift-0"})
    assert set(aside(step.ctx())) == {"ams-1", "nyc-2"}
    assert set(aside(step.ctx(stage="rollback:traffic-back"))) == {"nyc-2"}
