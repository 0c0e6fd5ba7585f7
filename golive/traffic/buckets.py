"""The stable hash of a session id, the same as the gateway's ``crc32(1),mod(100)`` in HAProxy."""

from __future__ import annotations

import zlib

from golive.traffic.port import SlotName

__all__ = ["bucket", "slot_for"]

_MASK = 0xFFFFFFFF


def bucket(session: str) -> int:
    """The bucket of a session id, 0 to 99: CRC-32 of its bytes, Jenkins' full avalanche over 32 bits, times a prime, modulo 100.

    The avalanche is that of https://burtleburtle.net/bob/hash/integer.html, as HAProxy applies it for the converter's argument 1.
    """
    a = zlib.crc32(session.encode("utf-8"))
    a = (a + 0x7ED55D16 + (a << 12)) & _MASK
    a = a ^ 0xC761C23C ^ (a >> 19)
    a = (a + 0x165667B1 + (a << 5)) & _MASK
    a = ((a + 0xD3A2646C) ^ (a << 9)) & _MASK
    a = (a + 0xFD7046C5 + (a << 3)) & _MASK
    a = a ^ 0xB55A4F09 ^ (a >> 16)
    return (a * 3221225473 & _MASK) % 100


def slot_for(session: str, slot_b: int) -> SlotName:
    """The slot that takes a session while slot b gets ``slot_b`` percent."""
    return "b" if bucket(session) < slot_b else "a"
