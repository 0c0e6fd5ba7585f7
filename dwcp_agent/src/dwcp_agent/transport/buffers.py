"""Where a stream gets the memory for a frame: a pool when the build has one and it is on, else a fresh buffer each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dwcp_agent import features
from dwcp_agent._build import PHASE4
from dwcp_agent.transport.frame import MAX_CHUNK

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Buffers", "make_buffers"]


class Buffers(Protocol):
    """Lends writable buffers of at least ``MAX_CHUNK`` bytes, for as long as somebody has a view of them."""

    def warm(self) -> None: ...
    def take(self) -> Buffer: ...
    def rest(self) -> None: ...
    def idle_s(self) -> float: ...
    def trim(self) -> int: ...
    def statistics(self) -> dict[str, int]: ...


class FreshBuffers:
    """Every buffer is new."""

    def warm(self) -> None:
        """Nothing to do."""

    def take(self) -> bytearray:
        """A new, zeroed buffer."""
        return bytearray(MAX_CHUNK)

    def rest(self) -> None:
        """Nothing is at hand."""

    def idle_s(self) -> float:
        """Nothing lies idle."""
        return 0.0

    def trim(self) -> int:
        """Nothing is kept."""
        return 0

    def statistics(self) -> dict[str, int]:
        """Nothing is kept, so there is nothing to count."""
        return {}


def make_buffers(keep: int) -> Buffers:
    """Buffers for ``keep`` streams at once; more streams work too."""
    if PHASE4 and features.is_on("pool"):
        from dwcp_agent.phase4.pool import BufferPool

        return BufferPool(MAX_CHUNK, keep)
    return FreshBuffers()
