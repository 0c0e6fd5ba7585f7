"""A file as it is put together: ranges from frames and from the version before it, each read back and hashed as soon as it is written.

What is hashed is what the file then has, not what came, so that the end of a transfer has nothing more to read. A range that shares its
blocks with the version before it (on a file system that can) is that version's, whose hashes are known; so it is not read either.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterator

from blake3 import blake3

from dwcp_agent._native import is_zero
from dwcp_agent.encoding.chunk import decode_chunk
from dwcp_agent.encoding.manifest import BLOCK, HASH_BYTES, Manifest, block_count, hash_blocks
from dwcp_agent.encoding.patch import decode_patch
from dwcp_agent.errors import ProtocolError
from dwcp_agent.store.store import Spoil
from dwcp_agent.transport.frame import MAX_CHUNK, Buffer, Flag, Frame

__all__ = ["Assembly"]

_FICLONERANGE = 0x4020940D  # linux/fs.h
_CLONE = struct.Struct("=qQQQ")
_ZERO_BLOCK = blake3(bytes(BLOCK)).digest()
_local = threading.local()


class Assembly:
    """The file ``content`` of ``size`` bytes, beside ``baseline``: a descriptor and its manifest, both its own from now on.

    Safe from several threads as long as each range is one thread's at a time.
    """

    def __init__(self, content: int, size: int, baseline: tuple[int, Manifest] | None, spoil: Spoil | None = None) -> None:
        self._content = content
        self._size = size
        self._baseline = baseline
        self._version = _version(baseline[0]) if baseline is not None else None
        self._spoil = spoil
        self._clones = True
        self._hashes = bytearray(block_count(size) * HASH_BYTES)
        self._hashed = bytearray(block_count(size))

    @property
    def has_baseline(self) -> bool:
        return self._baseline is not None

    def place(self, frame: Frame, part: Buffer | None) -> None:
        """Writes what a DATA frame stands for: ``part``, if it was decoded already. Raises ProtocolError, OSError."""
        offset, length, flags = frame.header.offset, frame.header.raw_length, frame.header.flags
        if flags == Flag.SAME:
            self._copy(offset, length)
        elif flags == Flag.PATCH:
            base, _ = self._base(offset, length)
            patch = decode_patch(frame.payload, offset, length, lambda at, count: os.pread(base, count, at))
            shared = self._copy_around(offset, length, patch.runs)
            view = memoryview(patch.content)
            for at, count in patch.runs:
                self._write(offset + at, view[:count])
                view = view[count:]
            for begin, end in _blocks_of(patch.runs, length) if shared else [(0, length)]:
                self._read_back(offset + begin, end - begin)
        else:
            chunk = part if part is not None else decode_chunk(flags, frame.payload, length)
            if chunk is not None:  # of zeros the file was made
                self._write(offset, chunk)
            self._read_back(offset, length)

    def manifest(self) -> Manifest:
        """Of the file, from what was hashed when it was written; what was written by an earlier process is read now. Raises OSError."""
        if self._baseline is not None and _version(self._baseline[0]) != self._version:
            # Somebody wrote into the version before this one: what is shared with it may be no longer what it was.
            self._hashed = bytearray(len(self._hashed))
        for index in self._unhashed():
            self._read_back(index * BLOCK, min(MAX_CHUNK, self._size - index * BLOCK))
        return Manifest(self._size, bytes(self._hashes))

    def close(self) -> None:
        """The baseline is let go."""
        if self._baseline is not None:
            os.close(self._baseline[0])
            self._baseline = None

    def _unhashed(self) -> Iterator[int]:
        index = self._hashed.find(0)
        while index >= 0:
            yield index
            index = self._hashed.find(0, index)

    def _read_back(self, offset: int, length: int) -> None:
        if self._spoil is not None:
            self._spoil(self._content, offset, length, self._size)
        buffer: bytearray | None = getattr(_local, "buffer", None)
        if buffer is None:
            buffer = _local.buffer = bytearray(MAX_CHUNK)
        view, got = memoryview(buffer)[:length], 0
        while got < length:
            count = os.preadv(self._content, [view[got:]], offset + got)
            if not count:
                raise ProtocolError("The content became shorter while it was put together.")
            got += count
        whole = length - length % BLOCK
        zeros = whole == length and is_zero(view)
        self._note(offset, _ZERO_BLOCK * (whole // BLOCK) if zeros else hash_blocks(view))

    def _note(self, offset: int, hashes: bytes) -> None:
        first, count = offset // BLOCK, len(hashes) // HASH_BYTES
        self._hashes[first * HASH_BYTES : (first + count) * HASH_BYTES] = hashes
        self._hashed[first : first + count] = b"\1" * count

    def _write(self, offset: int, chunk: Buffer) -> None:
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self._content, view, offset)
            offset += written
            view = view[written:]

    def _base(self, offset: int, length: int) -> tuple[int, Manifest]:
        if self._baseline is None:
            raise ProtocolError("Content that stands for a baseline's came where none was agreed on.")
        if offset + length > self._baseline[1].size:
            raise ProtocolError(f"The baseline has no {length} bytes at {offset}.")
        return self._baseline

    def _copy(self, offset: int, length: int) -> None:
        """The range is as in the baseline."""
        if not self._copy_around(offset, length, []):
            self._read_back(offset, length)

    def _copy_around(self, offset: int, length: int, runs: list[tuple[int, int]]) -> bool:
        """The range is as in the baseline, except where ``runs`` will be; True when it shares the baseline's blocks, and is noted so."""
        if self._clone(offset, length):
            first, count = offset // BLOCK, block_count(length)
            self._note(offset, self._base(offset, length)[1].hashes[first * HASH_BYTES : (first + count) * HASH_BYTES])
            return True
        begin = 0
        for at, count in [*runs, (length, 0)]:
            if at > begin:
                self._copy_bytes(offset + begin, at - begin)
            begin = at + count
        return False

    def _clone(self, offset: int, length: int) -> bool:
        """Shares the baseline's blocks; False where that cannot be done."""
        base, _ = self._base(offset, length)
        if not self._clones:
            return False
        try:
            fcntl.ioctl(self._content, _FICLONERANGE, _CLONE.pack(base, offset, length, offset))
            return True
        except OSError:
            # This file system shares no blocks; or not a last one that is shorter, where another file goes on.
            self._clones = length % BLOCK != 0
            return False

    def _copy_bytes(self, offset: int, length: int) -> None:
        # As fast as copy_file_range here, which does not say whether it shared or copied.
        base, _ = self._base(offset, length)
        end = offset + length
        while offset < end:
            data = os.pread(base, min(end - offset, MAX_CHUNK), offset)
            if not data:
                raise ProtocolError("The baseline became shorter.")
            self._write(offset, data)
            offset += len(data)


def _version(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _blocks_of(runs: list[tuple[int, int]], length: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the whole blocks, in a range of ``length`` bytes, that ``runs`` touch: ascending, each once."""
    begin = end = 0
    for at, count in runs:
        first, last = at - at % BLOCK, min(length, -(-(at + count) // BLOCK) * BLOCK)
        if first > end:
            if end > begin:
                yield begin, end
            begin = first
        elif begin == end:
            begin = first
        end = max(end, last)
    if end > begin:
        yield begin, end
