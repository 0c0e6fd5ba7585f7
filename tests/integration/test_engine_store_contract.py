"""One contract, both databases: what journal, lease and requests promise does not depend on where they are kept."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit")]

from engine_world import begun, forked  # noqa: E402
from golive.engine import process, requests, tables  # noqa: E402
from golive.engine.journal import SqlJournal  # noqa: E402
from golive.engine.lease import Lease, LeaseLost, holder  # noqa: E402
from golive.engine.store import Away, Store, leases  # noqa: E402
from golive.errors import Held, Occupied  # noqa: E402
from golive.runbook import FakeClock, RealClock  # noqa: E402
from tests.support.postgres import Postgres  # noqa: E402

pytestmark = pytest.mark.timeout(120)


@dataclass
class Database:
    """A database and a way past the toolkit into it."""

    kind: str
    where: Path | str
    raw: Callable[..., list[tuple[Any, ...]]]
    error: type[Exception]
    untied: tuple[str, ...]
    """What someone who may do anything does before changing a record."""

    def store(self, **given: Any) -> Store:
        return Store(self.where, **given)

    def tamper(self, *statements: str) -> None:
        self.raw(*self.untied, *statements)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "postgresql":
        return _shared(request.getfixturevalue("server"))
    path = tmp_path / "journal.db"

    def raw(*statements: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(path)
        try:
            rows = [connection.execute(statement).fetchall() for statement in statements]
            connection.commit()
            return rows[-1]
        finally:
            connection.close()

    untied = ("DROP TRIGGER IF EXISTS records_keep_update", "DROP TRIGGER IF EXISTS records_keep_delete")
    return Database("sqlite", path, raw, sqlite3.DatabaseError, untied)


@pytest.fixture
def shared(server: Postgres) -> Database:
    """PostgreSQL alone, for what a file cannot do."""
    return _shared(server)


def _shared(server: Postgres) -> Database:
    server.emptied()
    untied = ("DROP TRIGGER IF EXISTS records_keep_rows ON records", "DROP TRIGGER IF EXISTS records_keep_all ON records")
    return Database("postgresql", server.url, server.psql, psycopg.DatabaseError, untied)


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    store = database.store()
    yield store
    store.close()


def _journal(store: Store, lease: Lease, env: str = "sim") -> SqlJournal:
    return SqlJournal(store, env, RealClock(), token=lambda: lease.token)


def _until(true: Callable[[], Any], what: str = "", seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


# Records


def test_records_come_back_as_they_were_written_and_verify(store: Store) -> None:
    lease = Lease.take(store, "sim", beat_s=60)
    journal = _journal(store, lease)
    wild = {"text": "ü\ud800\x00 'quoted' \\ %s :x", "float": 0.1 + 0.2, "big": 2**62, "deep": [{"a": None, "b": [True, -0.0]}]}
    written = [journal.append("note", {"n": number, **wild}, "run-1", "stage", f"step-{number}") for number in range(5)]
    assert journal.read() == written
    assert [record.seq for record in journal.read("run-1", after=3)] == [4, 5]
    assert journal.read("run-2") == []
    assert (journal.head(), journal.identity) == (written[-1].head, written[0].hash)
    assert journal.verify() == []
    lease.release()


@pytest.mark.parametrize("statement", ["UPDATE records SET kind = 'x' WHERE seq = 2", "DELETE FROM records WHERE seq = 2"])
def test_the_database_itself_refuses_to_change_a_record(database: Database, store: Store, statement: str) -> None:
    lease = Lease.take(store, "sim", beat_s=60)
    journal = _journal(store, lease)
    for _ in range(3):
        journal.append("note", {}, "run-1")
    with pytest.raises(database.error, match="append-only"):
        database.raw(statement)
    assert journal.verify() == []
    lease.release()


def test_the_shared_database_refuses_to_empty_the_records(shared: Database) -> None:
    shared.store().close()
    with pytest.raises(shared.error, match="append-only"):
        shared.raw("TRUNCATE records")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE records SET data = '{\"n\":7}' WHERE seq = 3", "record 3 (note"),
        ("DELETE FROM records WHERE seq = 2", "record 2 is missing"),
        ("DELETE FROM records WHERE seq = 4", "the journal was cut: it ends with record 3, but record 4 was seen"),
    ],
)
def test_edits_gaps_and_cuts_are_found(database: Database, store: Store, statement: str, said: str) -> None:
    lease = Lease.take(store, "sim", beat_s=60)
    journal = _journal(store, lease)
    for number in range(4):
        journal.append("note", {"n": number}, "run-1")
    anchor = journal.head()
    database.tamper(statement)
    assert journal.verify([anchor])[0].startswith(said)
    lease.release()


def test_two_environments_share_a_database_and_nothing_else(store: Store) -> None:
    held = [Lease.take(store, env, beat_s=60) for env in ("sim", "other")]
    journals = [_journal(store, lease, env) for lease, env in zip(held, ("sim", "other"), strict=True)]
    assert [journal.append("note", {}, "r").seq for journal in journals] == [1, 1]
    assert requests.ask(store, "sim", "rollback", "outage", RealClock()) and requests.pending(store, "other") == []
    assert all(journal.verify() == [] for journal in journals)
    for lease in held:
        lease.release()


# Who may write


def test_a_process_whose_lease_was_taken_cannot_append(database: Database, store: Store) -> None:
    lease = Lease.take(store, "sim", beat_s=60)
    journal = _journal(store, lease)
    journal.append("note", {}, "run-1")
    database.raw("UPDATE leases SET token = token + 1, owner = 'eve@elsewhere'")
    with pytest.raises(Occupied, match="eve@elsewhere"):
        journal.append("note", {}, "run-1")
    with pytest.raises(LeaseLost):
        lease.ensure()
    with pytest.raises(LeaseLost):
        lease.advance()
    lease.release()
    assert not holder(store, "sim").released and len(journal.read()) == 1


def test_a_second_writer_under_the_same_token_is_noticed(store: Store) -> None:
    lease = Lease.take(store, "sim", beat_s=60)
    first, second = _journal(store, lease), _journal(store, lease)
    second.append("note", {}, "run-1")
    with pytest.raises(Occupied, match="someone else after record 0"):
        first.append("note", {}, "run-1")
    lease.release()


def test_a_database_that_lost_confirmed_records_is_held_and_not_written_on(database: Database, store: Store) -> None:
    lease = Lease.take(store, "sim", beat_s=60)
    journal = _journal(store, lease)
    for _ in range(3):
        journal.append("note", {}, "run-1")
    database.tamper("DELETE FROM records WHERE seq = 3")
    with pytest.raises(Held, match=r"ends with record 2, but record 3 stood in it.*journal\.verify"):
        journal.append("note", {}, "run-1")
    lease.release()


def test_of_many_processes_that_ask_at_once_one_gets_the_lease(database: Database, store: Store) -> None:
    begin = time.time() + 1.0

    def body() -> None:
        mine = database.store()
        time.sleep(max(0.0, begin - time.time()))
        try:
            Lease.take(mine, "sim", beat_s=60)
        except Occupied:
            os._exit(5)
        signal.pause()

    children = [begun(body) for _ in range(6)]
    refused = [os.waitstatus_to_exitcode(status) for status in _ended(children, 5)]
    assert refused == [5] * 5
    [winner] = [pid for pid in children if process.Process.of(pid) is not None]
    assert holder(store, "sim").process.pid == winner
    os.kill(winner, signal.SIGKILL)
    os.waitpid(winner, 0)
    Lease.take(store, "sim").release()


def test_processes_that_take_turns_leave_one_unbroken_chain_with_rising_tokens(database: Database, store: Store) -> None:
    def body() -> None:
        mine = database.store()
        written = 0
        while written < 3:
            try:
                lease = Lease.take(mine, "sim", beat_s=60)
            except Occupied:
                time.sleep(0.01)
                continue
            journal = _journal(mine, lease)
            assert journal.verify() == []
            journal.append("turn", {"pid": os.getpid()}, "run-1")
            written += 1
            lease.release()

    children = [begun(body) for _ in range(4)]
    assert [os.waitstatus_to_exitcode(status) for status in _ended(children, 4)] == [0] * 4
    journal = SqlJournal(store, "sim", RealClock())
    told = journal.read()
    assert len(told) == 12 and len({record.data["pid"] for record in told}) == 4
    assert all(before.token < after.token for before, after in itertools.pairwise(told))
    assert journal.verify() == []


def test_a_writer_killed_between_any_two_appends_leaves_whole_records_and_the_next_goes_on(database: Database, store: Store) -> None:
    for round_ in range(3):

        def body() -> None:
            mine = database.store()
            lease = Lease.take(mine, "sim", beat_s=0.02)
            journal = _journal(mine, lease)
            while True:
                journal.append("note", {"round": round_}, "run-1")  # noqa: B023

        known = SqlJournal(store, "sim", RealClock()).head().seq
        pid = begun(body)
        _until(lambda: SqlJournal(store, "sim", RealClock()).head().seq > known + 3, "nothing was written")  # noqa: B023
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        lease = Lease.take(store, "sim", beat_s=60)
        journal = _journal(store, lease)
        assert journal.verify() == []
        journal.append("note", {}, "run-1")
        lease.release()
        assert journal.verify() == []


def test_a_writer_stopped_inside_its_transaction_does_not_stop_the_others_for_good(database: Database, store: Store) -> None:
    """SQLite's writers wait ten seconds and are told; PostgreSQL ends the transaction of one that stands still."""

    def body() -> None:
        with database.store().writing() as connection:
            connection.execute(sa.select(leases))
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGSTOP)

    marker = f"/tmp/stopped-{os.getpid()}-{database.kind}"
    pid = begun(body)
    try:
        _until(lambda: Path(marker).exists())
        if database.kind == "sqlite":
            with pytest.raises(Held, match="locked"), database.store(busy_s=0.2).writing():
                pass
        else:
            Lease.take(store, "sim").release()
    finally:
        Path(marker).unlink(missing_ok=True)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    Lease.take(store, "other").release()


# The lease


def _as_elsewhere(monkeypatch: pytest.MonkeyPatch, machine: str = "another-machine", host: str | None = None) -> None:
    mine = process.here()
    monkeypatch.setattr(process, "here", lambda: (host or mine[0], machine, "boot-" + machine, "pid:[7]"))


def test_a_live_holder_on_another_machine_of_the_same_name_is_refused_with_and_without_take_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease.take(store, "sim", beat_s=0.02, ttl_s=1)
    with monkeypatch.context() as elsewhere:
        _as_elsewhere(elsewhere)
        for take_over in (False, True):
            with pytest.raises(Occupied) as caught:
                Lease.take(store, "sim", take_over=take_over, beat_s=0.1)
            assert caught.value.exit_code == 5
            told = str(caught.value)
            assert all(part in told for part in (process.owner(), f"pid {os.getpid()}", f"host {process.me().host}", "since 20"))
    lease.ensure()
    lease.release()


def test_a_silent_holder_on_another_machine_is_replaced_by_hand_only_and_notices(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease.take(store, "sim", beat_s=60, ttl_s=0.5)
    with monkeypatch.context() as elsewhere:
        _as_elsewhere(elsewhere)
        with pytest.raises(Occupied, match="--take-over"):
            Lease.take(store, "sim", beat_s=0.1)
        begun = time.monotonic()
        other = Lease.take(store, "sim", beat_s=0.1, take_over=True)
        assert time.monotonic() - begun >= 0.5
    assert [(said["from"]["pid"], said["why"]) for said in other.taken_over] == [(os.getpid(), "silent for 0.5 s, and taken over by hand")]
    with pytest.raises(LeaseLost):
        lease.ensure()
    other.release()


@pytest.mark.parametrize(("theirs", "ours"), [(3600, 0), (-3600, 0), (0, 3600), (0, -3600), (3600, -3600)])
def test_a_clock_that_jumped_makes_no_live_holder_dead_and_no_dead_one_immortal(
    store: Store, monkeypatch: pytest.MonkeyPatch, theirs: int, ours: int
) -> None:
    class Jumped(RealClock):
        def __init__(self, seconds: int) -> None:
            self.seconds = seconds

        def now(self) -> datetime:
            return super().now() + timedelta(seconds=self.seconds)

    lease = Lease.take(store, "sim", clock=Jumped(theirs), beat_s=0.05, ttl_s=0.8)
    with monkeypatch.context() as elsewhere:
        _as_elsewhere(elsewhere)
        with pytest.raises(Occupied, match="it beat while it was looked at"):
            Lease.take(store, "sim", clock=Jumped(ours), take_over=True, beat_s=0.1)
        lease.ensure()
        lease.abandon()
        other = Lease.take(store, "sim", clock=Jumped(ours), take_over=True, beat_s=0.1)
        assert other.token == lease.token + 1
        other.release()


def test_the_beat_is_timed_by_the_clock_that_the_controllers_share(database: Database, store: Store) -> None:
    clock = FakeClock()
    clock.jump(3600)
    lease = Lease.take(store, "sim", clock=clock, beat_s=60)
    skew = abs(holder(store, "sim").beat_at - time.time())
    assert skew < 60 if database.kind == "postgresql" else skew > 3600
    lease.release()


# Requests


def test_a_request_of_another_process_is_seen_once_taken_and_never_lost(database: Database, store: Store) -> None:
    def body() -> None:
        requests.ask(database.store(), "sim", "rollback", "outage \udcff", RealClock(), {"n": 1})

    assert forked(body) == 0
    [request] = requests.pending(store, "sim")
    assert (request.kind, request.reason, request.data) == ("rollback", "outage ?", {"n": 1})
    requests.taken(store, "sim", [request.id], "run-1")
    assert requests.pending(store, "sim") == []


# The layout


def test_a_newer_layout_is_refused_in_a_sentence_and_left_alone(database: Database) -> None:
    database.store().close()
    database.raw("UPDATE journal_schema SET version = 99", "DROP TABLE requests")
    with pytest.raises(Held, match=r"written by a newer version .*layout is 99, this one knows 2"):
        database.store()
    assert database.raw("SELECT version FROM journal_schema") == [(99,)]
    with pytest.raises(database.error):
        database.raw("SELECT * FROM requests")


def test_a_layout_of_the_first_version_becomes_todays_and_keeps_its_records(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = Store(path)
    lease = Lease.take(store, "sim", beat_s=60)
    _journal(store, lease).append("note", {}, "run-1")
    lease.release()
    store.close()
    raw = sqlite3.connect(path)
    for statement in ("DROP TABLE journal_schema", "DROP TABLE kept", "ALTER TABLE requests DROP COLUMN data"):
        raw.execute(statement)
    raw.execute("ALTER TABLE leases DROP COLUMN taken_over")
    raw.commit()
    raw.close()
    again = Store(path)
    lease = Lease.take(again, "sim", beat_s=60)
    journal = _journal(again, lease)
    assert journal.append("note", {}, "run-1").seq == 2 and journal.verify() == []
    requests.ask(again, "sim", "rollback", "outage", RealClock(), {"n": 1})
    assert requests.pending(again, "sim")[0].data == {"n": 1}
    assert sqlite3.connect(path).execute("SELECT version FROM journal_schema").fetchall() == [(tables.SCHEMA,)]
    lease.release()


def test_many_that_open_a_new_database_at_once_all_can_use_it(database: Database) -> None:
    children = [begun(lambda: database.store().close()) for _ in range(6)]
    assert [os.waitstatus_to_exitcode(status) for status in _ended(children, 6)] == [0] * 6
    assert database.raw("SELECT version FROM journal_schema") == [(tables.SCHEMA,)]


def test_asking_whether_there_is_a_journal_makes_nothing(database: Database) -> None:
    assert Store.holds(database.where, "sim") is False
    if isinstance(database.where, Path):
        assert not database.where.exists()
    else:
        assert database.raw("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'") == [(0,)]
    store = database.store()
    Lease.take(store, "sim").release()
    assert Store.holds(database.where, "sim") is True
    store.close()


def test_in_a_shared_database_one_environments_journal_is_not_anothers(shared: Database) -> None:
    store = shared.store()
    Lease.take(store, "sim").release()
    assert (Store.holds(shared.where, "sim"), Store.holds(shared.where, "other")) == (True, False)
    store.close()


def test_content_is_kept_once_for_everyone_and_a_changed_one_is_none(database: Database, store: Store) -> None:
    content = b"\x00\xff" * 1000
    digest = store.keep("sim", content)
    assert store.keep("sim", content) == digest
    other = database.store()
    assert other.kept("sim", digest) == content
    assert other.kept("sim", "b" * 64) is None and other.kept("other", digest) is None
    database.raw("UPDATE kept SET sha256 = 'c'")
    assert other.kept("sim", "c") is None
    other.close()


# A database that goes away


def test_a_killed_server_that_returns_loses_no_record_and_no_lease(server: Postgres, shared: Database) -> None:
    store = shared.store()
    lease = Lease.take(store, "sim", beat_s=0.1)
    journal = _journal(store, lease)
    written = [journal.append("note", {"n": number}, "run-1") for number in range(5)]
    server.kill()
    again = threading.Timer(1.0, server.start)
    again.start()
    written.append(journal.append("note", {"n": 5}, "run-1"))
    again.join()
    lease.ensure()
    assert (lease.lost, lease.advance()) == ("", 2)
    assert journal.read() == written and journal.verify() == []
    lease.release()
    store.close()


def test_a_server_that_stays_away_is_one_sentence_with_what_to_do(server: Postgres, shared: Database) -> None:
    store = shared.store(patience_s=0.5)
    lease = Lease.take(store, "sim", beat_s=60, ttl_s=1.0)
    journal = _journal(store, lease)
    server.kill()
    try:
        with pytest.raises(Away, match=r"^The journal postgresql://postgres@/journal\S* does not answer: .*repeat the command\.$"):
            journal.append("note", {}, "run-1")
        with pytest.raises(Held, match="does not answer"):
            Store.holds(shared.where, "sim")
        _until(lambda: lease.lost, "the lease is never given up")
        assert lease.lost == "it could not be refreshed for 1 s"
    finally:
        server.start()
    assert journal.read() == []
    lease.abandon()
    store.close()


@pytest.mark.parametrize("stands", [True, False], ids=["the commit stands", "the commit does not stand"])
def test_an_append_whose_commit_got_no_answer_stands_once(shared: Database, stands: bool) -> None:
    """The server process that serves the connection is killed around the commit, so that the client hears nothing of how it ended."""
    store = shared.store()
    lease = Lease.take(store, "sim", beat_s=60)
    journal = _journal(store, lease)
    journal.append("note", {"n": 0}, "run-1")
    killed = []

    def around(connection: sa.Connection) -> None:
        written = connection.exec_driver_sql("SELECT count(*) FROM records WHERE seq = 2").scalar()
        if killed or not written:
            return
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        if stands:
            connection.exec_driver_sql("COMMIT")
        killed.append(pid)
        shared.raw(f"SELECT pg_terminate_backend({pid})")
        _until(lambda: shared.raw(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == [(0,)])
        connection.exec_driver_sql("SELECT 'the answer'")  # fails as the answer to the commit would

    event.listen(store._engine, "commit", around)
    record = journal.append("note", {"n": 1}, "run-1")
    assert killed and record.seq == 2
    assert [each.data["n"] for each in journal.read()] == [0, 1]
    assert journal.append("note", {"n": 2}, "run-1").seq == 3
    assert journal.verify() == []
    lease.release()
    store.close()


@pytest.mark.parametrize("stands", [True, False], ids=["the commit stands", "the commit does not stand"])
def test_a_new_token_whose_commit_got_no_answer_is_the_next_one_and_not_taken_for_a_loss(shared: Database, stands: bool) -> None:
    store = shared.store()
    lease = Lease.take(store, "sim", beat_s=60)
    killed = []

    def around(connection: sa.Connection) -> None:
        if killed or connection.get_execution_options().get("reading"):
            return
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        if stands:
            connection.exec_driver_sql("COMMIT")
        killed.append(pid)
        shared.raw(f"SELECT pg_terminate_backend({pid})")
        _until(lambda: shared.raw(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == [(0,)])
        connection.exec_driver_sql("SELECT 'the answer'")

    event.listen(store._engine, "commit", around)
    assert lease.advance() == 2 and killed
    lease.ensure()
    lease.release()
    store.close()


def test_a_commit_that_is_still_under_way_when_its_client_is_cut_off_is_waited_for(shared: Database) -> None:
    store = shared.store()
    shared.raw(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.seq = 2 THEN PERFORM pg_sleep(1.5); END IF; RETURN NEW; END $$",
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON records DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    lease = Lease.take(store, "sim", beat_s=60)
    journal = _journal(store, lease)
    journal.append("note", {"n": 0}, "run-1")
    tries: list[float] = []

    def cut(connection: sa.Connection) -> None:
        tries.append(time.monotonic())
        if len(tries) == 1:
            line = socket.socket(fileno=os.dup(connection.connection.dbapi_connection.fileno()))
            threading.Timer(0.3, lambda: (line.shutdown(socket.SHUT_RDWR), line.close())).start()

    event.listen(store._engine, "commit", cut)
    journal.append("note", {"n": 1}, "run-1")
    event.remove(store._engine, "commit", cut)
    assert len(tries) == 2 and tries[1] - tries[0] > 1.0, "the second look came before the first commit had ended"
    assert [record.data["n"] for record in journal.read()] == [0, 1]
    assert journal.verify() == []
    lease.release()
    store.close()


def test_records_are_on_the_servers_disk_whatever_its_default_is(server: Postgres, shared: Database) -> None:
    server.psql("ALTER DATABASE journal SET synchronous_commit = off")
    try:
        store = shared.store()
        with store.writing() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "8s"
        store.close()
    finally:
        server.psql("ALTER DATABASE journal RESET synchronous_commit")


def test_a_controller_that_owns_no_table_works_and_cannot_untie_the_records(server: Postgres, shared: Database) -> None:
    """The roles of docs/journal.md."""
    shared.store().close()
    text = (ROOT / "docs/journal.md").read_text()
    grants = text.partition("```sql\n")[2].partition("```")[0]
    assert "GRANT" in grants
    server.psql("DROP ROLE IF EXISTS golive_controller", *filter(None, (line.strip() for line in grants.split(";"))))
    try:
        url = server.url.replace("postgres@", "golive_controller@")
        store = Store(url)
        lease = Lease.take(store, "sim", beat_s=60)
        journal = _journal(store, lease)
        journal.append("note", {}, "run-1")
        requests.ask(store, "sim", "rollback", "outage", RealClock())
        requests.taken(store, "sim", [request.id for request in requests.pending(store, "sim")], "run-1")
        store.keep("sim", b"x")
        assert Store.holds(url, "sim") and journal.verify() == []
        for statement in (
            "UPDATE records SET kind = 'x'",
            "DELETE FROM records",
            "TRUNCATE records",
            "DROP TRIGGER records_keep_rows ON records",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(url) as connection:
                connection.execute(statement)
        lease.release()
        store.close()
    finally:
        server.psql("DROP OWNED BY golive_controller", "DROP ROLE golive_controller")


def test_a_database_that_is_not_there_is_one_sentence(server: Postgres) -> None:
    with pytest.raises(Held, match=r'cannot be used: .*database "nope" does not exist'):
        Store(server.url.replace("/journal?", "/nope?"))


def _ended(children: list[int], count: int) -> list[int]:
    """Statuses of the first ``count`` of ``children`` to end."""
    found: dict[int, int] = {}
    end = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < end, "they do not end"
        for pid in set(children) - found.keys():
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                found[pid] = status
        time.sleep(0.01)
    return list(found.values())
