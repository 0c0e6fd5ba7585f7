"""The judge: what passes, what fails, and everything that is neither."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from golive.gates.judge import Judge
from golive.gates.lines import worst
from golive.gates.samples import CANDIDATE, INCUMBENT, NOBODY, OTHER, Samples
from golive.gates.spec import GatePolicy, Looser, parse_spec
from golive.gates.verdict import Verdict
from golive.gates.window import Agent, Alert, Client, NoData, Reason, Series, Window

_LOOSER = GatePolicy(looser=Looser.model_validate({"because": "too little traffic to show it", "error_rate": "< 1 %"}))
_CANARY = {"for": "30s", "error_rate": "< 0.1 %", "latency_p99": "< 100 ms", "against": "incumbent", "degradation": "< 20 %", "restarts": 0}
_CLIENTS = ("ams", "nyc", "sgp")
_ORIGIN = 1_000_000.0


def _samples(seed: int = 1, seconds: float = 30.0, per_s: float = 180.0, share: float = 0.1, slower: float = 1.0) -> Samples:
    rng = np.random.default_rng(seed)
    count = int(seconds * per_s)
    mine = rng.random(count) < share
    op = rng.choice(3, count, p=[0.7, 0.25, 0.05])
    latency = np.array([0.003, 0.005, 0.015])[op] * np.exp(rng.normal(0, 0.4, count)) * np.where(mine, slower, 1.0)
    return Samples(
        time=_ORIGIN + np.linspace(0.01, seconds - 0.01, count),
        latency=latency,
        role=np.where(mine, CANDIDATE, INCUMBENT).astype(np.int8),
        result=np.zeros(count, np.int8),
        op=op.astype(np.int16),
        client=rng.integers(0, 3, count).astype(np.int16),
        ops=("get", "put", "transfer"),
        clients=_CLIENTS,
    )


def _window(samples: Samples | None = None, seconds: float = 30.0, **changes: Any) -> Window:
    scraped = np.arange(_ORIGIN, _ORIGIN + seconds + 0.1, 5.0)
    counted = Series(scraped, (scraped - _ORIGIN) * 60)
    return replace(
        Window(
            start=_ORIGIN,
            end=_ORIGIN + seconds,
            samples=_samples(seconds=seconds) if samples is None else samples,
            clients=tuple(Client(name, counted, boots=("b",), read_at=_ORIGIN + seconds) for name in _CLIENTS),
            agents=tuple(
                Agent(
                    f"host-{n}",
                    seen=float(scraped[-1]),
                    requests=counted,
                    cpu=Series(scraped, np.full(len(scraped), 0.3) + scraped % 3 / 100),
                    memory=Series(scraped, np.full(len(scraped), 8e7)),
                )
                for n in range(6)
            ),
        ),
        **changes,
    )


def _failing(samples: Samples, role: int, count: int, result: int = 1) -> Samples:
    """``count`` of the role's requests end with ``result``, evenly over the watch."""
    at = np.flatnonzero(samples.role == role)
    chosen = at[np.linspace(0, len(at) - 1, count).astype(int)]
    changed = samples.result.copy()
    changed[chosen] = result
    return replace(samples, result=changed)


def _judge(policy: GatePolicy = _LOOSER, **changes: Any) -> Judge:
    return Judge(parse_spec(_CANARY | changes), policy)


def _line(said: Any, metric: str) -> Any:
    return next(line for line in said.lines if line.metric == metric)


def test_an_identical_candidate_passes_and_says_with_what_numbers() -> None:
    decision = _judge().decide(_window())
    assert decision.verdict is Verdict.PASS, decision.summary
    errors = _line(decision, "error_rate")
    assert errors.n > 450 and errors.estimate == 0 and 0 < errors.bound < 0.01
    assert errors.stated == "< 1 % here, < 0.1 % in production"
    assert "production's needs some" in errors.note
    assert _line(decision, "latency").bound < 1.2
    assert _line(decision, "latency_p99").verdict is Verdict.PASS


def test_a_machine_that_got_slower_since_the_baseline_is_printed_and_not_blamed_on_the_candidate() -> None:
    before = replace(_samples(seed=2, share=0.0), latency=_samples(seed=2, share=0.0).latency / 1.5)
    decision = _judge().decide(_window(baseline=before))
    assert decision.verdict is Verdict.PASS, decision.summary
    line = _line(decision, "latency since baseline")
    assert line.estimate == pytest.approx(1.5, rel=0.1) and not line.decides and "may have changed" in line.note
    assert "latency since baseline" not in [line.metric for line in _judge().decide(_window()).lines]


def test_without_users_the_incumbent_is_compared_by_what_it_answers_on_the_control_lane() -> None:
    assert _judge().decide(_window(_samples(share=0.9))).verdict is Verdict.PASS
    slow = _judge().decide(_window(_samples(share=0.9, slower=1.4)))
    assert slow.verdict is Verdict.FAIL and slow.trigger in ("latency", "latency (early)")


def test_errors_that_begin_at_full_traffic_fail_the_candidate_early_by_the_baseline() -> None:
    """Of ten failures none is the incumbent's, which has a tenth of the requests: that alone says little."""
    samples = _failing(_samples(share=10 / 11, per_s=198.0), CANDIDATE, 60)
    said = _judge().look(_window(samples, baseline=_samples(seed=2, share=0.0)))
    assert said.verdict is Verdict.FAIL and said.trigger == "errors (early)"
    assert "or than the baseline" in _line(said, "errors (early)").stated
    sick = replace(_failing(_samples(seed=2, share=0.0), INCUMBENT, 120), role=np.full(5400, INCUMBENT, np.int8))
    assert _line(_judge().look(_window(samples, baseline=sick)), "errors (early)").verdict is Verdict.INCONCLUSIVE


def test_while_both_have_users_the_baseline_blames_no_candidate_for_a_sick_site() -> None:
    samples = _failing(_failing(_samples(share=0.5), CANDIDATE, 15), INCUMBENT, 15)
    line = _line(_judge().look(_window(samples, baseline=_samples(seed=2, share=0.0))), "errors (early)")
    assert line.verdict is Verdict.INCONCLUSIVE and line.stated.endswith("and more than the incumbent")


def test_against_a_baseline_a_stray_answer_of_the_incumbent_switches_no_test_off() -> None:
    samples = _failing(_samples(share=0.9999), CANDIDATE, 60)
    said = _judge(against="baseline").look(_window(samples, baseline=_samples(seed=2, share=0.0)))
    assert said.verdict is Verdict.FAIL and said.trigger == "errors (early)"


def test_the_incumbent_has_to_answer_at_every_site() -> None:
    samples = _samples()
    one = samples.where((samples.client != 2) | (samples.role == CANDIDATE))
    decision = _judge().decide(_window(one))
    assert decision.verdict is Verdict.ERROR
    assert any("the incumbent as seen by sgp" in problem for problem in decision.problems), decision.problems


def test_a_tail_is_held_against_the_candidate_only_where_both_have_like_traffic() -> None:
    def tailed(share: float) -> Samples:
        samples = _samples(share=share, seconds=120.0)
        tail = (samples.role == CANDIDATE) & (np.arange(len(samples)) % 25 == 0)
        return replace(samples, latency=np.where(tail, 0.09, samples.latency))

    assert _line(_judge().decide(_window(tailed(0.5), seconds=120.0)), "latency_p99 ratio").verdict is Verdict.FAIL
    line = _line(_judge().decide(_window(tailed(0.9), seconds=120.0)), "latency_p99 ratio")
    assert line.verdict is not Verdict.FAIL and not line.decides


def test_a_look_never_passes() -> None:
    assert _judge().look(_window()).verdict is Verdict.INCONCLUSIVE


def test_production_cannot_pass_on_a_labs_traffic_and_says_how_much_it_needs() -> None:
    decision = _judge(GatePolicy()).decide(_window())
    assert decision.verdict is Verdict.INCONCLUSIVE
    line = _line(decision, "error_rate")
    assert line.verdict is Verdict.INCONCLUSIVE and 15_000 < line.needed < 30_000
    assert "needs some" in decision.summary


def test_errors_of_the_candidate_fail_it_early_and_the_incumbents_do_not() -> None:
    judge = _judge()
    bad = judge.look(_window(_failing(_samples(), CANDIDATE, 11)))
    assert bad.verdict is Verdict.FAIL and bad.trigger == "errors (early)"
    assert judge.look(_window(_failing(_samples(), INCUMBENT, 97))).verdict is Verdict.INCONCLUSIVE


def test_errors_above_the_trigger_fail_it_even_when_the_incumbent_errs_as_much() -> None:
    both = _failing(_failing(_samples(), CANDIDATE, 60), INCUMBENT, 540)
    look = _judge().look(_window(both))
    assert look.verdict is Verdict.FAIL and look.trigger == "errors (trigger)"


def test_one_error_is_neither_failed_nor_overlooked() -> None:
    window = _window(_failing(_samples(), CANDIDATE, 1))
    assert _judge().look(window).verdict is Verdict.INCONCLUSIVE
    assert _line(_judge().decide(window), "error_rate").estimate == pytest.approx(1 / 540, rel=0.2)


def test_two_errors_are_inconclusive_and_a_longer_watch_resolves_them() -> None:
    short = _judge().decide(_window(_failing(_samples(), CANDIDATE, 2)))
    assert short.verdict is Verdict.INCONCLUSIVE
    longer = _failing(_samples(seconds=60), CANDIDATE, 2)
    assert _judge().decide(_window(longer, 60.0), attempt=1).verdict is Verdict.PASS


def test_a_second_decision_asks_for_more_than_the_first() -> None:
    window = _window()
    first, second = _judge().decide(window, 0), _judge().decide(window, 1)
    assert second.confidence > first.confidence
    assert _line(second, "error_rate").bound > _line(first, "error_rate").bound


@pytest.mark.parametrize("slower", [1.25, 1.4])
def test_a_slower_candidate_does_not_pass(slower: float) -> None:
    decision = _judge().decide(_window(_samples(slower=slower)))
    assert decision.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)
    assert _line(decision, "latency").estimate == pytest.approx(slower, rel=0.08)


def test_a_much_slower_candidate_fails_by_name() -> None:
    decision = _judge().decide(_window(_samples(slower=1.6)))
    assert decision.verdict is Verdict.FAIL and decision.trigger in ("latency (early)", "latency")


def test_requests_above_the_edge_fail_early_only_when_the_incumbent_is_faster() -> None:
    slow = _samples()
    mine = np.where(slow.role == CANDIDATE, 0.15, slow.latency)
    assert _judge().look(_window(replace(slow, latency=mine))).verdict is Verdict.FAIL
    assert _judge().look(_window(replace(slow, latency=np.full(len(slow), 0.15)))).verdict is Verdict.INCONCLUSIVE


def test_any_corruption_fails_at_once_whoever_saw_it() -> None:
    seen_by_client = _judge().look(_window(_failing(_samples(), CANDIDATE, 1, result=4)))
    assert seen_by_client.verdict is Verdict.FAIL and seen_by_client.trigger == "corruption"
    agents = tuple(replace(agent, corruption=1.0) if agent.host == "host-3" else agent for agent in _window().agents)
    assert _judge().look(_window(agents=agents)).trigger == "corruption"
    assert _judge().look(_window(_failing(_samples(), INCUMBENT, 1, result=4))).verdict is Verdict.INCONCLUSIVE


def test_a_restart_fails_and_is_named_with_its_host() -> None:
    agents = tuple(replace(agent, restarts=1) if agent.host == "host-2" else agent for agent in _window().agents)
    look = _judge().look(_window(agents=agents))
    assert look.verdict is Verdict.FAIL and look.trigger == "restarts" and "host-2" in look.summary


@pytest.mark.parametrize(
    ("alert", "look", "decision"),
    [
        (Alert("DwcpAgentDown", "candidate"), Verdict.FAIL, Verdict.FAIL),
        (Alert("DwcpCorruption", "environment"), Verdict.FAIL, Verdict.FAIL),
        (Alert("DwcpAgentDown", "incumbent"), Verdict.INCONCLUSIVE, Verdict.PASS),
        (Alert("DwcpMetricsAbsent", "candidate"), Verdict.ERROR, Verdict.ERROR),
        (Alert("DwcpErrorRateHigh", "candidate"), Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
    ],
)
def test_alerts_decide_as_declared(alert: Alert, look: Verdict, decision: Verdict) -> None:
    window = _window(alerts=(alert,))
    assert _judge().look(window).verdict is look
    assert _judge().decide(window).verdict is decision


def test_requests_that_nobody_answered_count_against_passing_and_fail_when_many() -> None:
    samples = _samples()
    few = replace(samples, role=np.where(np.arange(len(samples)) % 1000 == 0, NOBODY, samples.role).astype(np.int8))
    line = _line(_judge().decide(_window(_failing(few, NOBODY, 6))), "error_rate")
    assert line.verdict is Verdict.INCONCLUSIVE and "no release answered" in line.note
    many = replace(samples, role=np.where(np.arange(len(samples)) % 10 == 0, NOBODY, samples.role).astype(np.int8))
    assert _judge().look(_window(many)).trigger == "unanswered"
    counted = _judge(disruptions=0).look(_window(few))
    assert counted.verdict is Verdict.FAIL and counted.trigger == "disruptions"


_BREAKS: dict[str, tuple[dict[str, Any], str]] = {
    "Prometheus gone": ({"problems": (NoData("Prometheus", Reason.UNREACHABLE),)}, "unreachable"),
    "no load client": ({"clients": ()}, "No load client"),
    "no agent scraped": ({"agents": ()}, "No agent"),
    "a stranger serves": ({"samples": replace(_samples(), role=np.full(5400, OTHER, np.int8))}, "no role"),
}


@pytest.mark.parametrize("name", sorted(_BREAKS))
def test_what_cannot_be_measured_is_an_error_in_look_and_decision(name: str) -> None:
    changes, told = _BREAKS[name]
    window = _window(**changes)
    for said in (_judge().look(window), _judge().decide(window)):
        assert said.verdict is Verdict.ERROR, name
        assert any(told in problem for problem in said.problems)
        assert said.trigger == "no data"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"boots": ("a", "b")}, "restarted"),
        ({"lost": 3}, "dropped 3"),
        ({"offered": Series()}, "absent"),
        ({"offered": Series(np.array([_ORIGIN]), np.array([5.0]))}, "s old"),
        ({"offered": Series(_ORIGIN + np.arange(0, 31, 5.0), np.full(7, 900.0))}, "offers no requests"),
        ({"problem": NoData("Load client on nyc", Reason.TIMEOUT), "read_at": _ORIGIN + 5}, "timed out"),
        ({"problem": NoData("Load client on nyc", Reason.TIMEOUT), "read_at": None}, "timed out"),
    ],
)
def test_a_load_client_that_cannot_be_trusted_is_an_error(change: dict[str, Any], told: str) -> None:
    window = _window()
    broken = replace(window, clients=tuple(replace(c, **change) if c.name == "nyc" else c for c in window.clients))
    decision = _judge().decide(broken)
    assert decision.verdict is Verdict.ERROR and any(told in problem for problem in decision.problems)


def test_one_missed_read_is_not_yet_an_error() -> None:
    window = _window()
    late = tuple(replace(c, problem=NoData(c.name, Reason.TIMEOUT), read_at=window.end - 4) for c in window.clients)
    assert _judge().decide(replace(window, clients=late)).verdict is Verdict.PASS


def test_frozen_counters_of_the_candidate_are_an_error() -> None:
    window = _window()
    stuck = Series(window.agents[0].requests.time, np.full(7, 42.0))
    for requests in (stuck, Series()):
        frozen = tuple(replace(agent, requests=requests) for agent in window.agents)
        decision = _judge().decide(replace(window, agents=frozen))
        assert decision.verdict is Verdict.ERROR and any("frozen" in problem for problem in decision.problems)


def test_old_or_missing_metrics_of_one_agent_are_an_error() -> None:
    window = _window()
    for change, told in (
        ({"seen": None}, "no metrics of its own"),
        ({"seen": _ORIGIN + 3}, "s old"),
        ({"down": True}, "answers no scrape"),
    ):
        agents = tuple(replace(agent, **change) if agent.host == "host-5" else agent for agent in window.agents)
        decision = _judge().decide(replace(window, agents=agents))
        assert decision.verdict is Verdict.ERROR and any(told in problem and "host-5" in problem for problem in decision.problems)


def test_comparing_with_an_incumbent_that_serves_nothing_is_an_error() -> None:
    alone = _samples(share=1.0)
    decision = _judge().decide(_window(alone))
    assert decision.verdict is Verdict.ERROR and any("legal only while both serve" in problem for problem in decision.problems)


def test_a_candidate_that_fell_silent_is_an_error() -> None:
    samples = _samples()
    silent = samples.where((samples.role == INCUMBENT) | (samples.time < _ORIGIN + 15))
    decision = _judge().decide(_window(silent))
    assert decision.verdict is Verdict.ERROR and any("the candidate in the last 15 s" in problem for problem in decision.problems)


def test_corruption_outweighs_missing_data() -> None:
    window = _window(_failing(_samples(), CANDIDATE, 1, result=4), problems=(NoData("alerts", Reason.TIMEOUT),))
    assert _judge().look(window).verdict is Verdict.FAIL


_FULL = {"against": "baseline", "cpu": "< 70 %", "memory": "< 2 GB"}


def test_at_full_traffic_the_candidate_is_compared_with_the_frozen_baseline() -> None:
    baseline = replace(_samples(3, share=0.0), time=_samples(3).time - 300)
    frozen = Samples.from_json(json.loads(json.dumps(baseline.to_json())))
    good = _judge(**_FULL).decide(_window(_samples(4, share=1.0), baseline=frozen))
    assert good.verdict is Verdict.PASS, good.summary
    slow = _judge(**_FULL).decide(_window(_samples(4, share=1.0, slower=1.5), baseline=frozen))
    assert slow.verdict is Verdict.FAIL
    missing = _judge(**_FULL).decide(_window(_samples(4, share=1.0)))
    assert missing.verdict is Verdict.ERROR and any("baseline" in problem for problem in missing.problems)


@pytest.mark.parametrize(
    ("values", "metric", "verdict"),
    [
        (np.full(7, 8e7) + np.arange(7) * 3e6, "memory growth", Verdict.FAIL),
        (np.full(7, 3e9), "memory", Verdict.FAIL),
        (np.array([8e7]), "memory", Verdict.INCONCLUSIVE),
    ],
)
def test_memory_that_is_too_much_or_grows_or_was_hardly_seen_does_not_pass(values: np.ndarray, metric: str, verdict: Verdict) -> None:
    window = _window(_samples(4, share=1.0), baseline=_samples(3, share=0.0))
    series = Series(_ORIGIN + np.linspace(0, 30, len(values)), values)
    agents = tuple(replace(agent, memory=series) if agent.host == "host-1" else agent for agent in window.agents)
    decision = _judge(**_FULL, memory_growth="< 1 %").decide(replace(window, agents=agents))
    line = _line(decision, metric)
    assert decision.verdict is not Verdict.PASS and "host-1" in line.note
    assert line.verdict is verdict or (metric == "memory growth" and line.verdict is Verdict.INCONCLUSIVE)


def test_a_busy_host_fails_on_cpu() -> None:
    window = _window(_samples(4, share=1.0), baseline=_samples(3, share=0.0))
    busy = Series(_ORIGIN + np.arange(0, 31, 5.0), np.array([0.95, 0.96, 0.94, 0.95, 0.96, 0.95, 0.94]))
    agents = tuple(replace(agent, cpu=busy) if agent.host == "host-4" else agent for agent in window.agents)
    decision = _judge(**_FULL).decide(replace(window, agents=agents))
    assert decision.verdict is Verdict.FAIL and decision.trigger == "cpu" and "host-4" in decision.summary


def test_a_histogram_without_the_very_edge_is_an_error() -> None:
    histogram = {0.05: 500.0, 0.25: 540.0, float("inf"): 540.0}
    judge = _judge(latency_from="histogram")
    assert judge.decide(_window(histogram=histogram)).verdict is Verdict.ERROR
    assert judge.decide(_window(histogram={**histogram, 0.1: 540.0})).verdict is Verdict.PASS


def test_decisions_and_looks_are_json_without_infinities() -> None:
    for said in (_judge().decide(_window()), _judge().look(_window(Samples(clients=_CLIENTS), 2.0)), _judge().decide(_window(clients=()))):
        read = json.loads(json.dumps(said.to_json(), allow_nan=False))
        assert read["schema"] == 1 and read["verdict"] == said.verdict.value
        assert all(line["text"] for line in read["lines"])


def test_a_watch_that_has_just_begun_is_looked_at_without_complaint() -> None:
    empty = _window(Samples(clients=_CLIENTS), 1.0)
    assert _judge().look(empty).verdict is Verdict.INCONCLUSIVE
    assert _judge().decide(empty).verdict is not Verdict.PASS


def test_nothing_at_all_is_an_error() -> None:
    assert worst([]) is Verdict.ERROR
