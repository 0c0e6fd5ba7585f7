"""Targets: single frames and what stands in them."""

from __future__ import annotations

import json
import struct

import zstandard

from dwcp_agent._native import crc32c
from dwcp_agent.encoding.chunk import decode_chunk, decompress, encode_chunk
from dwcp_agent.encoding.manifest import PAGE
from dwcp_agent.encoding.patch import MAX_REFERRED_BYTES, MAX_RUNS, decode_patch, encode_patch
from dwcp_agent.encoding.stream import PartDecoder, PartEncoder
from dwcp_agent.encoding.trained import MAX_DICTIONARY_BYTES, Dictionary, dictionary_number, train
from dwcp_agent.errors import ProtocolError
from dwcp_agent.transport.entries import MAX_ENTRIES, checked_key, decode_entries, encode_entries
from dwcp_agent.transport.frame import (
    HEADER_BYTES,
    MAX_CHUNK,
    MAX_CONTROL_BYTES,
    MAX_OFFSET,
    Flag,
    Header,
    Kind,
    check_payload,
    control,
    encode,
    parse_control,
    parse_header,
)
from fuzz.given import Given
from fuzz.memory import at_most

__all__ = ["chunk", "control_json", "entries", "header", "parts", "patch", "trained"]

MAX_WINDOW = 8 << 20
_SLACK = 256 * 1024
"""What may be allocated beside content: objects, messages, the interpreter's own."""
SAMPLE = b'{"kind": "node", "name": "ams-7", "phase": "ready", "leased": 1234}'
_made = train([SAMPLE.replace(b"7", b"%d" % number).replace(b"ready", b"phase %d" % (number % 5)) for number in range(200)])
assert _made is not None
DICTIONARY = _made
BASELINE = b"".join(bytes([number % 251, number // 251]) * 32 for number in range(3 * 1024)) + b"the end"


def header(data: bytes) -> None:
    """Any bytes are no header, or one within its limits that says what it was made of; and no frame with a changed bit passes."""
    try:
        found = parse_header(data[:HEADER_BYTES])
    except ProtocolError:
        return
    assert len(data) >= HEADER_BYTES
    assert found.kind in set(Kind)
    has_content = found.kind in (Kind.DATA, Kind.PUT)
    assert found.length <= (MAX_CHUNK if has_content else MAX_CONTROL_BYTES)
    assert 0 <= found.offset <= MAX_OFFSET and (has_content or (found.offset, found.flags, found.raw_length) == (0, 0, 0))
    assert not has_content or 0 < found.raw_length <= MAX_CHUNK
    assert not has_content or found.flags in (Flag.RAW, Flag.ZERO, Flag.SAME) or 0 < found.length < found.raw_length
    assert found.kind != Kind.PUT or found.flags in (Flag.RAW, Flag.ZSTD)
    assert found.crc == struct.unpack(">I", data[32:HEADER_BYTES])[0] and found.crc_so_far == crc32c(data[:32])
    payload = data[HEADER_BYTES : HEADER_BYTES + found.length].ljust(found.length, b"\0")
    _is_checked(found, payload)
    whole = bytearray(
        encode(Kind(found.kind), found.transfer, payload, flags=found.flags, offset=found.offset, raw_length=found.raw_length)
    )
    assert whole[:32] == data[:32], "a header encoded again differs"
    _is_checked(parse_header(whole), payload, right=True)
    whole[4 + data[-1] % 32] ^= 1 << data[0] % 8
    try:
        changed = parse_header(whole)
    except ProtocolError:
        return
    _is_checked(changed, payload[: changed.length].ljust(changed.length, b"\0"), right=False)


def _is_checked(of: Header, payload: bytes, *, right: bool | None = None) -> None:
    expected = crc32c(payload, of.crc_so_far) == of.crc
    assert right is None or expected == right
    try:
        check_payload(of, payload)
    except ProtocolError:
        assert not expected
    else:
        assert expected


def control_json(data: bytes) -> None:
    """Any payload is no object, or one that can be said again."""
    try:
        fields = parse_control(data)
    except ProtocolError:
        return
    assert isinstance(fields, dict)
    try:
        again = control(Kind.STATE, 1, fields)
    except (ProtocolError, RecursionError):  # longer when escaped; or as deep as can just be read
        return
    assert json.dumps(parse_control(again[HEADER_BYTES:])) == json.dumps(fields)


def chunk(data: bytes) -> None:
    """A DATA frame of protocol 1 stands for exactly its raw length, in bounded memory; and what is encoded is decoded."""
    given = Given(data)
    flags, raw_length, payload = given.number(7), given.number(MAX_CHUNK), given.rest()
    with at_most(2 * raw_length + 2 * len(payload) + _SLACK):
        _decompressed(payload, raw_length)
    try:
        of = parse_header(encode(Kind.DATA, 1, payload, flags=flags, raw_length=raw_length))
        with at_most(2 * raw_length + 2 * len(payload) + _SLACK):
            found = decode_chunk(of.flags, payload, of.raw_length)
    except ProtocolError:
        pass
    else:
        assert (found is None) == (flags == Flag.ZERO)
        assert found is None or len(found) == raw_length
        assert flags != Flag.ZSTD or found == _reference(payload)
    if payload:
        chosen, packed = encode_chunk(payload)
        assert len(packed) <= len(payload)
        back = decode_chunk(chosen, packed, len(payload))
        assert (bytes(len(payload)) if back is None else bytes(back)) == payload


def _decompressed(payload: bytes, limit: int) -> None:
    try:
        content = decompress(payload, limit)
    except ProtocolError:
        return
    assert len(content) <= limit
    parameters = zstandard.get_frame_parameters(payload)
    assert parameters.window_size <= MAX_WINDOW, "the window was not looked at"
    # Of a frame that announces nothing, zstandard looks at no more.
    assert not parameters.content_size or content == _reference(payload)


def _reference(payload: bytes) -> bytes:
    return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj().decompress(payload)


class _Baseline:
    """Counts what is read of it."""

    def __init__(self) -> None:
        self.reads = 0
        self.asked = 0

    def read(self, at: int, length: int) -> bytes:
        self.reads += 1
        self.asked += length
        assert 0 <= at <= MAX_OFFSET and length >= 0
        return BASELINE[at : at + length]


def entries(data: bytes) -> None:
    """A batch of puts is exactly what was sent, or no batch at all."""
    try:
        with at_most(8 * len(data) + _SLACK):
            found = decode_entries(data)
    except ProtocolError:
        return
    assert 1 <= len(found) <= MAX_ENTRIES
    assert all(checked_key(key, value) for key, value in found)
    assert encode_entries([(key.encode(), value) for key, value in found]) == data


def trained(data: bytes) -> None:
    """A payload by a dictionary is exactly its raw length; bytes are no dictionary, or one that undoes what it did; in bounded memory."""
    given = Given(data)
    kind, raw_length, content = given.number(2), given.number(MAX_CHUNK), given.rest()
    if kind == 0:
        try:
            with at_most(2 * raw_length + 2 * len(content) + _SLACK):
                dictionary_number(content)
                found = DICTIONARY.decode(content, raw_length)
        except ProtocolError:
            return
        assert len(found) == raw_length
        return
    if kind == 1:
        made = bytearray(DICTIONARY.content)
        at = raw_length % len(made)
        made[at : at + len(content)] = content[: len(made) - at]
        content = bytes(made)
    try:
        with at_most(8 * MAX_DICTIONARY_BYTES + _SLACK):
            dictionary = Dictionary(content)
    except ProtocolError:
        return
    payload = dictionary.encode(SAMPLE)
    assert dictionary.number and dictionary_number(payload) == dictionary.number
    assert dictionary.decode(payload, len(SAMPLE)) == SAMPLE
    assert dictionary.id == DICTIONARY.id or dictionary.content != DICTIONARY.content


def patch(data: bytes) -> None:
    """A PATCH stands for exactly its runs and reads no more of the baseline than the protocol allows; encoded is decoded."""
    given = Given(data)
    offset, raw_length, made = given.number(len(BASELINE) + 100), given.number(MAX_CHUNK), given.number(3)
    baseline = _Baseline()
    if made == 0:
        payload = given.rest()
    else:
        runs = [(given.number(1 << 20) // PAGE * PAGE, given.number(16) * PAGE) for _ in range(given.number(6))]
        moved = [(given.number(1 << 18) if made == 1 else given.number(1 << 64), given.number(1 << 20)) for _ in range(given.number(6))]
        told = struct.pack(">H", len(runs)) + b"".join(struct.pack(">II", at % (1 << 32), length) for at, length in runs)
        told += struct.pack(">H", len(moved)) + b"".join(struct.pack(">QI", at % (1 << 64), length) for at, length in moved)
        payload = told + bytes([given.number(3)]) + given.rest()
    try:
        with at_most(3 * MAX_REFERRED_BYTES + 3 * raw_length + 3 * len(payload) + _SLACK):
            found = decode_patch(payload, offset, raw_length, baseline.read)
    except ProtocolError:
        pass
    else:
        assert len(found.content) == sum(length for _, length in found.runs) <= raw_length
        assert all(at + length <= raw_length for at, length in found.runs)
    assert baseline.reads <= 2 * MAX_RUNS and baseline.asked <= MAX_REFERRED_BYTES
    _is_undone(payload, offset - offset % PAGE, given.number(8))


def _is_undone(content: bytes, offset: int, count: int) -> None:
    if not content or offset + 2 * PAGE > len(BASELINE):
        return
    moved = [(4096 * (number * 7 % 40), 4096) for number in range(count)]
    new = bytearray(BASELINE[offset : offset + 2 * PAGE])
    new[PAGE : PAGE + len(content)] = content[:PAGE]
    for read in (_Baseline().read, None):
        payload = encode_patch(bytes(new), offset, [(PAGE, PAGE)], read, moved)
        found = decode_patch(payload, offset, 2 * PAGE, _Baseline().read)
        assert (found.runs, found.content) == ([(PAGE, PAGE)], new[PAGE:])


def parts(data: bytes) -> None:
    """Parts stand for exactly their raw lengths, and together for the beginning of what zstd itself makes of them."""
    given = Given(data)
    if given.number(1):
        _are_undone(given)
        return
    decoder, reference, decoded, expected = PartDecoder(), None, b"", b""
    while given:
        begins, raw_length, payload = given.number(3) == 0, given.number(MAX_CHUNK), given.some()
        if begins:
            reference = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
            decoded, expected = b"", b""
        try:
            with at_most(3 * MAX_CHUNK + 2 * len(payload) + _SLACK):
                found = decoder.decode(begins, payload, raw_length)
        except ProtocolError:
            return
        assert len(found) == raw_length
        assert reference is not None, "a part was taken before its frame's beginning"
        decoded += bytes(found)
        if len(decoded) > 4 * MAX_CHUNK:
            return
        try:
            expected += reference.decompress(payload)
        except zstandard.ZstdError:
            return  # what was wanted of the part lies before what is damaged in it
        assert expected.startswith(decoded)


def _are_undone(given: Given) -> None:
    encoder, decoder = PartEncoder(), PartDecoder()
    while given:
        level, times = (1, 3, 5)[given.number(2)], 1 + given.number(200)
        content = (given.some() * times)[: 1 << 17]
        if not content:
            continue
        flag, payload = encoder.encode(content, level)
        assert len(payload) <= len(content)
        if flag != Flag.RAW:
            assert decoder.decode(flag == Flag.PART_FIRST, payload, len(content)) == content
