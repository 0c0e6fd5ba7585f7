"""What a run hears from outside: fenced hosts, the beat, and the alerts that send it back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from golive.actions.port import Found
from golive.engine import Trigger
from golive.environment import Environment
from golive.errors import Unprepared
from golive.fleet.model import Fleet
from golive.traffic.heartbeat import Heartbeat
from golive.verbs import _ports
from golive.verbs._ports import AlertWatcher, BeatWatcher
from tests.support import action_step
from tests.support.action_step import AGENTS, NEW, OLD, OPS, RUN, TOKEN, Step, answer, fleet, found, use_fleet, web

step = action_step.step


def _until(condition: Callable[[], Any], seconds: float = 5) -> Any:
    """What ``condition`` says as soon as it says something; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        said = condition()
        if said:
            return said
        time.sleep(0.002)
    raise AssertionError(f"nothing within {seconds} s")


# -- fence ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["root", "deploy"])
def test_every_host_is_fenced_and_says_so(step: Step, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    use_fleet(step, monkeypatch, fleet(user=user))
    monkeypatch.setattr(_ports, "read_fleet", lambda env: step.fleet)
    assert found(_ports._fence(step.env, 9, RUN)) == dict.fromkeys((*AGENTS, OPS), Found.DONE)
    lead = () if user == "root" else ("sudo", "-n")
    assert {call.words for call in step.hosts.calls} == {(*lead, "dwcp-host", "fence", "--token", "9", "--run", RUN)}


def test_bare_hosts_need_no_fence_and_silent_or_refusing_ones_are_unknown(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ports, "read_fleet", lambda env: step.fleet)
    step.hosts.silent.add("ams-1")
    said = {
        "ams-2": answer(rc=127, stderr="sh: 1: dwcp-host: not found"),
        "nyc-1": answer(rc=1, stderr="sudo: dwcp-host: command not found"),
        "nyc-2": answer(rc=4, stderr="first\nthe token 9 is older than 11"),
        OPS: answer(rc=1),
    }
    step.hosts.special = lambda call: said.get(call.host)
    fenced = _ports._fence(step.env, 9, RUN)
    wanted = {"ams-1": Found.UNKNOWN, "ams-2": Found.DONE, "nyc-1": Found.DONE, "nyc-2": Found.UNKNOWN, OPS: Found.UNKNOWN}
    assert found(fenced) == wanted
    assert fenced["nyc-2"].reason == "the token 9 is older than 11" and "no answer" in fenced["ams-1"].reason
    assert fenced[OPS].reason == "dwcp-host fence ended with 1"


def test_there_is_nothing_to_fence_before_there_are_hosts(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_fleet(env: Environment) -> Fleet:
        raise Unprepared("no fleet yet")

    monkeypatch.setattr(_ports, "read_fleet", read_fleet)
    assert _ports._fence(step.env, 9, RUN) == {}


def test_a_run_gets_both_watchers_and_all_actions(step: Step) -> None:
    ports = _ports.ports_of(step.env)
    assert [watcher.name for watcher in ports.watchers] == ["guard", "alert"] and "traffic.shift" in ports.actions


# -- the beat ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def beater(step: Step, monkeypatch: pytest.MonkeyPatch) -> Iterator[BeatWatcher]:
    """A watcher of a run that serves; it beats fast."""
    step.serving(share=10)
    monkeypatch.setattr(_ports, "Heartbeat", lambda beat, **_: Heartbeat(beat, interval_s=0.005))
    watcher = BeatWatcher()
    watcher.start(step.ctx())
    yield watcher
    watcher.stop()


def _leased(step: Step) -> None:
    step.traffic().open(passed=0)
    step.facts.append(("traffic.leased", {"ttl_s": 10, "passed": 0}))


def test_nothing_beats_before_a_lease_is_open(beater: BeatWatcher, step: Step) -> None:
    before = threading.active_count()
    for _ in range(5):
        assert beater.poll() is None
    assert threading.active_count() == before and beater._heart is None
    _leased(step)
    assert beater.poll() is None and beater._heart is not None


def test_a_run_whose_gateways_take_beats_goes_on(beater: BeatWatcher, step: Step) -> None:
    _leased(step)
    beater.poll()
    assert beater._heart is not None
    heart = beater._heart
    _until(lambda: set(heart.pulse().missed_s) == set(step.points))
    assert beater.poll() is None


def test_a_guard_that_acted_sends_the_run_back(beater: BeatWatcher, step: Step) -> None:
    _leased(step)
    assert beater.poll() is None
    step.points["nyc-1"].guard_takes(0, why="DwcpCorruption fires")
    trigger = _until(beater.poll)
    assert trigger.source == "guard" and "nyc-1" in trigger.reason and "DwcpCorruption fires" in trigger.reason


def test_a_refused_beat_sends_the_run_back(beater: BeatWatcher, step: Step) -> None:
    _leased(step)
    step.points["ams-1"].lease = {"run": "run-2", "token": TOKEN + 1, "candidate_slot": "b"}
    trigger = _until(beater.poll)
    assert "ams-1 refused the beat" in trigger.reason


def test_a_silent_gateway_sends_the_run_back_only_after_the_lease_ran_out(
    beater: BeatWatcher, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leased(step)
    step.points["ams-1"].silent = True
    beater.poll()
    assert beater._heart is not None
    heart = beater._heart
    _until(lambda: "ams-1" in heart.pulse().failed)
    assert beater.poll() is None
    monkeypatch.setattr(_ports, "TTL_S", 0.01)
    assert "ams-1 has taken no beat" in _until(beater.poll).reason


def test_a_stopped_watcher_beats_no_more_and_can_start_again(beater: BeatWatcher, step: Step) -> None:
    _leased(step)
    beater.poll()
    beater.stop()
    assert beater.poll() is None and not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]
    beater.start(step.ctx(token=TOKEN + 1))
    assert beater.poll() is None and beater._heart is not None


# -- the alerts -------------------------------------------------------------------------------------------------------------------


def _alert(name: str, release: str | None = NEW, state: str = "firing", **labels: str) -> dict[str, Any]:
    about = {} if release is None else {"release": release}
    return {"state": state, "labels": {"alertname": name, **about, **labels}, "annotations": {"summary": "it hurts"}}


@contextmanager
def _watching(step: Step, monkeypatch: pytest.MonkeyPatch, *answers: object) -> Iterator[tuple[AlertWatcher, list[httpx.Request]]]:
    """A fast watcher that hears ``answers`` one after the other, the last one for ever."""
    rest = list(answers)

    def handler(request: httpx.Request) -> httpx.Response:
        said = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(said, Exception):
            raise said
        if isinstance(said, httpx.Response):
            return httpx.Response(said.status_code, content=said.content)
        return httpx.Response(200, json={"status": "success", "data": {"alerts": said}})

    seen = web(monkeypatch, _ports, handler)
    monkeypatch.setattr(AlertWatcher, "every_s", 0.002)
    watcher = AlertWatcher()
    watcher.start(step.ctx())
    try:
        yield watcher, seen
    finally:
        watcher.stop()


@pytest.mark.parametrize("name", ["DwcpErrorRateHigh", "DwcpCorruption", "DwcpAgentDown"])
def test_an_alert_about_the_candidate_sends_the_run_back(step: Step, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with _watching(step, monkeypatch, [], [_alert("DwcpErrorRateHigh", OLD, "pending"), _alert(name, host="ams-2")]) as (watcher, seen):
        trigger: Trigger = _until(watcher.poll)
    assert (trigger.source, trigger.reason) == ("alert", f"{name} on ams-2: it hurts")
    assert trigger.data["release"] == NEW and trigger.data["category"] in ("breach", "corruption", "outage")
    assert str(seen[0].url) == "https://10.9.1.10:9090/api/v1/alerts"


def test_corruption_sends_back_even_when_the_incumbent_corrupts_too(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    with _watching(step, monkeypatch, [_alert("DwcpCorruption", OLD), _alert("DwcpCorruption")]) as (watcher, _):
        assert "DwcpCorruption" in _until(watcher.poll).reason


def test_another_trouble_of_the_incumbent_does_not_hide_the_candidates(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    with _watching(step, monkeypatch, [_alert("DwcpAgentDown", OLD), _alert("DwcpErrorRateHigh")]) as (watcher, _):
        assert "DwcpErrorRateHigh" in _until(watcher.poll).reason


@pytest.mark.parametrize(
    "said",
    [
        [_alert("DwcpLatencyHigh"), _alert("DwcpMetricsAbsent")],
        [_alert("DwcpErrorRateHigh", OLD), _alert("DwcpCorruption", "1.2.3-eeeeeeeeeeee"), _alert("DwcpAgentDown", None)],
        [_alert("DwcpErrorRateHigh"), _alert("DwcpErrorRateHigh", OLD)],
        [_alert("DwcpErrorRateHigh", state="pending")],
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("timed out"),
        httpx.Response(503, text="starting"),
        httpx.Response(200, text='{"status": "error"}'),
        httpx.Response(200, text='{"data": null}'),
    ],
    ids=["not its to judge", "of another", "of both", "pending", "refused", "timed out", "starting", "error", "null"],
)
def test_nothing_else_sends_the_run_back_and_the_watch_goes_on(step: Step, monkeypatch: pytest.MonkeyPatch, said: object) -> None:
    step.facts.append(("traffic.set", {"gateway": "nyc-1", "weights": {OLD: 90, NEW: 10}}))
    with _watching(step, monkeypatch, said) as (watcher, seen):
        _until(lambda: len(seen) >= 4)
        assert watcher.poll() is None
    with _watching(step, monkeypatch, said, said, [_alert("DwcpAgentDown")]) as (watcher, _):
        assert _until(watcher.poll)


def test_an_incumbent_without_users_hides_nothing_of_the_candidates(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.facts.append(("traffic.set", {"gateway": "nyc-1", "weights": {OLD: 90, NEW: 10}}))
    step.facts.append(("traffic.set", {"gateway": "nyc-1", "weights": {OLD: 0, NEW: 100}}))
    with _watching(step, monkeypatch, [_alert("DwcpErrorRateHigh"), _alert("DwcpErrorRateHigh", OLD)]) as (watcher, _):
        assert "DwcpErrorRateHigh" in _until(watcher.poll).reason


def test_a_watcher_that_can_ask_no_more_says_so(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    with _watching(step, monkeypatch, RuntimeError("the certificate is gone")) as (watcher, _):
        assert "can no longer be watched: RuntimeError: the certificate is gone" in _until(watcher.poll).reason


def test_a_stopped_watcher_asks_no_more(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    with _watching(step, monkeypatch, []) as (watcher, seen):
        _until(lambda: seen)
    assert not [thread for thread in threading.enumerate() if thread.name == "alerts"]
    assert watcher.poll() is None


@pytest.mark.parametrize("said", [[{"state": "firing"}], ["nonsense"], None], ids=["no labels", "no object", "no list"])
def test_an_answer_without_sense_does_not_end_the_watch(step: Step, monkeypatch: pytest.MonkeyPatch, said: object) -> None:
    nonsense = httpx.Response(200, json={"status": "success", "data": {"alerts": said}})
    with _watching(step, monkeypatch, nonsense, [_alert("DwcpAgentDown")]) as (watcher, _):
        assert _until(watcher.poll, 1)
