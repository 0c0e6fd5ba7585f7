"""A dry run says every step in order, with owner and due time, and changes nothing: no host, no lease, no record."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from engine_world import HOSTS, NEW, OLD, TIMING, World, actions, books, environment, go
from golive import engine
from golive import environment as environments
from golive.actions.port import StepContext, registered
from golive.engine.fold import RunState
from golive.errors import BadInput, Held, Unprepared
from golive.runbook import FakeClock, Pace
from golive.verbs.dry_run import dry_run
from golive.verbs.golive import runbooks


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    (tmp_path / "work").mkdir()
    return World(tmp_path)


def _plan(world: World, kinds: dict[str, Any] | None = None, **given: Any) -> list[engine.Planned]:
    ports = engine.Ports(actions=kinds or actions(world), timing=TIMING, clock=given.pop("clock", FakeClock()))
    words: dict[str, Any] = {"candidate": NEW, "incumbent": OLD, "load": "", "pace": Pace(), "facts": {}, **given}
    forward = books(world)[0]
    return list(engine.plan(environment(), forward, engine.standing(environment()), ports=ports, workdir=world.directory / "work", **words))


def _snapshot(place: Path) -> dict[str, str]:
    """Every file, and what is in it; of a database what it says, since readers may write beside it."""
    seen = {}
    for path in sorted(place.rglob("*")):
        if path.name.startswith("journal.db") or not path.is_file():
            continue
        seen[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(place.rglob("journal.db")):
        connection = sqlite3.connect(path)
        rows = [list(connection.execute(f"SELECT * FROM {table}")) for table in ("records", "leases", "requests")]
        connection.close()
        seen[str(path)] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return seen


def test_every_step_is_told_in_order_with_who_answers_and_when(world):
    rows = _plan(world)
    assert [(row.stage, row.step) for row in rows] == [(stage.name, step.id) for stage, step in books(world)[0].steps()]
    shift = next(row for row in rows if row.step == "shift-50")
    assert (shift.owner, shift.due.isoformat()) == ("technical-lead", "2030-01-02T01:15:00+00:00")
    watch = next(row for row in rows if row.step == "watch-10")
    assert watch.on == {"fail": "rollback", "inconclusive": "hold 20m then rollback"}
    assert next(row for row in rows if row.step == "installed").lines == [f"to do on {', '.join(HOSTS)}: as the host says"]


def test_nothing_is_changed_before_during_and_after_a_run(world):
    def unchanged() -> None:
        before = _snapshot(world.directory)
        _plan(world)
        assert _snapshot(world.directory) == before

    unchanged()
    assert not (world.directory / "state" / "sim" / "journal.db").exists()
    came, leave = threading.Event(), threading.Event()
    world.during["watch-10"] = lambda ctx: (came.set(), leave.wait(20))
    running = threading.Thread(target=go, args=(world,), daemon=True)
    running.start()
    assert came.wait(20)
    head = engine.open_journal(environment()).head()
    rows = _plan(world)
    assert engine.open_journal(environment()).head() == head, "a living process keeps its lease, and its journal is its own"
    assert [row.step for row in rows if row.passed] == ["base", "look", "installed", "active", "shift-10"]
    leave.set()
    running.join(30)
    assert engine.state(environment()).outcome == "succeeded"
    unchanged()


def test_a_dry_run_that_acted_would_be_seen(world):
    """So that the test above can fail."""
    kinds = actions(world)
    kinds["sim.base"].plan = lambda ctx: [str(world.change("ams-1", "oops", ctx.token))]
    before = _snapshot(world.directory)
    _plan(world, kinds)
    assert _snapshot(world.directory) != before


def test_a_run_that_is_not_over_keeps_its_times(world):
    go(world, until_stage="deploy")
    begin = engine.state(environment()).begin
    rows = _plan(world, from_stage="half", until_stage="full", pace=Pace())
    assert [row.stage for row in rows] == ["half", "half", "full"]
    assert rows[0].due.isoformat()[:19] > begin[:19]
    whole = _plan(world, pace=Pace())
    assert next(row.due for row in whole if row.step == "shift-50") == rows[0].due


def test_what_is_live_is_only_checked(world):
    go(world)
    rows = _plan(world, incumbent=NEW)
    assert {row.stage for row in rows} == {"prepare"}
    assert {row.due for row in rows} == {None}


def test_what_cannot_be_told_is_told_as_that(world):
    kinds = actions(world)

    def raises(error: Exception) -> Any:
        def plan(ctx: StepContext) -> list[str]:
            raise error

        return plan

    kinds["sim.base"].plan = raises(Unprepared("There is no fleet yet."))
    kinds["sim.check"].plan = raises(Held("nyc-1 does not answer."))
    kinds["sim.retire"].plan = raises(KeyError("x"))
    world.unknown["sgp-1"] = "timed out"
    rows = {row.step: row for row in _plan(world, kinds)}
    assert (rows["base"].later, rows["base"].trouble) == ("There is no fleet yet.", "")
    assert rows["look"].trouble == "nyc-1 does not answer."
    assert "bug" in rows["retired"].trouble
    assert "unknown on sgp-1: timed out" in rows["installed"].lines


def test_what_a_step_notes_is_known_to_the_next_and_to_no_one_else(world):
    kinds = actions(world)
    kinds["sim.base"].plan = lambda ctx: [str(ctx.note("slot", {"release": NEW, "slot": "b"}))]
    kinds["sim.retire"].plan = lambda ctx: [str(ctx.facts("slot"))]
    rows = {row.step: row for row in _plan(world, kinds, facts={"slot": [{"release": OLD, "slot": "a"}]})}
    assert "'b'" in rows["retired"].lines[0] and "'a'" in rows["retired"].lines[0]
    assert not (world.directory / "state" / "sim").exists() or engine.open_journal(environment()).read() == []


def test_gates_say_the_thresholds_of_runbook_and_policy(world):
    forward, _ = runbooks()
    env = environments.load("lab")
    kinds = registered()
    told = {}
    for _, step in forward.steps():
        if step.uses in ("gate.metrics", "gate.signoff"):
            params = kinds[step.uses].Params.model_validate(step.params).model_dump(by_alias=True)
            words: dict[str, Any] = dict.fromkeys(("fleet", "clock", "note", "facts", "tell", "incumbent"))
            pace = Pace.named("rehearsal", env.policy)
            context = StepContext(
                env=env,
                run="",
                stage="",
                step=step.id,
                token=0,
                candidate="",
                load="",
                params=params,
                workdir=world.directory,
                pace=pace,
                **words,
            )
            told[step.id] = "\n".join(kinds[step.uses].plan(context))
    assert "watches for 10m, here 24s" in told["watch-10"]
    assert "error rate < 1 % here, < 0.1 % in production" in told["watch-10"]
    assert "slower than the incumbent by < 20 %" in told["watch-10"] and "at most 0 restarts" in told["watch-10"]
    assert "cpu < 70 %" in told["watch-100"] and "cpu" not in told["watch-10"]
    assert "worst p99 < 250 ms here, < 100 ms in production" in told["criteria"]


def test_the_verb_says_what_is_not_built_and_builds_nothing(world, monkeypatch):
    monkeypatch.setattr("golive.verbs.dry_run.ports_of", lambda env: engine.Ports(actions=_silent_kinds()))
    before = _snapshot(world.directory)
    result = dry_run(environments.load("lab"), until_stage="readiness")
    assert "Release 3.0.0 is not built yet" in result.text and "Nothing was changed" in result.text
    assert "readiness (technical-lead, due " in result.text
    assert _snapshot(world.directory) == before
    assert result.exit_code == 0


def test_the_verb_ends_with_4_when_it_cannot_tell_and_refuses_what_makes_no_sense(world, monkeypatch):
    kinds = _silent_kinds()
    monkeypatch.setattr("golive.verbs.dry_run.ports_of", lambda env: engine.Ports(actions=kinds))

    def silent(ctx: StepContext) -> list[str]:
        raise Held("ams-1 does not answer.")

    kinds["checks.controller"].plan = silent
    result = dry_run(environments.load("lab"), until_stage="readiness")
    assert (result.exit_code, result.data["trouble"]) == (4, ["readiness/controller: ams-1 does not answer."])
    with pytest.raises(BadInput, match="one of the two"):
        dry_run(environments.load("lab"), going_on=True)
    with pytest.raises(BadInput, match="no stage 'nosuch'"):
        dry_run(environments.load("lab"), until_stage="nosuch")
    back = engine.Standing(OLD, RunState(env="lab", run="r", outcome="held", release=NEW, rolling_back=True), None)
    monkeypatch.setattr("golive.verbs.dry_run.engine.standing", lambda env: back)
    with pytest.raises(BadInput, match="on its way back"):
        dry_run(environments.load("lab"))


def _silent_kinds() -> dict[str, Any]:
    """The actions' own parameters, and nothing that asks a host."""
    runbooks()

    class Quiet:
        def __init__(self, params: Any) -> None:
            self.Params = params

        def plan(self, ctx: StepContext) -> list[str]:
            return ["as it says"]

    return {name: Quiet(action.Params) for name, action in registered().items()}


def test_every_action_of_the_runbooks_can_be_asked_what_it_would_do():
    forward, back = runbooks()
    for book in (forward, back):
        for _, step in book.steps():
            assert callable(registered()[step.uses].plan)
