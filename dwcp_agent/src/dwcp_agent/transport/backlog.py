"""Which units of a transfer still have to go, and who sends them next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from dwcp_agent.transport.work import Work

__all__ = ["Backlog", "Runs"]

Runs = list[tuple[int, int]]


class Backlog:
    """Units by their number. Safe from several threads; whoever changes something notifies ``changed``."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.there: Runs = []
        """(first block, blocks) that the receiver had when the transfer began."""
        self.differs = False
        """Something has to be sent, and so everything that does not differ has to be named too."""
        self._work = Work(0, 1)
        self._open: set[int] = set()
        """What the receiver has not said to have."""
        self._held: list[int] = []
        """What does not differ, until something does."""
        self._sent: set[int] = set()
        self._moved = time.monotonic()

    def begin(self, count: int, there: Runs, streams: int, most_streams: int, *, differs: bool) -> None:
        """All of ``count`` units are open, for ``streams`` streams now and ``most_streams`` at most."""
        with self.changed:
            self.there, self.differs = there, differs
            self._work = Work(count, streams, most_streams)
            self._open, self._held = set(range(count)), []
            self._moved = time.monotonic()

    @property
    def left(self) -> int:
        """Units that are open and not held back."""
        with self.changed:
            return len(self._open) - len(self._held)

    @property
    def still_s(self) -> float:
        """For how long nothing has moved."""
        with self.changed:
            return time.monotonic() - self._moved

    def take(self, stream: int, ended: Callable[[], bool], *, waits: bool) -> int | None:
        """The next unit for a stream; -1 when there is none for now and it does not wait; None when there is nothing more to do.

        Args:
            ended: True when the stream is to stop, whatever is left; asked again after every change.
            waits: for units of another stream, which may come back.
        """
        with self.changed:
            while True:
                if not self.left or ended():
                    self.changed.notify_all()
                    return None
                while (unit := self._work.take(stream)) is not None:
                    if unit in self._open:
                        return unit
                if not waits:
                    return -1
                self.changed.wait(1.0)

    def is_there(self, unit: int) -> None:
        """The receiver has had it before."""
        with self.changed:
            self._open.discard(unit)
            self._moved = time.monotonic()
            self.changed.notify_all()

    def hold(self, unit: int) -> bool:
        """It does not differ: True when nothing has to be sent of it as long as nothing else differs."""
        with self.changed:
            if not self.differs:
                self._held.append(unit)
                self.changed.notify_all()
            return not self.differs

    def found_difference(self) -> bool:
        """What was held back is to be sent now; True for the first who says so."""
        with self.changed:
            first, self.differs = not self.differs, True
            self._work.put_back(self._held)
            self._held = []
            self.changed.notify_all()
            return first

    def goes(self, unit: int) -> bool:
        """It is on its way; True when it was before."""
        with self.changed:
            again = unit in self._sent
            self._sent.add(unit)
            return again

    def arrived(self, units: Iterable[int]) -> None:
        """The receiver has said that it has them; or, of none, that it is there."""
        with self.changed:
            self._open.difference_update(units)
            self._moved = time.monotonic()
            self.changed.notify_all()

    def put_back(self, units: Iterable[int]) -> None:
        """They are for whoever comes."""
        with self.changed:
            self._work.put_back(units)
            self.changed.notify_all()

    def rejoined(self, lost: list[int], has: Callable[[int], bool]) -> None:
        """A stream that broke is back and knows what the receiver has of all that was sent: the rest of ``lost`` goes again."""
        with self.changed:
            self.arrived([unit for unit in self._open & (self._sent | set(lost)) if has(unit)])
            self.put_back(lost)
