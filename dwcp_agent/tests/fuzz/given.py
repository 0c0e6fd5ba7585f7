"""A fuzzer's bytes as the values that a target asks for, and edits of something genuine."""

from __future__ import annotations

__all__ = ["Given", "edited"]

_LONGEST_RUN = 4096


class Given:
    """Hands out ``data`` from its beginning. When it is used up, numbers are 0 and bytes are empty, so that every input means something."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """True while something is left."""
        return self._at < len(self._data)

    def number(self, most: int) -> int:
        """0 to ``most``, of as few bytes as can hold it."""
        return int.from_bytes(self.bytes((most.bit_length() + 7) // 8), "big") % (most + 1)

    def bytes(self, count: int) -> bytes:
        """The next ``count`` bytes, or what is left."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def some(self) -> bytes:
        """As many bytes as the next two say, or what is left."""
        return self.bytes(self.number(0xFFFF))

    def rest(self) -> bytes:
        """All that is left."""
        return self.bytes(len(self._data))


def edited(content: bytes, given: Given) -> bytes:
    """``content`` as a disk, a crash or a stranger may leave it: up to eight edits, each of which ``given`` chooses."""
    changed = bytearray(content)
    for _ in range(given.number(8)):
        kind, at = given.number(5), given.number(0xFFFF) % (len(changed) + 1)
        if kind == 0:
            changed[at : at + 1] = bytes([byte ^ 1 << given.number(7) for byte in changed[at : at + 1]])
        elif kind == 1:
            new = given.bytes(given.number(64))
            changed[at : at + len(new)] = new
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + 1 + given.number(64)]
        elif kind == 4:
            changed[at:at] = given.bytes(given.number(64))
        else:
            # What a file system may show of a file that was never flushed.
            count = given.number(_LONGEST_RUN)
            changed[at : at + count] = bytes(min(count, len(changed) - at))
    return bytes(changed)
