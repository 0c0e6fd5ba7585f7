"""The report says what the journal says, completely, and whatever hosts and people wrote into it stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from golive.gates.judge import Judge
from golive.gates.rollback_time import Measured, predict
from golive.gates.spec import parse_spec
from golive.views.report import Facts, commands, html, markdown, written
from golive.views.view import RunView, run_view, version_of
from tests.support.run_records import GATEWAYS, LOAD, NEW, OLD, Run
from tests.unit.test_gates_judge import _CANARY, _LOOSER, _failing, _samples, _window

_FACTS = Facts(
    hosts=[{"name": "ams-1", "site": "ams", "address": "10.0.0.1", "role": "agent", "gateway": True, "load": False}],
    digests={NEW: "a" * 64, OLD: None},
    journal={"records": 40, "head": "f" * 64, "wrong": []},
)


def _decision(bad: bool = False) -> dict[str, Any]:
    judge = Judge(parse_spec(_CANARY), _LOOSER)
    window = _window(_failing(_samples(), 0, 30) if bad else None)
    return judge.look(window).to_json() if bad else judge.decide(window).to_json()


def _good() -> RunView:
    run = Run()
    run.start()
    for stage, percent in (("canary", 10), ("half", 50)):
        run.shift(stage, percent)
        run.gate(stage, f"watch-{percent}", _decision())
        run.say("stage.done", {}, stage)
    run.say("signoff", {"verdict": "PASS", "criteria": [{"verdict": "PASS", "text": "3 gates passed"}]}, "sign-off", "criteria")
    run.say("run.finished", {"outcome": "succeeded", "signed_off": True})
    return run_view(run.records)


def _bad(reason: str = "errors") -> RunView:
    run = Run()
    run.start()
    run.shift("canary", 10)
    run.gate("canary", "watch-10", _decision(bad=True))
    run.rollback(reason)
    return run_view(run.records)


def test_versions_are_read_from_release_ids() -> None:
    assert version_of("3.0.1_defect.errors-0123456789ab") == "3.0.1+defect.errors"
    assert version_of(NEW) == "3.0.0" and version_of(None) is None


def test_the_view_of_a_good_run_has_every_shift_gate_and_controller() -> None:
    view = _good()
    assert view.state.outcome == "succeeded" and view.state.max_candidate_weight == 50
    assert [(s.gateway, s.weights[NEW]) for s in view.shifts] == [(g, p) for p in (10, 50) for g in GATEWAYS]
    assert [gate.verdict for gate in view.gates] == ["PASS", "PASS"] and view.hurt == 0
    assert view.controllers == ("ann@desk (pid 77 on desk, token 7)",)


@pytest.mark.parametrize("slow", [False, True])
def test_both_reports_show_each_part_of_the_way_back_measured_predicted_and_allowed(slow: bool) -> None:
    run = Run()
    run.start()
    steps = [Measured(f"{box}-step", box, (400.0 if slow else 4.0,), 6, 32) for box in ("traffic", "candidate", "verification")]
    told = predict(steps, hosts=6, at_once=32).to_json()
    run.say("rollback-time", {**told, "rehearsed_hosts": 6}, "final-readiness", "rollback-in-time")
    view = run_view(run.records)
    assert "too long" in markdown(view, Facts()) if slow else "too long" not in markdown(view, Facts())
    assert f"| traffic | {'6.7 min | 13.3 min' if slow else '4.0 s | 8.0 s'} | 5.0 min |" in markdown(view, Facts())
    assert "nothing is restored" in html(view, Facts()) and ("too long" in html(view, Facts())) is slow


def test_weights_that_were_only_read_again_are_no_shift() -> None:
    run = Run()
    run.start()
    run.shift("canary", 10)
    run.shift("canary", 10)
    assert len(run_view(run.records).shifts) == len(GATEWAYS)


@pytest.mark.parametrize("make", [_good, _bad])
def test_both_forms_name_everything_that_a_reader_asks_for(make: Any) -> None:
    view = make()
    for text in (markdown(view, _FACTS), html(view, _FACTS)):
        for asked in (
            "run-1",
            NEW,
            OLD,
            LOAD,
            "ams-1",
            "a" * 64,
            "watch-10",
            "corruption",
            "chain intact",
            "./inv verify --env lab",
            "staging",
        ):
            assert asked in text, asked
        assert "not on this machine" in text
        for event in view.timeline:
            assert event.at[11:19] in text


def test_a_rollback_is_told_with_its_reason_its_times_and_the_hurt_requests() -> None:
    view = _bad("errors above the limit")
    assert view.hurt == 30
    for text in (markdown(view, _FACTS), html(view, _FACTS)):
        assert "rolled-back" in text and "errors above the limit" in text and "2.2 s after the breach" in text.replace("2.3", "2.2")
        assert "FAIL" in text


def test_a_journal_that_is_not_intact_is_said_so_loudly() -> None:
    broken = Facts(journal={"records": 3, "head": "0" * 64, "wrong": ["record 2 was changed"]})
    assert "NOT INTACT" in markdown(_good(), broken) and "not intact: record 2 was changed" in html(_good(), broken)


def test_what_others_wrote_cannot_become_markup() -> None:
    view = _bad('<script>alert(1)</script> | ](http://evil) `x` "')
    page, text = html(view, _FACTS), markdown(view, _FACTS)
    assert "<script" not in page
    table = [line for line in text.splitlines() if "alert(1)" in line and line.startswith("|")]
    assert table and all(len(re.findall(r"(?<!\\)\|", line)) == 7 for line in table)
    assert not re.search(r"(?<!\\)\]\(http", text)


class _Page(HTMLParser):
    void = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.outside.append(value)
            if name == "id" and value:
                self.ids.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        before = list(self.open)
        self.handle_starttag(tag, attrs)
        self.open = before

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag


def test_the_page_is_well_formed_stands_by_itself_and_its_pictures_are_svg() -> None:
    page = html(_good(), _FACTS)
    parsed = _Page()
    parsed.feed(page)
    assert parsed.open == [] and parsed.outside == []
    assert len(parsed.ids) == len(set(parsed.ids))
    pictures = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    assert len(pictures) == 4 and all(ElementTree.fromstring(picture).tag.endswith("svg") for picture in pictures)
    assert all('role="img"' in picture and "aria-label" in picture for picture in pictures)


def test_the_same_run_gives_the_same_report() -> None:
    assert html(_good(), _FACTS) == html(_good(), _FACTS)


def test_a_run_that_was_held_at_once_can_be_reported() -> None:
    run = Run()
    run.start()
    run.say("run.held", {"reason": "step x: no disk", "do": "make room"})
    view = run_view(run.records)
    for text in (markdown(view, Facts()), html(view, Facts())):
        assert "no disk" in text and "make room" in text and "No gate has decided" in text
    assert any("rollback" in command for _, command in commands(view))


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    first = written(_good(), _FACTS, tmp_path / "run")
    second = written(_bad(), _FACTS, tmp_path / "run")
    assert first == second and "rolled-back" in second[0].read_text()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.html", "report.md"]
