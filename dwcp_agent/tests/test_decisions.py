"""Decisions are kept in order, within bounds, and counted whatever becomes of them."""

from __future__ import annotations

import json
import threading

import pytest

from dwcp_agent.telemetry.decisions import Decision, DecisionLog


def decision(number: int, policy: str = "streams") -> Decision:
    return Decision(at_s=float(number), policy=policy, what="streams", value=number, why="because")


def test_the_oldest_go_and_are_counted_all_the_same() -> None:
    log = DecisionLog(capacity=3)
    for number in range(5):
        log.add(decision(number, "profile" if number == 0 else "streams"))
    assert [each.value for each in log.decisions()] == [2, 3, 4]
    assert log.counts() == {"profile": 1, "streams": 4}
    assert log.to_json()["gone"] == 2


def test_one_policy_can_be_asked_for() -> None:
    log = DecisionLog()
    log.add(decision(1))
    log.add(decision(2, "profile"))
    assert [each.value for each in log.decisions("profile")] == [2]
    assert log.decisions("congestion") == []


def test_it_is_json_with_none_for_no_value() -> None:
    log = DecisionLog()
    log.add(Decision(1.5, "congestion", "rate_cap_bytes_per_s", None, "clean"))
    assert json.loads(json.dumps(log.to_json())) == {
        "counts": {"congestion": 1},
        "gone": 0,
        "decisions": [{"at_s": 1.5, "policy": "congestion", "what": "rate_cap_bytes_per_s", "value": None, "why": "clean"}],
    }


def test_a_log_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DecisionLog(0)


def test_several_threads_write_and_one_reads() -> None:
    log, stop = DecisionLog(capacity=50), threading.Event()
    failures: list[Exception] = []

    def read() -> None:
        try:
            while not stop.is_set():
                told = log.to_json()
                assert sum(told["counts"].values()) == told["gone"] + len(told["decisions"])
        except Exception as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    writers = [
        threading.Thread(target=lambda name=f"policy-{n}": [log.add(decision(i, name)) for i in range(2000)])  # type: ignore[misc]
        for n in range(4)
    ]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert not failures
    assert log.counts() == {f"policy-{n}": 2000 for n in range(4)}
    assert len(log.decisions()) == 50
