"""Evidence is as it was signed, or it is found: every byte, every gap, every key."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from golive.errors import BadInput, Refused
from golive.evidence import Contents, Kept, Store, Subject, record, store_here, toolkit_source, unchanged, unkept
from golive.evidence.archive import packed, unpacked
from golive.evidence.sealing import key_made, opened, public_key
from golive.evidence.statement import Statement, canonical

A_RELEASE = Subject.of("release:3.0.0", "a" * 64)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    yield


def added(check: str = "tests.AMST-001", output: bytes = b"it went well", **fields: Any) -> Kept:
    told: dict[str, Any] = {
        "subjects": [A_RELEASE],
        "command": "pytest x",
        "result": "PASS",
        "summary": "fine",
        "started": datetime.now(UTC),
        "valid_for": timedelta(days=1),
    }
    return record(check=check, output=output, **told | fields)


def contents(store: Store | None = None) -> Contents:
    here = store_here()
    return (store or here).contents([key_made(here.key_path).signer.public_key])


def test_what_was_recorded_is_read_back_as_an_in_toto_statement_with_its_output() -> None:
    kept = added(facts={"rows": [1]}, env="lab")
    found = contents()
    assert found.wrong == [] and [one.digest for one in found.kept] == [kept.digest]
    assert store_here().output(found.kept[0]) == b"it went well"
    envelope = json.loads((store_here().root / "statements" / f"{kept.digest}.json").read_bytes())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    written = found.kept[0].statement.model_dump(mode="json", by_alias=True)
    assert written["_type"] == "https://in-toto.io/Statement/v1"
    assert written["subject"] == [{"name": "release:3.0.0", "digest": {"sha256": "a" * 64}}]


def test_every_changed_byte_of_a_statement_is_found() -> None:
    kept = added()
    path = store_here().root / "statements" / f"{kept.digest}.json"
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert contents().wrong, f"byte {at}"
    path.write_bytes(content)
    assert contents().wrong == []


def test_a_statement_changed_and_named_anew_is_no_statement_of_the_key() -> None:
    kept = added()
    path = store_here().root / "statements" / f"{kept.digest}.json"
    envelope = json.loads(path.read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b'"PASS"', b'"FAIL"')
    forged = canonical({**envelope, "payload": base64.b64encode(payload).decode()})
    path.unlink()
    (path.parent / f"{hashlib.sha256(forged).hexdigest()}.json").write_bytes(forged)
    wrong = " ".join(contents().wrong)
    assert "its signature is not of what it says" in wrong and "missing" in wrong


@pytest.mark.parametrize("place", ["outputs", "heads", "statements"])
def test_a_removed_file_of_every_kind_is_found(place: str) -> None:
    for number in range(3):
        added(output=b"output %d" % number)
    for path in (store_here().root / place).iterdir():
        content = path.read_bytes()
        path.unlink()
        assert contents().wrong, f"{place}/{path.name}"
        path.write_bytes(content)
    assert contents().wrong == []


def test_a_changed_output_is_found() -> None:
    kept = added()
    path = store_here().root / "outputs" / kept.statement.predicate.output.sha256
    path.write_bytes(b"it went better")
    assert "was changed" in " ".join(contents().wrong)


def test_a_failure_cannot_be_taken_out_so_that_an_older_success_stands() -> None:
    added(result="PASS")
    newer = added(result="FAIL", summary="broken")
    added(check="bench.core")
    (store_here().root / "statements" / f"{newer.digest}.json").unlink()
    assert "missing or another" in " ".join(contents().wrong)


def test_nothing_is_added_behind_evidence_that_was_taken_out() -> None:
    kept = added()
    (store_here().root / "statements" / f"{kept.digest}.json").unlink()
    with pytest.raises(Refused, match="was removed or changed"):
        added()


def test_statements_of_another_key_count_for_nothing_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added()
    here = store_here().root
    other = tmp_path / "other"
    monkeypatch.setenv("GOLIVE_STATE", str(other))
    foreign = added()
    (here / "statements" / f"{foreign.digest}.json").write_bytes((other / "evidence/statements" / f"{foreign.digest}.json").read_bytes())
    monkeypatch.setenv("GOLIVE_STATE", str(here.parent))
    found = contents()
    assert (len(found.kept), found.foreign, found.wrong) == (1, 1, [])


def test_a_writer_killed_between_its_writes_leaves_nothing_half_done() -> None:
    added()
    script = """
import os, sys
from golive.evidence.store import Store
puts = Store._put
def killed(path, content):
    puts(path, content)
    if path.parent.name == sys.argv[1]:
        os._exit(9)
Store._put = staticmethod(killed)
sys.path.insert(0, os.environ["TESTS"])
import test_evidence_store as t
t.added(check="tests.AMST-002")
"""
    told = {**os.environ, "TESTS": str(Path(__file__).parent), "PYTHONPATH": str(Path(__file__).parents[2])}
    for number, place in enumerate(("outputs", "pending", "statements", "heads"), 1):
        done = subprocess.run([sys.executable, "-c", script, place], env=told, check=False)
        assert done.returncode == 9
        assert contents().wrong == [], place
        added(check=f"tests.AMST-01{number}")
    found = contents()
    # Killed before anything was promised, it is not there; after, it is there once.
    assert [one.statement.predicate.seq for one in found.kept] == list(range(8)) and found.wrong == []


def test_two_writers_at_once_make_one_chain() -> None:
    script = "import sys, os; sys.path.insert(0, os.environ['TESTS']); import test_evidence_store as t; [t.added() for _ in range(5)]"
    told = {**os.environ, "TESTS": str(Path(__file__).parent), "PYTHONPATH": str(Path(__file__).parents[2])}
    writers = [subprocess.Popen([sys.executable, "-c", script], env=told) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    found = contents()
    assert len(found.kept) == 10 and found.wrong == []


def test_a_full_disk_is_one_sentence_and_leaves_the_store_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    added()

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_put", staticmethod(full))
        with pytest.raises(BadInput, match="No space left"):
            added()
    added()
    assert len(contents().kept) == 2 and contents().wrong == []


def test_an_archive_is_whole_elsewhere_and_a_changed_one_is_not(tmp_path: Path) -> None:
    for number in range(3):
        added(output=b"output %d" % number)
    archive = tmp_path / "evidence.tar.gz"
    assert packed(store_here().root, archive, {"readiness.json": b"{}"}) == 3
    unpacked(archive, tmp_path / "there")
    assert not (tmp_path / "there" / "key.pem").exists()
    assert (len(contents(Store(tmp_path / "there")).kept), contents(Store(tmp_path / "there")).wrong) == (3, [])
    path = next((tmp_path / "there/outputs").iterdir())
    path.write_bytes(b"else")
    assert contents(Store(tmp_path / "there")).wrong


def test_an_archive_with_a_way_out_of_its_directory_is_not_opened(tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo("../../key.pem")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(BadInput, match="is not opened"):
        unpacked(archive, tmp_path / "there")
    assert not (tmp_path / "key.pem").exists()


def test_evidence_of_another_controller_is_taken_only_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "b"))
    added()
    older = tmp_path / "older.tar.gz"
    packed(store_here().root, older, {})
    added()
    newer = tmp_path / "newer.tar.gz"
    packed(store_here().root, newer, {})
    keys = [public_key(key_made(store_here().key_path).public)]
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "a"))
    mine = store_here()
    for archive, name in ((newer, "one"), (older, "two")):
        unpacked(archive, tmp_path / name)
    assert mine.taken(Store(tmp_path / "one"), Store(tmp_path / "one").contents(keys).kept) == 2
    assert mine.contents(keys).wrong == []
    with pytest.raises(Refused, match="further here"):
        mine.taken(Store(tmp_path / "two"), Store(tmp_path / "two").contents(keys).kept)


def test_a_take_that_was_ended_in_the_middle_is_called_that_and_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "b"))
    added()
    theirs, keys = store_here(), [public_key(key_made(store_here().key_path).public)]
    mine = Store(tmp_path / "a")
    assert mine.taken(theirs, theirs.contents(keys).kept) == 1
    added()
    every, put = theirs.contents(keys).kept, Store._put

    def dies_before_the_head(path: Path, content: bytes) -> None:
        if path.parent.name == "heads":
            raise KeyboardInterrupt
        put(path, content)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Store, "_put", staticmethod(dies_before_the_head))
        mine.taken(theirs, every)
    assert "ended in the middle" in " ".join(mine.contents(keys).wrong)
    assert mine.taken(theirs, every) == 0 and mine.contents(keys).wrong == []


def test_what_was_measured_is_told_though_it_cannot_be_kept() -> None:
    kept = added()
    (store_here().root / "statements" / f"{kept.digest}.json").unlink()
    assert "Not kept as evidence: The newest evidence" in unkept(added)
    assert unkept(lambda: None) == ""


def test_sources_that_changed_while_they_were_measured_are_no_subject(tmp_path: Path) -> None:
    (tmp_path / "golive").mkdir()
    (tmp_path / "golive/a.py").write_text("a = 1\n")
    (tmp_path / "test_a.py").write_text("assert a\n")
    before = [toolkit_source(tmp_path), Subject.of("test_a.py", hashlib.sha256(b"assert a\n").hexdigest()), A_RELEASE]
    unchanged(before, tmp_path)
    for name in ("golive/a.py", "test_a.py"):
        content = (tmp_path / name).read_text()
        (tmp_path / name).write_text(f"{content}# more\n")
        with pytest.raises(Refused, match="was changed while it was measured"):
            unchanged(before, tmp_path)
        (tmp_path / name).write_text(content)
    (tmp_path / "test_a.py").unlink()
    with pytest.raises(Refused, match=r"test_a\.py was changed"):
        unchanged(before, tmp_path)


def test_a_key_made_twice_at_once_is_one_key(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from golive.evidence.sealing import key_made; print(key_made(Path(sys.argv[1])).public)"
    told = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    makers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "k/key.pem")], env=told, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({maker.communicate(timeout=60)[0] for maker in makers}) == 1
    assert (tmp_path / "k/key.pem").stat().st_mode & 0o777 == 0o600


def test_a_statement_written_in_another_way_is_refused() -> None:
    kept = added()
    content = (store_here().root / "statements" / f"{kept.digest}.json").read_bytes()
    key = key_made(store_here().key_path).signer.public_key
    assert isinstance(opened(content, [key])[0], Statement)
    with pytest.raises(Refused, match="no envelope"):
        opened(content.replace(b",", b", ", 1), [key])
