"""What a transfer by protocol 2 took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Progress", "Tally"]


@dataclass
class Tally:
    """What a transfer took. Bytes of the file, but for ``wire_bytes``: payloads and headers before TLS."""

    size: int
    id: str = ""
    wire_bytes: int = 0
    sent_bytes: int = 0
    """Went as content."""
    same_bytes: int = 0
    """Were in the receiver's baseline at the same place."""
    zero_bytes: int = 0
    resumed_bytes: int = 0
    """Were at the receiver when this run began."""
    again_bytes: int = 0
    """Went a second time, because the stream they were on broke before the receiver said that it has them."""
    streams: int = 0
    broken_streams: int = 0
    data_tls: bool = True
    """False when content went without TLS, as both sides wanted."""
    congestion: str = ""
    """The congestion control of its streams."""
    level: int = 0
    """Of zstd, at the end; what it was before is in ``levels``."""
    levels: list[dict[str, Any]] = field(default_factory=list)
    """Every change of it, and why."""


Progress = Callable[[int, int, Tally], None]
"""Called now and then with the bytes that are done, the bytes there are, and the tally."""
