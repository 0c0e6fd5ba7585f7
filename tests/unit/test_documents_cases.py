"""Documents over runs that were held, waived, interrupted, or never were; over hostile names; over evidence that was changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine_world import NEW, OLD, World, environment, go, killed_at
from golive import engine
from golive.documents import KINDS, markdown
from golive.documents.gather import facts_of
from golive.documents.page import page
from golive.engine.holding import held
from golive.engine.ports import Ports
from golive.errors import BadInput, Refused
from golive.evidence import Subject, record, store_here
from golive.verbs import document as verb
from golive.verbs.document import document
from tests.support.documents import page_of, plain, section, table

EVIL = "<script>alert(1)</script> | ](http://evil.example)"


@pytest.fixture
def sim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    return World(tmp_path)


def _text(kind: str) -> str:
    return markdown(facts_of(KINDS[kind], verb._read(environment(), ""), "./inv document"))


def _journaled(*records: tuple[str, dict[str, Any], str | None, str | None], run: str = "run-1") -> None:
    """These records of one run, through the engine's own store."""
    with held(environment(), Ports(), False) as (_, _, journal):
        for kind, data, stage, step in records:
            journal.append(kind, data, run, stage, step)


_SAID = {"person": EVIL, "role": EVIL, "decision": "reject", "comment": EVIL}
_LINE = {"metric": EVIL, "stated": EVIL, "note": EVIL, "verdict": "FAIL", "n": 1, "estimate": 1.0, "unit": EVIL}
_SEEN = {EVIL: {"requests": 1}}
_STARTED = {"candidate": NEW, "incumbent": OLD, "runbook": "golive", "runbook_digest": "d" * 64, "pace": "real"}


def test_without_a_run_there_is_one_sentence_and_exit_code_2(sim: World, tmp_path: Path) -> None:
    for kind in KINDS:
        if KINDS[kind].of_run or KINDS[kind].of_evidence:
            with pytest.raises(BadInput, match=r"`\./inv (golive|readiness) --env sim`") as raised:
                document(environment(), kind, out=str(tmp_path / "out"))
            assert raised.value.exit_code == 2 and raised.value.message.count(". ") <= 1
    assert not (tmp_path / "out").exists()
    assert document(environment(), "alternatives", formats="md", out=str(tmp_path / "out")).exit_code == 0


def test_all_of_them_are_those_that_can_be_made_and_the_rest_is_named(sim: World, tmp_path: Path) -> None:
    assert go(sim).outcome == "succeeded"
    found = document(environment(), "all", formats="md", out=str(tmp_path))
    assert found.exit_code == 2
    made, lacking = {one["kind"] for one in found.data["documents"]}, {one["kind"] for one in found.data["not_made"]}
    assert made | lacking == set(KINDS) and lacking == {"readiness", "recommendation"}
    assert {path.stem.split("-")[0] for path in tmp_path.glob("*.md")} == made


def test_a_held_run_says_what_stands_in_the_way_and_what_to_do(sim: World) -> None:
    sim.unknown["nyc-1"] = "no route to host"
    state = go(sim)
    assert state.outcome == "held" and state.held
    text = _text("completion")
    summary = plain(section(text, "## 1. Executive summary"))
    assert "The run is held" in summary and " ".join(str(state.held["reason"]).split()) in summary
    assert " ".join(str(state.held["do"]).split()).replace("`", "") in plain(section(text, "## 14. Next steps and sign-off")).replace(
        "`", ""
    )
    rows = table(section(_text("lessons"), "## Held"), "where", "what")
    assert rows and any(str(state.held["reason"]).split("`")[0][:20] in row["what"] for row in rows)
    with pytest.raises(BadInput, match="no day after T-0"):
        _text("health")


def test_a_run_that_lost_its_process_teaches_that_it_did(sim: World) -> None:
    assert killed_at(sim, 30)
    state = go(sim)
    assert state.outcome == "succeeded" and state.attempts == 2
    text = _text("lessons")
    counts = {row["kind"]: int(row["how often"]) for row in table(text, "kind", "what it means")}
    interrupted = [
        r for r in engine.open_journal(environment()).read() if r.kind in ("step.interrupted", "leftovers.ended", "lease.taken-over")
    ]
    assert counts["interrupted"] == len(interrupted) >= 1
    again = [name for name, step in state.steps.items() if step.attempt > 1]
    assert {row["where"] for row in table(section(text, "## Tried again"), "where", "what")} == set(again) and again
    rows = table(_text("review"), "about", "what")
    assert any(row["about"] == "recovery" and row["verdict"] == "not measured" for row in rows)


def test_a_gate_that_could_not_say_is_a_lesson_and_its_hold_too(sim: World) -> None:
    sim.verdicts["watch-10"] = ["INCONCLUSIVE", "PASS"]
    assert go(sim).outcome == "succeeded"
    text = _text("lessons")
    assert len(table(section(text, "## Not measured"), "where", "what")) == 1
    assert table(section(text, "## Tried again"), "where", "what")[0]["where"] == "canary/watch-10"


def test_a_waived_step_names_who_answers_for_it(sim: World) -> None:
    word = {"person": "dave", "role": "qa-lead", "reason": "known flake", "expires": "2030-01-01T00:00:00+00:00", "seal": "s" * 64}
    _journaled(
        ("run.started", _STARTED, None, None),
        ("stage.started", {"owner": "qa-lead", "due": "2026-01-01T00:00:00+00:00"}, "go", None),
        ("waiver.given", word, "go", "look"),
        ("step.waived", {**word, "uses": "checks.smoke"}, "go", "look"),
        ("stage.done", {}, "go", None),
        ("run.finished", {"outcome": "succeeded"}, None, None),
    )
    text = _text("completion")
    assert "dave (qa-lead)" in plain(section(text, "## 11. Approvals and waivers")) and "known flake" in text
    assert {row["question"]: row["answer"] for row in table(text, "question", "answer")}["steps waived"] == "1"
    assert table(section(_text("runbook"), "## go"), "step", "action")[0]["verdict"] == "WAIVED"
    assert table(section(_text("lessons"), "## Waived"), "where", "what")[0]["where"] == "go/look"
    late = table(section(_text("lessons"), "## Late"), "where", "what")
    assert late[0]["where"] == "go"


def test_a_step_over_its_budget_is_the_first_lesson(sim: World) -> None:
    steps = (("slow", 90.0, 60.0), ("near", 40.0, 60.0), ("quick", 5.0, 60.0))
    told = [("run.started", _STARTED, None, None), ("stage.started", {"owner": "qa-lead"}, "go", None)]
    for name, seconds, budget in steps:
        told.append(("step.intent", {"uses": "x.y", "attempt": 1, "reach": "none", "budget_s": budget}, "go", name))
        told.append(("step.outcome", {"uses": "x.y", "verdict": "PASS", "seconds": seconds, "summary": "done"}, "go", name))
    _journaled(*told, ("run.finished", {"outcome": "succeeded"}, None, None))
    text = _text("lessons")
    assert [row["where"] for row in table(section(text, "## Over budget"), "where", "what")] == ["go/slow"]
    assert [row["where"] for row in table(section(text, "## Near its budget"), "where", "what")] == ["go/near"]
    review = {row["what"]: row for row in table(_text("review"), "about", "what")}
    assert review["every step within its budget"]["verdict"] == "DID NOT HOLD"


def test_what_hosts_and_people_wrote_into_the_journal_stays_text_in_every_document(sim: World) -> None:
    _journaled(
        ("run.started", {**_STARTED, "not_covered": [{"stage": EVIL, "what": EVIL, "why": EVIL}]}, None, None),
        ("stage.started", {"owner": EVIL}, "deploy", None),
        ("step.intent", {"uses": EVIL, "attempt": 1, "reach": "candidate", "budget_s": 1.0}, "deploy", "x"),
        ("traffic.set", {"gateway": EVIL, "weights": {NEW: 10, OLD: 90}}, "deploy", "x"),
        ("step.outcome", {"uses": EVIL, "verdict": "FAIL", "summary": EVIL, "seconds": 2.0}, "deploy", "x"),
        ("approval.asked", {"nonce": "n", "roles": [EVIL], "count": 1, "expires": EVIL}, "deploy", "y"),
        ("approval.rejected", {**_SAID, "nonce": "n", "seal": "1"}, "deploy", "y"),
        ("gate", {"gate": "w", "verdict": "FAIL", "summary": EVIL, "problems": [EVIL], "lines": [_LINE], "figures": _SEEN}, "deploy", "w"),
        ("host.set-aside", {"host": EVIL, "state": EVIL, "reason": EVIL}, "deploy", "x"),
        ("signoff", {"verdict": "FAIL", "criteria": [{"criterion": EVIL, "text": EVIL, "verdict": EVIL}]}, "deploy", "c"),
        ("run.held", {"reason": EVIL, "do": EVIL}, None, None),
    )  # fmt: skip
    folder = environment().state / "feedback"
    folder.mkdir(parents=True)
    (folder / f"T+1 {EVIL.replace('/', ' ')}.md").write_text(EVIL)
    for kind in ("runbook", "completion", "lessons", "health", "review", "alternatives"):
        text = _text(kind)
        read = page_of(page(text, EVIL))
        assert not {"script", "img", "iframe", "link", "object"} & set(read.tags)
        assert all(address.startswith("#") for address in read.addresses) and not read.handlers
        for line in text.splitlines():
            assert "<script" not in line.replace("\\<", ""), line
        assert kind in ("alternatives", "review") or "<script>alert(1)</script> | ](http" in read.text
        head = None
        for line in text.splitlines():
            if not line.startswith("|"):
                head = None
                continue
            count = line.replace("\\|", "").count("|")
            head = head or count
            assert count == head, line


def test_a_run_that_is_called_as_a_path_writes_nowhere(sim: World, tmp_path: Path) -> None:
    _journaled(("run.started", _STARTED, None, None), run="../../elsewhere")
    with pytest.raises(Refused, match="no run's name"):
        document(environment(), "completion", formats="md", out=str(tmp_path / "a" / "b"))
    assert not list(tmp_path.glob("**/*elsewhere*"))


def test_changed_evidence_is_said_on_the_first_page_and_is_exit_code_4(sim: World, tmp_path: Path) -> None:
    assert go(sim).outcome == "succeeded"
    kept = record(
        check="verify", env="sim", subjects=[Subject.of("agent-source", "a" * 64)], command="./inv verify", result="PASS", summary="all",
        output=b"all passed", started=datetime.now(UTC), valid_for=timedelta(days=1),
    )  # fmt: skip
    assert document(environment(), "completion", formats="md", out=str(tmp_path)).exit_code == 0
    path = store_here().root / "outputs" / kept.statement.predicate.output.sha256
    path.write_bytes(b"all passes")
    found = document(environment(), "completion", formats="md", out=str(tmp_path))
    assert found.exit_code == 4 and found.data["journal_intact"] and any("was changed" in line for line in found.data["untrue"])
    assert "NOT AS IT WAS WRITTEN" in next(tmp_path.glob("completion-*.md")).read_text().split("| fact |")[0]


def test_a_disk_that_takes_nothing_leaves_the_documents_as_they_were(sim: World, tmp_path: Path) -> None:
    assert go(sim).outcome == "succeeded"
    document(environment(), "lessons", formats="md,html", out=str(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("lessons-*")}
    page_path = next(tmp_path.glob("lessons-*.html"))
    page_path.unlink()
    page_path.mkdir()
    with pytest.raises(BadInput, match="No document was changed"):
        document(environment(), "lessons", formats="md,html", out=str(tmp_path))
    text = next(tmp_path.glob("lessons-*.md"))
    assert text.read_bytes() == before[text.name]


def test_the_command_says_one_json_object_and_its_exit_code(sim: World, tmp_path: Path) -> None:
    import subprocess
    import sys

    words = ["-m", "invoke", "document", "runbook", "--env", "lab", "--out", str(tmp_path / "out"), "--json"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["type"] == "BadInput"
    assert "`./inv golive --env lab` starts one" in done.stderr and "Traceback" not in done.stderr
