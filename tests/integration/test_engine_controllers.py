"""Two controllers, each with a state of its own, share one PostgreSQL: what one began, the other watches, sends back and finishes."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit")]

from engine_world import HOSTS, KILLED, NEW, TIMING, World, actions, back, begun, books, environment, forked, go  # noqa: E402
from golive import engine  # noqa: E402
from golive.engine import process  # noqa: E402
from golive.engine.journal import SqlJournal  # noqa: E402
from golive.errors import GoliveError, Held, Occupied  # noqa: E402
from golive.runbook import Pace  # noqa: E402
from tests.support.postgres import Postgres  # noqa: E402

QUICK = replace(TIMING, lease_ttl_s=0.4, lease_beat_s=0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def shared(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Makes worlds: the hosts, and a database with nothing in it. This process is controller B from then on."""
    machine = process.here()

    def make(number: int = 0, **given: Any) -> World:
        server.emptied()
        directory = tmp_path / str(number)
        (directory / "hosts").mkdir(parents=True)
        monkeypatch.setenv("GOLIVE_JOURNAL", server.url)
        monkeypatch.setenv("GOLIVE_STATE", str(directory / "state-of-b"))
        monkeypatch.setattr(process, "here", lambda: (machine[0], "machine-of-b", "boot-of-b", "pid:[7]"))
        return World(directory / "hosts", **given)

    return make


def _on_a(world: World, body: Callable[[], Any]) -> None:
    """Makes this (forked) process controller A: another machine of the same name, with another state."""
    process.here = lambda: process._place(os.getpid())
    os.environ["GOLIVE_STATE"] = str(world.directory.parent / "state-of-a")
    body()


def _killed_at_record(world: World, number: int) -> bool:
    """Runs `golive` on controller A, killed right after its ``number``-th record; False when it ended before."""

    def body() -> None:
        original, written = SqlJournal.append, itertools.count(1)

        def append(self: SqlJournal, *args: Any, **kwargs: Any) -> Any:
            record = original(self, *args, **kwargs)
            if next(written) == number:
                os._exit(KILLED)
            return record

        SqlJournal.append = append  # type: ignore[method-assign]
        _on_a(world, lambda: go(world, ports={"timing": QUICK}))

    status = forked(body)
    assert status in (0, KILLED), status
    return status == KILLED


def _b(world: World, **given: Any) -> engine.RunState:
    return go(world, ports={"timing": QUICK}, **given)


def _ended_right(world: World, weights: list[int]) -> None:
    effects = world.effects()
    assert not [effect for effect, count in Counter(effects).items() if count > 1]
    for host in HOSTS:
        assert [int(effect.partition(":")[2]) for name, effect in effects if name == host and effect.startswith("weight:")] == weights
        tokens = [line["token"] for line in world.lines() if line["host"] == host]
        assert tokens == sorted(tokens)
    assert engine.open_journal(environment()).verify() == []
    assert engine.standing(environment()).holder is None


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("verdicts", "outcome", "weights"), [({}, "succeeded", [10, 50, 100]), ({"watch-50": ["FAIL"]}, "rolled-back", [10, 50, 0])]
)
def test_killed_on_a_at_every_record_it_is_taken_over_and_ended_right_on_b(
    shared: Callable[..., World], verdicts: dict[str, list[str]], outcome: str, weights: list[int]
) -> None:
    points, apart = 0, 1 if os.environ.get("GOLIVE_TEST_EVERY_RECORD") else 4
    for number in itertools.count(1, apart):  # every record in the long tests; the engine's own are at every record always
        world = shared(number, verdicts=verdicts)
        if not _killed_at_record(world, number):
            break
        points += 1
        if points % 4 == 1:
            with pytest.raises(Occupied, match=r"not on this machine.*--take-over"):
                _b(world)
        found = engine.state(environment())
        assert found.run is not None, "B sees what A began"
        if not found.open:
            assert found.outcome == outcome
            continue
        state = _b(world, take_over=True)
        assert (state.run, state.outcome) == (found.run, outcome), (number, state.held, state.bugs)
        [taken] = [record for record in engine.open_journal(environment()).read() if record.kind == "lease.taken-over"]
        assert taken.data["who"]["machine"] == "machine-of-b" and taken.data["from"]["machine"] != "machine-of-b"
        assert taken.data["why"] == "silent for 0.4 s, and taken over by hand"
        _ended_right(world, weights)
    assert points * apart > 30


def test_a_run_on_a_is_seen_and_sent_back_from_b(shared: Callable[..., World]) -> None:
    world = shared()
    waiting = world.directory / "waiting"

    def wait(ctx: Any) -> None:
        waiting.touch()
        ctx.sleep(60)

    world.during["watch-50"] = wait
    pid = begun(lambda: _on_a(world, lambda: go(world, ports={"timing": QUICK})))
    try:
        end = time.monotonic() + 60
        while not waiting.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        found = engine.standing(environment())
        assert found.holder is not None and found.holder.process.pid == pid and found.holder.process.machine != "machine-of-b"
        assert (found.last.outcome, found.last.stage, found.last.step) == ("running", "half", "watch-50")
        with pytest.raises(Occupied, match=f"pid {pid}, since"):
            _b(world)
        with pytest.raises(Occupied, match="it beat while it was looked at"):
            _b(world, take_over=True)
        state = back(world, "outage seen on B")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert state.outcome == "rolled-back" and state.rollback is not None and state.rollback["reason"] == "outage seen on B"
    assert all(world.weight(host) == 0 for host in HOSTS)


def test_a_dead_a_is_rolled_back_from_b_only_with_take_over(shared: Callable[..., World]) -> None:
    world = shared()
    assert _killed_at_record(world, 25)
    timing = replace(QUICK, answer_s=0.5)

    def rollback(**given: Any) -> engine.RunState:
        env = environment()
        ports = engine.Ports(fence=world.fence, actions=actions(world), timing=timing)
        return engine.rollback(env, books(world)[1], reason="outage", pace=Pace.named("rehearsal", env.policy), ports=ports, **given)

    with pytest.raises(Held, match=r"does not answer.*repeat the command with --take-over"):
        rollback()
    assert rollback(take_over=True).outcome == "rolled-back"
    assert all(world.weight(host) == 0 for host in HOSTS)


def test_a_server_killed_in_the_middle_of_a_run_that_returns_is_not_noticed(server: Postgres, shared: Callable[..., World]) -> None:
    world = shared()
    again = threading.Timer(1.0, server.start)

    def crash(ctx: Any) -> None:
        server.kill()
        again.start()

    world.during["installed"] = crash
    state = go(world)
    again.join()
    assert (state.outcome, state.attempts, state.bugs) == ("succeeded", 1, [])
    _ended_right(world, [10, 50, 100])


def test_a_server_that_stays_away_stops_the_run_in_a_sentence_and_the_next_command_ends_it(
    server: Postgres, shared: Callable[..., World]
) -> None:
    world = shared()

    def first() -> None:
        world.during["watch-50"] = lambda ctx: server.kill()
        with pytest.raises(GoliveError, match=r"does not answer|could not be refreshed") as caught:
            go(world, ports={"timing": replace(TIMING, lease_ttl_s=1.5)})
        assert caught.value.exit_code in (4, 5) and "\n" not in str(caught.value)

    try:
        assert forked(first) == 0
    finally:
        server.start()
    assert go(world).outcome == "succeeded"
    _ended_right(world, [10, 50, 100])


@pytest.mark.parametrize("verdicts", [{}, {"watch-50": ["FAIL"]}])
def test_connections_that_are_cut_all_the_time_change_nothing_about_a_run(
    server: Postgres, shared: Callable[..., World], verdicts: dict[str, list[str]]
) -> None:
    """Whatever a commit was doing when its server process was killed, its record stands once or is written again."""
    world = shared(verdicts=verdicts)
    stop, cut = threading.Event(), []

    def cutting() -> None:
        while not stop.wait(0.03):
            rows = server.psql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'golive'")
            cut.append(rows[0][0])

    thread = threading.Thread(target=cutting)
    world.during["base"] = lambda ctx: thread.start()  # a database that does not answer a command's first question is said at once
    try:
        state = go(world)
    finally:
        stop.set()
        thread.join()
    assert (state.outcome, state.attempts, state.bugs) == ("rolled-back" if verdicts else "succeeded", 1, [])
    assert sum(cut) > 10, "hardly a connection was cut"
    _ended_right(world, [10, 50, 0] if verdicts else [10, 50, 100])


def test_what_a_step_kept_on_a_is_there_for_a_step_on_b(shared: Callable[..., World]) -> None:
    world = shared()
    world.during["base"] = lambda ctx: ctx.note("kept", {"sha256": ctx.keep(b"a baseline")})
    seen = []
    world.during["look"] = lambda ctx: seen.append(ctx.kept(ctx.facts("kept")[-1]["sha256"]))

    def on_a() -> None:
        world.during["look"] = lambda ctx: os._exit(KILLED)
        _on_a(world, lambda: go(world, ports={"timing": QUICK}))

    assert forked(on_a) == KILLED
    assert _b(world, take_over=True).outcome == "succeeded"
    assert seen == [b"a baseline"]


def test_nothing_of_the_run_was_kept_in_the_state_of_either_controller_but_a_head(shared: Callable[..., World]) -> None:
    world = shared()
    assert _b(world).release == NEW
    left = [path.relative_to(world.directory.parent) for path in (world.directory.parent / "state-of-b").rglob("*") if path.is_file()]
    assert [str(path) for path in left] == ["state-of-b/sim/journal.head"]
