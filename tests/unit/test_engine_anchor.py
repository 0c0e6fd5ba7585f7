"""The journal's head is on the hosts at every stage's end and signed at the run's; what could not be left or signed is said, not hidden."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine_world import HOSTS, NEW, TIMING, World, environment, go
from golive import engine
from golive.actions.port import Finding, Findings, Found
from golive.engine import Anchor, Signature
from golive.errors import Unprepared


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return World(tmp_path)


class Hosts:
    """Keeps heads; answers ``silent`` times that a host cannot be reached."""

    def __init__(self, silent: int = 0) -> None:
        self.left: list[Anchor] = []
        self.silent = silent

    def __call__(self, anchor: Anchor) -> Findings:
        self.left.append(anchor)
        found = {host: Finding(Found.DONE, "", {"key": "known", "others": []}) for host in HOSTS}
        if self.silent:
            self.silent -= 1
            found[HOSTS[0]] = Finding(Found.UNKNOWN, "no answer")
        found["old-1"] = Finding(Found.ABSENT, "older")
        return found


def _records(kind: str) -> list[Any]:
    return [record for record in engine.open_journal(environment()).read() if record.kind == kind]


def _sign(message: bytes) -> Signature:
    return Signature("ssh-ed25519 AAAA", f"signed {message.decode()}")


def test_every_stage_end_and_the_runs_end_are_left_on_the_hosts_and_fit_the_journal(world: World) -> None:
    hosts = Hosts()
    state = go(world, ports={"anchor": hosts, "sign": _sign})
    assert state.outcome == "succeeded"
    journal = engine.open_journal(environment())
    by_seq = {record.seq: record for record in journal.read()}
    kinds = [by_seq[anchor.head.seq].kind for anchor in hosts.left]
    assert kinds == ["stage.done"] * 6 + ["journal.signed"]
    assert journal.verify([anchor.head for anchor in hosts.left]) == []
    assert {(anchor.env, anchor.run, anchor.journal) for anchor in hosts.left} == {("sim", state.run, by_seq[1].hash)}
    anchored = _records("journal.anchored")[-1]
    assert (anchored.data["hosts"], anchored.data["missed"]) == (sorted(HOSTS), {"old-1": "older"})
    assert engine.standing(environment()).incumbent == NEW


def test_the_signature_is_over_the_runs_last_record_and_names_environment_and_journal(world: World) -> None:
    go(world, ports={"sign": _sign})
    [signed], [finished] = _records("journal.signed"), _records("run.finished")
    assert (signed.data["seq"], signed.data["hash"]) == (finished.seq, finished.hash)
    for part in ('"env":"sim"', f'"hash":"{finished.hash}"', f'"seq":{finished.seq}', engine.open_journal(environment()).identity):
        assert part in signed.data["signature"]


def test_a_run_that_cannot_be_signed_ends_as_it_would_and_says_so(world: World) -> None:
    def sign(message: bytes) -> Signature:
        raise Unprepared("the key is on a token")

    assert go(world, ports={"sign": sign}).outcome == "succeeded"
    assert _records("journal.signed") == []
    assert [record.data["why"] for record in _records("journal.unsigned")] == ["the key is on a token"]


def test_hosts_that_do_not_answer_do_not_stop_the_run_and_are_asked_again_at_its_end(world: World) -> None:
    hosts = Hosts(silent=8)
    assert go(world, ports={"anchor": hosts}).outcome == "succeeded"
    missed = [record.data["missed"].get(HOSTS[0]) for record in _records("journal.anchored")]
    assert missed == ["no answer"] * 8 + [None], "six stages, and three tries at the end"


def test_a_rollback_is_signed_and_left_on_the_hosts_too(world: World) -> None:
    world.verdicts["watch-50"] = ["FAIL"]
    hosts = Hosts()
    assert go(world, ports={"anchor": hosts, "sign": _sign}).outcome == "rolled-back"
    assert _records("journal.signed")[-1].data["seq"] == _records("run.finished")[-1].seq
    assert hosts.left[-1].head.seq == _records("journal.signed")[-1].seq


def test_hosts_that_raise_or_hang_do_not_stop_the_run(world: World) -> None:
    release = threading.Event()

    def anchor(anchor: Anchor) -> Findings:
        if anchor.head.seq % 2:
            raise RuntimeError("ssh is broken")
        release.wait(60)
        return {}

    try:
        assert go(world, ports={"anchor": anchor, "timing": replace(TIMING, anchor_s=0.05)}).outcome == "succeeded"
    finally:
        release.set()
    reasons = {record.data["missed"]["environment"] for record in _records("journal.anchored")}
    assert reasons <= {"ssh is broken", "the hosts did not answer within 0 s"} and reasons


def test_users_are_watched_over_while_hosts_take_the_head(world: World) -> None:
    """A rollback asked for while the head is being left is not kept waiting by a host that hangs."""
    release, asked = threading.Event(), threading.Event()

    def anchor(anchor: Anchor) -> Findings:
        if engine.state(environment()).exposed and not asked.is_set():
            asked.set()
            engine.request_rollback(environment(), "outage")
            release.wait(60)
        return {}

    try:
        state = go(world, ports={"anchor": anchor})
    finally:
        release.set()
    assert state.outcome == "rolled-back"
    assert state.rollback is not None and state.rollback["reason"] == "outage"
    assert not world.did(HOSTS[0], "weight:50")


def test_what_the_end_of_a_run_could_not_do_is_done_later_by_hand(world: World) -> None:
    def sign(message: bytes) -> Signature:
        raise Unprepared("the key is on a token")

    run = go(world, ports={"sign": sign, "anchor": Hosts(silent=99)}).run
    hosts = Hosts()
    state = engine.sealed(environment(), ports=engine.Ports(anchor=hosts, sign=_sign))
    assert (state.run, state.outcome) == (run, "succeeded")
    assert _records("journal.signed")[-1].run == run
    assert _records("journal.anchored")[-1].data["missed"] == {"old-1": "older"}
    assert engine.standing(environment()).incumbent == NEW and engine.live(environment()).release == NEW
