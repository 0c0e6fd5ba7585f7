"""Whatever one thing is changed in the records or in an export of them, somebody who has seen a head at or after it finds out."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_world import World, environment, go
from golive import audit, engine
from golive.engine.chain import FIELDS, Head, digest
from golive.errors import BadInput

COLUMNS = (*FIELDS, "hash")


class Written:
    """A run's journal as real as the engine writes it, and its export, both signed by a key of their own."""

    def __init__(self, directory: Path) -> None:
        self.env = environment()
        go(World(directory), ports={"sign": lambda message: audit.sign(self.env, message)})
        self.path = self.env.state / "journal.db"
        journal = engine.open_journal(self.env)
        self.rows, self.head = journal.rows(), journal.head()
        self.key = audit.public_key(self.env)
        self.export = directory / "journal.jsonl"
        audit.exported(self.export, "sim", self.rows, "2030-01-01T00:00:00+00:00", lambda message: audit.sign(self.env, message))
        self.bytes = self.export.read_bytes()


@pytest.fixture(scope="module")
def written() -> Iterator[Written]:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLIVE_STATE", directory)
        yield Written(Path(directory))


def _tampered(written: Written, statements: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
    """The records after somebody who may do anything did ``statements`` to the real table."""
    with contextlib.closing(sqlite3.connect(":memory:")) as copy, contextlib.closing(sqlite3.connect(written.path)) as original:
        original.backup(copy)
        copy.execute("DROP TRIGGER records_keep_update")
        copy.execute("DROP TRIGGER records_keep_delete")
        for statement, values in statements:
            copy.execute(statement, values)
        rows = copy.execute(f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY seq").fetchall()
    return [SimpleNamespace(**dict(zip(COLUMNS, row, strict=True))) for row in rows]


def _rechained(rows: list[Any]) -> list[Any]:
    """All hashes made anew, as by somebody who knows how they are made."""
    prev = "0" * 64
    fresh = []
    for row in rows:
        values = {name: getattr(row, name) for name in FIELDS} | {"prev": prev}
        prev = digest(**values)
        fresh.append(SimpleNamespace(**values, hash=prev))
    return fresh


def _wrong(rows: list[Any], head: Head) -> list[str]:
    return audit.examine("sim", rows, keys=(), heads={"noted": head}).wrong


def test_an_untouched_journal_passes_and_one_without_any_head_or_key_does_not(written: Written) -> None:
    found = audit.examine("sim", written.rows, keys=[written.key], heads={"noted": written.head})
    assert (found.wrong, found.unknown, found.passed) == ([], [], True)
    assert written.rows[found.signed_to - 1].kind == "run.finished"
    assert "nothing that was seen" in audit.examine("sim", written.rows, keys=[written.key]).unknown[0]
    assert "the key that signs" in audit.examine("sim", written.rows, keys=(), heads={"noted": written.head}).unknown[0]


@st.composite
def _change(draw: st.DrawFn, count: int) -> tuple[str, list[tuple[str, tuple[Any, ...]]]]:
    seq = draw(st.integers(1, count))
    other = draw(st.integers(1, count).filter(lambda n: n != seq))
    kind = draw(st.sampled_from(["edit", "delete", "insert", "swap", "truncate"]))
    if kind == "edit":
        column = draw(st.sampled_from(COLUMNS))
        value: Any = draw(
            st.integers(0, 99) if column in ("seq", "token") else st.text(max_size=8) | st.sampled_from(["{}", "sim", "0" * 64])
        )
        return kind, [(f"UPDATE OR IGNORE records SET {column} = ? WHERE seq = ?", (value, seq))]
    if kind == "delete":
        return kind, [("DELETE FROM records WHERE seq = ?", (seq,))]
    if kind == "insert":
        rest = ", ".join(name for name in COLUMNS if name != "seq")
        return kind, [
            ("UPDATE records SET seq = -seq - 1 WHERE seq >= ?", (seq,)),
            ("UPDATE records SET seq = -seq WHERE seq < 0", ()),
            (f"INSERT INTO records (seq, {rest}) SELECT ?, {rest} FROM records WHERE seq = ?", (seq, other if other < seq else other + 1)),
        ]
    if kind == "swap":
        return kind, [
            ("UPDATE records SET seq = -1 WHERE seq = ?", (seq,)),
            ("UPDATE records SET seq = ? WHERE seq = ?", (seq, other)),
            ("UPDATE records SET seq = ? WHERE seq = -1", (other,)),
        ]
    return kind, [("DELETE FROM records WHERE seq >= ?", (seq,))]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), rechain=st.booleans())
def test_any_single_change_of_the_records_is_found_given_a_head_at_or_after_it(
    written: Written, data: st.DataObject, rechain: bool
) -> None:
    """Also when every hash after it was made anew."""
    _, statements = data.draw(_change(len(written.rows)))
    rows = _tampered(written, statements)
    before = [tuple(getattr(row, name) for name in COLUMNS) for row in written.rows]
    if [tuple(getattr(row, name) for name in COLUMNS) for row in rows] == before:
        assert _wrong(rows, written.head) == []
        return
    if rechain:
        with contextlib.suppress(TypeError):
            rows = _rechained(rows)
        if [tuple(getattr(row, name) for name in COLUMNS) for row in rows] == before:
            return  # a hash was edited and made right again
    assert _wrong(rows, written.head)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_was_changed_before_any_head_that_was_seen_is_found_wherever_that_head_is(written: Written, data: st.DataObject) -> None:
    at = data.draw(st.integers(2, len(written.rows)))
    seq = data.draw(st.integers(1, at))
    rows = _rechained(_tampered(written, [("UPDATE records SET kind = 'forged' WHERE seq = ?", (seq,))]))
    seen = Head(written.rows[at - 1].seq, written.rows[at - 1].hash)
    assert f"record {at} is not the one that was seen when it was written (noted)" in _wrong(rows, seen)
    assert _wrong(rows[: at - 1], seen)


def _checked(written: Written, content: bytes, head: Head | None = None) -> Any:
    path = written.export.with_name("changed.jsonl")
    path.write_bytes(content)
    opened = audit.opened(path)
    found = audit.examine(opened.env, opened.rows, keys=(), heads={"noted": head} if head else None)
    return opened.wrong + found.wrong, opened


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_single_change_of_an_export_is_found_given_a_head_at_or_after_it(written: Written, data: st.DataObject) -> None:
    lines = written.bytes.split(b"\n")[:-1]
    kind = data.draw(st.sampled_from(["byte", "drop byte", "add byte", "delete", "insert", "swap", "truncate", "truncate at a line"]))
    end = lines[-1]
    if "byte" in kind:
        # The last line names a time and a signature, which the signature itself covers; see the test below.
        at = data.draw(st.integers(0, len(written.bytes) - len(end) - 2))
        new = bytes([data.draw(st.integers(0, 255))])
        middle = {"byte": new, "drop byte": b"", "add byte": new + written.bytes[at : at + 1]}[kind]
        content = written.bytes[:at] + middle + written.bytes[at + 1 :]
    elif kind.startswith("truncate"):
        content = written.bytes[: data.draw(st.integers(0, len(written.bytes) - 1))]
        if kind == "truncate at a line":
            content = b"\n".join(lines[: data.draw(st.integers(1, len(lines) - 1))]) + b"\n"
    else:
        one, two = (data.draw(st.integers(0, len(lines) - 1)) for _ in "ab")
        changed = list(lines)
        if kind == "delete":
            del changed[one]
        elif kind == "insert":
            changed.insert(one, lines[two])
        else:
            changed[one], changed[two] = changed[two], changed[one]
        content = b"\n".join(changed) + b"\n"
    if content == written.bytes:
        return
    try:
        wrong, opened = _checked(written, content, written.head)
    except BadInput:
        return  # not an export at all: said so, and exit 2
    assert wrong or opened.journal != written.rows[0].hash or opened.env != "sim"


def test_an_export_cut_at_a_record_that_a_run_signed_is_not_made_whole_by_that_signature(written: Written) -> None:
    signed = next(row for row in written.rows if row.kind == "journal.signed")
    data = json.loads(signed.data)
    kept = written.bytes.split(b"\n")[: 1 + data["seq"]]
    told = {"key": data["key"], "signature": data["signature"]}
    head = {"seq": data["seq"], "hash": data["hash"]}
    end = {"at": "2030-01-01T00:00:00+00:00", "end": True, "head": head, "records": data["seq"], "signature": told}
    content = b"\n".join(kept) + b"\n" + json.dumps(end, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    wrong, opened = _checked(written, content)
    assert wrong == []
    words = audit.words(opened.env, opened.journal, opened.head, opened.at)
    found = audit.examine("sim", opened.rows, keys=[written.key], end=(words, opened.signature))
    assert found.wrong == [f"the signature of the end does not fit record {data['seq']}"]


@pytest.mark.parametrize(("old", "new"), [(b'"at":"2030', b'"at":"2031'), (b'"signature":"-----BEGIN', b'"signature":"----+BEGIN')])
def test_the_end_of_an_export_cannot_be_changed_either(written: Written, old: bytes, new: bytes) -> None:
    start, _, end = written.bytes.rstrip(b"\n").rpartition(b"\n")
    path = written.export.with_name("changed.jsonl")
    path.write_bytes(start + b"\n" + end.replace(old, new) + b"\n")
    opened = audit.opened(path)
    words = audit.words(opened.env, opened.journal, opened.head, opened.at)
    found = audit.examine("sim", opened.rows, keys=[written.key], end=(words, opened.signature))
    assert any("does not fit" in line for line in found.wrong)


def test_a_signature_by_another_key_is_said(written: Written, tmp_path: Path) -> None:
    from golive.lab.keys import key_pair

    other = " ".join(key_pair(tmp_path / "other", "x").split()[:2])
    found = audit.examine("sim", written.rows, keys=[other], heads={"noted": written.head})
    assert any("by another key" in line for line in found.wrong) and any("is over and not signed" in line for line in found.unknown)


def _kept(written: Written, *seqs: int, **given: Any) -> audit.Kept:
    rows = [row for row in written.rows if row.seq in seqs]
    heads = tuple({"journal": written.rows[0].hash, "seq": row.seq, "hash": row.hash, "run": row.run, "at": "then"} for row in rows)
    return audit.Kept(heads, **given)


def test_hosts_that_saw_the_journal_vouch_for_it_and_hosts_that_do_not_answer_are_said(written: Written) -> None:
    hosts = {"ams-1": _kept(written, 5, 20, key=written.key), "nyc-1": "no answer", "old-1": audit.Kept(())}
    found = audit.examine("sim", written.rows, keys=[written.key], hosts=hosts)
    assert found.passed and found.anchors == {"ams-1": 20}
    assert "nyc-1 was not read: no answer" in found.notes


@pytest.mark.parametrize("hosts", [{}, {"ams-1": "no answer"}, {"ams-1": audit.Kept(())}])
def test_without_a_head_from_any_host_it_is_no_pass_although_this_machine_saw_one(written: Written, hosts: dict[str, Any]) -> None:
    found = audit.examine("sim", written.rows, keys=[written.key], hosts=hosts, heads={"journal.head": written.head})
    assert not found.passed and found.wrong == [] and any("no host" in line for line in found.unknown)


def test_a_cut_and_an_edit_name_the_hosts_that_saw_otherwise(written: Written) -> None:
    hosts = {"ams-1": _kept(written, 20), "nyc-1": _kept(written, 20)}
    said = audit.examine("sim", written.rows[:10], keys=(), hosts=hosts).wrong
    assert said == ["the journal was cut: it ends with record 10, but record 20 was seen (ams-1, then, nyc-1, then)"]
    forged = _rechained(_tampered(written, [("UPDATE records SET kind = 'forged' WHERE seq = 7", ())]))
    forged[0] = written.rows[0]
    assert any("record 20 is not the one" in line for line in audit.examine("sim", forged, keys=(), hosts=hosts).wrong)


def test_a_journal_that_took_anothers_place_is_found_unless_that_was_meant(written: Written) -> None:
    old = audit.Kept(({"journal": "f" * 64, "seq": 400, "hash": "e" * 64, "run": "r", "at": "then"}, *_kept(written, 20).heads))
    given: dict[str, Any] = {"keys": [written.key], "hosts": {"ams-1": old}}
    assert any(
        "another journal of this environment was seen (ffffffffffff, up to record 400" in x
        for x in audit.examine("sim", written.rows, **given).wrong
    )
    assert audit.examine("sim", written.rows, **given, superseded=["ffffffff"]).passed


def test_another_key_pinned_on_a_host_is_found(written: Written) -> None:
    hosts = {"ams-1": _kept(written, 20, key="ssh-ed25519 OTHER")}
    found = audit.examine("sim", written.rows, keys=[written.key], hosts=hosts)
    assert any("ams-1 pinned another key" in line for line in found.wrong)
