"""Puts on the wire: a batch of keys and values in one payload.

    size  field
    4     count, 1 to 4,096
    6     for each put: length of its key (2 bytes), length of its value (4 bytes)
    ...   all keys, then all values, in the same order

Numbers are big-endian. Every length is checked before anything is made of it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from dwcp_agent.errors import BadInput, ProtocolError
from dwcp_agent.transport.frame import MAX_CHUNK, Buffer

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_ENTRIES",
    "MAX_KEY_BYTES",
    "MAX_VALUE_BYTES",
    "batch_bytes",
    "checked_key",
    "decode_entries",
    "encode_entries",
]

MAX_KEY_BYTES = 512
MAX_VALUE_BYTES = 64 * 1024
MAX_ENTRIES = 4096
MAX_BATCH_BYTES = MAX_CHUNK

_COUNT = struct.Struct(">I")
_LENGTHS = struct.Struct(">HI")
_CONTROL = bytes([*range(0x20), 0x7F])


def checked_key(key: str, value: Buffer) -> bytes:
    """``key`` as it goes on the wire. Raises BadInput when key or value is over a limit, or the key has control characters."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise BadInput(f"The key {key!r} is not Unicode text.") from None
    if not 0 < len(encoded) <= MAX_KEY_BYTES:
        raise BadInput(f"A key has 1 to {MAX_KEY_BYTES} bytes, not {len(encoded)}.")
    if len(encoded.translate(None, _CONTROL)) != len(encoded):
        raise BadInput(f"The key {key!r} has control characters.")
    if len(value) > MAX_VALUE_BYTES:
        raise BadInput(f"The value of {key} has {len(value)} bytes, more than {MAX_VALUE_BYTES}.")
    return encoded


def batch_bytes(key: bytes, value: Buffer) -> int:
    """What one put adds to a batch; the batch has 4 bytes more."""
    return _LENGTHS.size + len(key) + len(value)


def encode_entries(entries: Sequence[tuple[bytes, Buffer]]) -> bytes:
    """The payload of ``entries``, each within its limits. Raises ProtocolError when they are none, or too many for one batch."""
    if not 0 < len(entries) <= MAX_ENTRIES:
        raise ProtocolError(f"A batch has 1 to {MAX_ENTRIES} puts, not {len(entries)}.")
    lengths = [_LENGTHS.pack(len(key), len(value)) for key, value in entries]
    payload = b"".join([_COUNT.pack(len(entries)), *lengths, *(key for key, _ in entries), *(value for _, value in entries)])
    if len(payload) > MAX_BATCH_BYTES:
        raise ProtocolError(f"A batch of {len(payload)} bytes is over the limit.")
    return payload


def decode_entries(payload: Buffer) -> list[tuple[str, bytes]]:
    """Keys and values in ``payload``, in its order. Raises ProtocolError when it is malformed or over a limit."""
    data = bytes(payload)
    if not _COUNT.size <= len(data) <= MAX_BATCH_BYTES:
        raise ProtocolError(f"A batch of {len(data)} bytes is too short or over the limit.")
    (count,) = _COUNT.unpack_from(data)
    at = _COUNT.size + count * _LENGTHS.size
    if not 0 < count <= MAX_ENTRIES or at > len(data):
        raise ProtocolError(f"A batch of {len(data)} bytes cannot have {count} puts.")
    lengths = list(_LENGTHS.iter_unpack(data[_COUNT.size : at]))
    key_bytes = sum(key for key, _ in lengths)
    if at + key_bytes + sum(value for _, value in lengths) != len(data):
        raise ProtocolError("The lengths in a batch do not add up to its own.")
    if any(not 0 < key <= MAX_KEY_BYTES or value > MAX_VALUE_BYTES for key, value in lengths):
        raise ProtocolError(f"A key has 1 to {MAX_KEY_BYTES} bytes, a value at most {MAX_VALUE_BYTES}.")
    keys = data[at : at + key_bytes]
    if len(keys.translate(None, _CONTROL)) != len(keys):
        raise ProtocolError("A key has control characters.")
    entries, value_at = [], at + key_bytes
    try:
        for key_length, value_length in lengths:
            entries.append((data[at : at + key_length].decode(), data[value_at : value_at + value_length]))
            at += key_length
            value_at += value_length
    except UnicodeDecodeError:
        raise ProtocolError("A key is not UTF-8.") from None
    return entries
