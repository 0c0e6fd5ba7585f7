"""Each day after T-0 has what was measured in it, by whom it was measured, and nothing else; comparisons compare two measurements."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from golive.documents import KINDS, Facts, JournalFacts, Sources, markdown
from golive.documents.alternatives import alternative_facts
from golive.documents.feedback import feedback_in
from golive.documents.gather import Read, facts_of
from golive.documents.health import MEASURES, Asked, HealthFacts, health_facts, t_zero
from golive.documents.measured import suites
from golive.documents.prometheus import answers
from golive.documents.review import review_facts
from golive.documents.run import RunFacts, run_facts
from golive.evidence import Kept, Statement, Subject
from golive.evidence.statement import Check, Collector, Output
from golive.gates.window import NoData, Reason
from tests.support.documents import section, table
from tests.support.run_records import NEW, OLD, Run

_ZERO = datetime(2030, 1, 2, 3, 4, 8, tzinfo=UTC)
"""The first intent that reaches users, in the run below."""


def _gate(candidate: dict[str, Any], incumbent: dict[str, Any] | None = None, bound: float = 0.004, seen: float = 0.001) -> dict[str, Any]:
    line = {"metric": "error_rate", "verdict": "PASS", "n": 900, "unit": "share", "estimate": seen, "bound": bound, "stated": "< 1 %"}
    figures = {"candidate": candidate, "incumbent": incumbent or {}}
    return {"verdict": "PASS", "summary": "fine", "start": 0, "end": 30, "lines": [line], "figures": figures}


def _seen(requests: int, errors: int, p99_s: float) -> dict[str, Any]:
    return {"requests": requests, "errors": errors, "error_rate": errors / requests, "p50_s": 0.003, "p99_s": p99_s, "per_s": requests / 30}


def _run() -> RunFacts:
    run = Run()
    run.start()
    run.shift("canary", 10)
    run.gate("canary", "watch-10", _gate(_seen(1000, 1, 0.020), _seen(9000, 9, 0.021)))
    run.wait(36 * 3600)
    run.gate("full", "watch-100", _gate(_seen(5000, 10, 0.030), seen=0.002))
    run.say("run.finished", {"outcome": "succeeded", "signed_off": True})
    return run_facts(run.records)


def _later() -> RunFacts:
    """Four days later another candidate was tried, with ours as the incumbent."""
    run = Run()
    run.wait(4 * 86400)
    run.start()
    run.records[0] = dataclasses.replace(run.records[0], data={**run.records[0].data, "candidate": "3.1.0-dddddddddddd", "incumbent": NEW})
    run.gate("canary", "watch-10", _gate(_seen(100, 50, 0.9), _seen(7000, 7, 0.025)))
    run.say("run.finished", {"outcome": "rolled-back"})
    return run_facts([dataclasses.replace(record, run="run-2", seq=record.seq + 100) for record in run.records])


def _kept(check: str, finished: datetime, facts: dict[str, Any], result: str = "PASS", digest: str = "d" * 64, subject: str = "") -> Kept:
    predicate = Check(
        check=check, env="lab", collector=Collector(source="a" * 64, host="ann@desk"), command=f"./inv {check}", result=result,  # type: ignore[arg-type]
        summary=f"{check} {result}", facts=facts, output=Output(sha256="b" * 64, size=1), started=finished, finished=finished,
        valid_until=finished + timedelta(days=1), seq=0, previous=None,
    )  # fmt: skip
    return Kept(digest, "key", Statement(subject=[Subject.of(subject or "agent-source", "a" * 64)], predicate=predicate))


def _health(
    run: RunFacts,
    *,
    later: tuple[RunFacts, ...] = (),
    kept: dict[str, Kept] | None = None,
    asked: Asked | None = None,
    days: float = 9,
    **more: Any,
) -> HealthFacts:
    nothing = Asked("", {}, "nobody was asked")
    return health_facts(
        run,
        later,
        kept or {},
        more.get("feedback", ()),
        asked or nothing,
        as_of=_ZERO + timedelta(days=days),
        directory=".golive/lab/feedback",
    )


def test_t_zero_is_after_the_drill_and_never_in_a_run_that_went_back() -> None:
    assert t_zero(_run()).value == _ZERO.isoformat(timespec="microseconds")
    run = Run()
    run.start()
    run.shift("rehearsal", 10)
    assert t_zero(run_facts(run.records)).value is not None
    run.say("rehearsal.finished", {"hosts": 3}, "rehearsal", "over")
    assert t_zero(run_facts(run.records)).value is None
    run.shift("canary", 10)
    later = t_zero(run_facts(run.records))
    assert later.value > run.records[0].at and later.refs == (f"j{next(r.seq for r in run.records if r.stage == 'canary' and r.step)}",)
    run.rollback("errors")
    assert t_zero(run_facts(run.records)).value is None


def test_a_days_watches_are_those_between_its_ends() -> None:
    days = _health(_run()).days
    assert [day.requests.value for day in days] == [1000, 5000, None, None, None, None, None]
    assert [day.errors.value for day in days[:2]] == [1, 10] and days[1].p99.value == 30.0
    assert days[1].change.value == pytest.approx(1.5) and set(days[1].change.refs) == {*days[0].p99.refs, *days[1].p99.refs}
    assert not days[2].known and days[2].change.value is None


def test_days_that_are_not_over_are_not_called_without_data() -> None:
    assert [day.state for day in _health(_run(), days=1.5).days] == ["over", "going on", *["to come"] * 5]


def test_what_a_later_run_saw_of_the_release_as_its_incumbent_counts_and_its_candidate_does_not() -> None:
    day = _health(_run(), later=(_later(),)).days[4]
    assert (day.number, day.requests.value, day.errors.value, day.p99.value) == (5, 7000, 7, 25.0)


def test_checks_of_the_hosts_count_on_their_day_and_for_their_release_only() -> None:
    at = _ZERO + timedelta(days=2, hours=1)
    kept = {
        "1" * 64: _kept("verify", at, {"release": NEW}, digest="1" * 64),
        "2" * 64: _kept("verify", at + timedelta(hours=1), {"release": NEW}, "FAIL", digest="2" * 64),
        "3" * 64: _kept("verify", at, {"release": OLD}, "FAIL", digest="3" * 64),
    }
    days = _health(_run(), kept=kept).days
    assert [result.value for _, result, _ in days[2].verified] == ["PASS", "FAIL"] and days[2].known
    assert [result.refs for _, result, _ in days[2].verified] == [("e111111111111",), ("e222222222222",)]
    assert not any(day.verified for day in (*days[:2], *days[3:]))


def test_prometheus_points_are_the_mean_and_the_worst_of_their_day() -> None:
    start = (_ZERO + timedelta(days=3)).timestamp()
    points = {
        "p99 latency": [(start - 1, 9.0), (start, 0.010), (start + 300, 0.030), (start + 86400, 7.0)],
        "requests": [(start, 100.0), (start + 300, 50.0)],
    }
    asked = Asked("4" * 64, points)
    day = _health(_run(), asked=asked).days[3]
    found = {measure.name: (mean, worst) for measure, mean, worst in day.measures}
    assert found["p99 latency"][0].value == pytest.approx(0.020) and found["p99 latency"][1].value == 0.030
    assert found["requests"][1].value == 50.0 and found["requests"][1].refs == ("e444444444444",)
    assert found["restarts"][0].value is None and found["restarts"][0].text == "no data"


def test_every_question_names_the_release_as_text() -> None:
    asked = []

    def ask(query: str, start: float, end: float, step_s: float) -> Any:
        asked.append(query)
        return NoData("query_range", Reason.EMPTY, "nothing")

    found = answers(ask, 'a"b', _ZERO, _ZERO + timedelta(days=7))
    assert len(asked) == len(found) == len(MEASURES) and all(isinstance(one, str) for one in found.values())
    assert all("%s" not in query and 'release="a\\"b"' in query for query in asked if "ALERTS" not in query)


def test_who_does_not_answer_is_asked_once() -> None:
    asked = []

    def ask(query: str, start: float, end: float, step_s: float) -> Any:
        asked.append(query)
        return NoData("query_range", Reason.UNREACHABLE, "no route to host")

    found = answers(ask, NEW, _ZERO, _ZERO + timedelta(days=7))
    assert len(asked) == 1 and set(found) == {measure.name for measure in MEASURES}
    assert all("no route to host" in one for one in found.values())


def test_the_backups_of_a_large_fleet_are_summed_up_and_not_lost(tmp_path: Path) -> None:
    run = Run()
    run.start()
    run.say("stage.started", {"owner": "operations-manager"}, "pre-deployment")
    for number in range(40):
        run.say("backup", {"host": f"host-{number}", "snapshot": "a" * 64, "files": 1, "bytes": 2}, "pre-deployment", "backup")
    run.outcome("pre-deployment", "backup", "backup.take", "40 hosts saved")
    text = markdown(facts_of(KINDS["completion"], _read(run_facts(run.records), tmp_path, {}), "./inv document completion"))
    part = section(text, "## 9. Backup")
    assert "40 records say it host by host" in part and table(part, "step", "verdict")[0]["what"] == "40 hosts saved"
    assert len(table(part, "at", "step", "what")) == 24


def test_feedback_goes_to_the_day_that_its_name_says(tmp_path: Path) -> None:
    for name in ("T+3-x.md", "t2 y.md", "2030-01-06-z.md", "other.md", "2030-99-99.md", "no.txt"):
        (tmp_path / name).write_text("said")
    (tmp_path / "big.md").write_text("x" * 70_000)
    found = feedback_in(tmp_path, Sources())
    assert {one.name: (one.day, one.on) for one in found} == {
        "T+3-x.md": (3, None),
        "t2 y.md": (2, None),
        "2030-01-06-z.md": (None, date(2030, 1, 6)),
        "other.md": (None, None),
        "2030-99-99.md": (None, None),
        "big.md": (None, None),
    }
    assert "not quoted" in next(one for one in found if one.name == "big.md").text
    facts = _health(_run(), feedback=found)
    placed = {day.number: [one.name for one in day.feedback] for day in facts.days if day.feedback}
    assert placed == {2: ["t2 y.md"], 3: ["T+3-x.md"], 4: ["2030-01-06-z.md"]}
    assert {one.name for one in facts.feedback} == {"other.md", "2030-99-99.md", "big.md"}


def _review(run: RunFacts, health: HealthFacts | None, kept: dict[str, Kept] | None = None) -> dict[tuple[str, str], Any]:
    measured = suites(kept or {}, NEW, "a" * 64, "lab")
    facts = review_facts(run, None, health, kept or {}, measured, as_of=_ZERO + timedelta(days=31))
    assert facts.early == (facts.zero.value is None)
    return {(row.about, row.what): row for row in facts.rows}


def test_the_run_itself_is_no_measurement_of_what_came_after_it() -> None:
    rows = _review(_run(), _health(_run()))
    assert {row.held for (about, _), row in rows.items() if about == "after the run"} == {"not measured"}
    rows = _review(_run(), _health(_run(), later=(_later(),)))
    error, p99 = rows["after the run", "error rate"], rows["after the run", "p99 latency"]
    assert (error.predicted.value, error.measured.value, error.held) == (0.002, 0.001, "held")
    assert (p99.predicted.value, p99.measured.value, p99.held) == (30.0, 25.0, "held")


def test_what_became_worse_after_the_run_did_not_hold() -> None:
    start = (_ZERO + timedelta(days=6)).timestamp()
    asked = Asked("4" * 64, {"p99 latency": [(start, 0.090)], "failed requests": [(start, 0.02)], "requests": [(start, 160.0)]})
    rows = _review(_run(), _health(_run(), asked=asked))
    assert rows["after the run", "p99 latency"].held == "did not hold" and rows["after the run", "p99 latency"].measured.value == 90.0
    assert rows["after the run", "error rate"].held == "did not hold"
    assert rows["after the run", "requests per second"].held == "held"


def test_what_the_first_gate_left_open_is_held_against_the_last_one() -> None:
    row = _review(_run(), None)["first gate", "error_rate"]
    assert (row.predicted.value, row.measured.value, row.held) == (0.004, 0.002, "held")
    run = Run()
    run.start()
    run.gate("canary", "watch-10", _gate(_seen(1000, 1, 0.02), bound=0.0015))
    run.gate("full", "watch-100", _gate(_seen(1000, 2, 0.02), seen=0.002))
    assert _review(run_facts(run.records), None)["first gate", "error_rate"].held == "did not hold"


def test_the_way_back_that_was_needed_is_compared_with_the_one_that_was_predicted() -> None:
    run = Run()
    run.start()
    boxes = [
        {"box": name, "measured_s": 1.0, "predicted_s": 2.0, "budget_s": 300.0, "holds": True, "steps": ["x"]}
        for name in ("traffic", "verification")
    ]
    run.say("rollback-time", {"boxes": boxes, "total_s": 4.0, "limit_s": 1800.0, "holds": True}, "final-readiness", "in-time")
    run.say("rollback.started", {"reason": "errors", "source": "gate", "breach_at": run.records[-1].at})
    for stage, seconds in (("traffic-back", 0.5), ("verify", 30)):
        run.say("stage.started", {"owner": "qa-lead", "budget_s": 300.0}, f"rollback:{stage}")
        run.wait(seconds)
        run.say("stage.done", {}, f"rollback:{stage}")
    run.say("run.finished", {"outcome": "rolled-back"})
    rows = _review(run_facts(run.records), None)
    assert (rows["way back", "part traffic"].measured.value, rows["way back", "part traffic"].held) == (1.5, "held")
    assert (rows["way back", "part verification"].measured.value, rows["way back", "part verification"].held) == (31, "did not hold")


_ROWS = [
    {"id": "latency-p99-10", "case": "p99 | of 10", "unit": "ms", "samples_ours": [9.0, 9.5, 8.0], "samples_peer": [10.0], "change": -10.0,
     "tolerance": "<= 1.10x", "verdict": "PASS", "ok": True, "note": "quiet"},
    {"id": "transfer-64", "case": "64 MiB", "unit": "MB/s", "samples_ours": [], "samples_peer": [], "change": None, "ok": None},
]  # fmt: skip


def test_a_regression_measured_beforehand_is_compared_with_what_users_saw() -> None:
    kept = {"5" * 64: _kept("regress", _ZERO, {"rows": _ROWS}, digest="5" * 64, subject="release:3.0.0")}
    rows = _review(_run(), None, kept)
    row = rows["regression", "p99 | of 10"]
    assert row.predicted.value == pytest.approx(0.9) and row.measured.value == pytest.approx(0.020 / 0.021) and row.held == "held"
    assert [what for about, what in rows if about == "regression"] == ["p99 | of 10"]


def test_only_what_was_measured_of_this_release_to_the_byte_and_last_is_its_measurement() -> None:
    def one(digest: str, days: float, subject: str = "release:3.0.0") -> Kept:
        return _kept("regress", _ZERO + timedelta(days=days), {"rows": _ROWS[:1]}, digest=digest * 64, subject=subject)

    kept = {"1" * 64: one("1", 0), "2" * 64: one("2", 1), "3" * 64: one("3", 2, subject="release:2.9.0")}
    assert [suite.result.refs for suite in suites(kept, NEW, "a" * 64, "lab")] == [("e222222222222",)]
    assert suites(kept, NEW, "c" * 64, "lab") == () and suites(kept, NEW, None, "lab") == () and suites(kept, NEW, "a" * 64, "prod") == ()


def test_the_completion_report_has_the_table_of_the_regression(tmp_path: Path) -> None:
    kept = {"5" * 64: _kept("regress", _ZERO, {"rows": _ROWS}, digest="5" * 64, subject="release:3.0.0")}
    text = markdown(facts_of(KINDS["completion"], _read(_run(), tmp_path, kept, digest="a" * 64), "./inv document completion"))
    first, second = table(section(text, "## 6. Performance"), "metric", "incumbent", "candidate")
    assert first["metric"] == "p99 | of 10" and (first["incumbent"], first["candidate"], first["change"]) == ("10 ms", "9 ms", "-10 %")
    assert (first["verdict"], second["verdict"], second["candidate"]) == ("PASS", "UNKNOWN", "no data")


def test_faults_that_were_tried_are_counted_by_the_newest_rounds() -> None:
    rows = [
        {"round": 1, "fault": "cut a host", "end": "succeeded", "ok": True, "recovery_s": 2.0},
        {"round": 2, "fault": "cut a host", "end": "held", "ok": False, "recovery_s": 8.0},
        {"round": 3, "fault": "kill | -9", "end": "succeeded", "ok": True, "recovery_s": None},
    ]
    kept = {
        "6" * 64: _kept("chaos.sim", _ZERO, {"rows": rows}, digest="6" * 64),
        "7" * 64: _kept("chaos.sim", _ZERO - timedelta(days=1), {"rows": rows[:1] * 9}, digest="7" * 64),
    }
    from golive import actions, runbook
    from golive.environment import ROOT

    actions.load_all()
    books = {name: runbook.load(ROOT / "runbooks" / f"{name}.yaml", actions.registered()) for name in ("golive", "rollback", "return")}
    sources = Sources()
    sources.add_statements(kept)
    policy = sources.add_file("policies/lab.yaml", b"x")
    found = alternative_facts(books, {"failure_budget": {"failed": 0}}, policy, None, kept, sources)
    text = markdown(Facts(KINDS["alternatives"], "lab", _ZERO, "./inv", sources, alternatives=found))
    told = {row["fault"]: row for row in table(section(text, "## Faults that were tried"), "rounds on", "fault")}
    assert (told["cut a host"]["rounds"], told["cut a host"]["ended wrong"], told["cut a host"]["longest"]) == ("2", "1", "8 s")
    assert told["cut a host"]["recovered, median"] == "5 s" and told["kill | -9"]["longest"] == "no data"


def test_a_run_whose_release_is_not_here_says_so(tmp_path: Path) -> None:
    text = markdown(facts_of(KINDS["health"], _read(_run(), tmp_path, {}), "./inv document health"))
    assert "not known: nobody looked." in text and "not on this machine" in text and "nobody was asked" in text


def _read(run: RunFacts, directory: Path, kept: dict[str, Kept], digest: str | None = None) -> Read:
    return Read(
        env="lab",
        made=_ZERO,
        journal=JournalFacts(len(run.records), run.last, "0" * 64, ()),
        records=run.records,
        run="run-1",
        kept=kept,
        ready=None,
        unready="nobody looked.",
        wrong=(),
        books={},
        policy={},
        policy_name="lab",
        feedback=directory,
        asked=lambda *_: Asked("", {}, "nobody was asked"),
        digest_of=lambda name: digest if name == NEW else None,
    )
