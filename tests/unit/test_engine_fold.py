"""A run is the fold of its journal: the same records give the same state, whoever folds them and in how many pieces."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from golive.engine.fold import RunState, advance, environment_state, fold
from golive.engine.journal import Record, canonical

OLD, NEW, NEWER = "2.9.0-a", "3.0.0-b", "3.1.0-c"


def record(seq: int, kind: str, data: dict[str, Any], stage: str | None = None, step: str | None = None, run: str = "r1") -> Record:
    return Record("sim", seq, f"2030-01-01T00:00:{seq % 60:02d}+00:00", run, kind, stage, step, 1, json.loads(canonical(data)), "p", "h")


STARTED = ("run.started", {"candidate": NEW, "incumbent": OLD, "load": "l", "runbook": "golive", "runbook_digest": "d", "pace": "real"})

_stages = st.sampled_from(["canary", "half", "rollback:traffic-back"])
_steps = st.sampled_from(["shift", "watch"])
_verdicts = st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE", "ERROR"])
_weights = st.fixed_dictionaries({NEW: st.integers(0, 100), OLD: st.integers(0, 100)})
_process = st.fixed_dictionaries(
    {"pid": st.integers(1, 3), "start": st.integers(1, 2), "host": st.just("h")},
    optional={name: st.just("x") for name in ("machine", "boot", "namespace", "what")},
)


def _event(kind: st.SearchStrategy[str] | str, data: st.SearchStrategy[Any], *, placed: bool = True) -> st.SearchStrategy[Any]:
    kinds = st.just(kind) if isinstance(kind, str) else kind
    return st.tuples(kinds, data, _stages, _steps) if placed else st.tuples(kinds, data, st.none(), st.none())


_intent = {"uses": st.just("a"), "attempt": st.integers(1, 5), "reach": st.sampled_from(["none", "candidate", "traffic", "final"])}
_targets = st.dictionaries(st.sampled_from(["gw-1", "gw-2"]), st.fixed_dictionaries({"weights": _weights}))
_outcome = {"verdict": _verdicts, "changed": st.integers(0, 6), "targets": _targets}
_finished = {"outcome": st.sampled_from(["succeeded", "rolled-back", "failed", "aborted"]), "signed_off": st.booleans()}
_until = st.sampled_from([{"until": "t"}, {"until": "2030-01-01T00:00:30+00:00"}])
_run_kinds = ["run.resumed", "run.held", "rollback.started", "rollback.traffic-back", "rollback.finished"]
_run_data = {"reason": "r", "do": "d", "breach_at": "b", "seconds": 1.0, "left": []}
_asked_kinds = [
    "run.paused",
    "run.unpaused",
    "run.aborting",
    "request.refused",
    "rollback.requested",
    "rollback.refused",
    "rollback.overrun",
]
_asked_data = {
    "request": st.integers(1, 9),
    "reason": st.just("r"),
    "by": st.just("ann"),
    "at": st.sampled_from(["t", "2030-01-01T00:00:00+00:00"]),
}
_anything = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.none(), max_size=3)

EVENTS = st.one_of(
    _event(st.sampled_from(["stage.waiting", "stage.started", "stage.done", "stage.skipped"]), st.just({"due": "t", "owner": "o"})),
    _event("step.intent", st.fixed_dictionaries(_intent)),
    _event("step.outcome", st.fixed_dictionaries(_outcome)),
    _event(st.sampled_from(["step.interrupted", "step.holding", "step.unknown", "step.given-up"]), _until),
    _event("traffic.set", st.fixed_dictionaries({"gateway": st.sampled_from(["gw-1", "gw-2"]), "weights": _weights})),
    _event("process.started", _process),
    _event("process.ended", _process),
    _event(st.sampled_from(["gate", "guard", "trigger", "bug"]), st.just({"gate": "g", "verdict": "PASS", "n": 3})),
    _event("requests", st.fixed_dictionaries({"total": st.integers(0, 9), "failed": st.integers(0, 9)})),
    _event(st.sampled_from(_run_kinds), st.just(_run_data), placed=False),
    _event(st.sampled_from(_asked_kinds), st.fixed_dictionaries(_asked_data), placed=False),
    _event("run.finished", st.fixed_dictionaries(_finished), placed=False),
    _event(st.text(max_size=8), _anything),
)


def _records(events: list[Any]) -> list[Record]:
    return [record(seq, kind, data, stage, step) for seq, (kind, data, stage, step) in enumerate([(*STARTED, None, None), *events], 1)]


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=25), st.integers(0, 25))
def test_folding_in_pieces_and_through_json_gives_the_same_state(events, cut):
    records = _records(events)
    whole = fold(records)
    pieces = RunState.from_json(json.loads(json.dumps(fold(records[:cut]).to_json())))
    for one in records[cut:]:
        advance(pieces, one)
    assert pieces == whole
    assert whole.seq == len(records)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=25))
def test_what_was_once_true_stays_true(events):
    state, before = RunState(), (0.0, *6 * [False])
    for one in _records(events):
        advance(state, one)
        decided = (state.aborting is not None, state.wanted_back is not None)
        now = (state.max_candidate_weight, state.deployed, state.exposed, state.final, state.rolling_back, *decided)
        assert all(new >= old for new, old in zip(now, before, strict=True))
        before = now
        assert state.outcome in ("running", "held", "succeeded", "rolled-back", "failed", "aborted")
        assert state.max_candidate_weight >= max((weights.get(NEW, 0) for weights in state.traffic.values()), default=0)
        assert not state.max_candidate_weight or state.exposed
        assert state.signed_off <= (state.outcome == "succeeded") or state.outcome in ("running", "held")


@settings(max_examples=100, deadline=None)
@given(st.lists(EVENTS, max_size=25))
def test_a_step_is_passed_exactly_when_its_last_intent_or_outcome_is_a_pass(events):
    state = fold(_records(events))
    last: dict[tuple[str, str], str | None] = {}
    for kind, data, stage, step in events:
        if kind in ("step.intent", "step.outcome"):
            last[(stage, step)] = data.get("verdict")
    for (stage, step), verdict in last.items():
        known = state.step_state(stage, step)
        assert known is not None and known.passed == (verdict == "PASS")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["signed", "rolled-back", "failed", "open", "alone"]), max_size=6))
def test_the_incumbent_is_the_candidate_of_the_last_run_that_was_signed_off(ends):
    records: list[Record] = []
    incumbent, signed = OLD, None
    for number, end in enumerate(ends):
        candidate = f"release-{number}"
        data = {**STARTED[1], "candidate": candidate, "incumbent": incumbent}
        records.append(record(len(records) + 1, "run.started", data, run=f"r{number}"))
        if end != "open":
            outcome = "succeeded" if end in ("signed", "alone") else end
            finished = {"outcome": outcome, "signed_off": end == "signed"}
            records.append(record(len(records) + 1, "run.finished", finished, run=f"r{number}"))
        if end == "signed":
            incumbent = signed = candidate
    state = environment_state("sim", records)
    assert state.incumbent == (incumbent if ends else None)
    assert state.signed_off == signed
    assert state.last.open == (bool(ends) and ends[-1] == "open")


def test_a_signed_off_claim_without_success_counts_for_nothing():
    records = [record(1, *STARTED), record(2, "run.finished", {"outcome": "rolled-back", "signed_off": True})]
    assert fold(records).signed_off is False
    assert environment_state("sim", records).incumbent == OLD


def test_weights_are_learned_from_what_a_probe_saw():
    seen = {"verdict": "PASS", "targets": {"gw-1": {"weights": {NEW: 50, OLD: 50}}, "gw-2": {"other": 1}}}
    state = fold([record(1, *STARTED), record(2, "step.outcome", seen, "half", "shift-50")])
    assert state.traffic == {"gw-1": {NEW: 50.0, OLD: 50.0}}
    assert (state.max_candidate_weight, state.exposed) == (50, True)


def test_processes_are_open_until_they_are_seen_to_end():
    process = {"pid": 4, "start": 9, "host": "h", "machine": "m", "boot": "b", "namespace": "n", "what": "ansible-playbook"}
    records = [record(1, *STARTED), record(2, "process.started", process), record(3, "process.started", {**process, "start": 10})]
    assert [left.start for left in fold(records).left] == [9, 10]
    records.append(record(4, "process.ended", {"pid": 4, "start": 9, "host": "h"}))
    assert [left.start for left in fold(records).left] == [10]


def test_before_the_first_run_there_is_none():
    assert environment_state("sim", []).last.outcome == "none"
    assert not RunState().open


def test_a_forgotten_environment_has_no_incumbent_no_live_release_and_no_unfinished_run():
    live = [
        record(1, *STARTED),
        record(2, "slot", {"release": NEW, "slot": "b"}),
        record(3, "run.finished", {"outcome": "succeeded", "signed_off": True}),
    ]
    assert environment_state("sim", live).signed_off == NEW
    gone = environment_state("sim", [*live, record(4, "environment.forgotten", {"reason": "destroy"}, run="none")])
    assert (gone.incumbent, gone.signed_off, gone.slots, gone.last.outcome) == (None, None, {}, "none")


def test_the_last_wave_and_the_hosts_set_aside_are_part_of_the_state() -> None:
    wave = {"wave": 2, "of": 3, "site": "ams", "canary": False, "hosts": ["ams-1", "ams-2"], "what": "it runs"}
    lost = {"host": "ams-2", "state": "unreachable", "reason": "no route", "by": "active"}
    state = fold([record(1, *STARTED), record(2, "wave.started", wave, "deploy", "active")])
    assert state.wave is not None and (state.wave["wave"], state.wave["step"], state.wave["done"]) == (2, "active", None)
    advance(state, record(3, "wave.done", {**wave, "changed": 1}, "deploy", "active"))
    advance(state, record(4, "host.set-aside", lost, "deploy", "active"))
    assert state.wave["done"] and state.wave["at"] < state.wave["done"]
    assert state.aside["ams-2"]["reason"] == "no route" and RunState.from_json(json.loads(json.dumps(state.to_json()))) == state
