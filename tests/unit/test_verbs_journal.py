"""`inv journal.*` on a journal that the engine wrote, a key of its own, and the real dwcp-host keeping heads in directories."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine_world import OLD, World, environment, go
from golive import audit, engine
from golive.audit import hosts as audit_hosts
from golive.engine.lease import Lease
from golive.engine.store import Store
from golive.environment import Environment
from golive.errors import BadInput, GoliveError, Held, Refused, Unprepared, Unreachable
from golive.fleet.ssh import Completed
from golive.onhost.main import main as dwcp_host
from golive.verbs.journal_anchor import journal_anchor
from golive.verbs.journal_export import journal_export
from golive.verbs.journal_show import journal_show
from golive.verbs.journal_verify import journal_file_verify, journal_verify

ENV = environment()


class Fleet:
    """Hosts as directories, asked as over SSH."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = ["ams-1", "nyc-1"]
        self.instead: dict[str, Completed | GoliveError] = {}
        """By host, what it says whatever it is asked."""

    def ask(self, env: Environment, words: list[str]) -> Mapping[str, Completed | GoliveError]:
        return {name: self.instead.get(name) or self._one(name, words) for name in self.names}

    def _one(self, name: str, words: list[str]) -> Completed:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            rc = dwcp_host(["--root", str(self.directory / name), *words])
        return Completed(rc, out.getvalue().encode(), err.getvalue().encode())


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    fleet = Fleet(tmp_path / "hosts")
    monkeypatch.setattr(audit_hosts, "_everywhere", fleet.ask)
    ports = {"anchor": lambda anchor: audit.leave(ENV, anchor), "sign": lambda message: audit.sign(ENV, message)}
    monkeypatch.setattr("golive.verbs.journal_anchor.ports_of", lambda env: engine.Ports(**ports))
    fleet.ports = ports  # type: ignore[attr-defined]
    return fleet


@pytest.fixture
def run(fleet: Fleet, tmp_path: Path) -> engine.RunState:
    return _go(fleet, tmp_path)


def _go(fleet: Fleet, tmp_path: Path, **given: Any) -> engine.RunState:
    (tmp_path / "world").mkdir(exist_ok=True)
    return go(World(tmp_path / "world"), ports=fleet.ports, **given)  # type: ignore[attr-defined]


def _tamper(*statements: str) -> None:
    with contextlib.closing(sqlite3.connect(ENV.state / "journal.db")) as connection:
        connection.execute("DROP TRIGGER IF EXISTS records_keep_update")
        connection.execute("DROP TRIGGER IF EXISTS records_keep_delete")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_journal_that_is_what_was_written_passes_with_both_kinds_of_anchors(fleet: Fleet, run: engine.RunState) -> None:
    for anchors in ("hosts", "file"):
        result = journal_verify(ENV, anchors=anchors)
        assert (result.exit_code, result.data["state"], result.data["wrong"]) == (0, "intact", []), result.text
    assert set(journal_verify(ENV).data["anchors"]) == {"ams-1", "nyc-1", "journal.head"}
    assert run.signed and not run.unsigned and run.anchored["missed"] == {}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE records SET data = replace(data, 'PASS', 'FAIL') WHERE kind = 'step.outcome'", "was edited"),
        ("DELETE FROM records WHERE seq = 7", "record 7 is missing"),
        ("DELETE FROM records WHERE seq > 20", "the journal was cut"),
    ],
)
def test_an_edit_a_gap_and_a_cut_are_found_and_exit_4(run: engine.RunState, statement: str, said: str) -> None:
    _tamper(statement)
    (ENV.state / "journal.head").unlink()
    result = journal_verify(ENV)
    assert (result.exit_code, result.data["state"]) == (4, "broken")
    assert any(said in line for line in result.data["wrong"]) and "WRONG" in result.text


def test_a_whole_journal_replaced_by_another_good_one_is_found_by_the_hosts(fleet: Fleet, run: engine.RunState, tmp_path: Path) -> None:
    for path in ENV.state.glob("journal.*"):
        path.unlink()
    lease = Lease.take(Store(ENV.state / "journal.db"), "sim")
    lease.advance()  # or hosts refuse whatever the new journal's controllers send, its head included
    lease.release()
    _go(fleet, tmp_path)
    result = journal_verify(ENV)
    assert result.exit_code == 4
    [line] = result.data["wrong"]
    assert "another journal of this environment was seen" in line
    old = line.partition("--superseded ")[2]
    assert journal_verify(ENV, superseded=old).exit_code == 0


def test_hosts_that_do_not_answer_are_said_and_without_any_it_is_no_pass(fleet: Fleet, run: engine.RunState) -> None:
    fleet.instead["ams-1"] = Unreachable("ams-1: no answer")
    result = journal_verify(ENV)
    assert result.exit_code == 0 and any("ams-1 was not read: ams-1: no answer" in line for line in result.data["notes"])
    fleet.instead["nyc-1"] = Completed(2, b"", b"dwcp-host: error: argument VERB: invalid choice: 'anchor' (choose from 'fence')")
    result = journal_verify(ENV)
    assert (result.exit_code, result.data["state"], result.data["wrong"]) == (4, "unknown", [])
    assert any("older" in line for line in result.data["notes"])


def test_older_bare_and_silent_hosts_do_not_stop_a_run_and_are_told_apart(fleet: Fleet, tmp_path: Path) -> None:
    fleet.names = ["ams-1", "bare-1", "old-1", "gone-1"]
    fleet.instead = {
        "bare-1": Completed(127, b"", b"bash: dwcp-host: command not found"),
        "old-1": Completed(2, b"", b"usage: dwcp-host\ndwcp-host: error: argument VERB: invalid choice: 'anchor' (choose from 'fence')"),
        "gone-1": Refused("gone-1: another key"),
    }
    state = _go(fleet, tmp_path)
    assert state.outcome == "succeeded" and state.anchored["hosts"] == ["ams-1"]
    assert {name: reason.split(":")[0] for name, reason in state.anchored["missed"].items()} == {
        "bare-1": "a bare host",
        "old-1": "its dwcp-host is older and keeps no heads; the base play brings a newer one",
        "gone-1": "gone-1",
    }


def test_the_key_is_pinned_at_the_first_head_and_that_is_journaled(run: engine.RunState) -> None:
    anchored = [record for record in engine.open_journal(ENV).read() if record.kind == "journal.anchored"]
    assert [record.data.get("key_pinned") for record in anchored][-1] == ["ams-1", "nyc-1"], "the lab's key is made by its first signature"


def test_a_host_that_lost_its_heads_is_said_and_all_of_them_are_wrong(fleet: Fleet, run: engine.RunState) -> None:
    (fleet.directory / "ams-1/var/lib/dwcp/host/anchors.jsonl").unlink()
    result = journal_verify(ENV)
    assert result.exit_code == 0 and any("ams-1 took the head" in line for line in result.data["notes"])
    (fleet.directory / "nyc-1/var/lib/dwcp/host/anchors.jsonl").unlink()
    assert any("none of them holds it any more" in line for line in journal_verify(ENV).data["wrong"])


def test_hosts_that_went_away_with_the_environment_are_not_missed(fleet: Fleet, run: engine.RunState) -> None:
    engine.forget(ENV, "destroy")
    for name in fleet.names:
        (fleet.directory / f"{name}/var/lib/dwcp/host/anchors.jsonl").unlink()
    assert journal_verify(ENV).data["wrong"] == []


def test_a_run_that_could_not_be_signed_is_no_pass_until_it_is(fleet: Fleet, tmp_path: Path) -> None:
    def sign(message: bytes) -> Any:
        raise Unprepared("the key is on a token")

    good = dict(fleet.ports)  # type: ignore[attr-defined]
    fleet.ports["sign"] = sign  # type: ignore[attr-defined]
    state = _go(fleet, tmp_path)
    assert (state.outcome, state.signed, state.unsigned) == ("succeeded", False, "the key is on a token")
    result = journal_verify(ENV)
    assert result.exit_code == 4 and any("is over and not signed" in line or "not known here" in line for line in result.data["unknown"])
    assert journal_anchor(ENV).exit_code == 4
    fleet.ports.update(good)  # type: ignore[attr-defined]
    result = journal_anchor(ENV)
    assert (result.exit_code, result.data["hosts"]) == (0, ["ams-1", "nyc-1"]), result.text
    assert journal_verify(ENV).exit_code == 0


def test_an_export_is_checked_where_nothing_is_known_but_the_key(
    run: engine.RunState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "journal.jsonl"
    assert journal_export(ENV, out=str(out)).exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    key = tmp_path / "journal.pub"
    key.write_text(audit.public_key(ENV) + " journal@dwcp\n")
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "elsewhere"))
    result = journal_file_verify(file=str(out), key=str(key))
    assert (result.exit_code, result.data["state"]) == (0, "intact"), result.text
    result = journal_file_verify(file=str(out))
    assert (result.exit_code, result.data["state"]) == (4, "unknown"), "a key that only the file names proves nothing"
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:9] + lines[10:]))
    result = journal_file_verify(file=str(out), key=str(key))
    assert (result.exit_code, result.data["state"]) == (4, "broken")


def test_an_export_of_before_is_found_out_by_a_head_of_after(run: engine.RunState, fleet: Fleet, tmp_path: Path) -> None:
    out = tmp_path / "journal.jsonl"
    journal_export(ENV, out=str(out))
    go(World(tmp_path / "world"), ports=fleet.ports, candidate=OLD, incumbent=OLD)  # type: ignore[attr-defined]
    head = engine.open_journal(ENV).head()
    assert journal_verify(ENV, file=str(out)).exit_code == 0
    result = journal_verify(ENV, file=str(out), anchor=f"{head.seq}:{head.hash}")
    assert result.exit_code == 4 and "the journal was cut" in result.data["wrong"][0]


def test_records_are_shown_by_run_and_kind(run: engine.RunState) -> None:
    every = journal_show(ENV).data["records"]
    assert [record["seq"] for record in every] == list(range(1, len(every) + 1))
    steps = journal_show(ENV, run=run.run or "", kind="step").data["records"]
    assert {record["kind"] for record in steps} == {"step.intent", "step.outcome"}
    assert json.loads(json.dumps(steps)) == steps
    text = journal_show(ENV, kind="run.finished").text
    assert f"{run.run} token" in text and "succeeded" in text
    with pytest.raises(BadInput, match="There is no run nope"):
        journal_show(ENV, run="nope")


@pytest.mark.parametrize("verb", [journal_verify, journal_show, journal_export, journal_anchor])
def test_before_the_first_run_there_is_nothing_and_nothing_is_made(fleet: Fleet, verb: Any) -> None:
    with pytest.raises(BadInput, match="No run was ever started"):
        verb(ENV)
    assert not list(ENV.state.glob("journal*"))


@pytest.mark.parametrize(
    "given", [{"anchors": "moon"}, {"anchor": "7"}, {"anchor": "x:" + "a" * 64}, {"superseded": "zz"}, {"key": "/nope"}, {"key": __file__}]
)
def test_options_that_are_none_are_bad_input(run: engine.RunState, given: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        journal_verify(ENV, **given)


def test_a_file_that_is_no_export_is_bad_input(tmp_path: Path) -> None:
    for content in (b"", b"{}\n", b"\xff\xfe", b"[1]\n"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(BadInput):
            journal_file_verify(file=str(tmp_path / "x"))


def test_production_signs_with_the_key_that_it_names_and_never_with_a_labs(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from golive.lab.keys import key_pair

    def prod(**given: Any) -> Environment:
        return ENV.model_copy(update={"name": "prod", "settings": ENV.settings.model_copy(update={"kind": "static", **given})})

    with pytest.raises(Unprepared, match="names no journal_key"):
        audit.sign(prod(), b"x")
    with pytest.raises(Unprepared, match="does not exist"):
        audit.sign(prod(journal_key=str(tmp_path / "nope")), b"x")
    public = key_pair(tmp_path / "ours", "ops@example.net")
    made = audit.sign(prod(journal_key=str(tmp_path / "ours")), b"x")
    assert (
        made.key == " ".join(public.split()[:2]) and audit.signed(b"x", made.text, made.key) and not audit.signed(b"y", made.text, made.key)
    )
    labs = audit.key_of(ENV)
    assert labs.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="made by the toolkit"):
        audit.sign(prod(journal_key=str(labs)), b"x")


def test_a_key_with_a_passphrase_is_said_and_waits_for_nobody(fleet: Fleet, tmp_path: Path) -> None:
    import subprocess

    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "hunter2", "-f", str(tmp_path / "locked")], check=True)
    env = ENV.model_copy(
        update={"name": "prod", "settings": ENV.settings.model_copy(update={"kind": "static", "journal_key": str(tmp_path / "locked")})}
    )
    with pytest.raises(BadInput, match="cannot sign"):
        audit.sign(env, b"x")


def test_a_journal_that_does_not_answer_is_one_sentence(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_JOURNAL", f"postgresql://golive@/journal?host={tmp_path}")
    for verb in (journal_verify, journal_show, journal_export, engine.standing, engine.live):
        with pytest.raises(Held, match=r"^The journal postgresql://golive@/journal\S* does not answer"):
            verb(ENV)
