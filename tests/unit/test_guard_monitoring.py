"""What the guard makes of the two answers it gets: silence counts only while someone evaluates the rules."""

from __future__ import annotations

from typing import Any

import pytest

from golive.onhost.alertmanager import judge
from golive.onhost.watch import Alert

DATE = "Mon, 23 Nov 2026 14:00:10 GMT"
FRESH = "2026-11-23T14:00:09.123456789Z"


def listed(name: str = "DwcpErrorRateHigh", release: str | None = "3.0.0-x", state: str = "active") -> dict[str, Any]:
    return {"labels": {"alertname": name, **({"release": release} if release else {})}, "status": {"state": state}}


def rules(*firing: dict[str, Any], at: str = FRESH, name: str = "DwcpErrorRateHigh") -> dict[str, Any]:
    return {
        "status": "success",
        "data": {"groups": [{"name": "g", "lastEvaluation": at, "rules": [{"name": name, "alerts": list(firing)}]}]},
    }


def alert(release: str, state: str = "firing") -> dict[str, Any]:
    return {"state": state, "labels": {"release": release}}


def test_an_active_alert_about_the_candidate_fires_even_when_nobody_evaluates_any_more() -> None:
    assert judge([listed()], rules(), DATE, "3.0.0-x", 30) == (Alert.FIRING, ["DwcpErrorRateHigh"])
    assert judge([listed()], rules(at="2026-11-23T13:00:00Z"), DATE, "3.0.0-x", 30)[0] is Alert.FIRING


@pytest.mark.parametrize("others", [[], [listed(release="2.9.0-y")], [listed(release=None)], [listed(state="suppressed")]])
def test_nothing_active_about_the_candidate_is_quiet(others: list[dict[str, Any]]) -> None:
    assert judge(others, rules(), DATE, "3.0.0-x", 30) == (Alert.QUIET, [])


def test_an_alert_that_never_reached_alertmanager_counts_and_a_silenced_one_does_not() -> None:
    assert judge([], rules(alert("3.0.0-x")), DATE, "3.0.0-x", 30) == (Alert.FIRING, ["DwcpErrorRateHigh"])
    assert judge([listed(state="suppressed")], rules(alert("3.0.0-x")), DATE, "3.0.0-x", 30)[0] is Alert.QUIET
    assert judge([], rules(alert("3.0.0-x", "pending")), DATE, "3.0.0-x", 30)[0] is Alert.QUIET
    assert judge([], rules(alert("2.9.0-y")), DATE, "3.0.0-x", 30)[0] is Alert.QUIET


@pytest.mark.parametrize("at", ["2026-11-23T13:59:00Z", "2026-11-23T14:59:00+01:00", "0001-01-01T00:00:00Z"])
def test_rules_that_no_one_evaluates_make_silence_unknown(at: str) -> None:
    judged, why = judge([], rules(at=at), DATE, "3.0.0-x", 30)
    assert judged is Alert.UNKNOWN
    assert "last evaluated" in why[0]


def test_no_rules_at_all_are_unknown() -> None:
    assert judge([], {"data": {"groups": []}}, DATE, "3.0.0-x", 30)[0] is Alert.UNKNOWN


@pytest.mark.parametrize(
    ("alerts", "answer", "date"),
    [
        ({"error": "x"}, rules(), DATE),
        ([{"labels": {}}], rules(), DATE),
        ([{}], rules(), DATE),
        ([], {}, DATE),
        ([], {"data": {"groups": [{"name": "g"}]}}, DATE),
        ([], rules(at="soon"), DATE),
        ([], rules(), ""),
        ([], rules({"state": "firing", "labels": None}), DATE),
        (["x"], rules(), DATE),
    ],
)
def test_an_answer_without_sense_never_counts_as_quiet(alerts: Any, answer: Any, date: str) -> None:
    try:
        judged, _ = judge(alerts, answer, date, "3.0.0-x", 30)
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    assert judged is Alert.FIRING or judged is Alert.UNKNOWN
