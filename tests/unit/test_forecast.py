"""Traces are what their seed says, and docs/prediction.md shows what was measured of the network that ships."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from golive.environment import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks import forecasts
from benchmarks.forecast import card
from benchmarks.forecast_recorded import RESULT as RECORDED
from benchmarks.forecast_recorded import recorded_table
from benchmarks.forecast_train import FITTED, WEIGHTS, blind
from benchmarks.lstm import Lstm, inputs
from benchmarks.traces import HELD_OUT, LENGTH, TRAINING, VALIDATION, trace

RESULT = json.loads((ROOT / "docs/results/forecast.json").read_text(encoding="utf-8"))

AGENT_SAYS = """
import json, sys
from dwcp_agent.prediction.forecaster import Forecaster
from dwcp_agent.prediction.sample import Sample
forecaster = Forecaster(near=sys.argv[1] == "near")
said = []
for sample in json.load(sys.stdin):
    forecaster.add(Sample(*sample))
    forecast = forecaster.forecast()
    said.append([forecast.model, forecast.bytes_per_s])
print(json.dumps(said))
"""


def test_no_seed_is_in_two_splits() -> None:
    assert len({*TRAINING, *VALIDATION, *HELD_OUT}) == len(TRAINING) + len(VALIDATION) + len(HELD_OUT)


@pytest.mark.parametrize("kind", ["near", "far"])
def test_a_trace_is_what_its_seed_says(kind) -> None:
    one, again, other = trace(kind, 7), trace(kind, 7), trace(kind, 8)
    assert (one.bytes_per_s == again.bytes_per_s).all() and (one.rtt_ms == again.rtt_ms).all()
    assert (one.bytes_per_s != other.bytes_per_s).all()
    for numbers in (one.bytes_per_s, one.rtt_ms, one.knowable):
        assert numbers.shape == (LENGTH,) and np.isfinite(numbers).all() and (numbers > 0).all()
    assert (one.loss >= 0).all() and (one.loss <= 1).all()


@pytest.mark.parametrize(("kind", "radio"), [("near", 3), ("far", 4)])
def test_every_twenty_traces_have_the_same_mix(kind, radio) -> None:
    assert sum(trace(kind, seed).medium != "wire" for seed in HELD_OUT[20:40]) == radio


def test_a_gradient_is_what_a_small_step_gives() -> None:
    told, log, moves = inputs([trace("near", seed) for seed in range(3)], 10)
    told, wanted = told[:, :12], (np.diff(log, axis=1) / moves[:, :-1])[:, :12]
    model = Lstm(4, seed=3)
    model.out[:] = np.random.default_rng(1).normal(0, 1, 5)

    def loss() -> float:
        return float(((model.says(told) - wanted) ** 2).sum())

    of_weights, of_out, _ = model.gradient(told, np.zeros((2, 3, 4)), lambda said: 2 * (said - wanted))
    for numbers, gradient, at in ((model.weights, of_weights, (2, 5)), (model.weights, of_weights, (9, 13)), (model.out, of_out, (1,))):
        kept = numbers[at]
        numbers[at] = kept + 1e-5
        above = loss()
        numbers[at] = kept - 1e-5
        slope = (above - loss()) / 2e-5
        numbers[at] = kept
        assert gradient[at] == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("kind", ["near", "far"])
def test_the_agent_says_what_the_network_that_was_measured_says(kind) -> None:
    seen = trace(kind, HELD_OUT[5])
    weights = Lstm.from_json(json.loads(WEIGHTS.read_text(encoding="utf-8"))[kind])
    told, log, moves = inputs([seen], forecasts.WINDOW[kind])
    network = np.exp(log + moves * weights.says(told))[0]
    samples = np.stack([seen.at_s, seen.bytes_per_s, seen.rtt_ms, seen.jitter_ms, seen.loss], axis=1).tolist()
    command = [sys.executable, "-c", AGENT_SAYS, kind]
    environment = {"PYTHONPATH": str(ROOT / "dwcp_agent/src")}
    done = subprocess.run(command, input=json.dumps(samples), env=environment, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    by_model = [(value, network[at]) for at, (model, value) in enumerate(said) if model == "LSTM"]
    assert len(by_model) > LENGTH / 2
    assert np.array(by_model)[:, 0] == pytest.approx(np.array(by_model)[:, 1], rel=1e-9)


def test_a_link_whose_queue_is_not_seen_has_the_same_throughput() -> None:
    seen = trace("far", 3)
    assert (blind(seen).bytes_per_s == seen.bytes_per_s).all() and set(blind(seen).loss) == {0.0} and len(set(blind(seen).rtt_ms)) == 1


def test_the_documented_tables_are_the_committed_results() -> None:
    page = (ROOT / "docs/prediction.md").read_text(encoding="utf-8")
    assert card(RESULT) in page
    assert recorded_table(json.loads(RECORDED.read_text(encoding="utf-8"))["rows"]) in page


@pytest.mark.parametrize("kind", ["near", "far"])
def test_what_ships_is_what_beat_the_simpler_ones(kind) -> None:
    told = RESULT["kinds"][kind]
    models = told["models"]
    assert set(forecasts.SIMPLE) < set(models) and told["best_simple"] in forecasts.SIMPLE
    assert all(
        models["LSTM"]["within"] > models[name]["within"] and models["LSTM"]["p85"] < models[name]["p85"] for name in forecasts.SIMPLE
    )
    assert told["lstm_ahead"]["points"][0] > 0


def test_the_candidates_numbers_are_committed() -> None:
    kept = json.loads(FITTED.read_text(encoding="utf-8"))
    assert {kind: set(of) for kind, of in kept.items()} == {kind: {"ewma", "holt", "ar", "ridge"} for kind in ("near", "far")}
