"""Connections whose other side says what a fuzzer wrote, and listens to anything."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import zstandard

from dwcp_agent.transport.frame import HEADER_BYTES, MAX_CHUNK, Flag, Kind, check_payload, encode, parse_control, parse_header
from dwcp_agent.transport.wire import Wire
from fuzz.given import Given

__all__ = ["NUMBER", "PATTERN", "ScriptedSocket", "ScriptedWire", "frames_of", "frames_said"]

NUMBER = 1
"""The transfer that scripts are about."""
PATTERN = bytes(range(251)) * (2 * MAX_CHUNK // 251)
"""Content that shrinks, and that is not the same at any two blocks."""
_VERBATIM = 240
_COMPRESSOR = zstandard.ZstdCompressor(level=1)


class ScriptedSocket:
    """Gives ``script`` piece by piece, then the end of the stream; keeps what is sent to it.

    Asked whether there is something to read for the n-th time, it says no where bit n of ``silent`` is set.
    """

    def __init__(self, script: bytes, piece: int = 0, silent: int = 0) -> None:
        self.sent = bytearray()
        self._script = memoryview(script)
        self._piece = piece or len(script)
        self._silent = silent

    def recv_into(self, view: memoryview) -> int:
        got = self._script[: min(len(view), self._piece)]
        view[: len(got)] = got
        self._script = self._script[len(got) :]
        return len(got)

    def sendall(self, data: bytes | memoryview) -> None:
        self.sent += data

    def readable(self) -> bool:
        self._silent, silent = self._silent >> 1, self._silent & 1
        return not silent

    def getpeercert(self) -> dict[str, Any]:
        return {"subject": ((("organizationalUnitName", "load"),), (("commonName", "load.host-2"),))}

    def getsockopt(self, *_: int) -> bytes:
        raise OSError("no kernel knows this connection")

    def settimeout(self, timeout_s: float | None) -> None:
        """Nobody waits here."""

    def close(self) -> None:
        """Nothing is open."""


class ScriptedWire(Wire):
    """A data connection over a :class:`ScriptedSocket`."""

    def __init__(self, socket: ScriptedSocket, room: int = MAX_CHUNK) -> None:
        super().__init__(socket, bytearray(room))  # type: ignore[arg-type]
        self.socket = socket

    @property
    def has_tls(self) -> bool:
        """What breaks a rule is answered as where nobody on the way can have changed it."""
        return True

    def readable(self) -> bool:
        """As the script has it; the end can be read, too."""
        return self.socket.readable()

    def close(self) -> None:
        """Nothing is open."""


def frames_of(given: Given, filled: Callable[[bytes], bytes]) -> bytes:
    """Frames as ``given`` describes them, with right checksums but for those that are to be taken as they are.

    ``filled`` puts what only the target knows, such as a ticket, into the payload of a control frame.
    """
    said = bytearray()
    while given:
        kind = given.number(0xFF)
        if kind >= _VERBATIM:
            said += given.bytes(given.number(0xFF))
        elif 1 + kind % 8 == Kind.DATA:
            said += _data_frame(given, NUMBER + kind // 8 % 2)
        else:
            payload = filled(given.some())
            said += _encoded(1 + kind % 8, NUMBER + kind // 8 % 2, payload)
    return bytes(said)


def _data_frame(given: Given, number: int) -> bytes:
    flags, sort = given.number(7), given.number(4)
    block, raw_length = given.number(0xFF), given.number(MAX_CHUNK)
    offset = block * 65536 if block < 128 else (1 << block % 64) - block % 2
    if sort == 0:
        payload = given.some()
    elif sort == 1:
        payload = _COMPRESSOR.compress(PATTERN[:raw_length])
    elif sort == 2:
        payload = b""
    elif sort == 3:
        payload = PATTERN[:raw_length]
    else:
        beside = zstandard.ZstdCompressionDict(
            PATTERN[offset % 65536 :][:raw_length] or b"\0" * 8, dict_type=zstandard.DICT_TYPE_RAWCONTENT
        )
        payload = struct.pack(">H", 0) + zstandard.ZstdCompressor(dict_data=beside).compress(PATTERN[:raw_length])
    return _encoded(Kind.DATA, number, payload, flags=flags, offset=offset, raw_length=raw_length)


def _encoded(kind: int, number: int, payload: bytes, *, flags: int = 0, offset: int = 0, raw_length: int = 0) -> bytes:
    return encode(kind, number, payload, flags=flags, offset=offset, raw_length=raw_length) + payload  # type: ignore[arg-type]


def frames_said(sent: bytes | bytearray) -> list[tuple[Kind, dict[str, Any]]]:
    """What our own side said, which must be whole control frames (and DATA, which is passed over)."""
    found, at = [], 0
    while at < len(sent):
        header = parse_header(sent[at : at + HEADER_BYTES])
        payload = sent[at + HEADER_BYTES : at + HEADER_BYTES + header.length]
        check_payload(header, payload)
        if header.kind == Kind.DATA:
            assert header.flags in set(Flag)
        else:
            found.append((Kind(header.kind), parse_control(payload)))
        at += HEADER_BYTES + header.length
    return found
