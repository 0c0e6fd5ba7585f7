"""The database of small state: versions, owners, limits, senders that come back, and what happens when it is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity
from dwcp_agent.store import state
from dwcp_agent.store.state import StateStore, Value

LOAD, OTHER = Identity("load", "host-2"), Identity("load", "host-9")
ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., StateStore]]:
    made: list[StateStore] = []

    def open_(max_keys: int = 100, max_bytes: int = 10_000) -> StateStore:
        made.append(StateStore(tmp_path, max_keys, max_bytes))
        return made[-1]

    yield open_
    for store in made:
        store.close()


def read(store: StateStore, key: str, owner: Identity = LOAD) -> Value:
    found = store.get(owner, key)
    assert found is not None
    return found


def refused(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.code == code


def test_versions_of_a_key_increase_and_the_last_put_of_a_batch_counts(opened: Callable[..., StateStore]) -> None:
    store = opened()
    assert store.apply(LOAD, ONE, 0, [("a", b"1"), ("b", b"1"), ("a", b"2")]) == 3
    first = read(store, "a")
    assert (first.value, read(store, "b").value) == (b"2", b"1") and first.version > read(store, "b").version
    assert store.apply(LOAD, ONE, 3, [("a", b"2")]) == 4
    assert read(store, "a").version > first.version and read(store, "a").time_s >= first.time_s
    assert store.delete(LOAD, "a") and not store.delete(LOAD, "a") and store.get(LOAD, "a") is None
    store.apply(LOAD, ONE, 4, [("a", b"3")])
    assert read(store, "a").version > first.version + 1  # a key that comes again does not begin again


def test_owners_share_nothing(opened: Callable[..., StateStore]) -> None:
    store = opened(max_keys=2)
    store.apply(LOAD, ONE, 0, [("a", b"mine"), ("b", b"")])
    assert store.get(OTHER, "a") is None and not store.delete(OTHER, "a")
    assert store.position(OTHER, ONE) == 0  # not even the token
    store.apply(OTHER, ONE, 0, [("a", b"other"), ("c", b"")])
    assert (read(store, "a").value, read(store, "a", OTHER).value) == (b"mine", b"other")


def test_puts_are_applied_once_and_only_where_the_sender_is(opened: Callable[..., StateStore]) -> None:
    store, other_slot = opened(), opened()
    store.apply(LOAD, ONE, 0, [("a", b"1"), ("a", b"2")])
    for first in (0, 1, 3):
        refused("interrupted", lambda first=first: other_slot.apply(LOAD, ONE, first, [("a", b"late")]))
    assert other_slot.position(LOAD, ONE) == 2 and read(other_slot, "a").value == b"2"
    other_slot.apply(LOAD, ONE, 2, [("a", b"3")])
    store.apply(LOAD, TWO, 0, [("b", b"")])  # another sender has its own place
    assert (store.position(LOAD, ONE), store.position(LOAD, TWO), read(store, "a").value) == (3, 1, b"3")


def test_limits_refuse_the_whole_batch_and_what_is_there_can_be_changed(opened: Callable[..., StateStore]) -> None:
    store = opened(max_keys=2, max_bytes=100)
    store.apply(LOAD, ONE, 0, [("a", bytes(40)), ("b", bytes(40))])
    refused("state-full", lambda: store.apply(LOAD, ONE, 2, [("a", b""), ("c", b"")]))
    refused("state-full", lambda: store.apply(LOAD, ONE, 2, [("a", bytes(70))]))
    assert (len(read(store, "a").value), store.position(LOAD, ONE)) == (40, 2)
    store.apply(LOAD, ONE, 2, [("a", bytes(58))])  # to the byte: two keys of one byte, 98 of values
    store.delete(LOAD, "a")
    store.apply(LOAD, ONE, 3, [("c", bytes(58))])
    refused("state-full", lambda: store.apply(LOAD, ONE, 4, [("c", bytes(59))]))
    lowered = opened(max_keys=1, max_bytes=10)
    lowered.apply(LOAD, ONE, 4, [("c", bytes(57))])  # less is always taken
    refused("state-full", lambda: lowered.apply(LOAD, ONE, 5, [("c", bytes(58))]))


def test_senders_are_forgotten_after_a_day_or_when_there_are_many(
    opened: Callable[..., StateStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    store.apply(LOAD, ONE, 0, [("a", b"")])
    store.apply(OTHER, ONE, 0, [("a", b"")])
    monkeypatch.setattr(state, "MAX_SENDERS", 2)
    for token in ("3" * 32, "4" * 32):
        store.apply(LOAD, token, 0, [("a", b"")])
    assert (store.position(LOAD, ONE), store.position(LOAD, "4" * 32), store.position(OTHER, ONE)) == (0, 1, 1)
    monkeypatch.setattr(state, "SENDER_KEEP_S", -10.0)
    store.apply(OTHER, TWO, 0, [("a", b"")])
    assert store.position(OTHER, ONE) == 0 and store.position(LOAD, "4" * 32) == 1


def test_nothing_is_made_before_the_first_sender(opened: Callable[..., StateStore], tmp_path: Path) -> None:
    store = opened()
    assert store.get(LOAD, "a") is None and not store.delete(LOAD, "a") and list(tmp_path.iterdir()) == []


def test_every_commit_is_flushed(opened: Callable[..., StateStore]) -> None:
    store = opened()
    store.position(LOAD, ONE)
    assert store._writer is not None
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_damaged_database_is_one_error_and_its_removal_helps(opened: Callable[..., StateStore], tmp_path: Path) -> None:
    path = tmp_path / ".state" / "state.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all " * 1000)
    store = opened()
    for call in (lambda: store.get(LOAD, "a"), lambda: store.position(LOAD, ONE), lambda: store.apply(LOAD, ONE, 0, [("a", b"")])):
        refused("state-damaged", call)
    path.unlink()
    assert store.apply(LOAD, ONE, 0, [("a", b"1")]) == 1 and read(store, "a").value == b"1"


def test_damage_found_while_running_is_the_same_error(opened: Callable[..., StateStore], tmp_path: Path) -> None:
    store = opened(max_bytes=1 << 20)
    store.apply(LOAD, ONE, 0, [(f"key {number}", bytes(5000)) for number in range(50)])
    store.close()
    path = tmp_path / ".state" / "state.db"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    again = opened()
    refused("state-damaged", lambda: again.get(LOAD, "key 7"))
    refused("state-damaged", lambda: again.apply(LOAD, ONE, 50, [("a", b"")]))


def test_state_of_a_newer_release_is_left_alone(opened: Callable[..., StateStore], tmp_path: Path) -> None:
    opened().position(LOAD, ONE)
    with sqlite3.connect(tmp_path / ".state" / "state.db") as database:
        database.execute("PRAGMA user_version = 2")
    refused("state-unusable", lambda: opened().position(LOAD, ONE))


def test_another_process_that_writes_is_waited_for_and_then_said(
    opened: Callable[..., StateStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_BUSY_S", 0.05)
    store = opened()
    store.position(LOAD, ONE)
    other = sqlite3.connect(tmp_path / ".state" / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refused("busy", lambda: store.apply(LOAD, ONE, 0, [("a", b"")]))
    other.execute("ROLLBACK")
    other.close()
    assert store.apply(LOAD, ONE, 0, [("a", b"")]) == 1
