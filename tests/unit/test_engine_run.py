"""What a run does when something is not right: reactions, holds, budgets, unknown hosts, requests, watchers, signals."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from engine_world import GOLIVE, HOSTS, KILLED, NEW, World, actions, back, environment, forked, go
from golive import engine
from golive.actions.port import Outcome, StepContext
from golive.engine.store import Store, leases
from golive.errors import BadInput, Held, Occupied
from golive.gates.verdict import Verdict
from golive.runbook import FakeClock, Pace


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return World(tmp_path)


def _records(kind: str) -> list[engine.Record]:
    return [record for record in engine.open_journal(environment()).read() if record.kind == kind]


def _until(true, what: str, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


def test_an_intent_stands_before_every_effect_and_an_outcome_after(world):
    go(world)
    kinds = [(record.kind, record.step) for record in engine.open_journal(environment()).read() if record.kind.startswith("step.")]
    assert kinds[0::2] == [("step.intent", step) for _, step in kinds[0::2]]
    assert kinds[1::2] == [("step.outcome", step) for _, step in kinds[0::2]]


def test_a_release_that_is_live_only_converges_and_changes_nothing(world):
    go(world)
    before = world.effects()
    state = go(world, incumbent=NEW)
    assert (state.outcome, state.already_live, state.signed_off) == ("succeeded", True, False)
    assert world.effects() == before
    assert set(state.stages) == {"prepare"}
    assert sum(step.changed for step in state.steps.values()) == 0
    assert engine.standing(environment()).incumbent == NEW
    assert engine.live(environment()).release == NEW


def test_a_converging_run_that_fails_holds_and_never_rolls_back(world):
    go(world)

    def wrong(ctx: StepContext) -> None:
        raise Held("nyc-1 is gone")

    world.during["look"] = wrong
    state = go(world, incumbent=NEW)
    assert state.outcome == "held"
    assert "nyc-1 is gone" in state.held["reason"]
    with pytest.raises(BadInput, match="nothing to roll back"):
        back(world)


def test_a_failure_before_anything_is_deployed_holds_and_the_same_command_tries_again(world):
    text = GOLIVE.replace("{id: look, uses: sim.check}", "{id: look, uses: sim.watch, with: {for: 1m}}")
    world.verdicts["look"] = ["FAIL", "PASS"]
    state = go(world, golive=text)
    assert (state.outcome, engine.exit_code(state), state.deployed) == ("held", 4, False)
    assert "look" in state.held["reason"]
    assert "golive" in state.held["do"]
    assert go(world, golive=text).outcome == "succeeded"


def test_a_failure_after_deployment_rolls_back_by_default(world):
    def wrong(ctx: StepContext) -> None:
        raise Held("nyc-1 refused the release")

    world.during["active"] = wrong
    state = go(world)
    assert state.outcome == "rolled-back"
    assert "nyc-1 refused the release" in state.rollback["reason"]
    assert state.max_candidate_weight == 0


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (["INCONCLUSIVE", "INCONCLUSIVE", "PASS"], "succeeded"),
        (["INCONCLUSIVE", "FAIL"], "rolled-back"),
        (["INCONCLUSIVE"], "rolled-back"),
        (["ERROR", "PASS"], "rolled-back"),
    ],
)
def test_a_hold_tries_again_until_it_passes_or_its_time_is_over(world, verdicts, outcome):
    world.verdicts["watch-10"] = verdicts
    policy = {"rehearsal": {"scale": 0.0005, "longest_watch_s": 1.5, "longest_wait_s": 0.01}}
    state = go(world, pace=Pace.named("rehearsal", policy))
    assert state.outcome == outcome
    holding = _records("step.holding")
    assert len(holding) == (0 if verdicts[0] == "ERROR" else 1)
    if verdicts == ["INCONCLUSIVE"]:
        tries = [line for line in world.lines() if line["effect"] == "try:watch-10"]
        assert 2 <= len(tries) <= 6
        assert holding[0].data["then"] == "rollback"


def test_a_step_past_its_budget_is_an_error_and_its_late_effects_count_no_more(world):
    text = GOLIVE.replace("{id: active, uses: sim.activate,", "{id: active, budget: 100ms, uses: sim.activate,")
    late: list[BaseException] = []

    def hangs(ctx: StepContext) -> None:
        time.sleep(1.5)
        for attempt in (lambda: world.change("ams-1", "late", ctx.token), lambda: ctx.note("late", {})):
            try:
                attempt()
            except Exception as error:
                late.append(error)

    world.during["active"] = hangs
    state = go(world, golive=text)
    assert state.outcome == "rolled-back"
    assert "budget of 100ms" in state.rollback["reason"]
    _until(lambda: len(late) == 2, "the late step came to its effects")
    assert "older than" in str(late[0]) and "given up" in str(late[1])
    assert not world.did("ams-1", "late")
    assert _records("late") == []


def test_a_host_whose_state_is_unknown_holds_the_run_and_nothing_is_applied(world):
    world.unknown["nyc-1"] = "connection timed out"
    state = go(world)
    assert (state.outcome, engine.exit_code(state)) == ("held", 4)
    assert "unknown on nyc-1: connection timed out" in state.held["reason"]
    assert "nyc-1" in state.held["do"]
    assert world.effects() == []
    world.unknown.clear()
    assert go(world).outcome == "succeeded"


def test_on_the_way_back_a_dead_host_keeps_no_one_else_on_the_candidate(world):
    def dies(ctx: StepContext) -> None:
        world.unknown["sgp-1"] = "no route to host"
        raise Held("the watch broke")

    world.during["watch-50"] = dies
    state = go(world)
    assert (state.outcome, state.rolling_back) == ("held", True)
    assert "sgp-1 does not answer" in state.held["reason"]
    assert [world.weight(host) for host in HOSTS] == [0, 0, 50]
    assert not any(world.did(host, "SimDeactivate") for host in HOSTS), "the candidate is kept while users may be on it"
    world.unknown.clear()
    world.during.clear()
    state = go(world)
    assert state.outcome == "rolled-back"
    assert [world.weight(host) for host in HOSTS] == [0, 0, 0]


def test_a_bug_with_users_on_the_candidate_is_journaled_and_rolls_back(world):
    world.during["shift-50"] = lambda ctx: [][1]
    state = go(world)
    assert state.outcome == "rolled-back"
    assert "IndexError" in state.bugs[0]["error"]
    assert all(world.weight(host) == 0 for host in HOSTS)


def test_a_bug_with_nothing_deployed_fails_the_run(world):
    world.during["base"] = lambda ctx: {}["x"]
    state = go(world)
    assert (state.outcome, engine.exit_code(state)) == ("failed", 1)
    assert "KeyError" in state.bugs[0]["traceback"]


def test_after_the_incumbent_goes_nothing_rolls_back(world):
    def wrong(ctx: StepContext) -> None:
        engine.request_rollback(environment(), "too late")
        time.sleep(0.1)
        raise Held("ams-1 does not let go")

    world.during["retired"] = wrong
    state = go(world)
    assert state.outcome == "held"
    assert all(world.weight(host) == 100 for host in HOSTS)
    assert _records("rollback.refused")[0].data["reason"] == "too late"
    with pytest.raises(Held, match="past sign-off"):
        back(world)
    world.during.clear()
    assert go(world).outcome == "succeeded"


def test_a_rollback_by_another_process_is_taken_by_the_one_that_holds_the_run(world):
    asked: list[engine.RunState] = []

    def operator() -> None:
        asked.append(back(world, "outage"))

    other = threading.Thread(target=operator, daemon=True)

    def long_watch(ctx: StepContext) -> None:
        other.start()
        ctx.sleep(30)

    world.during["watch-50"] = long_watch
    begun = time.monotonic()
    state = go(world)
    other.join(10)
    assert time.monotonic() - begun < 15
    assert state.outcome == "rolled-back"
    assert state.rollback["reason"] == "outage"
    assert state.steps["half/watch-50"].status == "interrupted"
    assert asked[0].outcome == "rolled-back"
    assert _records("rollback.requested")[0].data["by"]
    assert state.rollback["seconds_to_traffic_back"] < 5


def test_a_request_that_no_process_took_is_honoured_by_the_next(world):
    assert go(world, until_stage="canary").outcome == "held"
    engine.request_rollback(environment(), "security breach")
    state = go(world)
    assert (state.outcome, state.rollback["reason"]) == ("rolled-back", "security breach")
    assert not world.did(HOSTS[0], "weight:50")


def test_a_request_about_a_run_that_is_over_does_not_touch_the_next(world):
    go(world)
    engine.request_rollback(environment(), "stale")
    newer = "3.1.0-cccccccccccc"
    state = go(world, candidate=newer, incumbent=NEW)
    assert state.triggers == []


def test_a_rollback_before_anything_is_deployed_ends_the_run(world):
    assert go(world, until_stage="prepare").outcome == "held"
    state = back(world)
    assert state.outcome == "aborted"
    assert not any(effect.startswith("weight") for _, effect in world.effects())
    with pytest.raises(BadInput, match="nothing to roll back"):
        back(world)


class Seen:
    """A watcher that sees a breach at the ``at``-th look."""

    name = "seen"

    def __init__(self, at: int = 3, *, broken: bool = False) -> None:
        self.at, self.broken, self.looks, self.starts, self.stops = at, broken, 0, 0, 0

    def start(self, ctx: StepContext) -> None:
        self.starts += 1
        assert ctx.candidate == NEW

    def stop(self) -> None:
        self.stops += 1

    def poll(self) -> engine.Trigger | None:
        self.looks += 1
        if self.looks < self.at:
            return None
        if self.broken:
            raise OSError("pipe closed")
        return engine.Trigger(self.name, "corruption on ams-1")


@pytest.mark.parametrize("broken", [False, True])
def test_what_a_watcher_sees_ends_the_running_step_and_rolls_back(world, broken):
    world.during["watch-10"] = lambda ctx: ctx.sleep(30)
    watcher = Seen(broken=broken)
    begun = time.monotonic()
    state = go(world, ports={"watchers": [watcher]})
    assert time.monotonic() - begun < 10
    assert state.outcome == "rolled-back"
    assert ("pipe closed" if broken else "corruption on ams-1") in state.rollback["reason"]
    assert (watcher.starts, watcher.stops) == (1, 1)
    assert state.max_candidate_weight == 10


def test_watchers_do_not_look_while_no_user_is_on_the_candidate(world):
    watcher = Seen(at=1)
    state = go(world, until_stage="deploy", ports={"watchers": [watcher]})
    assert state.outcome == "held"
    assert watcher.looks == 0


def test_a_resumed_run_raises_the_token_on_the_hosts_before_its_watchers_speak_to_them(world):
    go(world, until_stage="canary")

    class Beats(Seen):
        def start(self, ctx: StepContext) -> None:
            super().start(ctx)
            world.change("ams-1", f"fence-beat:{ctx.token}", ctx.token)
            assert max(line["token"] for line in world.lines() if line["effect"] == "fence") == ctx.token

    watcher = Beats(at=10**6)
    assert go(world, ports={"watchers": [watcher]}).outcome == "succeeded"
    assert (watcher.starts, watcher.stops) == (1, 1)


def test_watchers_speak_under_the_new_token_after_a_step_was_given_up(world):
    text = GOLIVE.replace(
        "{id: watch-50, uses: sim.watch, with: {for: 10m},", "{id: watch-50, budget: 400ms, uses: sim.watch, with: {for: 10m},"
    )
    text = text.replace(
        "on: {fail: rollback, inconclusive: hold 20m then rollback}}\n  - stage: full",
        "on: {error: hold 8h then rollback}}\n  - stage: full",
    )
    tokens: list[int] = []

    class Beats(Seen):
        def start(self, ctx: StepContext) -> None:
            super().start(ctx)
            tokens.append(ctx.token)

    hangs = iter([True, False])

    def first_hangs(ctx: StepContext) -> None:
        if next(hangs, False):
            time.sleep(1.5)

    world.during["watch-50"] = first_hangs
    policy = {"rehearsal": {"scale": 0.0001, "longest_watch_s": 5, "longest_wait_s": 0.01}}
    state = go(world, golive=text, ports={"watchers": [Beats(at=10**6)]}, pace=Pace.named("rehearsal", policy))
    assert state.outcome == "succeeded"
    assert tokens == [1, 2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_step_and_the_same_command_resumes(world, number):
    def interrupted(ctx: StepContext) -> None:
        os.kill(os.getpid(), number)
        ctx.sleep(30)

    world.during["watch-10"] = interrupted
    before = signal.getsignal(number)
    state = go(world)
    assert signal.getsignal(number) is before
    assert (state.outcome, engine.exit_code(state)) == ("held", 4)
    assert signal.Signals(number).name in state.held["reason"]
    assert "golive" in state.held["do"]
    world.during.clear()
    assert go(world).outcome == "succeeded"


def test_another_release_or_another_runbook_is_refused_while_a_run_is_unfinished(world):
    go(world, until_stage="canary")
    with pytest.raises(BadInput, match="unfinished"):
        go(world, candidate="3.1.0-cccccccccccc")
    with pytest.raises(BadInput, match="runbook golive was changed"):
        go(world, golive=GOLIVE.replace("for: 10m", "for: 9m"))
    assert go(world, golive=GOLIVE + "# a comment\n").outcome == "succeeded"


def test_stages_can_be_chosen_and_an_unknown_one_is_refused(world):
    with pytest.raises(BadInput, match="known are prepare, deploy"):
        go(world, from_stage="nope")
    with pytest.raises(BadInput, match="comes after"):
        go(world, from_stage="half", until_stage="canary")
    state = go(world, from_stage="prepare", until_stage="prepare")
    assert (state.outcome, state.signed_off) == ("succeeded", False)
    assert set(state.stages) == {"prepare"}
    state = go(world, until_stage="deploy")
    assert (state.outcome, state.held["asked"]) == ("held", True)
    state = go(world, from_stage="half", until_stage="half")
    assert state.stages["canary"].status == "skipped"
    assert (state.outcome, state.stages["half"].status, state.stages.get("full")) == ("held", "done", None)


def test_one_stage_alone_that_puts_the_candidate_on_hosts_leaves_a_run_that_can_go_back(world):
    go(world, from_stage="prepare", until_stage="prepare")
    state = go(world, from_stage="deploy", until_stage="deploy")
    assert (state.outcome, state.held["asked"], engine.exit_code(state)) == ("held", True, 0)
    assert "rollback" in state.held["do"] and "candidate is on hosts" in state.held["reason"]
    assert back(world).outcome == "rolled-back"


def test_one_stage_alone_is_followed_by_the_rest(world):
    first = go(world, from_stage="deploy", until_stage="deploy")
    state = go(world)
    assert (state.run, state.outcome, state.signed_off) == (first.run, "succeeded", True)
    assert state.last_stage == list(state.stages)[-1]


def test_what_is_live_is_not_said_to_be_checked_by_stages_that_check_nothing(world):
    go(world)
    with pytest.raises(BadInput, match=r"is live in .* stage prepare"):
        go(world, incumbent=NEW, from_stage="half")


def test_stages_wait_for_their_time_in_the_journal_and_a_jump_of_the_clock_shortens_no_watch(world):
    clock = FakeClock()
    begun = clock.monotonic()

    def jump(ctx: StepContext) -> None:
        clock.jump(7 * 86400)

    world.during["watch-10"] = jump
    state = go(world, pace=Pace(), ports={"clock": clock})
    assert state.outcome == "succeeded"
    watched = [record.data["seconds"] for record in _records("step.outcome") if record.step == "watch-10"]
    assert watched[0] >= 600
    assert state.stages["canary"].due == "2030-01-02T01:00:00+00:00"
    assert clock.monotonic() - begun < 86400 + 2 * 3600 + 1200


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_jump_of_the_clock_on_the_way_back_is_no_time_that_traffic_took(world, jump_s):
    clock = FakeClock()
    world.verdicts["watch-10"] = ["FAIL"]
    world.during["shift-0"] = lambda ctx: (clock.jump(jump_s), clock.advance(3))
    state = go(world, ports={"clock": clock})
    assert state.outcome == "rolled-back"
    assert 3 <= state.rollback["seconds_to_traffic_back"] < 10


@pytest.mark.parametrize(("moved_s", "told"), [(40, 40), (-3600, None)])
def test_how_long_traffic_took_after_a_death_goes_by_the_wall_clock_and_is_not_known_when_that_was_set_back(world, moved_s, told):
    world.verdicts["watch-10"] = ["FAIL"]
    world.during["shift-0"] = lambda ctx: os._exit(KILLED)
    assert forked(lambda: go(world, ports={"clock": FakeClock()})) == KILLED
    del world.during["shift-0"]
    breach = datetime.fromisoformat(_records("rollback.started")[0].data["breach_at"])
    state = go(world, ports={"clock": FakeClock(breach + timedelta(seconds=moved_s))})
    assert state.outcome == "rolled-back"
    seconds = state.rollback["seconds_to_traffic_back"]
    assert seconds is None if told is None else told <= seconds < told + 10


def test_a_private_key_in_an_outcome_never_reaches_the_journal_and_the_outcome_is_not_lost_over_it(world):
    kinds = actions(world)

    def leaks(ctx: StepContext, todo: object) -> Outcome:
        return Outcome(Verdict.PASS, "made by AKIAIOSFODNN7EXAMPLE", {"pem": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "n": 7})

    kinds["sim.base"].apply = leaks
    state = go(world, ports={"actions": kinds})
    assert state.outcome == "succeeded"
    kept = b"".join(path.read_bytes() for path in (world.directory / "sim").glob("journal*"))
    assert b"OPENSSH PRIVATE" not in kept and b"AKIAIOSF" not in kept
    assert state.steps["prepare/base"].summary == "made by (removed: an AWS access key)"
    [record] = [record for record in _records("step.outcome") if record.step == "base"]
    assert record.data["data"] == {"n": 7, "pem": "(removed: a private key)"}
    assert record.data["removed"] == ["data.summary looks like an AWS access key", "data.data.pem looks like a private key"]


def test_a_fact_of_an_action_with_a_secret_in_it_is_refused_and_the_step_says_so(world):
    world.during["base"] = lambda ctx: ctx.note("seen", {"header": "Authorization: Bearer abcdefgh12345678"})
    state = go(world)
    assert state.outcome == "held"
    assert "data.header looks like an authorization" in state.steps["prepare/base"].summary
    assert _records("seen") == []


def test_a_controller_stopped_beyond_its_lease_changes_nothing_more(world):
    """SIGSTOP, here as a holder that was replaced while a step ran."""

    def stolen(ctx: StepContext) -> None:
        store = Store(environment().state / "journal.db")
        with store.writing() as connection:
            connection.execute(leases.update().values(token=leases.c.token + 1, owner="other@elsewhere"))
        store.close()

    world.during["installed"] = stolen
    with pytest.raises(Occupied, match="other@elsewhere"):
        go(world)
    assert not any(world.did(host, f"SimActivate:{NEW}") for host in HOSTS)


def test_an_edited_journal_is_refused_before_anything_changes(world):
    go(world, until_stage="deploy")
    _tamper(world, "UPDATE records SET data = replace(data, 'PASS', 'FAIL') WHERE kind = 'step.outcome'")
    effects = world.effects()
    with pytest.raises(Held, match="was edited"):
        go(world)
    assert world.effects() == effects


def _tamper(world: World, sql: str) -> None:
    connection = sqlite3.connect(world.directory / "sim" / "journal.db")
    for trigger in ("records_keep_update", "records_keep_delete"):
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_views_that_break_do_not_break_the_run(world):
    def tell(kind: str, data: dict) -> None:
        raise RuntimeError("terminal gone")

    assert go(world, tell=tell).outcome == "succeeded"


def test_a_run_ends_what_a_killed_controller_left_on_this_machine(world):
    def dies_with_a_child(ctx: StepContext) -> None:
        child = subprocess.Popen(["sleep", "300"], env=ctx.child_env(), start_new_session=True)
        ctx.began(child.pid, "ansible-playbook")
        (world.directory / "child").write_text(str(child.pid))
        os._exit(137)

    def first() -> None:
        world.during["active"] = dies_with_a_child
        go(world)

    assert forked(first) == 137
    pid = int((world.directory / "child").read_text())
    assert engine.Process.of(pid) is not None
    seen: list[bool] = []
    world.during["active"] = lambda ctx: seen.append(engine.Process.of(pid) is None)
    state = go(world)
    assert state.outcome == "succeeded"
    assert seen == [True], "it was dead before anything was applied"
    assert state.processes == []
    assert "sleep" in _records("leftovers.ended")[0].data["what"][0] or "ansible" in _records("leftovers.ended")[0].data["what"][0]
