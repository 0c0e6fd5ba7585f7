"""Transfers that are arriving: which chunks are there, which streams take part, how each ends."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dwcp_agent.errors import Failed, ProtocolError, Refused, retold
from dwcp_agent.security.identity import Identity
from dwcp_agent.store.store import Incoming, Receipt, Store
from dwcp_agent.transport.frame import Buffer

__all__ = ["Opening", "Transfer", "TransferTable"]

Clock = Callable[[], float]

_REMEMBER_S = 5.0
"""A transfer that is over is remembered so long: a stream of it that comes late learns how it ended and begins no other."""


@dataclass(frozen=True)
class Opening:
    """What every HELLO of a transfer has to say alike."""

    session: str
    identity: Identity
    number: int
    name: str
    size: int
    chunk: int


class Transfer:
    """One file on its way in. Streams join, write chunks and leave; one of them finishes."""

    def __init__(self, opening: Opening, incoming: Incoming, clock: Clock = time.monotonic) -> None:
        self.opening = opening
        self.started = clock()
        self._incoming = incoming
        self._clock = clock
        self._chunks = -(-opening.size // opening.chunk)
        self._claimed = bytearray((self._chunks + 7) // 8)
        self._written = 0
        self._streams = 0
        self._failure: Failed | None = None
        self._ended = False
        self._closed = False
        self._progress = self.started
        self._changed = threading.Condition()

    def join(self) -> None:
        """A stream takes part. Raises what the transfer failed with."""
        with self._changed:
            self._raise_failure()
            self._streams += 1
            self._progress = self._clock()

    def leave(self) -> None:
        """A stream has ended, well or not; the last one of a failed transfer takes the temporary file with it."""
        with self._changed:
            self._streams -= 1
            self._drop_if_over()

    def write(self, offset: int, raw_length: int, data: Buffer | None) -> bool:
        """Writes a chunk (None: zeros), unless it is there already; True when it was new. Raises ProtocolError, Refused."""
        index, rest = divmod(offset, self.opening.chunk)
        if rest or raw_length != min(self.opening.chunk, self.opening.size - offset):
            raise ProtocolError(f"There is no chunk of {raw_length} bytes at {offset} in this transfer.")
        with self._changed:
            self._raise_failure()
            if self._claimed[index >> 3] & (1 << (index & 7)):
                return False
            self._claimed[index >> 3] |= 1 << (index & 7)
        if data is not None:
            self._incoming.write(offset, data)
        with self._changed:
            self._written += 1
            self._progress = self._clock()
            if self._written == self._chunks:
                self._changed.notify_all()
        return True

    def await_chunks(self, stall_timeout_s: float) -> None:
        """Returns when every chunk is written.

        Raises Refused when they stop coming or the transfer failed, ProtocolError on a second END.
        """
        with self._changed:
            self._raise_failure()
            if self._ended:
                raise ProtocolError("A transfer has one END.")
            self._ended = True
            while self._written < self._chunks and self._failure is None:
                left = self._progress + stall_timeout_s - self._clock()
                if left <= 0:
                    raise Refused("Not every chunk has arrived.", code="incomplete", status=408)
                self._changed.wait(min(left, 1.0))
            self._raise_failure()

    def commit(self, sha256: str) -> Receipt:
        """Commits what :meth:`await_chunks` waited for. Raises Corrupt, Refused."""
        receipt = self._incoming.commit(sha256)
        with self._changed:
            self._closed = True
            self._claimed = bytearray()
        return receipt

    def fail(self, error: Failed) -> None:
        """The transfer is over; every stream learns why at its next step. The first reason stays."""
        with self._changed:
            if not self._closed and self._failure is None:
                # Without its traceback, whose frames hold the stream's buffer.
                self._failure = copy.copy(error)
            self._changed.notify_all()
            self._drop_if_over()

    def stalled(self, timeout_s: float) -> bool:
        """True when no stream made progress for ``timeout_s`` and nobody is committing."""
        with self._changed:
            return not self._ended and self._clock() - self._progress > timeout_s

    def idle_s(self) -> float:
        """Seconds since the last progress."""
        with self._changed:
            return self._clock() - self._progress

    @property
    def over(self) -> bool:
        """True when nothing is left of it, neither stream nor temporary file."""
        with self._changed:
            return self._closed and self._streams == 0

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise retold(self._failure)
        if self._closed:
            raise Refused("The transfer has ended already.", code="ended", status=409)

    def _drop_if_over(self) -> None:
        if self._failure is not None and self._streams == 0 and not self._closed:
            self._incoming.discard()
            self._closed = True
            self._claimed = bytearray()


class TransferTable:
    """Transfers by session and number."""

    def __init__(self, store: Store, limit: int, max_bytes: int) -> None:
        self._store = store
        self._limit = limit
        self._max_bytes = max_bytes
        self._transfers: dict[tuple[Identity, str, int], Transfer] = {}
        self._lock = threading.Lock()

    def join(self, opening: Opening) -> Transfer:
        """The transfer of this opening, made by the first stream that names it; the caller takes part in it now.

        Raises Refused when it says something else than the streams before it, is too large, or there are too many.
        """
        key = (opening.identity, opening.session, opening.number)
        with self._lock:
            transfer = self._transfers.get(key)
            if transfer is None:
                transfer = self._begin(opening)
                self._transfers[key] = transfer
            elif transfer.opening != opening:
                raise Refused("This stream's HELLO does not agree with the transfer's first.", code="mismatch", status=409)
            transfer.join()
            return transfer

    def _begin(self, opening: Opening) -> Transfer:
        if opening.size > self._max_bytes:
            raise Refused(f"A transfer may have {self._max_bytes} bytes, not {opening.size}.", code="too-large", status=413)
        if sum(1 for transfer in self._transfers.values() if not transfer.over) >= self._limit:
            raise Refused(f"There are {self._limit} transfers already.", code="busy", status=503)
        incoming = self._store.begin(opening.identity, opening.name)
        try:
            incoming.reserve(opening.size)
        except Refused:
            incoming.discard()
            raise
        return Transfer(opening, incoming)

    def running(self) -> int:
        """Transfers that have not ended."""
        with self._lock:
            return sum(1 for transfer in self._transfers.values() if not transfer.over)

    def reap(self, stall_timeout_s: float) -> None:
        """Fails what stalls and forgets what is over; call it every second or so."""
        with self._lock:
            transfers = list(self._transfers.items())
        for key, transfer in transfers:
            if transfer.stalled(stall_timeout_s):
                transfer.fail(Refused("The transfer stalled.", code="stalled", status=408))
            if transfer.over and transfer.idle_s() > _REMEMBER_S:
                with self._lock:
                    self._transfers.pop(key, None)

    def fail_all(self, reason: str) -> None:
        """Ends every transfer."""
        with self._lock:
            transfers = list(self._transfers.values())
        for transfer in transfers:
            transfer.fail(Refused(reason, code="draining", status=503))
