"""``checks.preflight``: a run begins only when nothing stands in its way; a lab has nothing to be looked at before it is made."""

from __future__ import annotations

from typing import Any

import pytest

from golive import actions
from golive.actions import checks_preflight
from golive.gates.verdict import Verdict
from golive.preflight import Finding, Grade, Report
from tests.support import action_step
from tests.support.action_step import Step, environment, named

actions.load_all()
step = action_step.step


@pytest.mark.parametrize(
    ("findings", "verdict", "says"),
    [
        ([], Verdict.PASS, "1 hosts, no problem, 0 warnings"),
        ([Finding("os", Grade.WARNING, "is old.")], Verdict.PASS, "1 hosts, no problem, 1 warnings"),
        (
            [Finding("os", Grade.WARNING, "is old."), Finding("disk", Grade.PROBLEM, "is full.")],
            Verdict.FAIL,
            "1 problems; the first: is full. All of them: ./inv preflight --env unit",
        ),
    ],
)
def test_problems_stop_a_run_and_warnings_do_not(
    step: Step, monkeypatch: pytest.MonkeyPatch, findings: list[Finding], verdict: Verdict, says: str
) -> None:
    asked: dict[str, Any] = {}

    def preflight(env: object, **options: Any) -> Report:
        asked.update(options)
        return Report("unit", [], {"a": findings}, [], 1.0)

    monkeypatch.setattr(checks_preflight, "preflight", preflight)
    outcome = named("checks.preflight").apply(step.ctx({"deadline_s": 30.0}), {})
    assert (outcome.verdict, outcome.summary) == (verdict, says)
    assert asked["deadline_s"] == 30.0 and outcome.data["hosts"][0]["name"] == "a"


def test_a_lab_is_not_asked_before_it_is_made(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_preflight, "preflight", None)
    assert named("checks.preflight").apply(step.ctx(env=environment(kind="lab")), {}).verdict is Verdict.PASS
