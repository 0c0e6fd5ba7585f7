"""Frames: a header of 36 bytes, then the payload.

    offset  size  field
    0       4     magic, "DWCF"
    4       1     version, 1
    5       1     type
    6       2     flags
    8       8     transfer
    16      8     offset of the chunk in the file
    24      4     payload length
    28      4     raw length: bytes of the file that this frame stands for
    32      4     CRC-32C of the 32 bytes before, then of the payload

All numbers are big-endian. What frames say to each other is in ``docs/protocol.md``.
"""

from __future__ import annotations

import enum
import json
import struct
from dataclasses import dataclass
from typing import Any

from dwcp_agent._native import crc32c
from dwcp_agent.errors import ProtocolError

__all__ = [
    "HEADER_BYTES",
    "MAGIC",
    "MAX_CHUNK",
    "MAX_CONTROL_BYTES",
    "MIN_CHUNK",
    "PROTOCOL",
    "ROUNDED",
    "STATE",
    "Buffer",
    "Flag",
    "Frame",
    "Header",
    "Kind",
    "check_payload",
    "control",
    "encode",
    "parse_control",
    "parse_header",
]

Buffer = bytes | bytearray | memoryview

MAGIC = b"DWCF"
VERSION = 1
PROTOCOL = 2
"""The highest version of the conversation that frames carry."""
STATE = 1
"""The highest version of the conversation about small state."""
ROUNDED = 1
"""The highest version of marks for content whose numbers were rounded."""
_HEADER = struct.Struct(">4sBBHQQIII")
_COVERED = _HEADER.size - 4
HEADER_BYTES = _HEADER.size
_CRC = struct.Struct(">I")

MIN_CHUNK = 64 * 1024
MAX_CHUNK = 1024 * 1024
MAX_CONTROL_BYTES = 8 * 1024
MAX_OFFSET = 1 << 62


class Kind(enum.IntEnum):
    """What a frame is."""

    HELLO = 1
    DATA = 2
    FIN = 3
    END = 4
    RECEIPT = 5
    ERROR = 6
    STATE = 7
    """What the receiver has already; its answer to a HELLO of protocol 2."""
    ACK = 8
    """How many of the stream's DATA frames are written, or of a sender's puts durable; protocol 2."""
    PUT = 9
    """A batch of puts, see ``transport/entries.py``; its offset is the number of the first. Capability ``state``."""


class Flag(enum.IntEnum):
    """How the payload of a DATA frame stands for its chunk."""

    RAW = 0
    ZSTD = 1
    ZERO = 2
    """The chunk is all zeros; there is no payload."""
    SAME = 3
    """The chunk is what the baseline has at the same place; there is no payload. Protocol 2."""
    PATCH = 4
    """The chunk is what the baseline has at the same place but for some pages, which follow (``encoding.patch``). Protocol 2."""
    PART_FIRST = 5
    """The beginning of a zstd frame that the stream's next PARTs go on with. Protocol 2."""
    PART = 6
    """The next part of the stream's zstd frame. Protocol 2."""
    TRAINED = 7
    """As ZSTD, by a dictionary that the frame names (``encoding.trained``). Of a PUT alone."""


_KINDS = frozenset(int(kind) for kind in Kind)
_FLAGS = {
    Kind.DATA: frozenset(int(flag) for flag in Flag if flag != Flag.TRAINED),
    Kind.PUT: frozenset({int(Flag.RAW), int(Flag.ZSTD), int(Flag.TRAINED)}),
}
"""Those of the kinds whose payload stands for something, by kind; all others have none."""
_EMPTY = frozenset({int(Flag.ZERO), int(Flag.SAME)})
_SMALLER = frozenset({int(Flag.ZSTD), int(Flag.PATCH), int(Flag.PART_FIRST), int(Flag.PART), int(Flag.TRAINED)})


@dataclass(frozen=True, slots=True)
class Header:
    """A header whose every field is within its limits; its checksum is checked with the payload."""

    kind: int
    flags: int
    transfer: int
    offset: int
    length: int
    raw_length: int
    crc: int
    crc_so_far: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A header and its payload, checksum verified."""

    header: Header
    payload: Buffer


def encode(kind: Kind, transfer: int, payload: Buffer = b"", *, flags: int = 0, offset: int = 0, raw_length: int = 0) -> bytes:
    """The header that goes before ``payload``."""
    length = len(payload)
    covered = _HEADER.pack(MAGIC, VERSION, kind, flags, transfer, offset, length, raw_length, 0)[:_COVERED]
    return covered + _CRC.pack(crc32c(payload, crc32c(covered)))


def control(kind: Kind, transfer: int, fields: dict[str, Any]) -> bytes:
    """A whole frame with a JSON object as payload."""
    payload = json.dumps(fields, separators=(",", ":")).encode()
    if len(payload) > MAX_CONTROL_BYTES:
        raise ProtocolError(f"A {kind.name} frame of {len(payload)} bytes is over the limit.")
    return encode(kind, transfer, payload) + payload


def parse_header(data: Buffer) -> Header:
    """The header in the ``HEADER_BYTES`` of ``data``. Raises ProtocolError when any field is unknown or over its limit."""
    try:
        magic, version, kind, flags, transfer, offset, length, raw_length, crc = _HEADER.unpack(data)
    except struct.error:
        raise ProtocolError(f"A frame header has {HEADER_BYTES} bytes, not {len(data)}.") from None
    if magic != MAGIC:
        raise ProtocolError("This is not a frame: the magic is missing.")
    if version != VERSION:
        raise ProtocolError(f"Frame version {version} is not spoken here, only {VERSION}.")
    if kind not in _KINDS:
        raise ProtocolError(f"Frame type {kind} is unknown.")
    if kind in _FLAGS:
        if flags not in _FLAGS[Kind(kind)]:
            raise ProtocolError(f"Flags {flags} are unknown.")
        if not 0 < raw_length <= MAX_CHUNK or offset > MAX_OFFSET:
            raise ProtocolError(f"A chunk of {raw_length} bytes at {offset} is over the limits.")
        if flags in _EMPTY:
            fits = length == 0
        elif flags in _SMALLER:
            fits = 0 < length < raw_length
        else:
            fits = length == raw_length
        if not fits:
            raise ProtocolError(f"A payload of {length} bytes cannot stand for a chunk of {raw_length}.")
    elif flags or offset or raw_length or length > MAX_CONTROL_BYTES:
        raise ProtocolError(f"A control frame of {length} bytes is malformed or over the limit.")
    return Header(kind, flags, transfer, offset, length, raw_length, crc, crc32c(bytes(data[:_COVERED])))


def check_payload(header: Header, payload: Buffer) -> None:
    """Raises ProtocolError when header and payload are not what the sender computed the checksum of."""
    if crc32c(payload, header.crc_so_far) != header.crc:
        raise ProtocolError(f"The frame at offset {header.offset} was damaged on its way: its CRC-32C does not match.")


def parse_control(payload: Buffer) -> dict[str, Any]:
    """The JSON object of a control frame. Raises ProtocolError."""
    try:
        fields = json.loads(bytes(payload))
    except (ValueError, RecursionError):
        raise ProtocolError("A control frame holds no valid JSON.") from None
    if not isinstance(fields, dict):
        raise ProtocolError("A control frame must hold a JSON object.")
    return fields
