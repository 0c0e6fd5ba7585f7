"""Dictionaries for small state: what they are made of, where they are kept, and what a damaged one does."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwcp_agent.encoding.trained import (
    LARGEST_BATCH,
    MAX_DICTIONARY_BYTES,
    Dictionary,
    dictionary_number,
    encode,
    is_dictionary_id,
    train,
)
from dwcp_agent.errors import ProtocolError
from dwcp_agent.security.identity import Identity
from dwcp_agent.store import dictionaries as kept
from dwcp_agent.store.dictionaries import Dictionaries
from dwcp_agent.transport import training
from dwcp_agent.transport.entries import encode_entries
from dwcp_agent.transport.frame import Flag
from dwcp_agent.transport.training import SAMPLES, Training

ONE, OTHER = Identity("load", "one"), Identity("load", "other")


def record(source: random.Random) -> tuple[str, bytes]:
    """A put as a cluster makes them."""
    name = f"vm-{source.randrange(10_000):05}"
    status = {
        "phase": source.choice(("Running", "Paused", "Stopped")),
        "cpu": round(source.random() * 16, 3),
        "host": f"ams-{source.randrange(64)}",
    }
    disks = [{"id": f"disk-{n}", "readBytes": source.randrange(10**11), "writtenBytes": source.randrange(10**11)} for n in range(3)]
    fields = {"apiVersion": "cluster/v1", "kind": "VirtualMachine", "name": name, "uid": source.randbytes(8).hex(), "status": status}
    return f"vm/{name}/state", json.dumps({**fields, "disks": disks, "resourceVersion": source.randrange(10**9)}).encode()


def records(count: int, seed: int = 1) -> list[tuple[str, bytes]]:
    source = random.Random(seed)
    return [record(source) for _ in range(count)]


def payloads(entries: Iterable[tuple[str, bytes]]) -> list[bytes]:
    return [encode_entries([(key.encode(), value)]) for key, value in entries]


def trained(seed: int = 1) -> Dictionary:
    dictionary = train(payloads(records(SAMPLES, seed)))
    assert dictionary is not None
    return dictionary


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return trained()


def test_single_puts_become_less_than_half_of_what_zstd_alone_makes_of_them(dictionary: Dictionary) -> None:
    held = payloads(records(100, seed=2))
    alone, with_it = (sum(len(encode(payload, used)[1]) for payload in held) for used in (None, dictionary))
    assert with_it < 0.5 * alone


@given(content=st.binary(min_size=1, max_size=2000), repeat=st.integers(1, 40))
def test_what_is_encoded_is_decoded(dictionary: Dictionary, content: bytes, repeat: int) -> None:
    content *= repeat
    flag, payload = encode(content, dictionary)
    if flag == Flag.TRAINED:
        assert len(payload) < len(content) and dictionary_number(payload) == dictionary.number
        assert dictionary.decode(payload, len(content)) == content
        for wrong in (len(content) - 1, len(content) + 1):
            with pytest.raises(ProtocolError):
                dictionary.decode(payload, wrong)
    elif flag == Flag.RAW:
        assert payload == content


def test_a_large_batch_goes_without(dictionary: Dictionary) -> None:
    largest = b"x" * LARGEST_BATCH
    assert [encode(content, dictionary)[0] for content in (largest, largest + b"x")] == [Flag.TRAINED, Flag.ZSTD]


def test_it_is_the_same_for_the_same_samples_and_another_one_does_not_decode_it(dictionary: Dictionary) -> None:
    assert trained().content == dictionary.content
    other, payload = trained(seed=5), dictionary.encode(b"x" * 100)
    assert (other.id, other.number) != (dictionary.id, dictionary.number)
    with pytest.raises(ProtocolError):
        other.decode(payload, 100)


def test_what_has_nothing_in_common_or_is_too_little_trains_none_or_saves_nothing() -> None:
    assert train(payloads(records(8))) is None and train([]) is None
    noise = [os.urandom(500) for _ in range(SAMPLES)]
    made = train(noise)
    assert made is None or encode(os.urandom(500), made)[0] == Flag.RAW


@pytest.mark.parametrize(
    "content", [b"", b"no dictionary", b"\x37\xa4\x30\xec", b"\x37\xa4\x30\xec" + bytes(500), bytes(MAX_DICTIONARY_BYTES + 1)]
)
def test_bytes_that_are_no_dictionary_are_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        Dictionary(content)


def test_every_damage_changes_the_id_or_is_no_dictionary(dictionary: Dictionary) -> None:
    for at in range(0, len(dictionary.content), 97):
        damaged = bytearray(dictionary.content)
        damaged[at] ^= 1
        try:
            assert Dictionary(bytes(damaged)).id != dictionary.id
        except ProtocolError:
            continue


@pytest.mark.parametrize("value", [None, 7, "", "a" * 63, "A" * 64, "../" * 21 + "a", "g" * 64])
def test_what_is_no_id(value: object) -> None:
    assert not is_dictionary_id(value)


def test_what_is_kept_is_there_after_a_restart_and_only_for_its_owner(tmp_path: Path, dictionary: Dictionary) -> None:
    assert Dictionaries(tmp_path).keep(ONE, dictionary)
    again = Dictionaries(tmp_path)
    for found in (again.latest(ONE), again.get(ONE, dictionary.id), again.numbered(ONE, dictionary.number)):
        assert found is not None and found.content == dictionary.content
    assert again.latest(OTHER) is again.get(OTHER, dictionary.id) is again.numbered(OTHER, dictionary.number) is None
    assert again.get(ONE, f"../{ONE.directory}/{dictionary.id}") is None
    (path,) = (tmp_path / ".state" / "dictionaries" / ONE.directory).iterdir()
    assert path.stat().st_mode & 0o077 == 0


def test_a_damaged_one_is_gone_when_it_is_read_and_the_one_before_it_takes_its_place(tmp_path: Path, dictionary: Dictionary) -> None:
    store, newer = Dictionaries(tmp_path), trained(seed=5)
    store.keep(ONE, dictionary)
    os.utime(tmp_path / ".state/dictionaries" / ONE.directory / dictionary.id, (time.time() - 60,) * 2)
    store.keep(ONE, newer)
    found = store.latest(ONE)
    assert found is not None and found.id == newer.id
    path = tmp_path / ".state/dictionaries" / ONE.directory / newer.id
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert store.get(ONE, newer.id) is None and not path.exists()
    found = store.latest(ONE)
    assert found is not None and found.id == dictionary.id


def test_the_oldest_go_when_there_are_too_many_or_they_are_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dictionary: Dictionary
) -> None:
    store, place = Dictionaries(tmp_path), tmp_path / ".state/dictionaries"
    made = [trained(seed) for seed in range(20, 25)]
    for age, one in zip(range(500, 0, -100), made, strict=True):
        store.keep(ONE, one)
        if (path := place / ONE.directory / one.id).exists():
            os.utime(path, (time.time() - age,) * 2)
    assert {path.name for path in (place / ONE.directory).iterdir()} == {one.id for one in made[-kept.KEPT :]}
    monkeypatch.setattr(kept, "MOST", 2)
    store.keep(OTHER, dictionary)
    assert {path.name for path in place.glob("*/*")} == {dictionary.id, made[-1].id}
    os.utime(place / ONE.directory / made[-1].id, (time.time() - kept.MAX_AGE_S - 1,) * 2)
    assert store.latest(ONE) is None
    (place / ONE.directory / ".half").write_bytes(b"")
    os.utime(place / ONE.directory / ".half", (0, 0))
    store.purge()
    assert [path.name for path in place.glob("*/*")] == [dictionary.id]


def test_a_disk_that_cannot_be_used_means_none(tmp_path: Path, dictionary: Dictionary) -> None:
    (tmp_path / ".state").write_bytes(b"a file where a directory was")
    store = Dictionaries(tmp_path)
    assert not store.keep(ONE, dictionary) and store.latest(ONE) is None
    store.purge()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def feed(at: Training, owner: Identity, entries: list[tuple[str, bytes]], size: int = 1000) -> None:
    for entry in entries:
        at.saw(owner, [entry], size)
    at.wait()


def test_one_is_made_of_enough_small_batches_of_one_identity(tmp_path: Path) -> None:
    store = Dictionaries(tmp_path)
    at = Training(store, Clock())
    feed(at, ONE, records(SAMPLES))
    feed(at, OTHER, records(SAMPLES // 2))
    feed(at, OTHER, records(2 * SAMPLES), size=LARGEST_BATCH + 1)
    assert at.made(ONE) is at.made(OTHER) is None
    feed(at, ONE, records(1, seed=3))
    found = store.latest(ONE)
    assert found is not None and at.made(ONE) == found.id and store.latest(OTHER) is None


def test_a_batch_gives_four_samples_at_most(tmp_path: Path) -> None:
    at, batch = Training(Dictionaries(tmp_path), Clock()), records(30)
    for _ in range(SAMPLES // 4):
        at.saw(ONE, batch, 20_000)
    assert at.made(ONE) is None and len(at._seen[ONE].samples) == SAMPLES


def test_what_does_not_pay_is_not_kept_and_is_tried_again_an_hour_later(tmp_path: Path) -> None:
    store, clock = Dictionaries(tmp_path), Clock()
    at = Training(store, clock)
    feed(at, ONE, [(f"{n}", os.urandom(600)) for n in range(SAMPLES + 1)])
    assert store.latest(ONE) is None
    feed(at, ONE, records(SAMPLES + 1))
    assert store.latest(ONE) is None, "not before an hour has passed"
    clock.now += training._AGAIN_S
    feed(at, ONE, records(SAMPLES + 1))
    assert store.latest(ONE) is not None


def test_a_new_one_takes_the_place_of_the_last_only_when_it_is_better(tmp_path: Path) -> None:
    store, clock = Dictionaries(tmp_path), Clock()
    at = Training(store, clock)
    feed(at, ONE, records(SAMPLES + 1))
    first = at.made(ONE)
    clock.now += training._AGAIN_S
    feed(at, ONE, records(SAMPLES + 1, seed=9))
    assert at.made(ONE) == first is not None
    clock.now += training._AGAIN_S
    feed(
        at,
        ONE,
        [(f"lease/{n}", b'{"holder": "node %d", "grantedForSeconds": 15, "epochOfTheTerm": %d}' % (n, n * 7)) for n in range(SAMPLES + 1)],
    )
    assert at.made(ONE) not in (None, first)


def test_only_so_many_identities_are_listened_to_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_MOST_OWNERS", 3)
    at = Training(Dictionaries(tmp_path), Clock())
    for number in range(10):
        at.saw(Identity("load", f"n{number}"), records(1), 1000)
    assert [owner.cn for owner in at._seen] == ["n7", "n8", "n9"]
