"""``baseline.freeze``, ``gate.metrics``, ``gate.signoff``: nothing passes that was not measured, whole and by this very watch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from golive import actions
from golive.actions import _measure, baseline_freeze, gate_metrics, gate_signoff
from golive.actions._measure import frozen_baseline
from golive.actions.port import Found, StepContext, StepStopped
from golive.errors import BadInput, Held, Refused
from golive.gates.metrics import FakeMetrics, FakeRequests, Page
from golive.gates.samples import INCUMBENT
from golive.gates.verdict import Verdict
from golive.gates.window import NoData, Reason
from golive.runbook.clock import FakeClock
from tests.support import action_step
from tests.support.action_step import AGENTS, LOADS, NEW, OLD, TOKEN, Step, found, named

actions.load_all()
step = action_step.step
_SPAN_S = 100


@dataclass
class _Live(FakeRequests):
    """A load client that has counted what was due by now."""

    clock: FakeClock = field(default_factory=FakeClock)
    jumps: tuple[float, float] | None = None
    """Seconds after which the controller's clock is set, and by how many. The client's own is not."""

    def __post_init__(self) -> None:
        self._start, self._began = self.clock.now().timestamp(), self.clock.monotonic()

    def after(self, seq: int) -> Page | NoData:
        page = super().after(seq)
        if isinstance(page, NoData):
            return page
        passed = self.clock.monotonic() - self._began
        if self.jumps is not None and passed >= self.jumps[0]:
            self.clock.jump(self.jumps[1])
            self.jumps = None
        now = self._start + passed
        known = [row for row in page.samples if row[1] <= now]
        return Page(page.boot, int(known[-1][0]) if known else seq, known)

    def close(self) -> None:
        pass


class _Scraped(FakeMetrics):
    def close(self) -> None:
        pass


@dataclass
class Measured:
    """What the gates of a test measure."""

    start: float
    metrics: _Scraped
    clients: dict[str, _Live]

    def load(self, per_s: float, result: Callable[[float], str] = lambda t: "ok", *, release: str = NEW, until: float = _SPAN_S) -> None:
        """Each client asks ``release`` so often; ``result`` says how a request so many seconds after the start ended."""
        for client in self.clients.values():
            for at in np.arange(0, until, 1 / per_s):
                client.count(self.start + float(at), release, result=result(float(at)), latency_s=0.003 + 0.001 * (at % 0.7))
            client.samples.sort(key=lambda row: row[1])
            client.samples = [[seq, *row[1:]] for seq, row in enumerate(client.samples, 1)]


@pytest.fixture
def measured(step: Step, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """A world in which both releases are scraped well; nobody has asked anything yet."""
    start, began = step.clock.now().timestamp(), step.clock.monotonic()
    metrics = _Scraped(clock=lambda: start + step.clock.monotonic() - began)  # ops' own: nobody sets it
    at = [start + t for t in range(-20, _SPAN_S, 5)]
    for release in (NEW, OLD):
        for host in AGENTS:
            labels = {"job": "agent", "release": release, "host": host}
            metrics.put("up", [(t, 1.0) for t in at], **labels)
            metrics.put("dwcp_start_time_seconds", [(t, start - 500) for t in at], **labels)
            metrics.put("dwcp_corruption_total", [(t, 0.0) for t in at], **labels)
            metrics.put("dwcp_requests_total", [(t, 1000 + (t - start) * 9) for t in at], **labels)
            metrics.put("process_cpu_seconds_total", [(t, 100 + (t - start) * 0.1) for t in at], **labels)
            metrics.put("process_resident_memory_bytes", [(t, 8e7) for t in at], **labels)
    for name in LOADS:
        metrics.put("dwcp_load_offered_total", [(t, 1000 + (t - start) * 60) for t in at], job="load", host=name)
    world = Measured(start, metrics, {name: _Live(name, clock=step.clock) for name in LOADS})
    monkeypatch.setattr(_measure, "operator_tls", lambda pki: None)
    monkeypatch.setattr(_measure, "Prometheus", lambda address, tls, **_: metrics)
    monkeypatch.setattr(_measure, "LoadClient", lambda name, address, tls, **_: world.clients[name])
    return world


# -- baseline.freeze --------------------------------------------------------------------------------------------------------------


def _freeze(step: Step, **change: Any) -> Any:
    return named("baseline.freeze").apply(step.ctx({"for": timedelta(seconds=20)}, **change), {})


def test_a_baseline_is_the_incumbents_requests_and_can_be_read_again(step: Step, measured: Measured) -> None:
    measured.load(20, release=OLD)
    outcome = _freeze(step)
    assert outcome.verdict is Verdict.PASS, outcome.summary
    [fact] = step.noted("baseline")
    frozen = frozen_baseline(step.ctx())
    assert len(frozen) == fact["requests"] >= 780 and set(frozen.role.tolist()) == {INCUMBENT}
    assert float(frozen.time[-1]) <= measured.start + 21


def test_a_baseline_waits_as_long_as_the_pace_says_and_ends_when_asked(step: Step, measured: Measured) -> None:
    measured.load(20, release=OLD)
    before = step.clock.monotonic()
    _freeze(step)
    assert step.clock.monotonic() - before == pytest.approx(20, abs=0.5)
    ctx = step.ctx({"for": timedelta(seconds=20)})
    ctx.stop.request("an operator asked")
    with pytest.raises(StepStopped):
        named("baseline.freeze").apply(ctx, {})


def test_too_few_requests_are_no_baseline(step: Step, measured: Measured) -> None:
    measured.load(10, release=OLD)
    outcome = _freeze(step)
    assert outcome.verdict is Verdict.INCONCLUSIVE and "needs 500" in outcome.summary
    assert not step.noted("baseline")
    with pytest.raises(Held, match="frozen no baseline"):
        frozen_baseline(step.ctx())


@pytest.mark.parametrize("source", ["client", "prometheus"])
def test_a_baseline_with_a_gap_is_none(step: Step, measured: Measured, source: str) -> None:
    measured.load(40, release=OLD)
    gone = NoData("somewhere", Reason.TIMEOUT)
    if source == "client":
        measured.clients["nyc-2"].broken = gone
    else:
        measured.metrics.broken = gone
    outcome = _freeze(step)
    assert outcome.verdict is Verdict.ERROR and "timed out" in outcome.summary
    assert not step.noted("baseline")


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_baseline_that_is_not_the_journaled_one_is_refused(step: Step, measured: Measured, harm: str) -> None:
    measured.load(20, release=OLD)
    _freeze(step)
    path = step.workdir.parent / step.noted("baseline")[0]["file"]
    if harm == "changed":
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "origin": data["origin"] + 1}))
    else:
        path.unlink()
    with pytest.raises(Held, match="somebody changed it" if harm == "changed" else "cannot be read"):
        frozen_baseline(step.ctx())


def test_a_baseline_needs_an_incumbent(step: Step, measured: Measured) -> None:
    with pytest.raises(BadInput, match="no incumbent"):
        _freeze(step, incumbent=None)


# -- gate.metrics -----------------------------------------------------------------------------------------------------------------

_GATE = {"for": timedelta(seconds=30), "error_rate": "< 1 %", "restarts": 0}


def _watch(step: Step, **change: Any) -> StepContext:
    params = gate_metrics.GateSpec.model_validate({**_GATE, **change.pop("params", {})}).model_dump(by_alias=True)
    return step.ctx(params, step="watch-10", **change)


def _leased(step: Step, share: int = 10) -> None:
    step.serving(share=share)
    step.traffic().open(passed=0)


def test_a_candidate_that_keeps_its_limits_passes_and_becomes_what_guards_go_back_to(step: Step, measured: Measured) -> None:
    _leased(step)
    measured.load(20)
    outcome = named("gate.metrics").apply(_watch(step), {})
    assert outcome.verdict is Verdict.PASS, outcome.summary
    assert outcome.data["figures"]["candidate"]["requests"] >= 1100
    assert step.noted("traffic.passed") == [{"percent": 10, "gate": "watch-10"}]
    assert all(point.lease and point.lease["passed"] == 10 for point in step.points.values())
    [fact] = step.noted("gate")
    assert (fact["gate"], fact["verdict"], fact["attempt"], fact["token"]) == ("watch-10", "PASS", 0, TOKEN)
    looks = [data for kind, data in step.told if kind == "gate.look"]
    assert len(looks) >= 14 and looks[-1]["left_s"] == 0.0


def test_a_candidate_shown_to_err_fails_before_the_watch_is_over(step: Step, measured: Measured) -> None:
    _leased(step)
    measured.load(20, lambda t: "error" if t > 8 and t % 0.5 < 0.2 else "ok")
    before = step.clock.monotonic()
    outcome = named("gate.metrics").apply(_watch(step), {})
    assert outcome.verdict is Verdict.FAIL and "errors" in outcome.summary
    assert step.clock.monotonic() - before < 20
    assert step.noted("gate")[0]["verdict"] == "FAIL" and not step.noted("traffic.passed")
    assert all(point.lease and point.lease["passed"] == 0 for point in step.points.values())


def test_one_corrupt_object_fails_at_the_next_look(step: Step, measured: Measured) -> None:
    _leased(step)
    measured.load(20, lambda t: "corrupt" if t == 5 else "ok")
    before = step.clock.monotonic()
    assert named("gate.metrics").apply(_watch(step), {}).verdict is Verdict.FAIL
    assert step.clock.monotonic() - before < 8


@pytest.mark.parametrize("source", ["client", "prometheus", "candidate"])
def test_what_is_not_measured_is_an_error(step: Step, measured: Measured, source: str) -> None:
    _leased(step)
    measured.load(20, until=_SPAN_S if source != "candidate" else 10)
    if source == "client":
        measured.clients["ams-2"].broken = NoData("Load client on ams-2", Reason.UNREACHABLE)
    elif source == "prometheus":
        measured.metrics.broken = NoData("Prometheus", Reason.OLD)
    outcome = named("gate.metrics").apply(_watch(step), {})
    assert outcome.verdict is Verdict.ERROR and outcome.summary
    assert step.noted("gate")[0]["verdict"] == "ERROR" and not step.noted("traffic.passed")


def test_a_held_watch_goes_on_from_its_start_and_pays_for_having_decided(step: Step, measured: Measured) -> None:
    _leased(step)
    measured.load(5)
    gate = named("gate.metrics")
    first = gate.apply(_watch(step), {})
    assert first.verdict is Verdict.INCONCLUSIVE, first.summary
    assert not step.noted("traffic.passed")
    second = gate.apply(_watch(step, attempt=2), {})
    assert second.verdict is Verdict.PASS, second.summary
    one, two = step.noted("gate")
    assert (one["attempt"], two["attempt"]) == (0, 1) and one["start"] == two["start"] == measured.start
    assert two["confidence"] > one["confidence"]
    assert second.data["figures"]["candidate"]["requests"] >= 2 * first.data["figures"]["candidate"]["requests"] - 10


@pytest.mark.parametrize("by_s", [3600.0, -3600.0, 30.0, -30.0])
def test_a_clock_that_is_set_during_a_watch_changes_nothing_of_what_is_measured(step: Step, measured: Measured, by_s: float) -> None:
    _leased(step)
    measured.load(20)
    measured.clients["ams-2"].jumps = (7.0, by_s)
    outcome = named("gate.metrics").apply(_watch(step), {})
    assert outcome.verdict is Verdict.PASS, outcome.summary
    assert measured.clients["ams-2"].jumps is None and abs(step.clock.now().timestamp() - measured.start - by_s) < 60
    [gate] = step.noted("gate")
    assert gate["start"] == measured.start


@pytest.mark.parametrize("by_s", [3600.0, -3600.0, 30.0, -30.0])
def test_a_controller_whose_clock_is_wrong_measures_what_there_is(step: Step, measured: Measured, by_s: float) -> None:
    _leased(step)
    step.clock.jump(by_s)
    measured.load(20)
    outcome = named("gate.metrics").apply(_watch(step), {})
    assert outcome.verdict is Verdict.PASS, outcome.summary
    assert step.noted("gate")[0]["start"] == measured.start


def test_an_answer_that_took_long_makes_no_clock_that_is_behind(step: Step, measured: Measured) -> None:
    def late() -> float:
        step.clock.advance(2)
        told = step.clock.now().timestamp()
        step.clock.advance(2)
        return told

    _leased(step)
    measured.load(20)
    measured.metrics.clock = late
    named("gate.metrics").apply(_watch(step), {})
    [gate] = step.noted("gate")
    assert gate["start"] - gate["began"] == pytest.approx(step.clock.now().timestamp() - step.clock.monotonic(), rel=0, abs=0.01)


@pytest.mark.parametrize("by_s", [3600.0, -3600.0, 30.0, -30.0])
def test_a_bad_candidate_is_found_though_the_clock_is_set(step: Step, measured: Measured, by_s: float) -> None:
    _leased(step)
    measured.load(20, lambda t: "error" if t > 8 and t % 0.5 < 0.2 else "ok")
    measured.clients["ams-2"].jumps = (7.0, by_s)
    outcome = named("gate.metrics").apply(_watch(step), {})
    assert outcome.verdict is Verdict.FAIL and "errors" in outcome.summary


def test_a_held_watch_goes_on_over_a_clock_that_was_set_before_its_next_try(step: Step, measured: Measured) -> None:
    _leased(step)
    measured.load(5)
    gate = named("gate.metrics")
    assert gate.apply(_watch(step), {}).verdict is Verdict.INCONCLUSIVE
    step.clock.jump(3600.0)
    second = gate.apply(_watch(step, attempt=2), {})
    assert second.verdict is Verdict.PASS, second.summary
    assert [told["start"] for told in step.noted("gate")] == [measured.start] * 2


@pytest.mark.parametrize("what", ["baseline", "drill"])
def test_a_baseline_and_a_drill_are_measured_over_a_clock_that_is_set(step: Step, measured: Measured, what: str) -> None:
    measured.load(20, release=OLD if what == "baseline" else NEW)
    measured.clients["ams-2"].jumps = (5.0, -3600.0)
    outcome = _freeze(step) if what == "baseline" else _drill(step)
    assert outcome.verdict is Verdict.PASS, outcome.summary


@pytest.mark.parametrize("why", ["another process", "another gate", "an error between"])
def test_any_other_watch_starts_anew(step: Step, measured: Measured, why: str) -> None:
    _leased(step)
    measured.load(20)
    old = {"gate": "watch-10", "verdict": "INCONCLUSIVE", "start": measured.start - 60, "attempt": 0, "token": TOKEN}
    step.facts.append(("gate", {**old, **{"another process": {"token": TOKEN - 1}, "another gate": {"gate": "watch-50"}}.get(why, {})}))
    if why == "an error between":
        step.facts.append(("gate", {**old, "verdict": "ERROR"}))
    assert named("gate.metrics").apply(_watch(step), {}).verdict is Verdict.PASS
    last = step.noted("gate")[-1]
    assert (last["start"], last["attempt"]) == (measured.start, 0)


def test_gateways_that_disagree_let_nothing_pass(step: Step, measured: Measured) -> None:
    _leased(step)
    measured.load(20)
    step.points["nyc-1"].slot_b = 50
    with pytest.raises(Refused, match="do not agree"):
        named("gate.metrics").apply(_watch(step), {})
    assert not step.noted("traffic.passed") and not step.noted("gate")
    assert all(point.lease and point.lease["passed"] == 0 for point in step.points.values())


def test_a_gate_without_a_lease_to_move_does_not_pass(step: Step, measured: Measured) -> None:
    step.serving(share=10)
    measured.load(20)
    with pytest.raises(Refused, match="no open lease"):
        named("gate.metrics").apply(_watch(step), {})
    assert not step.noted("traffic.passed")


def test_a_gate_against_the_baseline_needs_the_frozen_one(step: Step, measured: Measured) -> None:
    _leased(step)
    with pytest.raises(Held, match="frozen no baseline"):
        named("gate.metrics").apply(_watch(step, params={"against": "baseline", "degradation": "< 20 %"}), {})


@pytest.mark.parametrize("answers", [True, False])
def test_without_users_the_watch_compares_with_what_the_incumbent_answers_on_the_control_lane(
    step: Step, measured: Measured, answers: bool
) -> None:
    _leased(step, share=100)
    measured.load(20)
    if answers:
        measured.load(2, release=OLD)
    outcome = named("gate.metrics").apply(_watch(step, params={"against": "incumbent", "degradation": "< 20 %"}), {})
    if answers:
        assert outcome.verdict is Verdict.PASS, outcome.summary
        assert outcome.data["figures"]["incumbent"]["requests"] >= 100
    else:
        assert outcome.verdict is Verdict.ERROR and "legal only while both serve" in outcome.summary


def test_what_the_incumbent_answers_is_known_as_its_own_in_a_watch_that_does_not_compare(step: Step, measured: Measured) -> None:
    _leased(step, share=100)
    measured.load(20)
    measured.load(2, lambda t: "error", release=OLD)
    outcome = named("gate.metrics").apply(_watch(step), {})
    assert outcome.verdict is Verdict.PASS, outcome.summary
    assert outcome.data["figures"]["incumbent"]["errors"] >= 100


def test_a_request_on_the_control_lane_that_nobody_answered_is_the_incumbents(step: Step, measured: Measured) -> None:
    _leased(step, share=100)
    measured.load(20)
    measured.load(2, lambda t: "timeout", release="control")
    outcome = named("gate.metrics").apply(_watch(step), {})
    assert outcome.verdict is Verdict.PASS, outcome.summary
    assert outcome.data["figures"]["nobody"]["requests"] == 0 and outcome.data["figures"]["incumbent"]["errors"] >= 100


def test_a_baseline_that_is_lost_keeps_no_watch_from_passing_that_does_not_need_it(step: Step, measured: Measured) -> None:
    measured.load(20, release=OLD, until=25)
    _freeze(step)
    (step.workdir.parent / step.noted("baseline")[0]["file"]).unlink()
    _leased(step)
    measured.load(20)
    assert named("gate.metrics").apply(_watch(step), {}).verdict is Verdict.PASS
    assert "cannot be read" in step.noted("baseline.lost")[0]["why"]


def test_a_watch_ends_as_soon_as_it_is_asked_to(step: Step, measured: Measured) -> None:
    ctx = _watch(step)
    ctx.stop.request("an operator asked")
    with pytest.raises(StepStopped):
        named("gate.metrics").apply(ctx, {})
    assert not step.noted("gate")


def test_watches_are_never_there_already(step: Step) -> None:
    for name in ("gate.metrics", "baseline.freeze", "gate.signoff"):
        assert set(found(named(name).probe(step.ctx())).values()) == {Found.ABSENT}
        assert named(name).undo(step.ctx()).verdict is Verdict.PASS


# -- gate.signoff -----------------------------------------------------------------------------------------------------------------


def _gate(name: str = "watch-100", verdict: str = "PASS", nobody: int = 0, **candidate: Any) -> tuple[str, dict[str, Any]]:
    figures = {
        "candidate": {"requests": 20_000, "errors": 0, "p50_s": 0.004, "p99_s": 0.03, **candidate},
        "incumbent": {"requests": 20_000, "errors": 3, "p50_s": 0.004, "p99_s": 0.9},
        "nobody": {"requests": nobody, "errors": nobody, "p50_s": None, "p99_s": None},
        "baseline": {"requests": 9_000_000, "errors": 0, "p50_s": 0.004, "p99_s": 0.03},
    }
    return "gate", {"gate": name, "verdict": verdict, "figures": figures}


def _signed(step: Step, monkeypatch: pytest.MonkeyPatch, alerts: object = (), **params: Any) -> Any:
    told = list(alerts) if not isinstance(alerts, NoData) else []  # type: ignore[call-overload]
    metrics = _Scraped(alerts=told, clock=lambda: step.clock.now().timestamp())
    metrics.broken = alerts if isinstance(alerts, NoData) else None
    monkeypatch.setattr(_measure, "operator_tls", lambda pki: None)
    monkeypatch.setattr(_measure, "Prometheus", lambda address, tls, **_: metrics)
    asked = gate_signoff.GateSignoff.Params.model_validate(params).model_dump()
    return named("gate.signoff").apply(step.ctx(asked), {})


def test_signoff_says_every_criterion_and_notes_it(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.facts += [_gate("watch-10"), _gate("watch-100")]
    outcome = _signed(step, monkeypatch)
    assert outcome.verdict is Verdict.PASS, outcome.summary
    names = [line["criterion"] for line in outcome.data["criteria"]]
    assert names == ["gates", "error rate", "worst p50", "worst p99", "availability", "incidents"]
    assert step.noted("signoff")[0] == {"criteria": outcome.data["criteria"], "verdict": "PASS"}
    assert "0 errors in 40000 requests" in outcome.summary


@pytest.mark.parametrize(
    ("gate", "alerts", "criterion"),
    [
        (_gate("watch-50", "INCONCLUSIVE"), (), "gates"),
        (_gate("watch-50", errors=60), (), "error rate"),
        (_gate("watch-50", p50_s=0.050), (), "worst p50"),
        (_gate("watch-50", p99_s=0.101), (), "worst p99"),
        (_gate("watch-50", nobody=100), (), "availability"),
        (_gate("watch-50"), ({"alertname": "DwcpAgentDown"},), "incidents"),
    ],
)
def test_signoff_fails_on_each_criterion(
    step: Step, monkeypatch: pytest.MonkeyPatch, gate: tuple[str, dict[str, Any]], alerts: object, criterion: str
) -> None:
    step.facts += [_gate("watch-10"), gate]
    outcome = _signed(step, monkeypatch, alerts)
    assert outcome.verdict is Verdict.FAIL
    assert [line["criterion"] for line in outcome.data["criteria"] if line["verdict"] != "PASS"] == [criterion]
    assert step.noted("signoff")[0]["verdict"] == "FAIL"


def test_signoff_holds_an_environment_to_its_own_looser_limits_and_says_both(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.env.policy["gates"]["looser"] = {"because": "a small machine", "latency_p99": "< 250 ms"}
    step.facts.append(_gate(p99_s=0.249))
    outcome = _signed(step, monkeypatch)
    assert outcome.verdict is Verdict.PASS
    assert "worst p99 249.0 ms (asked < 250 ms here, < 100 ms in production)" in outcome.summary
    step.facts.append(_gate(p99_s=0.251))
    assert _signed(step, monkeypatch).verdict is Verdict.FAIL


def test_signoff_needs_enough_requests_to_show_the_error_rate(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.facts.append(_gate(requests=500))
    outcome = _signed(step, monkeypatch)
    assert outcome.verdict is not Verdict.PASS and "error" in outcome.summary


def test_signoff_takes_what_a_gate_said_last(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.facts += [_gate(verdict="INCONCLUSIVE"), _gate(verdict="PASS")]
    assert _signed(step, monkeypatch).verdict is Verdict.PASS
    step.facts.append(_gate(verdict="ERROR"))
    assert _signed(step, monkeypatch).verdict is Verdict.FAIL


@pytest.mark.parametrize("what", ["no gate", "no request", "no latency", "no alerts"])
def test_signoff_errs_on_no_data(step: Step, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what != "no gate":
        step.facts.append(_gate(**{"no request": {"requests": 0, "p50_s": None}, "no latency": {"p50_s": None}}.get(what, {})))
    unknown = NoData("alerts", Reason.OLD)
    outcome = _signed(step, monkeypatch, unknown if what == "no alerts" else ())
    assert outcome.verdict is Verdict.ERROR and outcome.summary


@pytest.mark.parametrize("said", ["banana", "< 0.1 ms", "0.1 %"])
def test_a_limit_that_is_none_is_refused_when_the_runbook_is_read(said: str) -> None:
    with pytest.raises(ValidationError, match="error_rate is written like"):
        gate_signoff.GateSignoff.Params.model_validate({"error_rate": said})


def test_an_alert_about_the_incumbent_does_not_keep_the_candidate_from_sign_off(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.facts.append(_gate("watch-50"))
    assert _signed(step, monkeypatch, ({"alertname": "DwcpLatencyHigh", "release": OLD},)).verdict is Verdict.PASS
    assert _signed(step, monkeypatch, ({"alertname": "DwcpLatencyHigh", "release": NEW},)).verdict is Verdict.FAIL


def test_the_least_of_a_baseline_is_what_its_p99_needs() -> None:
    assert baseline_freeze._LEAST * 0.01 >= 5


def test_requests_of_another_release_are_no_baseline(step: Step, measured: Measured) -> None:
    """They are journaled as the incumbent's, so none of another release may be among them."""
    measured.load(20, release=OLD)
    measured.load(20, release=NEW)
    if _freeze(step).verdict is Verdict.PASS:
        assert len(frozen_baseline(step.ctx())) < 850


def test_a_baseline_that_a_client_forgot_a_part_of_is_none(step: Step, measured: Measured) -> None:
    measured.load(40, release=OLD)
    client = measured.clients["nyc-2"]
    client.samples = client.samples[200:]
    outcome = _freeze(step)
    assert outcome.verdict is not Verdict.PASS and not step.noted("baseline")


def test_a_client_that_restarted_leaves_no_baseline(step: Step, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    measured.load(40, release=OLD)
    client, real = measured.clients["nyc-2"], _Live.after

    def after(self: _Live, seq: int) -> Page | NoData:
        if self is client and self.boot == "boot-1" and step.clock.now().timestamp() > measured.start + 10:
            self.boot, self.samples = "boot-2", [[seq - 500, *row] for seq, *row in self.samples if seq > 500]
        return real(self, seq)

    monkeypatch.setattr(_Live, "after", after)
    outcome = _freeze(step)
    assert client.boot == "boot-2"
    assert outcome.verdict is not Verdict.PASS and not step.noted("baseline")


# -- rehearsal.watch --------------------------------------------------------------------------------------------------------------


def _drill(step: Step, **change: Any) -> Any:
    params = {"for": timedelta(seconds=10), "requests": 20, "failed_percent": 5.0, **change}
    return named("rehearsal.watch").apply(step.ctx(params, step="drill-users"), {})


def test_a_drill_is_with_users_on_the_candidate(step: Step, measured: Measured) -> None:
    measured.load(5)
    outcome = _drill(step)
    assert outcome.verdict is Verdict.PASS and outcome.data["requests"] >= 90 and outcome.data["failed"] == 0
    assert not step.noted("gate") and not step.noted("traffic.passed"), "it decides nothing about the release"


def test_a_drill_without_users_is_none(step: Step, measured: Measured) -> None:
    measured.load(20, release=OLD)
    assert _drill(step).verdict is Verdict.INCONCLUSIVE


def test_a_drill_that_hurts_users_fails(step: Step, measured: Measured) -> None:
    measured.load(5, lambda t: "error" if int(t) % 5 == 0 else "ok")
    outcome = _drill(step)
    assert outcome.verdict is Verdict.FAIL and "failed" in outcome.summary


def test_a_drill_of_which_a_client_tells_nothing_is_not_known(step: Step, measured: Measured) -> None:
    measured.load(5)
    measured.clients["nyc-2"].broken = NoData("somewhere", Reason.TIMEOUT)
    assert _drill(step).verdict is Verdict.ERROR
