"""Content to send: different every time, as compressible as the state of machines is (about 3 : 1)."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass

import zstandard

__all__ = ["Payload", "Payloads"]

_VARIANTS = 8
_STAMP_BYTES = 16


@dataclass(frozen=True)
class Payload:
    """Content, its hash, and for small ones what goes on the wire."""

    content: bytes
    sha256: str

    def packed(self, compressor: zstandard.ZstdCompressor) -> tuple[bytes, bool]:
        """The body to send, and whether it is compressed."""
        packed = compressor.compress(self.content)
        return (packed, True) if len(packed) < len(self.content) else (self.content, False)


class Payloads:
    """Payloads of the given sizes, from a few variants made once; a stamp makes each one unlike the ones before."""

    def __init__(self, sizes: dict[str, int], source: random.Random) -> None:
        self._source = source
        self._variants = {op: [_content(size - _STAMP_BYTES, source) for _ in range(_VARIANTS)] for op, size in sizes.items()}

    def next(self, op: str) -> Payload:
        """Content for one request."""
        content = self._source.randbytes(_STAMP_BYTES) + self._source.choice(self._variants[op])
        return Payload(content, hashlib.sha256(content).hexdigest())


def _content(size: int, source: random.Random) -> bytes:
    """Records, pages of zeros and random bytes, in lumps of up to 4 KiB."""
    parts: list[bytes] = []
    length = 0
    while length < size:
        kind = source.random()
        if kind < 0.25:
            part = source.randbytes(1024)
        elif kind < 0.35:
            part = bytes(4096)
        else:
            part = b"\n".join(_record(source) for _ in range(16))
        parts.append(part)
        length += len(part)
    return b"".join(parts)[:size]


def _record(source: random.Random) -> bytes:
    fields = {
        "domain": f"vm-{source.randrange(500)}",
        "state": source.choice(["running", "paused", "migrating", "stopped"]),
        "vcpu_time_ns": source.randrange(10**12),
        "rss_kib": source.randrange(10**7),
        "disks": [{"target": "vda", "rd_bytes": source.randrange(10**9), "wr_bytes": source.randrange(10**9)}],
    }
    return json.dumps(fields).encode()
