"""The 30 items that people answer for, and no others: by whom, and for how long."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml

from golive.environment import ROOT
from golive.evidence.checklist import Item, Tool, read
from golive.evidence.tools import TOOLS

PEOPLE = [item for item in read().items if not item.by_machine]
ROLES = {
    role
    for entry in yaml.safe_load((ROOT / "inventories/prod/approvers.yaml.example").read_text(encoding="utf-8"))["approvers"]
    for role in entry["roles"]
}


@pytest.mark.parametrize("item", PEOPLE, ids=lambda item: item.id)
def test_an_item_of_people_is_signed_for_by_a_role_that_approvers_have_and_expires(item: Item) -> None:
    assert item.attest is not None, "no machine shows it, and none is asked to"
    assert item.attest.role in ROLES
    assert timedelta(days=1) <= item.attest.valid <= timedelta(days=180)


def test_there_are_thirty_of_them_and_no_other_item_is_taken_on_a_persons_word() -> None:
    assert len(PEOPLE) == 30
    assert [item.id for item in read().items if item.by_machine and item.attest is not None] == []


def test_what_changes_with_each_release_is_asked_anew_each_month() -> None:
    monthly = {"TRAIN-002", "OPS-003", "COMP-006", "COMP-007", "COMP-008", "COMP-010"}
    assert {item.id for item in PEOPLE if item.attest and item.attest.valid <= timedelta(days=30)} >= monthly


def test_every_tool_that_is_named_is_there() -> None:
    named = {proof.tool for item in read().items for proof in item.proofs if isinstance(proof, Tool)}
    assert named and named <= TOOLS.keys()


def test_who_cannot_show_something_says_why_and_what_would() -> None:
    for item in read().items:
        if item.unknown is not None and item.section in ("infrastructure", "testing"):
            assert len(item.unknown) > 60 and item.unknown.endswith("."), item.id
