"""What a runbook's gate may say, and what it is told when it says something else."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from golive import environment
from golive.environment import ROOT
from golive.errors import BadInput
from golive.fleet.variables import variables
from golive.gates.spec import GatePolicy, parse_policy, parse_spec

_CANARY = {"for": "10m", "error_rate": "< 0.1 %", "latency_p99": "< 100 ms", "against": "incumbent", "degradation": "< 20 %", "restarts": 0}


def test_a_canary_gate_is_read_in_base_units() -> None:
    spec = parse_spec(_CANARY)
    assert spec.for_ == timedelta(minutes=10)
    assert spec.error_rate is not None and spec.error_rate.value == pytest.approx(0.001) and spec.error_rate.text == "< 0.1 %"
    assert spec.latency_p99 is not None and spec.latency_p99.value == pytest.approx(0.1)
    assert spec.degradation is not None and spec.degradation.value == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"error_rate": "< 0.1"}, "error_rate is written like"),
        ({"error_rate": "0.1 %"}, "error_rate is written like"),
        ({"error_rate": "> 0.1 %"}, "error_rate is written like"),
        ({"error_rate": "< 0 %"}, "can never be met"),
        ({"error_rate": "< 100 %"}, "refuses nothing"),
        ({"error_rate": 0.001}, "error_rate is written like"),
        ({"latency_p99": "< 100 %"}, "latency_p99 is written like"),
        ({"for": "0s"}, "longer than zero"),
        ({"for": "ten minutes"}, "a duration is written like"),
        ({"against": "none"}, "degradation needs 'against"),
        ({"degradation": None}, "needs a degradation"),
        ({"against": "yesterday"}, "against"),
        ({"error-rate": "< 1 %"}, "error-rate"),
        ({"restarts": -1}, "restarts"),
    ],
)
def test_a_wrong_gate_is_refused_with_one_sentence_naming_place_and_field(change: dict[str, object], told: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_spec(_CANARY | change, "golive.yaml:88")
    assert told in raised.value.message
    assert raised.value.message.startswith("golive.yaml:88: ") and "\n" not in raised.value.message


def test_a_gate_that_claims_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="claims nothing"):
        parse_spec({"for": "10m"})


def test_limited_memory_must_not_grow_either() -> None:
    assert parse_spec({"for": "1m", "memory": "< 2 GB"}).growth is not None
    assert parse_spec({"for": "1m", "restarts": 0}).growth is None


def test_every_environments_policy_is_readable_and_only_the_lab_is_looser() -> None:
    policies = {name: parse_policy(environment.load(name).policy, name) for name in environment.known()}
    assert policies["lab"].looser is not None
    assert all(policy.looser is None for name, policy in policies.items() if name != "lab")
    assert all(policy.false_alarm <= 0.002 for policy in policies.values())


def test_the_alert_on_latency_asks_what_the_environments_gates_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it fires no gate passes; and it reads the histogram, whose edges are the load client's."""
    monkeypatch.setattr("golive.fleet.variables.trust", lambda env: SimpleNamespace(allowed_signers=Path("signers"), namespace="n"))
    monkeypatch.setattr("golive.fleet.variables.build", lambda: Path("dwcp-host"))
    lab = environment.load("lab")
    own = parse_policy(lab.policy).looser
    assert own is not None and own.latency_p99 is not None
    assert variables(lab)["dwcp_monitoring_latency_p99_s"] == own.latency_p99.value
    assert own.latency_p99.value in _edges()
    strict = lab.model_copy(update={"policy": {"gates": {}}})
    assert "dwcp_monitoring_latency_p99_s" not in variables(strict), "the role's own default is production's"


def _edges() -> list[float]:
    """Of the load client's histogram, as its source states them; the agent is not installed here."""
    source = ROOT / "dwcp_agent" / "src" / "dwcp_agent" / "telemetry" / "metrics.py"
    stated = re.search(r"LATENCY_EDGES_S = \(([^)]*)\)", source.read_text(encoding="utf-8"))
    assert stated is not None
    return [float(edge) for edge in stated[1].split(",")]


def test_a_looser_threshold_needs_a_reason_and_never_tightens_or_adds_a_claim() -> None:
    with pytest.raises(BadInput, match="because"):
        parse_policy({"gates": {"looser": {"error_rate": "< 1 %"}}})
    policy = parse_policy({"gates": {"looser": {"because": "little traffic here", "error_rate": "< 0.05 %", "latency_p99": "< 1 s"}}})
    spec = parse_spec({"for": "1m", "error_rate": "< 0.1 %"})
    limit = policy.limit(spec, "error_rate")
    assert limit is not None and limit.value == pytest.approx(0.001)
    assert policy.limit(spec, "latency_p99") is None


def test_all_attempts_of_a_watch_together_keep_the_confidence() -> None:
    policy = GatePolicy(confidence=0.95)
    assert sum(policy.spent(attempt) for attempt in range(100)) == pytest.approx(0.05)
    assert policy.spent(0) > policy.spent(1) > policy.spent(2) > 0
