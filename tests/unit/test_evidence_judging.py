"""Only evidence that is there, fresh, and about what stands here now, passes; and GO is what the policy asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from golive.errors import BadInput
from golive.evidence import Kept, Subject, record
from golive.evidence.checklist import Checklist, Item, read
from golive.evidence.decision import Policy, Waivers, decide, policy_of
from golive.evidence.judging import Judge, Judged
from golive.evidence.need import Need

NOW = datetime.now(UTC)
SOURCE, RELEASE, HOST = Subject.of("agent-source", "1" * 64), Subject.of("release:3.0.0", "2" * 64), Subject.of("host:h1", "3" * 64)


class Today:
    """What stands here, as the tests want it."""

    class env:
        name = "lab"

    def __init__(self, **other: str) -> None:
        self._known = {subject.name: subject.sha256 for subject in (SOURCE, RELEASE, HOST)} | {"toolkit": "4" * 64} | other

    def digest(self, name: str) -> str | None:
        return self._known.get(name)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    yield


def item(proofs: str = "", **fields: Any) -> Item:
    told = {"id": "AMST-001", "group": "AMST", "section": "core", "says": "It is so"}
    return Item.model_validate(told | ({"proofs": yaml.safe_load(proofs)} if proofs else {}) | fields)


def made(check: str, facts: dict[str, Any], subjects: list[Subject] | None = None, **fields: Any) -> Kept:
    told: dict[str, Any] = {"command": "x", "result": "PASS", "summary": "fine", "output": b"", "started": NOW}
    return record(check=check, facts=facts, subjects=subjects or [SOURCE], **told | {"valid_for": timedelta(days=7)} | fields)


def judged(one: Item, *kept: Kept, today: Any = None, now: datetime | None = None, sources: tuple[str, ...] = ("lab",)) -> Judged:
    at = now or datetime.now(UTC) + timedelta(seconds=1)
    return Judge(list(kept), today or Today(), at, sources).judged(one)


TESTS = "[{tests: [a.py::test_x, a.py::test_y]}]"
PASSED = {"tests": {"a.py::test_x": "passed", "a.py::test_y": "passed"}, "cases": 2}


def test_an_item_without_evidence_is_unknown_and_says_how_to_make_it() -> None:
    found = judged(item(TESTS))
    assert (found.state, found.again) == ("UNKNOWN", ("./inv readiness --env lab --only AMST-001 --again",))


def test_tests_that_passed_pass() -> None:
    kept = made("tests.AMST-001", PASSED)
    found = judged(item(TESTS), kept)
    assert (found.state, found.evidence) == ("PASS", (kept.digest,)) and found.until is not None


@pytest.mark.parametrize("outcome", ["failed", "error", "skipped"])
def test_a_test_that_did_not_pass_fails_the_item(outcome: str) -> None:
    facts = {"tests": {"a.py::test_x": "passed", "a.py::test_y": outcome}, "cases": 2}
    found = judged(item(TESTS), made("tests.AMST-001", facts, result="FAIL"))
    assert found.state == "FAIL" and f"test_y {outcome}" in found.reason


def test_evidence_of_other_tests_than_are_asked_for_is_stale() -> None:
    assert judged(item("[{tests: [a.py::test_x]}]"), made("tests.AMST-001", PASSED)).state == "STALE"


def test_evidence_of_other_sources_is_stale() -> None:
    found = judged(item(TESTS), made("tests.AMST-001", PASSED), today=Today(**{"agent-source": "9" * 64}))
    assert found.state == "STALE" and "another agent-source" in found.reason


def test_evidence_of_an_input_that_changed_is_stale() -> None:
    kept = made("tests.AMST-001", PASSED, inputs=[Subject.of("a.py", "5" * 64)])
    assert judged(item(TESTS), kept, today=Today(**{"a.py": "6" * 64})).state == "STALE"
    assert judged(item(TESTS), kept, today=Today(**{"a.py": "5" * 64})).state == "PASS"


def test_evidence_ends_to_hold_with_its_time_and_with_the_items() -> None:
    kept = made("tests.AMST-001", PASSED, valid_for=timedelta(days=7))
    assert judged(item(TESTS), kept, now=NOW + timedelta(days=6)).state == "PASS"
    assert judged(item(TESTS), kept, now=NOW + timedelta(days=8)).state == "STALE"
    assert judged(item(TESTS, valid="1d"), kept, now=NOW + timedelta(days=2)).state == "STALE"


def test_evidence_of_a_time_to_come_is_no_evidence() -> None:
    assert judged(item(TESTS), made("tests.AMST-001", PASSED), now=NOW - timedelta(hours=1)).state == "UNKNOWN"


def test_the_newest_statement_counts_whatever_it_says() -> None:
    good = made("tests.AMST-001", PASSED)
    bad = made("tests.AMST-001", {"tests": {"a.py::test_x": "failed", "a.py::test_y": "passed"}, "cases": 2}, result="FAIL")
    assert judged(item(TESTS), good, bad).state == "FAIL"
    assert judged(item(TESTS), good, bad, made("tests.AMST-001", PASSED)).state == "PASS"


def test_facts_that_look_good_do_not_pass_where_the_check_itself_did_not() -> None:
    assert judged(item(TESTS), made("tests.AMST-001", PASSED, result="UNKNOWN")).state == "UNKNOWN"


def test_every_proof_of_an_item_is_needed_and_the_worst_decides() -> None:
    one = item("[{tests: [a.py::test_x, a.py::test_y]}, {bench: core, rows: [crc-*], need: ratio >= 2}]")
    tests = made("tests.AMST-001", PASSED)
    assert judged(one, tests).state == "UNKNOWN"
    assert judged(one, tests, made("bench.core", {"rows": [{"id": "crc-1", "ok": False, "ratio": 2.5}]})).state == "PASS"
    assert judged(one, tests, made("bench.core", {"rows": [{"id": "crc-1", "ok": True, "ratio": 1.5}]})).state == "FAIL"


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ([], "UNKNOWN"),
        ([{"id": "other", "ok": True}], "UNKNOWN"),
        ([{"id": "crc-1", "ok": None}], "UNKNOWN"),
        ([{"id": "crc-1", "ok": True}, {"id": "crc-2", "ok": False}], "FAIL"),
        ([{"id": "crc-1", "ok": True}], "PASS"),
        (None, "UNKNOWN"),
    ],
)
def test_rows_of_a_benchmark(rows: Any, state: str) -> None:
    assert judged(item("[{bench: core, rows: [crc-*]}]"), made("bench.core", {"rows": rows})).state == state


@pytest.mark.parametrize(
    ("rows", "state"),
    [([], "UNKNOWN"), ([{"round": 1, "ok": True}], "UNKNOWN"), ([{"round": n, "ok": n != 2} for n in (1, 2)], "FAIL")],
)
def test_rounds_of_chaos_have_to_be_as_many_as_asked_and_none_wrong(rows: Any, state: str) -> None:
    assert judged(item("[{chaos: sim, least: 2}]"), made("chaos.sim", {"rows": rows})).state == state
    assert judged(item("[{chaos: sim, least: 2}]"), made("chaos.sim", {"rows": [{"ok": True}] * 2})).state == "PASS"


def test_checks_of_hosts_have_to_have_run_and_passed() -> None:
    one = item('[{verify: ["test_tls.*"]}]')
    on = {"env": "lab", "subjects": [RELEASE, HOST]}
    assert judged(one, made("verify", {"checks": {"test_host.test_a": "passed"}}, **on)).state == "UNKNOWN"
    assert judged(one, made("verify", {"checks": {"test_tls.test_a": "failure"}}, **on)).state == "FAIL"
    kept = made("verify", {"checks": {"test_tls.test_a": "passed"}}, **on)
    assert judged(one, kept).state == "PASS"
    assert judged(one, kept, today=Today(**{"host:h1": "9" * 64})).state == "STALE"


def test_evidence_of_another_environment_counts_only_where_the_policy_names_it() -> None:
    one = item('[{verify: ["test_tls.*"]}]')
    kept = made("verify", {"checks": {"test_tls.test_a": "passed"}}, [RELEASE, Subject.of("host:far", "8" * 64)], env="staging")
    assert judged(one, kept).state == "UNKNOWN"
    assert judged(one, kept, sources=("lab", "staging")).state == "PASS"
    assert judged(one, kept, sources=("lab", "staging"), today=Today(**{"release:3.0.0": "9" * 64})).state == "STALE"


@pytest.mark.parametrize(("value", "state"), [(None, "UNKNOWN"), (0.0, "FAIL"), (1.0, "PASS")])
def test_a_query_without_an_answer_is_unknown_and_never_zero(value: float | None, state: str) -> None:
    one = item("[{query: min(up), need: value >= 1}]")
    result = {"UNKNOWN": "UNKNOWN", "FAIL": "FAIL", "PASS": "PASS"}[state]
    facts = {"query": "min(up)", "value": value, "why": ""}
    assert judged(one, made("query.AMST-001.1", facts, [RELEASE], env="lab", result=result)).state == state


def test_steps_of_a_run_have_to_have_passed_in_it() -> None:
    one = item("[{run: [canary/watch-10]}]")
    facts: dict[str, Any] = {"run": "r", "outcome": "succeeded", "asked_outcome": "succeeded", "wrong": []}
    for steps, state in (({}, "UNKNOWN"), ({"canary/watch-10": "FAIL"}, "FAIL"), ({"canary/watch-10": "PASS"}, "PASS")):
        assert judged(one, made("run", facts | {"steps": steps}, [RELEASE], env="lab")).state == state
    wrong = facts | {"outcome": "failed", "steps": {"canary/watch-10": "PASS"}}
    assert judged(item("[{run: succeeded}]"), made("run", wrong, [RELEASE], env="lab")).state == "FAIL"


@pytest.mark.parametrize("wrong", [["record 3 was edited"], None])
def test_steps_of_a_journal_that_does_not_verify_show_nothing(wrong: Any) -> None:
    facts = {"run": "r", "outcome": "succeeded", "asked_outcome": "succeeded", "steps": {"canary/watch-10": "PASS"}, "wrong": wrong}
    found = judged(item("[{run: [canary/watch-10]}]"), made("run", facts, [RELEASE], env="lab"))
    assert found.state == "FAIL" and "not as it was written" in found.reason


def test_a_need_that_cannot_be_read_is_refused_and_a_number_that_is_none_is_not_met() -> None:
    for text in ("ratio", "ratio > fast", "os.system('x')", ""):
        with pytest.raises(ValueError, match="is no need"):
            Need(text)
    assert Need("ratio >= 2").unmet({"ratio": float("nan")}) and Need("ratio >= 2").unmet({"ratio": "3"}) and Need("value == 1").unmet({})
    assert Need("ours > 99").unmet({"samples_ours": [100, 101, 90]}) == "" and Need("ours > 100").unmet({"samples_ours": [100, 101, 90]})


# The decision.


def listed(*items: Item) -> Checklist:
    return Checklist(items=list(items), digest="0" * 64)


def numbered(count: int) -> list[Item]:
    return [item(TESTS, id=f"AMST-{number:03d}") for number in range(1, count + 1)]


def states(items: list[Item], **other: str) -> dict[str, Judged]:
    return {one.id: Judged(one.id, other.get(one.id.replace("-", "_"), "PASS"), "why") for one in items}  # type: ignore[arg-type]


def test_all_that_is_critical_passes_and_nothing_is_wrong_is_go() -> None:
    items = numbered(4)
    assert decide(listed(*items), states(items), Policy(), []).word == "GO"


@pytest.mark.parametrize("state", ["FAIL", "UNKNOWN", "STALE"])
def test_one_critical_item_that_does_not_pass_is_no_go(state: str) -> None:
    items = numbered(4)
    found = decide(listed(*items), states(items, AMST_003=state), Policy(critical=["AMST-003"], confidence=10, conditional=10), [])
    assert found.word == "NO-GO" and found.blockers == (f"AMST-003 It is so: {state}, why",)


def test_anything_that_was_changed_is_no_go_whatever_else_passes() -> None:
    items = numbered(4)
    assert decide(listed(*items), states(items), Policy(), ["Evidence: changed"]).word == "NO-GO"


def test_what_is_not_critical_is_a_risk_and_lowers_confidence() -> None:
    items = numbered(10)
    policy = Policy(critical=["AMST-001"], confidence=90, conditional=70)
    assert decide(listed(*items), states(items, AMST_003="FAIL"), policy, []).word == "GO"
    two = decide(listed(*items), states(items, AMST_003="FAIL", AMST_004="UNKNOWN"), policy, [])
    assert two.word == "CONDITIONAL" and len(two.risks) == 3
    four = states(items, AMST_003="FAIL", AMST_004="FAIL", AMST_005="FAIL", AMST_006="FAIL")
    assert decide(listed(*items), four, policy, []).word == "NO-GO"


def test_waivers_make_it_conditional_and_too_many_or_forbidden_ones_no_go() -> None:
    items = numbered(4)
    one = states(items, AMST_002="WAIVED")
    lenient = {"confidence": 50.0, "conditional": 50.0}
    assert decide(listed(*items), one, Policy(waivers=Waivers(most=1), **lenient), []).word == "CONDITIONAL"
    assert decide(listed(*items), one, Policy(waivers=Waivers(most=0), **lenient), []).word == "NO-GO"
    assert decide(listed(*items), one, Policy(waivers=Waivers(most=1, never=["AMST-*"]), **lenient), []).word == "NO-GO"


def test_a_policy_that_names_an_item_nobody_has_is_refused() -> None:
    items = numbered(2)
    with pytest.raises(BadInput, match="AMTS-001"):
        decide(listed(*items), states(items), Policy(critical=["AMTS-001"]), [])
    with pytest.raises(BadInput, match=r"readiness\.confidence"):
        policy_of({"readiness": {"confidence": 101}}, "x")
    assert policy_of({}, "x").critical == "all"


# The file.


def test_the_checklist_has_its_186_items_of_which_machines_show_156() -> None:
    items = read().items
    assert (len(items), sum(one.by_machine for one in items)) == (186, 156)
    assert all(one.attest is not None for one in items if not one.by_machine)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-1], "185 items"),
        (lambda data: [*data, data[0]], "is there twice"),
        (lambda data: [{**data[0], "proofs": [], "unknown": None}, *data[1:]], "exactly one"),
        (lambda data: [{**data[0], "proof": []}, *data[1:]], "AMST-001"),
        (lambda data: {"items": data}, "a list of items"),
        (lambda data: ["AMST-001", *data[1:]], "entry 1"),
    ],
)
def test_a_checklist_that_asks_less_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    data = yaml.safe_load(Path(read.__globals__["ROOT"], "runbooks/checklist.yaml").read_text(encoding="utf-8"))
    data[0] = {key: value for key, value in data[0].items() if key != "proofs"} | {"unknown": "why"}
    path = tmp_path / "checklist.yaml"
    path.write_text(yaml.safe_dump(change(data)), encoding="utf-8")
    with pytest.raises(BadInput, match=said):
        read(path)
