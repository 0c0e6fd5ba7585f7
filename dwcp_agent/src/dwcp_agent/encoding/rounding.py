"""Rounding of numbers within an error that the caller names: then their last bits are zeros, of which zstd makes little.

This is lossy, and done for nobody who did not ask for it. What is delivered are ordinary numbers that nobody has to decode; that they are
not the original's goes with them as a *mark*. As netCDF's quantisation "BitRound" does, but for an absolute error too.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass

from dwcp_agent._native import round_to_fraction, round_to_step
from dwcp_agent.errors import BadInput
from dwcp_agent.transport.frame import Buffer
from dwcp_agent.transport.source import Source

__all__ = ["NUMERIC", "RoundedSource", "Rounding", "is_mark"]

NUMERIC = {"float32": 4, "float64": 8}
"""Bytes of an item, by the name of its type: IEEE 754, little-endian."""
_MARK = re.compile(r"float(?:32|64) (?:absolute|relative) [0-9][0-9.e+-]{0,30}")


@dataclass(frozen=True)
class Rounding:
    """How numbers are rounded. Raises BadInput for an unknown type or an error that cannot be."""

    numeric: str
    error: float
    """What a value may be away from what it was; of itself, when ``relative``."""
    relative: bool

    def __post_init__(self) -> None:
        if self.numeric not in NUMERIC:
            raise BadInput(f"--numeric must be one of {', '.join(NUMERIC)}, not {self.numeric!r}.")
        if self.relative and not 0 < self.error < 1:
            raise BadInput(f"--relative-error must be above 0 and below 1, not {self.error:g}.")
        if not self.relative and not (0 < self.error < math.inf):
            raise BadInput(f"--error must be a number above 0, not {self.error:g}.")

    @property
    def item(self) -> int:
        """Bytes of a number."""
        return NUMERIC[self.numeric]

    @property
    def mark(self) -> str:
        """What goes with the content: type, kind of error, error."""
        return f"{self.numeric} {'relative' if self.relative else 'absolute'} {self.error!r}"

    def rounded(self, content: Buffer) -> bytearray:
        """A copy of ``content``, numbers one after the other, each within the error of what it was.

        Zeros, denormals, infinities and NaNs are as they were, bit by bit, and so is what would round to infinity.
        """
        copy = bytearray(content)
        if self.relative:
            # With m bits kept a value moves by 2^-(m+1) of its power of two at most, which is no larger than itself.
            _, exponent = math.frexp(self.error)
            round_to_fraction(copy, self.item, -exponent)
        else:
            # The largest power of two whose half is no more than the error.
            _, exponent = math.frexp(self.error)
            round_to_step(copy, self.item, exponent, self.error)
        return copy


def is_mark(value: object) -> bool:
    """True for what :attr:`Rounding.mark` may be."""
    return isinstance(value, str) and _MARK.fullmatch(value) is not None


class RoundedSource:
    """``source``, whose numbers are rounded as they are read; the same each time. Raises BadInput when they cannot be numbers."""

    def __init__(self, source: Source, rounding: Rounding) -> None:
        if sys.byteorder != "little":
            raise BadInput("--numeric needs a little-endian machine.")
        if source.size % rounding.item:
            raise BadInput(f"--numeric {rounding.numeric}: {source.size} bytes are no whole number of items of {rounding.item} bytes.")
        self._source = source
        self._rounding = rounding
        self.size = source.size
        self.path_name = source.path_name

    def chunk(self, offset: int, length: int) -> bytearray:
        """A copy, rounded. Raises OSError."""
        before = offset % self._rounding.item
        after = -(offset + length) % self._rounding.item
        content = self._rounding.rounded(self._source.chunk(offset - before, before + length + after))
        return content[before : before + length] if before or after else content

    def release(self, offset: int, length: int) -> None:
        """Of the source."""
        self._source.release(offset, length)

    def changed(self) -> bool:
        """Of the source."""
        return self._source.changed()

    def close(self) -> None:
        """The source's."""
        self._source.close()
