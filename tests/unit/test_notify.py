"""Who is told what, by a real service on loopback: once where that can be known, said where it cannot, and never in the run's way."""

from __future__ import annotations

import http.server
import json
import os
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from approval_world import ASKS, Later, go_asking
from engine_world import KILLED, TIMING, World, environment, forked, killed_at
from golive import engine, notify
from golive.actions import notify_send
from golive.environment import Environment
from golive.errors import BadInput, Unprepared
from golive.notify import EnvironmentPager, Incident, Level, Routes, due, routes_of
from golive.notify.post import post

TELLS = """
runbook: golive
stages:
  - stage: go
    at: T-1d
    owner: qa-lead
    steps:
      - id: told
        uses: notify.send
        with: {to: [stakeholders], text: "{release} goes to {env} after {gate}"}
      - {id: look, uses: sim.watch, with: {for: 1m}}
"""


class Service:
    """An HTTP service that takes messages, or does not."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.status, self.wait_s = 200, 0.0
        outer = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.taken.append({**body, "path": self.path})
                time.sleep(outer.wait_s)
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def address(self, path: str) -> str:
        return f"json://127.0.0.1:{self.server.server_port}/{path}/s3cr3t-token"

    def texts(self, path: str) -> list[str]:
        return [message["message"] for message in self.taken if message["path"].startswith(f"/{path}/")]


@pytest.fixture
def service():
    made = Service()
    yield made
    made.server.shutdown()


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch):
    """``make(number)`` gives worlds whose environment has the inventory ``make.inventory``."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as base:
        monkeypatch.setattr("golive.environment.ROOT", Path(base))
        monkeypatch.setattr(notify_send, "_PAUSE_S", 0.01)
        inventory = Path(base) / "inventories" / "sim"
        inventory.mkdir(parents=True)

        def make(number: int = 0) -> World:
            directory = Path(base) / str(number)
            directory.mkdir()
            monkeypatch.setenv("GOLIVE_STATE", str(directory))
            return World(directory)

        make.inventory = inventory
        yield make


def _routed(
    sim: Any, monkeypatch: pytest.MonkeyPatch, service: Service, *names: str, escalation: list[dict[str, Any]] | None = None
) -> None:
    """Routes ``names`` whose addresses stand in the environment, and levels."""
    for name in names:
        monkeypatch.setenv(f"T_{name.upper().replace('-', '_')}", service.address(name))
    routes = [{"route": name, "env": f"T_{name.upper().replace('-', '_')}"} for name in names]
    (sim.inventory / "notify.yaml").write_text(yaml.safe_dump({"routes": routes, "escalation": escalation or []}))


def _records(*kinds: str) -> list[engine.Record]:
    return [record for record in engine.open_journal(environment()).read() if record.kind in kinds]


def _policy(**changed: Any) -> Environment:
    return environment().model_copy(update={"policy": {**environment().policy, **changed}})


def test_people_are_told_by_their_route_and_the_journal_never_holds_its_address(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, "stakeholders")
    state = go_asking(sim(), TELLS)
    assert state.outcome == "succeeded" and state.steps["go/told"].summary == "told stakeholders"
    assert service.texts("stakeholders") == ["3.0.0-bbbbbbbbbbbb goes to sim after no gate yet"]
    assert [record.kind for record in _records("notice.sending", "notice.sent")] == ["notice.sending", "notice.sent"]
    everything = "".join(json.dumps(record.data) for record in engine.open_journal(environment()).read())
    assert "s3cr3t" not in everything and "127.0.0.1" not in everything


@pytest.mark.parametrize("trouble", ["says no", "is not there", "has no address", "has one that is none"])
def test_a_service_that_fails_never_stops_a_run_and_the_report_says_so(sim, monkeypatch, service, trouble):
    _routed(sim, monkeypatch, service, "stakeholders")
    if trouble == "says no":
        service.status = 500
    elif trouble == "is not there":
        monkeypatch.setenv("T_STAKEHOLDERS", "json://127.0.0.1:9/s3cr3t-token")
    elif trouble == "has no address":
        monkeypatch.delenv("T_STAKEHOLDERS")
    else:
        monkeypatch.setenv("T_STAKEHOLDERS", "nonsense s3cr3t-token")
    state = go_asking(sim(), TELLS)
    assert state.outcome == "succeeded", state.held
    assert "NOT TOLD by stakeholders" in state.steps["go/told"].summary
    assert [entry["is"] for entry in state.notices] == ["failed"]
    assert "s3cr3t" not in json.dumps(state.to_json())


def test_where_no_route_is_needed_the_step_passes_and_says_that_nobody_was_told(sim):
    state = go_asking(sim(), TELLS)
    assert state.outcome == "succeeded"
    assert state.steps["go/told"].summary == "no route configured for stakeholders; nobody was told"
    assert state.notices[0]["is"] == "unrouted"


def test_where_a_route_is_required_a_run_without_one_is_refused_before_it_begins(sim, monkeypatch, service):
    env = _policy(notify="required")
    with pytest.raises(Unprepared, match="no route for stakeholders"):
        notify.ready(env, ["stakeholders"])
    _routed(sim, monkeypatch, service, "stakeholders", escalation=[{"level": 1, "to": ["team-leads"], "after": "0m"}])
    with pytest.raises(Unprepared, match="no route for team-leads"):
        notify.ready(env, ["stakeholders"])
    _routed(sim, monkeypatch, service, "stakeholders", "team-leads", escalation=[{"level": 1, "to": ["team-leads"], "after": "0m"}])
    notify.ready(env, ["stakeholders"])
    monkeypatch.delenv("T_STAKEHOLDERS")
    with pytest.raises(Unprepared, match="environment variable T_STAKEHOLDERS holds no address"):
        notify.ready(env, ["stakeholders"])
    state = go_asking(sim(), TELLS.replace("[stakeholders]", "[nobody]"), env=env)
    assert state.outcome == "held" and "no route configured for nobody" in state.held["reason"]


def test_a_static_environment_requires_routes_unless_its_policy_says_otherwise():
    static = environment().model_copy(update={"settings": environment().settings.model_copy(update={"kind": "static"})})
    assert (notify.mode_of(static), notify.mode_of(environment())) == ("required", "optional")
    with pytest.raises(BadInput, match="optional or required"):
        notify.mode_of(_policy(notify="maybe"))


def test_a_message_that_may_have_gone_out_goes_again_and_says_so(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, "stakeholders")
    here = sim()

    def body() -> None:
        monkeypatch.setattr(notify.delivery.deliver, "__kwdefaults__", {"send": lambda *a: (post(*a), os._exit(KILLED))[0]})
        go_asking(here, TELLS)

    assert forked(body) == KILLED
    state = go_asking(here, TELLS)
    assert state.outcome == "succeeded" and "stakeholders may have been told twice" in state.steps["go/told"].summary
    first, second = service.texts("stakeholders")
    assert second == notify.delivery.AGAIN + first
    assert _records("notice.sent")[0].data["perhaps_twice"] is True


def test_where_once_matters_a_message_that_may_have_gone_out_holds_the_run(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, "stakeholders")
    here, text = sim(), TELLS.replace("with: {to:", "with: {once: true, to:")

    def body() -> None:
        monkeypatch.setattr(notify.delivery.deliver, "__kwdefaults__", {"send": lambda *a: (post(*a), os._exit(KILLED))[0]})
        go_asking(here, text)

    assert forked(body) == KILLED
    state = go_asking(here, text)
    assert state.outcome == "held" and "unknown on stakeholders: it may have been sent" in state.held["reason"]
    assert "./inv waive --env sim --step go/told" in state.held["do"]
    assert len(service.texts("stakeholders")) == 1


@pytest.mark.timeout(600)
def test_killed_at_every_record_nobody_is_left_out_and_every_second_message_says_that_it_may_be_one(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, "stakeholders")
    point = 0
    while True:
        point += 1
        here = sim(point)
        service.taken.clear()
        if not killed_at(here, point, lambda world: go_asking(world, TELLS)):
            break
        state = go_asking(here, TELLS)
        assert state.outcome == "succeeded" or state.already_live, (point, state.held)
        texts = service.texts("stakeholders")
        assert len(texts) in (1, 2), point
        assert all(text.startswith(notify.delivery.AGAIN) for text in texts[1:]), point
    assert point > 8


LEVELS = [
    Level(level=1, to=["team-leads"], after="0m"),
    Level(level=2, to=["senior-management"], after="15m"),
    Level(level=3, to=["executives"], after="30m", of=("held", "rollback")),
]
SINCE = datetime(2030, 1, 1, tzinfo=UTC)


@given(st.integers(min_value=-600, max_value=7200), st.sampled_from(["held", "rollback", "approval"]), st.sets(st.integers(1, 3)))
def test_a_level_is_due_from_its_time_on_until_it_was_tried(seconds, kind, told):
    incident = Incident("x", kind, SINCE.isoformat(), "the run is held")
    keys = [f"x/level-{level}" for level in told]
    found = due([incident], LEVELS, keys, SINCE + timedelta(seconds=seconds), "sim")
    wanted = [one.level for one in LEVELS if seconds >= one.after.total_seconds() and kind in one.of and one.level not in told]
    assert [notice.level.level for notice in found] == wanted
    assert due([incident], LEVELS, [*keys, *(notice.key for notice in found)], SINCE + timedelta(seconds=seconds), "sim") == []


def _held_run(sim: Any, number: int = 0, **given: Any) -> World:
    here = sim(number)
    here.verdicts["look"] = ["FAIL"]
    assert go_asking(here, TELLS, **given).outcome == "held"
    return here


LEVELS_WRITTEN = [
    {"level": 1, "to": ["team-leads"], "after": "0m"},
    {"level": 2, "to": ["senior-management"], "after": "15m"},
    {"level": 3, "to": ["executives"], "after": "30m"},
]
ROUTES = ("stakeholders", "team-leads", "senior-management", "executives")


def _page(minutes: float) -> int:
    env = environment()
    return engine.page(env, engine.Ports(pager=EnvironmentPager(env), clock=Later(minutes)))


def test_a_run_that_is_held_calls_level_after_level_each_once_also_without_a_process(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, *ROUTES, escalation=LEVELS_WRITTEN)
    _held_run(sim, ports={"pager": EnvironmentPager(environment())})
    assert len(service.texts("team-leads")) == 1 and "the run is held" in service.texts("team-leads")[0]
    assert [_page(minutes) for minutes in (1, 14, 16, 17, 31, 32, 600)] == [0, 0, 1, 0, 1, 0, 0]
    assert [len(service.texts(name)) for name in ROUTES] == [1, 1, 1, 1]


def test_a_run_that_is_continued_and_held_again_at_the_same_step_calls_nobody_twice(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, *ROUTES, escalation=LEVELS_WRITTEN)
    ports = {"pager": EnvironmentPager(environment())}
    here = _held_run(sim, ports=ports)
    for _ in range(3):
        assert go_asking(here, TELLS, ports=ports).outcome == "held"
    assert len(service.texts("team-leads")) == 1
    here.verdicts["look"] = ["PASS"]
    state = go_asking(here, TELLS, ports=ports)
    assert state.outcome == "succeeded" and state.incidents == []
    assert len(service.texts("team-leads")) == 1


def test_a_level_whose_service_fails_is_journaled_and_the_next_is_still_called(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, *ROUTES, escalation=LEVELS_WRITTEN)
    monkeypatch.setenv("T_TEAM_LEADS", "json://127.0.0.1:9/s3cr3t-token")
    _held_run(sim, ports={"pager": EnvironmentPager(environment())})
    assert [entry["route"] for entry in engine.state(environment()).notices if entry["is"] == "failed"] == ["team-leads"]
    assert _page(20) == 1 and len(service.texts("senior-management")) == 1


def test_a_stop_that_somebody_asked_for_calls_nobody(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, *ROUTES, escalation=LEVELS_WRITTEN)
    text = TELLS + "  - {stage: more, at: T-0, owner: qa-lead, steps: [{id: look-2, uses: sim.check}]}\n"
    state = go_asking(sim(), text, until_stage="go", ports={"pager": EnvironmentPager(environment())})
    assert state.outcome == "held" and state.incidents == [] and service.texts("team-leads") == []


def test_a_rollback_calls_its_first_level_while_it_goes_on(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, *ROUTES, escalation=LEVELS_WRITTEN)
    steps = "{id: shift-10, uses: sim.shift, with: {candidate: 10}}, {id: watch-10, uses: sim.watch, with: {for: 1m}}"
    text = f"{TELLS}  - {{stage: canary, at: T-0, owner: qa-lead, steps: [{steps}]}}\n"
    here = sim()
    here.verdicts["watch-10"] = ["FAIL"]

    def slow(ctx: Any) -> None:
        end = time.monotonic() + 20
        while not service.texts("team-leads") and time.monotonic() < end:
            ctx.sleep(0.01)

    here.during["shift-0"] = slow
    timing = engine.Timing(**{**vars(TIMING), "page_s": 0.01})
    state = go_asking(here, text, ports={"pager": EnvironmentPager(environment())}, timing=timing)
    assert state.outcome == "rolled-back" and state.incidents == []
    assert len(service.texts("team-leads")) == 1 and "the run goes back" in service.texts("team-leads")[0]


def test_a_service_that_hangs_keeps_neither_the_way_back_nor_the_end_waiting(sim, monkeypatch, service):
    _routed(sim, monkeypatch, service, *ROUTES, escalation=LEVELS_WRITTEN)
    service.wait_s = 30
    here = sim()
    here.verdicts["look"] = ["FAIL"]
    monkeypatch.setenv("T_STAKEHOLDERS", "json://127.0.0.1:9/x")
    timing = engine.Timing(**{**vars(TIMING), "settle_s": 0.3})
    begun = time.monotonic()
    state = go_asking(here, TELLS, ports={"pager": EnvironmentPager(environment())}, timing=timing)
    assert state.outcome == "held" and time.monotonic() - begun < 15
    assert [entry["is"] for entry in engine.state(environment()).notices if entry["key"].endswith("level-1")] == ["sending"]


def test_a_message_that_no_service_answers_is_given_up_in_time(service):
    service.wait_s = 30
    begun = time.monotonic()
    assert post(service.address("x"), "t", "b", "info", longest_s=0.5) == "no answer within 0.5 s"
    assert time.monotonic() - begun < 10


def test_a_file_of_routes_that_cannot_be_read_stops_nothing_and_is_said_once(sim):
    (sim.inventory / "notify.yaml").write_text("routes: [{route: x}]")
    with pytest.raises(BadInput, match="exactly one of env, file and url"):
        routes_of(environment())
    state = go_asking(sim(), ASKS, env=_policy(approvals={"mode": "auto"}))
    assert state.outcome == "succeeded"
    here = sim(1)
    here.verdicts["look"] = ["FAIL"]
    pager = {"pager": EnvironmentPager(environment())}
    text = TELLS[: TELLS.index("      - id: told")] + TELLS[TELLS.index("      - {id: look") :]
    for _ in range(2):
        state = go_asking(here, text, ports=pager)
    assert state.outcome == "held"
    assert len([entry for entry in state.notices if entry["key"] == "escalation"]) == 1


def test_routes_reach_by_name_and_role_and_from_their_severity_on():
    listed = [{"route": "a", "url": "json://x", "roles": ["lead"]}, {"route": "b", "url": "json://y", "severity": "critical"}]
    routes = Routes.model_validate({"routes": listed})
    assert [route.route for route in routes.of(["lead", "a", "b"], "info")] == ["a"]
    assert [route.route for route in routes.of(["a", "b"], "critical")] == ["a", "b"]
    assert routes.unrouted(["lead", "nobody"]) == ["nobody"]
