"""Frames: what is encoded is decoded, and no bytes whatever get anything else past the decoder."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent.encoding.chunk import decode_chunk, decompress, encode_chunk
from dwcp_agent.errors import BadInput, ProtocolError
from dwcp_agent.store.names import parts_of
from dwcp_agent.transport.frame import (
    HEADER_BYTES,
    MAX_CHUNK,
    MAX_CONTROL_BYTES,
    Kind,
    check_payload,
    control,
    encode,
    parse_control,
    parse_header,
)


def valid(content: bytes, number: int, offset: int) -> tuple[bytes, bytes]:
    flags, payload = encode_chunk(content)
    return encode(Kind.DATA, number, payload, flags=flags, offset=offset, raw_length=len(content)), bytes(payload)


@given(
    content=st.one_of(
        st.binary(min_size=1, max_size=4000), st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=9), st.integers(1, 3000))
    ),
    number=st.integers(0, 2**64 - 1),
    offset=st.integers(0, 2**62),
)
@settings(max_examples=200, deadline=None)
def test_what_is_encoded_is_decoded(content: bytes, number: int, offset: int) -> None:
    head, payload = valid(content, number, offset)
    header = parse_header(head)
    check_payload(header, payload)
    assert (header.transfer, header.offset, header.raw_length, header.length) == (number, offset, len(content), len(payload))
    decoded = decode_chunk(header.flags, payload, header.raw_length)
    assert (bytes(len(content)) if decoded is None else bytes(decoded)) == content
    assert len(payload) <= len(content)


@given(data=st.binary(max_size=80))
@settings(max_examples=400, deadline=None)
def test_arbitrary_bytes_are_a_protocol_error_or_a_header_within_limits(data: bytes) -> None:
    try:
        header = parse_header(data)
    except ProtocolError:
        return
    assert len(data) == HEADER_BYTES and header.length <= MAX_CHUNK and header.raw_length <= MAX_CHUNK


@given(content=st.binary(min_size=1, max_size=600), position=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.integers(0, 700))
@settings(max_examples=400, deadline=None)
def test_any_flipped_bit_and_any_cut_are_noticed(content: bytes, position: int, bit: int, cut: int) -> None:
    head, payload = valid(content, 7, 0)
    whole = bytearray(head + payload)
    whole[position % len(whole)] ^= 1 << bit
    with pytest.raises(ProtocolError):
        check_payload(parse_header(whole[:HEADER_BYTES]), whole[HEADER_BYTES:])
    short = (head + payload)[: cut % len(head + payload)]
    with pytest.raises(ProtocolError):
        check_payload(parse_header(short[:HEADER_BYTES]), short[HEADER_BYTES:])


@given(
    fields=st.tuples(
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 65535),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
    )
)
@settings(max_examples=400, deadline=None)
def test_well_formed_headers_outside_the_limits_are_refused(fields: tuple[int, int, int, int, int, int]) -> None:
    import struct

    version, kind, flags, offset, length, raw_length = fields
    data = struct.pack(">4sBBHQQIII", b"DWCF", version, kind, flags, 1, offset, length, raw_length, 0)
    try:
        header = parse_header(data)
    except ProtocolError:
        return
    assert version == 1 and kind in set(Kind)
    assert header.length <= (MAX_CHUNK if kind == Kind.DATA else MAX_CONTROL_BYTES)
    assert header.raw_length <= MAX_CHUNK


@given(payload=st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_arbitrary_compressed_content_is_an_error_or_within_the_limit(payload: bytes) -> None:
    for data in (payload, b"\x28\xb5\x2f\xfd" + payload):
        try:
            assert len(decompress(data, 100)) <= 100
        except ProtocolError:
            continue


@given(payload=st.binary(max_size=200))
def test_arbitrary_control_payloads_are_an_object_or_an_error(payload: bytes) -> None:
    try:
        assert isinstance(parse_control(payload), dict)
    except ProtocolError:
        return


def test_deeply_nested_control_payload_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        parse_control(b"[" * 8000)
    with pytest.raises(ProtocolError):
        control(Kind.HELLO, 1, {"name": "x" * MAX_CONTROL_BYTES})


@given(name=st.text(max_size=40))
@settings(max_examples=400)
def test_names_stay_below_their_directory(name: str) -> None:
    try:
        parts = parts_of(name)
    except BadInput:
        return
    assert parts and all(part and "/" not in part and "\0" not in part and not part.startswith(".") for part in parts)
