"""An earlier release comes live again by a run of its own: reached after a sign-off, to be killed anywhere, done once."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine_world import HOSTS, NEW, OLD, World, back, each_point, environment, go
from golive import engine
from golive.errors import BadInput
from golive.runbook import load
from golive.verbs.golive import golive, runbooks
from golive.verbs.rollback import rollback

RETURN = """
runbook: return
stages:
  - stage: bring-back
    at: +0m
    owner: devops-engineer
    steps:
      - {id: earlier-installed, uses: sim.install, with: {release: candidate}}
      - {id: earlier-active, uses: sim.activate, with: {release: candidate}}
  - stage: full
    at: +0m
    owner: technical-lead
    steps:
      - {id: shift-100, uses: sim.shift, with: {candidate: 100}}
      - {id: watch-100, uses: sim.watch, with: {for: 5m}, on: {fail: hold}}
  - {stage: sign-off, at: +0m, owner: technical-lead, steps: [{id: newer-retired, uses: sim.retire}]}
"""


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch):
    """Makes worlds in which the new release was signed off; what the hosts did until then is forgotten, their tokens are not."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as base:

        def make(number: int = 0, **given: Any) -> World:
            directory = Path(base) / str(number)
            directory.mkdir()
            monkeypatch.setenv("GOLIVE_STATE", str(directory))
            assert go(World(directory)).signed_off
            file = directory / "world.jsonl"
            tokens = {line["host"]: line["token"] for line in map(json.loads, file.read_text().splitlines())}
            file.write_text("".join(json.dumps({"host": host, "effect": "fence", "token": token}) + "\n" for host, token in tokens.items()))
            return World(directory, **given)

        yield make


def _return(world: World, **given: Any) -> engine.RunState:
    return go(world, golive=RETURN, candidate=OLD, incumbent=NEW, reason="corruption: seen at ams", **given)


def test_what_was_live_before_is_known_and_comes_live_again(live):
    world = live()
    standing = engine.standing(environment())
    assert (standing.incumbent, standing.earlier) == (NEW, (OLD,))
    state = _return(world)
    assert (state.outcome, state.signed_off) == ("succeeded", True)
    standing = engine.standing(environment())
    assert (standing.incumbent, standing.earlier) == (OLD, (NEW,))
    started = [record for record in engine.open_journal(environment()).read() if record.kind == "run.started"][-1]
    assert (started.data["reason"], started.data["category"]) == ("corruption: seen at ams", "corruption")


@pytest.mark.timeout(300)
def test_killed_at_every_point_of_a_return_the_same_command_finishes_it_with_every_effect_once(live):
    for point, here in each_point(live, _return):
        found = engine.state(environment())
        state = _return(here) if found.open or found.release == NEW else found
        assert (state.outcome, state.release) == ("succeeded", OLD), (point, state.held, state.bugs)
        assert engine.standing(environment()).incumbent == OLD
        assert not [effect for effect, count in Counter(here.effects()).items() if count > 1], point
        assert all(here.did(host, f"SimInstall:{OLD}") and here.weight(host) == 100 and here.did(host, "SimRetire") for host in HOSTS)
        assert engine.open_journal(environment()).verify() == []


def test_a_return_that_its_gate_does_not_like_holds_and_the_newer_release_is_one_command_away(live):
    world = live(0, verdicts={"watch-100": ["FAIL"]})
    state = _return(world)
    assert (state.outcome, state.rolling_back) == ("held", False)
    assert back(world, "the older is worse").outcome == "rolled-back"
    assert engine.standing(environment()).incumbent == NEW


def test_only_a_release_that_was_live_here_can_be_gone_back_to(live):
    live()
    with pytest.raises(BadInput, match=r"1\.0\.0 was never live in sim.*known are 3\.0\.0, 2\.9\.0"):
        rollback(environment(), reason="outage", to="1.0.0", quiet=True)
    with pytest.raises(BadInput, match=r"--to 2\.9\.0"):
        rollback(environment(), reason="outage", quiet=True)


def test_what_is_live_already_is_not_taken_live_again(live):
    live()
    before = engine.open_journal(environment()).head()
    result = rollback(environment(), reason="outage", to="3.0.0", quiet=True)
    assert (result.exit_code, "live in sim already" in result.text) == (0, True)
    assert engine.open_journal(environment()).head() == before


def test_an_open_run_goes_back_to_its_incumbent_and_to_nothing_else(live):
    world = live()
    go(world, candidate="3.1.0-cccccccccccc", incumbent=NEW, until_stage="deploy")
    with pytest.raises(BadInput, match=r"goes back to its incumbent 3\.0\.0 and to nothing else"):
        rollback(environment(), reason="outage", to="2.9.0", quiet=True)


@pytest.mark.parametrize("to", ["incumbent", "3.0.0", NEW])
def test_an_open_run_goes_back_however_its_incumbent_is_called(live, to, monkeypatch):
    world = live()
    go(world, candidate="3.1.0-cccccccccccc", incumbent=NEW, until_stage="deploy")
    asked: list[str] = []
    monkeypatch.setattr("golive.verbs.rollback.engine.rollback", lambda env, book, **words: asked.append(book.name) or engine.state(env))
    rollback(environment(), reason="outage", to=to, quiet=True)
    assert asked == ["rollback"]


def test_a_return_takes_the_release_that_was_live_by_its_own_runbook_and_goes_on_with_one_that_is_not_over(live, monkeypatch):
    world = live()
    calls: list[tuple[str, str, str | None, str]] = []

    def run(env: Any, book: Any, back_book: Any, **words: Any) -> engine.RunState:
        calls.append((book.name, words["candidate"], words["incumbent"], words["load"]))
        return engine.RunState(env="sim", outcome="succeeded", release=OLD)

    class Found:
        id, version = OLD, "2.9.0"

    monkeypatch.setattr("golive.verbs.rollback.releases.verified", lambda env, release: Found)
    monkeypatch.setattr("golive.verbs.rollback.engine.run", run)
    with pytest.raises(Exception, match="names no load client"):
        rollback(environment(), reason="outage", to="2.9.0", quiet=True)
    monkeypatch.undo()
    monkeypatch.setenv("GOLIVE_STATE", str(world.directory))
    _return(world, load="1.1.0-dddddddddddd", until_stage="full")
    monkeypatch.setattr("golive.verbs.rollback.releases.verified", lambda env, release: Found)
    monkeypatch.setattr("golive.verbs.rollback.engine.run", run)
    rollback(environment(), reason="outage", to="2.9.0", quiet=True)
    assert calls == [("return", OLD, NEW, "1.1.0-dddddddddddd")]


def test_the_runbooks_of_the_ways_back_are_valid_and_keep_the_order_that_protects_users():
    from golive import actions
    from golive.environment import ROOT

    actions.load_all()
    known = actions.registered()
    _, way_back = runbooks()
    assert [stage.budget.total_seconds() / 60 for stage in way_back.stages if stage.budget] == [5, 10, 10, 5]
    uses = [step.uses for _, step in load(ROOT / "runbooks/return.yaml", known).steps()]
    order = ["release.install", "release.activate", "traffic.attach", "checks.smoke", "traffic.shift", "gate.metrics", "release.retire"]
    assert [uses.index(name) for name in order] == sorted(uses.index(name) for name in order)


def test_a_return_that_is_not_over_is_continued_by_golive_as_what_it_is_and_at_its_own_pace(live, monkeypatch):
    world = live()
    state = _return(world, load="1.1.0-dddddddddddd", until_stage="full")
    assert (state.outcome, state.runbook, state.pace) == ("held", "return", "rehearsal")
    asked: list[tuple[str, str]] = []

    def run(env: Any, book: Any, back_book: Any, **words: Any) -> engine.RunState:
        asked.append((book.name, words["pace"].name))
        return engine.RunState(env="sim", outcome="succeeded", release=OLD)

    monkeypatch.setattr("golive.verbs.golive.engine.run", run)
    monkeypatch.setattr("golive.verbs.golive.keys.ensure", lambda env: None)
    monkeypatch.setattr("golive.verbs.golive.ports_of", lambda env: None)
    settings = environment().settings.model_copy(update={"pace": "real"})
    golive(environment().model_copy(update={"settings": settings}), quiet=True)
    golive(environment().model_copy(update={"settings": settings}), quiet=True, pace="real")
    assert asked == [("return", "rehearsal"), ("return", "real")]
