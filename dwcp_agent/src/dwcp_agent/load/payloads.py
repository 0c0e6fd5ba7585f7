"""Content to send: different every time, as compressible as the state of machines is (about 3 : 1)."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass

import zstandard

__all__ = ["Payload", "Payloads"]

_STAMP_BYTES = 16
_RECORDS = 2000
_SPARE_BYTES = 256 << 10


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
    """Payloads of the given sizes, cut from material made once; a stamp makes each one unlike the ones before."""

    def __init__(self, sizes: dict[str, int], source: random.Random) -> None:
        self._source = source
        self._sizes = sizes
        self._material = _material(max(sizes.values()), source)

    def next(self, op: str) -> Payload:
        """Content for one request."""
        length = self._sizes[op] - _STAMP_BYTES
        start = self._source.randrange(len(self._material) - length)
        content = self._source.randbytes(_STAMP_BYTES) + self._material[start : start + length]
        return Payload(content, hashlib.sha256(content).hexdigest())


def _material(size: int, source: random.Random) -> bytes:
    """A bit more than ``size`` bytes: records, pages of zeros and random bytes, in lumps of up to 4 KiB."""
    records = [_record(source) for _ in range(_RECORDS)]
    parts: list[bytes] = []
    length = 0
    while length <= size + _SPARE_BYTES:
        kind = source.random()
        if kind < 0.25:
            part = source.randbytes(1024)
        elif kind < 0.35:
            part = bytes(4096)
        else:
            part = b"\n".join(source.choices(records, k=16))
        parts.append(part)
        length += len(part)
    return b"".join(parts)


def _record(source: random.Random) -> bytes:
    fields = {
        "domain": f"vm-{source.randrange(500)}",
        "state": source.choice(["running", "paused", "migrating", "stopped"]),
        "vcpu_time_ns": source.randrange(10**12),
        "rss_kib": source.randrange(10**7),
        "disks": [{"target": "vda", "rd_bytes": source.randrange(10**9), "wr_bytes": source.randrange(10**9)}],
    }
    return json.dumps(fields).encode()
