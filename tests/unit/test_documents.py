"""Each kind of document says what the journal's fold and the evidence say: a whole go-live and a way back of simulated hosts."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from golive import engine, environment, releases
from golive.collect import runs
from golive.documents import KINDS, Figure, markdown, title
from golive.documents.figure import duration, moment
from golive.documents.gather import Read, facts_of
from golive.documents.page import page
from golive.engine import BACK, RunState
from golive.environment import Environment
from golive.errors import BadInput
from golive.evidence.judging import STATES
from golive.verbs import document as verb
from golive.verbs.document import document
from golive.verbs.golive import golive
from golive.verbs.readiness import readiness
from tests.support.documents import marks_of, page_of, plain, section, table

pytestmark = pytest.mark.timeout(300)

BAD = "3.0.1+defect.errors"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A world in which a good candidate went live, and a bad one was taken back."""
    before = os.environ.get("GOLIVE_STATE")
    os.environ["GOLIVE_STATE"] = str(tmp_path_factory.mktemp("documents"))
    try:
        env = environment.load("lab", "sim:5")
        assert golive(env, quiet=True).exit_code == 0
        runs.recorded(env, releases.newest("3.0.0"))
        assert golive(env, release=BAD, quiet=True).exit_code == 3
        yield env
    finally:
        if before is None:
            os.environ.pop("GOLIVE_STATE", None)
        else:
            os.environ["GOLIVE_STATE"] = before


@pytest.fixture(scope="module")
def names(env: Environment) -> list[str]:
    return list(dict.fromkeys(record.run for record in engine.open_journal(env).read()))


@pytest.fixture(scope="module")
def good(env: Environment, names: list[str]) -> tuple[Read, RunState]:
    return _of(env, names[0])


@pytest.fixture(scope="module")
def bad(env: Environment, names: list[str]) -> tuple[Read, RunState]:
    return _of(env, names[1])


def _of(env: Environment, run: str) -> tuple[Read, RunState]:
    return verb._read(env, run), engine.fold(engine.open_journal(env).read(run))


def _text(read: Read, kind: str, planted: Callable[[Any], Any] = lambda facts: facts) -> str:
    return markdown(planted(facts_of(KINDS[kind], read, f"./inv document {kind}")))


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "health"])
@pytest.mark.parametrize("which", [0, 1])
def test_every_mark_is_told_once_with_its_digest_and_every_source_is_cited(env, good, bad, kind: str, which: int) -> None:
    read = (good, bad)[which][0]
    text = _text(read, kind)
    told = dict(re.findall(r"^\[\^([a-z0-9]+)\]: .*SHA-256 `([0-9a-f]{64})`$", text, re.MULTILINE))
    body = re.sub(r"^\[\^[a-z0-9]+\]: .*$", "", text, flags=re.MULTILINE)
    assert set(marks_of(body)) == set(told) and told
    hashes = {f"j{record.seq}": record.hash for record in read.records}
    assert all(digest == hashes[key] for key, digest in told.items() if key.startswith("j"))
    kept = {digest[:12]: digest for digest in read.kept}
    assert all(digest == kept[key[1:]] for key, digest in told.items() if key.startswith("e"))
    read_back = page_of(page(text, "t"))
    assert sorted(read_back.ids) == sorted(told) and {a.removeprefix("#") for a in read_back.addresses} == set(told)


def test_the_runbook_as_executed_has_every_step_as_the_fold_has_it(good, bad) -> None:
    for read, state in (good, bad):
        text = _text(read, "runbook")
        for name, step in state.steps.items():
            stage, _, id_ = name.partition("/")
            level = "###" if stage.startswith(BACK) else "##"
            row = next(row for row in table(section(text, f"{level} {stage}"), "step", "action") if row["step"] == id_)
            assert row["verdict"] == (step.verdict or step.status) and row["action"] == step.uses
            assert row["what"] == " ".join(step.summary.split())
            if step.attempt == 1 and step.verdict:
                assert row["took"] == duration(step.seconds)
        rows = {row["stage"]: row for row in table(text, "stage", "owner", "due")}
        forward = {name: stage for name, stage in state.stages.items() if not name.startswith(BACK)}
        assert list(rows) == list(forward)
        for name, stage in forward.items():
            assert (rows[name]["owner"], rows[name]["began"], rows[name]["status"]) == (stage.owner, moment(stage.began), stage.status)


def test_due_and_real_times_come_from_the_journal(good) -> None:
    read, state = good
    due = {record.stage: record.data["due"] for record in read.records if record.kind == "stage.started" and record.run == state.run}
    for row in table(_text(read, "runbook"), "stage", "owner", "due"):
        assert row["due"] == moment(due[row["stage"]])


def test_the_completion_report_has_the_fourteen_sections_in_order(good, bad) -> None:
    asked = (
        *("Executive summary", "Scope and release digests", "Timeline", "Traffic progression", "Gate results"),
        *("Performance against the incumbent", "Errors and incidents", "Rollback readiness", "Backup", "Security and signatures"),
        *("Approvals and waivers", "Readiness", "Deviations and open items", "Next steps and sign-off"),
    )
    for read, _ in (good, bad):
        found = re.findall(r"^## (\d+)\. (.+)$", _text(read, "completion"), re.MULTILINE)
        assert found == [(str(number), name) for number, name in enumerate(asked, 1)]


def test_the_completion_report_has_outcome_gates_and_traffic_as_the_fold_has_them(good) -> None:
    read, state = good
    text = _text(read, "completion")
    answers = {row["question"]: row["answer"] for row in table(text, "question", "answer")}
    assert answers["outcome"] == state.outcome == "succeeded"
    assert answers["largest share of users on the candidate"] == f"{state.max_candidate_weight:g} %" == "100 %"
    errors = sum(gate["figures"]["candidate"]["errors"] for gate in state.gates)
    assert answers["requests that the candidate failed, in the watches of gates that decided"] == f"{errors:,}"
    assert answers["approvals asked"] == str(len(state.questions))
    gates = table(section(text, "## 5. Gate results"), "gate", "decided")
    assert [(row["gate"], row["verdict"]) for row in gates] == [(f"{g['stage']}/{g['step']}", g["verdict"]) for g in state.gates]
    for row, gate in zip(gates, state.gates, strict=True):
        seen = gate["figures"]["candidate"]
        assert row["requests"] == f"{seen['requests']:,}" and row["errors"] == f"{seen['errors']:,}"
        assert row["p99"] == f"{seen['p99_s'] * 1000:.3g} ms" and row["error rate"] == f"{seen['error_rate'] * 100:.3g} %"
    lines = table(section(text, "### canary/watch-10: PASS"), "claim", "verdict")
    told = next(gate for gate in state.gates if gate["step"] == "watch-10")["lines"]
    assert [row["claim"] for row in lines] == [line["metric"] for line in told]
    shifts = table(section(text, "## 4. Traffic progression"), "at", "gateway")
    assert [row["candidate's share"] for row in shifts if row["step"].startswith(("canary", "half", "full"))] == [
        *("10 %", "10 %", "50 %", "50 %", "100 %", "100 %")
    ]
    last = {row["gateway"]: row["candidate's share"] for row in shifts}
    assert last == {name: f"{weights[state.release]:g} %" for name, weights in state.traffic.items()}
    assert len(table(section(text, "## 11. Approvals and waivers"), "step", "asked of")) == len(state.questions)
    assert len(table(section(text, "## 9. Backup"), "at", "step", "what")) == 2 * len(
        {r.data["host"] for r in read.records if r.kind == "backup"}
    )


def test_the_way_back_is_told_with_its_reason_its_times_and_its_budgets(bad) -> None:
    read, state = bad
    assert state.outcome == "rolled-back" and state.rollback is not None
    text = _text(read, "completion")
    part = section(text, "## 8. Rollback readiness")
    assert state.rollback["reason"] in plain(part)
    moments = {row["moment"]: row["value"] for row in table(part, "moment", "value")}
    assert moments["breach seen"] == moment(state.rollback["breach_at"]) and moments["done"] == moment(state.rollback["ended"])
    seconds = duration(state.rollback["seconds_to_traffic_back"])
    assert moments["all traffic on the incumbent"] == f"{moment(state.rollback['traffic_back_at'])}, {seconds} after the way back began"
    budgets = {row["stage"]: row["budget"] for row in table(part, "stage", "took")}
    assert budgets == {
        f"{BACK}{name}": text
        for name, text in zip(
            ("traffic-back", "candidate-detached", "candidate-out", "verify"), ("5 min", "10 min", "10 min", "5 min"), strict=True
        )
    }
    assert "the incumbent serves everyone" in section(text, "## 1. Executive summary")


@pytest.mark.parametrize(
    ("kind", "planted"),
    [
        ("completion", lambda f: dataclasses.replace(f, run=dataclasses.replace(f.run, hurt=Figure(777777, f.run.hurt.refs, "count")))),
        ("runbook", lambda f: dataclasses.replace(f, run=dataclasses.replace(f.run, took=Figure(777777 * 86400.0, f.run.took.refs, "s")))),
        ("review", lambda f: dataclasses.replace(f, review=dataclasses.replace(f.review, rows=(
            dataclasses.replace(f.review.rows[0], measured=Figure(777777, f.review.rows[0].measured.refs)),)))),
        ("health", lambda f: dataclasses.replace(f, health=dataclasses.replace(f.health, days=(
            dataclasses.replace(f.health.days[0], requests=Figure(777777, f.health.days[0].requests.refs, "count")), *f.health.days[1:])))),
        ("lessons", lambda f: dataclasses.replace(f, lessons=(
            dataclasses.replace(f.lessons[0], cost=Figure(777777 * 86400.0, f.lessons[0].at.refs, "s")),))),
        ("readiness", lambda f: dataclasses.replace(f, ready=dataclasses.replace(f.ready, every=dataclasses.replace(
            f.ready.every, total=Figure(777777, f.ready.every.total.refs, "count"))))),
        ("recommendation", lambda f: dataclasses.replace(f, ready=dataclasses.replace(
            f.ready, critical_passed=Figure(777777, f.ready.critical_passed.refs, "count")))),
        ("alternatives", lambda f: dataclasses.replace(f, alternatives=dataclasses.replace(f.alternatives, back=(
            dataclasses.replace(f.alternatives.back[0], budget=Figure(777777 * 86400.0, f.alternatives.back[0].budget.refs, "s")),)))),
    ],
)  # fmt: skip
def test_another_number_in_the_facts_is_another_document(good, kind: str, planted: Callable[[Any], Any]) -> None:
    said = re.compile(r"777,?777|7\.78e\+05")
    assert not said.search(_text(good[0], kind)) and said.search(_text(good[0], kind, planted))


def test_another_number_in_a_record_is_another_document(good) -> None:
    """The whole way: what the journal says of a gate is what stands in the report."""
    read, state = good
    records = []
    for record in read.records:
        if record.kind == "gate" and record.step == "watch-50" and record.run == state.run:
            figures = {**record.data["figures"], "candidate": {**record.data["figures"]["candidate"], "requests": 4321987}}
            record = dataclasses.replace(record, data={**record.data, "figures": figures})
        records.append(record)
    other = dataclasses.replace(read, records=records, _runs={})
    assert "4,321,987" in _text(other, "completion") and "4,321,987" not in _text(read, "completion")


def test_readiness_has_all_items_with_their_states_and_both_numbers(env, good) -> None:
    data = readiness(env, collect=False).data
    text = _text(good[0], "readiness")
    rows = [
        row for part in re.split(r"^## ", text, flags=re.MULTILINE) if "| id | item | state |" in part for row in table(part, "id", "item")
    ]
    assert [(row["id"].split(" ")[0], row["state"]) for row in rows] == [(item["id"], item["state"]) for item in data["items"]]
    assert len(rows) == 186 and {row["id"].split(" ")[0] for row in rows if "(critical)" in row["id"]} == set(data["critical"])
    counts = {row["section"]: row for row in table(text, "section", "items")}
    for name, number in data["counts"].items():
        assert {state: counts[name][state] for state in STATES} == {state: str(number[state]) for state in STATES}
    assert counts["for machines"]["items"] == "156" and counts["in all"]["items"] == "186"
    for key, name in (("machine", "for machines"), ("all", "in all")):
        assert {state: counts[name][state] for state in STATES} == {state: str(data["totals"][key][state]) for state in STATES}
    for row, item in zip(rows, data["items"], strict=True):
        assert row["evidence"] == (" ".join(digest[:12] for digest in item["evidence"]) or "none")


def test_the_recommendation_is_the_decision_with_everything_that_stands_in_the_way(env, good) -> None:
    data = readiness(env, collect=False).data
    text = _text(good[0], "recommendation")
    assert f"## Recommendation: {data['decision']}" in text
    for heading, key in (("## In the way", "blockers"), ("## Risks", "risks")):
        assert [plain(line[2:]) for line in section(text, heading).splitlines() if line.startswith("- ")] == [
            " ".join(sentence.split()) for sentence in data[key]
        ]
    asked = {row["asked by the policy"]: row for row in table(text, "asked by the policy", "asked")}
    assert asked["items for machines that pass, for GO"]["asked"] == f"{env.policy['readiness']['confidence']} %"


def test_lessons_are_what_the_journal_shows(good, bad) -> None:
    read, state = bad
    text = _text(read, "lessons")
    counts = {row["kind"]: int(row["how often"]) for row in table(text, "kind", "what it means")}
    assert counts["rolled back"] >= 1 and state.rollback and state.rollback["reason"] in plain(section(text, "## Rolled back"))
    took = table(section(text, "## Rolled back"), "where", "what", "seconds")[0]["seconds"]
    began, ended = (datetime.fromisoformat(str(state.rollback[name])) for name in ("started", "ended"))
    assert took == duration((ended - began).total_seconds())
    untold = [entry for entry in state.notices if entry["is"] in ("failed", "unrouted")]
    assert counts["not told"] == len(untold) and counts["waived"] == counts["over budget"] == 0
    slowest = table(section(_text(good[0], "lessons"), "## Slowest steps"), "step", "action")
    budgets = {f"{r.stage}/{r.step}": r.data["budget_s"] for r in good[0].records if r.kind == "step.intent" and r.run == good[1].run}
    shares = sorted((step.seconds / budgets[name] for name, step in good[1].steps.items() if name in budgets), reverse=True)
    assert [row["share of its budget"] for row in slowest] == [f"{share * 100:.1f} %" for share in shares[:10]]


def test_health_has_each_days_watches_and_says_where_there_is_nothing(env, good, names: list[str]) -> None:
    read, state = good
    folder = env.state / "feedback"
    folder.mkdir(exist_ok=True)
    (folder / "T+2-ann.md").write_text("<b>slow</b> | mornings ](http://evil.example)\n\n# fine since\n")
    (folder / "someone.md").write_text("of no day\n")
    (folder / "link.md").symlink_to("/etc/passwd")
    text = _text(read, "health")
    deployed = next(r for r in read.records if r.stage == "deploy" and r.kind == "step.intent")
    zero = datetime.fromisoformat(deployed.at)
    rows = {row["day"]: row for row in table(text, "day", "until")}
    for number in range(1, 8):
        begins, ends = zero + timedelta(days=number - 1), zero + timedelta(days=number)
        mine = [g for g in state.gates if begins <= datetime.fromisoformat(g["at"]) < ends]
        row = rows[f"T+{number}"]
        assert row["until"] == moment(ends) and row["watches"] == str(len(mine))
        total = sum(gate["figures"]["candidate"]["requests"] for gate in mine)
        assert row["requests"] == (f"{total:,}" if mine else "no data")
        assert ("no data" in row["state"]) == (not mine) and row["checks of the hosts"] == "no data"
    assert "Nothing was measured: **no data**" in section(text, "## T+5") and "there is no Prometheus to ask" in text
    assert "> \\<b\\>slow\\</b\\> \\| mornings \\](http\\://evil.example)" in section(text, "## T+2")
    assert "of no day" in section(text, "## Feedback of no day") and "root:" not in text
    assert not page_of(page(text, "t")).tags.count("b")


def test_there_is_no_day_after_a_run_that_went_back(env, bad, names: list[str]) -> None:
    with pytest.raises(BadInput, match="never left the candidate on hosts"):
        _text(bad[0], "health")


def test_alternatives_are_those_of_the_runbooks_and_the_policy(env, good, bad) -> None:
    text = _text(bad[0], "alternatives")
    reactions = {row["step"]: row for row in table(text, "step", "action", "it fails")}
    assert reactions["canary/watch-10"]["it cannot say"] == "hold 1h then rollback" and reactions["half/watch-50"]["it fails"] == "rollback"
    shares = [row["share of users"] for row in table(text, "step", "at", "share of users")]
    assert shares[-3:] == ["10 %", "50 %", "100 %"]
    back = {row["stage"]: row for row in table(text, "stage", "owner", "budget", "actions", "took in this run")}
    assert back["traffic-back"]["budget"] == "5 min" and back["traffic-back"]["took in this run"] not in ("not needed", "no data")
    settings = {row["setting"]: row["value"] for row in table(text, "setting", "what it is")}
    assert settings["failure_budget"] == "failed: 0; unreachable: 0" and "mode: auto" in settings["approvals"]
    assert "No round is in the evidence: no data" in text
    assert all(
        row["took in this run"] == "not needed"
        for row in table(_text(good[0], "alternatives"), "stage", "owner", "budget", "actions", "took in this run")
    )


def test_the_review_compares_and_calls_nothing_held_that_was_not_measured(good, bad) -> None:
    # Alone: a later run may or may not have come to a gate before it went back, and what it saw of this release would count.
    alone = dataclasses.replace(good[0], records=[record for record in good[0].records if record.run == good[1].run], _runs={})
    rows = table(_text(alone, "review"), "about", "what")
    for row in rows:
        assert (row["verdict"] == "not measured") == (row["measured"] == "no data")
    first = {row["what"]: row for row in rows if row["about"] == "first gate"}
    lines = {line["metric"]: line for line in next(g for g in good[1].gates if g["step"] == "watch-10")["lines"]}
    assert first["error_rate"]["predicted"] == f"{lines['error_rate']['bound'] * 100:.3g} %"
    assert {row["verdict"] for row in rows if row["about"] == "after the run"} == {"not measured"}
    assert "That is still to come" in _text(good[0], "review")
    assert "never on hosts for good" in _text(bad[0], "review")


def test_the_verb_writes_every_form_under_stable_names_and_says_where(env, names: list[str], tmp_path: Path) -> None:
    found = document(env, "completion", run=names[0], out=str(tmp_path))
    again = document(env, "completion", run=names[0], formats="md", out=str(tmp_path))
    assert found.exit_code == again.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"completion-{names[0]}.{form}" for form in ("html", "md", "pdf")]
    told = found.data["documents"][0]
    assert told["title"].startswith("Completion report: 3.0.0 in sim-5") and told["pdf"]["pages"] >= 3
    assert (tmp_path / f"completion-{names[0]}.pdf").read_bytes().startswith(b"%PDF-")
    text = (tmp_path / f"completion-{names[0]}.md").read_text()
    assert f"./inv document completion --env sim-5 --run {names[0]}" in text
    json.dumps(found.data)


def test_the_text_of_a_page_is_that_of_its_markdown(good) -> None:
    text = _text(good[0], "runbook")
    shown = page_of(page(text, "t")).text
    for row in table(section(text, "## canary"), "step", "action"):
        for cell in row.values():
            assert cell in shown


def test_what_cannot_be_asked_for_is_refused_and_nothing_is_written(env, tmp_path: Path) -> None:
    for words, why in (
        ({"kind": "novel"}, "There is no document 'novel'"),
        ({"kind": "completion", "run": "nope"}, "There is no run nope"),
        ({"kind": "completion", "formats": "docx"}, "--format is one or more of"),
        ({"kind": "completion", "formats": " , "}, "--format is one or more of"),
    ):
        with pytest.raises(BadInput, match=why) as raised:
            document(env, **{**words, "out": str(tmp_path / "out")})
        assert raised.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_changed_journal_is_said_on_the_first_page_and_is_exit_code_4(env, names: list[str], tmp_path: Path) -> None:
    """The last test of this world: it spoils it."""
    with sqlite3.connect(env.state / "journal.db") as database:
        database.execute("DROP TRIGGER records_keep_update")
        database.execute('UPDATE records SET data = replace(data, \'"verdict":"PASS"\', \'"verdict":"FINE"\') WHERE kind = \'gate\'')
    for kind in ("completion", "lessons", "runbook"):
        found = document(env, kind, run=names[0], formats="md", out=str(tmp_path))
        text = (tmp_path / f"{kind}-{names[0]}.md").read_text()
        assert found.exit_code == 4 and not found.data["journal_intact"]
        assert "NOT AS IT WAS WRITTEN" in text[: text.index("| fact |")] and "**DOES NOT VERIFY**" in text
    with sqlite3.connect(env.state / "journal.db") as database:
        database.execute("UPDATE records SET data = '{' WHERE kind = 'gate'")
    with pytest.raises(Exception, match="cannot be read") as raised:
        document(env, "completion", run=names[0], out=str(tmp_path))
    assert raised.value.exit_code == 4


def test_the_titles_name_release_and_environment(good) -> None:
    assert title(facts_of(KINDS["lessons"], good[0], "x")) == "Lessons: 3.0.0 in sim-5"
