"""The journal keeps what happened: durable, chained, refused to anyone but the holder of the lease, without secrets."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from engine_world import KILLED, forked
from golive.engine.chain import digest
from golive.engine.journal import Head, SecretRefused, SqlJournal, Witness, canonical
from golive.engine.lease import Lease
from golive.engine.store import Store
from golive.errors import Held, Occupied
from golive.gates.verdict import Verdict
from golive.runbook import FakeClock


class Kept:
    """A journal under a lease, and the ways to break it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.db"
        self.store = Store(self.path)
        self.lease = Lease.take(self.store, "sim", beat_s=60)
        self.witness = Witness(directory / "journal.head")
        self.journal = SqlJournal(self.store, "sim", FakeClock(), token=lambda: self.lease.token, witness=self.witness)

    def fill(self, count: int = 6) -> None:
        for number in range(count):
            self.journal.append("note", {"n": number}, "run-1", "stage", f"step-{number}")

    def raw(self, *statements: str) -> None:
        connection = sqlite3.connect(self.path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def break_open(self, *statements: str) -> None:
        self.raw("DROP TRIGGER records_keep_update", "DROP TRIGGER records_keep_delete", *statements)


@pytest.fixture
def kept(tmp_path: Path):
    kept = Kept(tmp_path)
    yield kept
    kept.lease.abandon()
    kept.store.close()


def test_records_come_back_as_they_were_written(kept):
    kept.fill(3)
    records = kept.journal.read("run-1")
    assert [record.seq for record in records] == [1, 2, 3]
    assert records[1].data == {"n": 1}
    assert (records[1].stage, records[1].step, records[1].token) == ("stage", "step-1", kept.lease.token)
    assert records[2].prev == records[1].hash
    assert kept.journal.head() == records[2].head
    assert kept.journal.read("run-2") == []
    assert [record.seq for record in kept.journal.read(after=2)] == [3]
    assert kept.journal.verify() == []


@pytest.mark.parametrize("statement", ["UPDATE records SET kind = 'x' WHERE seq = 2", "DELETE FROM records WHERE seq = 2"])
def test_the_database_itself_refuses_to_change_a_record(kept, statement):
    kept.fill()
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        kept.raw(statement)
    assert kept.journal.verify() == []


@pytest.mark.parametrize("column", ["at", "run", "kind", "stage", "step", "data", "token"])
def test_an_edit_of_any_column_is_found(kept, column):
    kept.fill()
    value = "99" if column == "token" else "'{\"n\":7}'"
    kept.break_open(f"UPDATE records SET {column} = {value} WHERE seq = 3")
    assert any("record 3" in said and "edited" in said for said in kept.journal.verify())


def test_an_edit_with_its_hash_made_anew_is_found_by_the_next_record_or_the_witness(kept):
    kept.fill()
    for seq, expected in ((3, "record 4 does not follow record 3"), (6, "record 6 is not the one that was seen")):
        record = kept.journal.read()[seq - 1]
        forged = digest(
            "sim", seq, record.at, record.run, "forged", record.stage, record.step, record.token, canonical(record.data), record.prev
        )
        connection = sqlite3.connect(kept.path)
        connection.execute("DROP TRIGGER IF EXISTS records_keep_update")
        connection.execute("UPDATE records SET kind = 'forged', hash = ? WHERE seq = ?", (forged, seq))
        connection.commit()
        connection.close()
        assert any(expected in said for said in kept.journal.verify())


def test_a_record_taken_out_is_found(kept):
    kept.fill()
    kept.break_open("DELETE FROM records WHERE seq = 4")
    assert kept.journal.verify()[0] == "record 4 is missing"


def test_two_records_that_changed_places_are_found(kept):
    kept.fill()
    kept.break_open(
        "UPDATE records SET seq = 99 WHERE seq = 2", "UPDATE records SET seq = 2 WHERE seq = 3", "UPDATE records SET seq = 3 WHERE seq = 99"
    )
    assert any("record 2" in said for said in kept.journal.verify())


def test_a_cut_end_is_found_by_the_witness_and_by_an_anchor_left_elsewhere(kept):
    kept.fill()
    anchor = kept.journal.head()
    kept.break_open("DELETE FROM records WHERE seq > 4")
    assert kept.journal.verify() == ["the journal was cut: it ends with record 4, but record 6 was seen"]
    kept.witness._path.unlink()
    assert kept.journal.verify() == []
    assert kept.journal.verify([anchor]) == ["the journal was cut: it ends with record 4, but record 6 was seen"]
    assert kept.journal.verify([Head(4, "0" * 64)]) == ["record 4 is not the one that was seen when it was written"]


def test_a_second_writer_is_noticed_before_anything_is_appended(kept):
    kept.fill(2)
    other = SqlJournal(kept.store, "sim", FakeClock(), token=lambda: kept.lease.token)
    other.append("note", {}, "run-2")
    with pytest.raises(Occupied, match=r"someone else after record 2; .*`\./inv report --env sim`"):
        kept.fill(1)
    assert len(kept.journal.read()) == 3


def test_a_process_whose_lease_was_taken_over_cannot_append(kept):
    kept.fill(1)
    kept.raw("UPDATE leases SET token = token + 1, owner = 'eve@elsewhere'")
    with pytest.raises(Occupied, match="eve@elsewhere"):
        kept.fill(1)
    kept.raw("UPDATE leases SET token = token - 1, released = 1")
    with pytest.raises(Occupied):
        kept.fill(1)
    assert len(kept.journal.read()) == 1


@pytest.mark.parametrize(
    "data",
    [
        {"out": "x\n-----BEGIN RSA PRIVATE KEY-----\nMII"},
        {"deep": [{"er": "-----BEGIN PRIVATE KEY-----"}]},
        {"vault_password": "hunter2"},
        {"a": {"api_key": "k"}},
        {"age": "AGE-SECRET-KEY-1QQ"},
    ],
)
def test_secrets_are_refused_and_nothing_is_written(kept, data):
    with pytest.raises(SecretRefused) as caught:
        kept.journal.append("note", data, "run-1")
    assert "hunter2" not in str(caught.value)
    assert kept.journal.read() == []


def test_public_keys_and_fencing_tokens_are_no_secrets(kept):
    kept.journal.append("note", {"token": 7, "key": "ssh-ed25519 AAAA", "pem": "-----BEGIN CERTIFICATE-----", "password": None}, "r")
    assert len(kept.journal.read()) == 1


def test_values_are_written_in_one_way():
    value = {
        "b": math.nan,
        "a": (1, 2.5),
        "when": datetime(2030, 1, 1, tzinfo=UTC),
        "long": timedelta(minutes=1),
        "verdict": Verdict.PASS,
        "path": Path("/x"),
        "set": {"z", "y"},
        "text": "ü\ud800",
    }
    expected = (
        r'{"a":[1,2.5],"b":null,"long":60.0,"path":"/x","set":["y","z"],"text":"\u00fc\ud800",'
        r'"verdict":"PASS","when":"2030-01-01T00:00:00+00:00"}'
    )
    assert canonical(value) == expected
    with pytest.raises(TypeError, match="no place"):
        canonical({"x": object()})


def test_threads_of_one_process_append_one_unbroken_chain(kept):
    threads = [threading.Thread(target=kept.fill, args=(10,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept.journal.read()) == 40
    assert kept.journal.verify() == []


def test_what_was_appended_is_there_after_the_process_is_gone(tmp_path):
    def body() -> None:
        kept = Kept(tmp_path)
        kept.fill(5)
        os._exit(KILLED)

    assert forked(body) == KILLED
    store = Store(tmp_path / "journal.db")
    journal = SqlJournal(store, "sim", FakeClock(), witness=Witness(tmp_path / "journal.head"))
    assert len(journal.read()) == 5
    assert journal.verify() == []
    store.close()


def test_two_environments_have_chains_of_their_own(kept):
    kept.fill(2)
    lease = Lease.take(kept.store, "other", beat_s=60)
    other = SqlJournal(kept.store, "other", FakeClock(), token=lambda: lease.token)
    assert other.append("note", {}, "r").seq == 1
    assert kept.journal.verify() == [] and other.verify() == []
    lease.abandon()


def test_a_file_that_is_no_database_is_one_sentence(tmp_path):
    (tmp_path / "journal.db").write_bytes(b"not a database at all, but long enough to be looked at" * 50)
    with pytest.raises(Held, match="cannot be used"):
        Store(tmp_path / "journal.db")


def test_a_full_disk_is_one_sentence_and_the_chain_stays_whole(kept):
    kept.fill(2)
    with kept.store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    kept.store._engine.dispose()
    event.listen(kept.store._engine, "connect", lambda raw, _: raw.execute(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(Held, match="full"):
        kept.journal.append("note", {"big": "x" * 200_000}, "r")
    assert kept.journal.verify() == []
    kept.fill(1)
    assert len(kept.journal.read()) == 3


def test_an_append_is_durable_and_takes_less_than_five_milliseconds(kept):
    times = []
    for number in range(100):
        begun = time.perf_counter()
        kept.journal.append("step.outcome", {"n": number, "hosts": {f"host-{n}": "DONE" for n in range(7)}}, "run-1", "s", "t")
        times.append(time.perf_counter() - begun)
    assert sorted(times)[50] < 0.005
    with kept.store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_who_only_reads_does_not_wait_for_a_controller_that_was_stopped_in_the_middle_of_a_write(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Store(path).close()
    with sqlite3.connect(path, isolation_level=None) as stopped:
        stopped.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        reader = Store(path, busy_s=5)
        assert SqlJournal(reader, "lab", FakeClock()).read() == []
        assert time.monotonic() - began < 3
        with pytest.raises(Held, match="does not go on"), Store(path, busy_s=0.1).writing():
            pass
