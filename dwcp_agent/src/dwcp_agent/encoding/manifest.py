"""Manifests: one hash for every block of a file, and an id over all of them.

A linear hash of a file can be computed by one thread only, in one pass of its own. A manifest's hashes are computed by whoever has a block
at hand, in any order, and say which blocks two versions of a file have in common.

    block    64 KiB of the file; the last one may be shorter; a file without content has none
    hash     BLAKE3-256 of the block's bytes
    page     4 KiB of a block; its hash is the first 16 bytes of BLAKE3-256: where a block differs, its pages' hashes say which of it does
    id       BLAKE3-256, in the mode for deriving keys with the context ``dwcp manifest v1``, of the file's size
             (8 bytes, big-endian) and of all hashes, in order; written in hexadecimal
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blake3 import blake3

from dwcp_agent.errors import BadInput

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = [
    "BLOCK",
    "HASH_BYTES",
    "ID_CHARACTERS",
    "PAGE",
    "PAGE_HASH_BYTES",
    "Manifest",
    "Readable",
    "block_count",
    "hash_blocks",
    "hash_pages",
    "manifest_of",
]

BLOCK = 64 * 1024
PAGE = 4 * 1024
HASH_BYTES = 32
PAGE_HASH_BYTES = 16
ID_CHARACTERS = 64
_CONTEXT = "dwcp manifest v1"
_PIECE = 256 * BLOCK
"""What one task of ``manifest_of`` hashes: 16 MiB, some milliseconds."""


class Readable(Protocol):
    """Content of a known size; see ``dwcp_agent.transport.source``."""

    size: int

    def chunk(self, offset: int, length: int) -> bytes | bytearray | memoryview: ...

    def release(self, offset: int, length: int) -> None: ...


@dataclass(frozen=True)
class Manifest:
    """``hashes``: ``HASH_BYTES`` for each block of a file of ``size`` bytes, in order."""

    size: int
    hashes: bytes
    rounded: str | None = None
    """The mark of content whose numbers were rounded before it was sent (``dwcp_agent.encoding.rounding``); no part of the id."""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise BadInput(f"No file has {self.size} bytes.")
        if len(self.hashes) != block_count(self.size) * HASH_BYTES:
            raise BadInput(f"A manifest of {self.size} bytes has {block_count(self.size)} hashes, not {len(self.hashes) / HASH_BYTES:g}.")

    @property
    def id(self) -> str:
        """Names the content: equal for equal content, and for no other."""
        return blake3(self.size.to_bytes(8, "big") + self.hashes, derive_key_context=_CONTEXT).hexdigest()

    def block(self, index: int) -> bytes:
        """The hash of one block; empty behind the end."""
        return self.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]


def block_count(size: int) -> int:
    """How many blocks a file of ``size`` bytes has."""
    return -(-size // BLOCK)


def hash_blocks(content: bytes | bytearray | memoryview) -> bytes:
    """The hashes of the blocks of ``content``, which begins at the beginning of a block."""
    view = memoryview(content)
    return b"".join(blake3(view[offset : offset + BLOCK]).digest() for offset in range(0, len(view), BLOCK))


def hash_pages(block: bytes | bytearray | memoryview) -> bytes:
    """The hashes of the pages of one block, one after the other; of the file's last one, as many as it has."""
    view = memoryview(block)
    return b"".join(blake3(view[offset : offset + PAGE]).digest(PAGE_HASH_BYTES) for offset in range(0, len(view), PAGE))


def manifest_of(source: Readable, workers: Executor | None = None) -> Manifest:
    """The manifest of everything in ``source``, by all of ``workers`` at once when given. Raises OSError when it cannot be read."""

    def hashes_of(piece: tuple[int, int]) -> bytes:
        try:
            return hash_blocks(source.chunk(*piece))
        finally:
            source.release(*piece)

    pieces = _pieces(source.size)
    return Manifest(source.size, b"".join(workers.map(hashes_of, pieces) if workers else map(hashes_of, pieces)))


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    for offset in range(0, size, _PIECE):
        yield offset, min(_PIECE, size - offset)
