"""Batches of puts: what is encoded is decoded, and nothing malformed or over a limit gets past the decoder."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent.errors import BadInput, ProtocolError
from dwcp_agent.transport.entries import (
    MAX_BATCH_BYTES,
    MAX_ENTRIES,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    batch_bytes,
    checked_key,
    decode_entries,
    encode_entries,
)

KEYS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
ENTRIES = st.lists(st.tuples(KEYS, st.binary(max_size=300)), min_size=1, max_size=30)


def encoded(entries: list[tuple[str, bytes]]) -> bytes:
    return encode_entries([(checked_key(key, value), value) for key, value in entries])


@given(entries=ENTRIES)
@settings(max_examples=200, deadline=None)
def test_what_is_encoded_is_decoded(entries: list[tuple[str, bytes]]) -> None:
    payload = encoded(entries)
    assert decode_entries(payload) == decode_entries(memoryview(payload)) == entries
    assert len(payload) == 4 + sum(batch_bytes(key.encode(), value) for key, value in entries)


@given(
    data=st.one_of(
        st.binary(max_size=200), st.builds(lambda n, rest: n.to_bytes(4, "big") + rest, st.integers(0, 40), st.binary(max_size=300))
    )
)
@settings(max_examples=500, deadline=None)
def test_arbitrary_bytes_are_an_error_or_entries_that_say_the_same(data: bytes) -> None:
    try:
        entries = decode_entries(data)
    except ProtocolError:
        return
    assert encoded(entries) == data


@given(entries=ENTRIES, position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
@settings(max_examples=400, deadline=None)
def test_a_changed_byte_and_a_cut_are_an_error_or_entries_that_say_the_same(
    entries: list[tuple[str, bytes]], position: int, value: int, cut: int
) -> None:
    payload = bytearray(encoded(entries))
    with pytest.raises(ProtocolError):
        decode_entries(bytes(payload[: cut % len(payload)]))
    payload[position % len(payload)] = value
    try:
        found = decode_entries(payload)
    except ProtocolError:
        return
    assert encoded(found) == payload


def batch(*entries: tuple[bytes, bytes], count: int | None = None) -> bytes:
    """A payload as somebody would make it who keeps to no limit."""
    lengths = b"".join(struct.pack(">HI", len(key), len(value)) for key, value in entries)
    number = struct.pack(">I", len(entries) if count is None else count)
    return number + lengths + b"".join(key for key, _ in entries) + b"".join(value for _, value in entries)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0\0",
        batch(),
        batch((b"k", b"v"), count=2),
        batch((b"k", b"v"), (b"l", b"w"), count=1),
        batch((b"k", b"v"), count=0xFFFFFFFF),
        batch((b"k", b"v")) + b"x",
        batch((b"k", b"v"))[:-1],
        batch((b"", b"v")),
        batch((b"k" * (MAX_KEY_BYTES + 1), b"")),
        batch((b"k", bytes(MAX_VALUE_BYTES + 1))),
        batch(*[(b"k", b"")] * (MAX_ENTRIES + 1)),
        batch(*[(b"k", bytes(MAX_VALUE_BYTES))] * 16),
        batch((b"\xff", b"v")),
        batch((b"\xed\xa0\x80", b"v")),  # half of a surrogate pair
        batch((b"\xc3", b"v"), (b"\xa4", b"v")),  # a character over two keys
        batch((b"a\0b", b"v")),
        batch((b"a\nb", b"v")),
        batch((b"\x7f", b"v")),
        struct.pack(">I", 1) + struct.pack(">HI", 1, 0xFFFFFFFF) + b"k",
    ],
)
def test_what_breaks_a_rule_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_entries(payload)


def test_the_largest_of_everything_is_taken() -> None:
    most = [(f"{number:04}", b"x" * 200) for number in range(MAX_ENTRIES)]
    assert decode_entries(encoded(most)) == most
    large = [("k" * MAX_KEY_BYTES, bytes(MAX_VALUE_BYTES))]
    assert decode_entries(encoded(large)) == large
    assert decode_entries(encoded([("k", b"")])) == [("k", b"")]


@pytest.mark.parametrize("key", ["", "k" * (MAX_KEY_BYTES + 1), "ä" * (MAX_KEY_BYTES // 2 + 1), "a\tb", "\x7f", "\ud800"])
def test_a_key_that_cannot_be_is_bad_input(key: str) -> None:
    with pytest.raises(BadInput):
        checked_key(key, b"")


def test_a_batch_over_the_limits_is_not_encoded() -> None:
    with pytest.raises(BadInput):
        checked_key("k", bytes(MAX_VALUE_BYTES + 1))
    for entries in ([], [(b"k", b"")] * (MAX_ENTRIES + 1), [(b"k", bytes(MAX_VALUE_BYTES))] * (MAX_BATCH_BYTES // MAX_VALUE_BYTES)):
        with pytest.raises(ProtocolError):
            encode_entries(entries)
