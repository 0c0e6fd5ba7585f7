"""Readiness and recommendation say every state, both numbers and the decision, as the items were judged."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from golive.documents import KINDS, Facts, Sources, markdown
from golive.documents.ready import ReadyFacts, ready_facts
from golive.evidence import Kept, checklist
from golive.evidence.decision import Policy, Waivers, decide
from golive.evidence.judging import STATES, Judged
from tests.support.documents import marks_of, plain, section, table
from tests.unit.test_documents_health import _kept

_NOW = datetime(2030, 1, 2, tzinfo=UTC)
_LISTED = checklist.read()


def _ready(states: dict[str, str], policy: Policy, wrong: tuple[str, ...] = ()) -> tuple[ReadyFacts, Sources, dict[str, Kept]]:
    """Every item PASS by a statement of its own, but for ``states``."""
    kept = {
        f"{number:064x}": _kept("verify", _NOW, {}, digest=f"{number:064x}") for number in range(0x1000000, 0x1000000 + len(_LISTED.items))
    }
    kept = {digest[::-1]: Kept(digest[::-1], one.key, one.statement) for digest, one in kept.items()}
    judged = {}
    for number, (item, digest) in enumerate(zip(_LISTED.items, kept, strict=True)):
        state: Any = states.get(item.id, "PASS")
        until = _NOW + timedelta(days=1 + number) if state in ("PASS", "WAIVED") else None
        evidence = () if state == "UNKNOWN" else (digest,)
        judged[item.id] = Judged(item.id, state, f"{item.id} is {state} | <b>", evidence, (f"./inv explain {item.id}",), until)
    decision = decide(_LISTED, judged, policy, wrong)
    sources = Sources()
    ready = ready_facts(
        checklist=_LISTED, judged=judged, kept=kept, decision=decision, policy=policy, policy_name="prod", foreign=2,
        release=("3.0.0-aaaaaaaaaaaa", "a" * 64), at=_NOW, sources=sources,
    )  # fmt: skip
    return ready, sources, kept


def _text(kind: str, states: dict[str, str], policy: Policy | None = None, wrong: tuple[str, ...] = ()) -> str:
    ready, sources, _ = _ready(states, policy or Policy(), wrong)
    return markdown(Facts(KINDS[kind], "prod", _NOW, f"./inv document {kind} --env prod", sources, ready=ready, wrong=wrong))


_STATES = {"AMST-001": "FAIL", "AMST-002": "UNKNOWN", "HDE-001": "STALE", "SEC-002": "WAIVED", "TEST-001": "UNKNOWN"}


def _items(text: str) -> list[dict[str, str]]:
    parts = text.split("\n## ")
    return [row for part in parts if "| id | item | state |" in part for row in table(part, "id", "item", "state")]


def test_each_item_has_its_state_its_reason_and_the_statements_it_rests_on() -> None:
    ready, _, _ = _ready(_STATES, Policy())
    text = _text("readiness", _STATES)
    rows = _items(text)
    assert len(rows) == 186
    for row, item in zip(rows, ready.items, strict=True):
        assert row["id"] == f"{item.id} (critical)" and row["item"] == " ".join(item.says.split())
        assert row["state"] == _STATES.get(item.id, "PASS") and row["why"] == item.reason
        assert row["evidence"] == (item.evidence[0][:12] if item.evidence else "none")
    line = next(line for line in text.splitlines() if line.startswith("| AMST-003 "))
    assert marks_of(line) == [f"e{ready.items[2].evidence[0][:12]}"]


def test_both_numbers_are_counted_section_by_section() -> None:
    counts = {row["section"]: row for row in table(_text("readiness", _STATES), "section", "items")}
    every = Counter(_STATES.get(item.id, "PASS") for item in _LISTED.items)
    machine = Counter(_STATES.get(item.id, "PASS") for item in _LISTED.items if item.by_machine)
    for name, found, total in (("in all", every, 186), ("for machines", machine, 156)):
        assert counts[name]["items"] == str(total) and {state: int(counts[name][state]) for state in STATES} == {
            s: found[s] for s in STATES
        }
    for section_name in {item.section for item in _LISTED.items}:
        mine = Counter(_STATES.get(item.id, "PASS") for item in _LISTED.items if item.section == section_name)
        assert {state: int(counts[section_name][state]) for state in STATES} == {state: mine[state] for state in STATES}


@pytest.mark.parametrize(
    ("states", "policy", "wrong", "word"),
    [
        ({}, Policy(), (), "GO"),
        ({"SEC-002": "WAIVED"}, Policy(conditional=90, waivers=Waivers(most=1)), (), "CONDITIONAL"),
        ({"SEC-002": "WAIVED"}, Policy(), (), "NO-GO"),
        (_STATES, Policy(), (), "NO-GO"),
        ({}, Policy(), ("Evidence: the output of 0123 was changed",), "NO-GO"),
    ],
)
def test_the_recommendation_is_the_decision(states: dict[str, str], policy: Policy, wrong: tuple[str, ...], word: str) -> None:
    ready, _, _ = _ready(states, policy, wrong)
    text = _text("recommendation", states, policy, wrong)
    assert ready.decision.value == word and f"## Recommendation: {word}[^f1]" in text
    told = [plain(line[2:]) for line in section(text, "## In the way").splitlines() if line.startswith("- ")]
    assert told == [" ".join(sentence.split()) for sentence in ready.blockers] and bool(told) == (word == "NO-GO")
    assert ("NOT AS IT WAS WRITTEN" in text.split("| fact |")[0]) == bool(wrong)
    asked = {row["asked by the policy"]: row["found"] for row in table(text, "asked by the policy", "asked")}
    assert asked["critical items that pass"] == str(186 - len(states))
    assert asked["items that are waived, at most"] == str(list(states.values()).count("WAIVED"))
    waived = [plain(line) for line in section(text, "## Waived").splitlines() if line.startswith("- ")]
    assert len(waived) == list(states.values()).count("WAIVED")


def test_the_first_evidence_that_ends_to_hold_is_named() -> None:
    ready, _, _ = _ready({_LISTED.items[0].id: "FAIL"}, Policy())
    assert ready.first_stale is not None and ready.first_stale[1] == _LISTED.items[1].id
    assert f"ends to hold at 2030-01-04 00:00:00[^e{ready.items[1].evidence[0][:12]}] ({_LISTED.items[1].id})" in _text(
        "recommendation", {_LISTED.items[0].id: "FAIL"}
    )


def test_what_makes_the_missing_evidence_is_told_for_each_item_that_lacks_it() -> None:
    rows = table(section(_text("readiness", _STATES), "## How to see an item again"), "id", "state", "type")
    assert {row["id"]: row["type"] for row in rows} == {id_: f"./inv explain {id_}" for id_ in _STATES}


def test_statements_by_other_keys_are_said_to_be_left_out() -> None:
    assert "2 by keys that do not count here were left out" in _text("readiness", {})
