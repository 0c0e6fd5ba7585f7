"""Transfers of protocol 2 on their way in: any of their streams may end, and both ends may be killed, without anything being sent twice.

What has arrived is in the store's partial content (``dwcp_agent.store.partial``); this is what knows of it while streams are there.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dwcp_agent.encoding.manifest import BLOCK, Manifest, block_count
from dwcp_agent.encoding.stream import PartDecoder
from dwcp_agent.errors import AgentError, Corrupt, Failed, ProtocolError, Refused, retold
from dwcp_agent.security.identity import Identity
from dwcp_agent.store.partial import Partial, partial_key
from dwcp_agent.store.store import Store, refusal
from dwcp_agent.transport.assembly import Assembly
from dwcp_agent.transport.frame import Flag, Frame
from dwcp_agent.transport.plain import Grant

__all__ = ["Inbound", "InboundTable", "Intent"]

Clock = Callable[[], float]
_REMEMBER_S = 60.0
"""How long a transfer that is over can still be asked how it ended."""
_PURGE_EVERY_S = 60.0
_MOST_RUNS = 300
"""A STATE with more would be over the limit of a control frame; what it leaves out is sent again."""


@dataclass(frozen=True)
class Intent:
    """What a transfer is to be; every HELLO of it says the same."""

    identity: Identity
    token: str
    name: str
    size: int
    rounded: str | None = None
    """The mark of content whose numbers were rounded."""


class Inbound:
    """One file on its way in. Streams join, write and leave; one of them finishes."""

    def __init__(self, intent: Intent, store: Store, baseline: str, clock: Clock = time.monotonic) -> None:
        self.intent = intent
        self.started = clock()
        self._store = store
        self._clock = clock
        self._changed = threading.Condition()
        self._streams = 0
        self._writing: list[tuple[int, int]] = []
        """(first block, blocks) of what is being written."""
        self._progress = self.started
        self._failure: AgentError | None = None
        self._done: Manifest | None = None
        self._finishing = False
        self._grant: Grant | None = None
        self._partial: Partial | None = None
        found = self._open_baseline(baseline)
        try:
            self._partial = store.resume(intent.identity, intent.token, intent.name, intent.size)
        except BaseException:
            if found is not None:
                os.close(found[0])
            raise
        self._assembly = Assembly(self._partial.content, intent.size, found, store.spoil)
        if found is not None and self._version()[0] != baseline:
            # Somebody wrote to it between the two looks: what the assembly takes for its version may be later than its manifest.
            self._assembly.close()

    @property
    def key(self) -> str:
        """Names its partial content."""
        return partial_key(self.intent.identity, self.intent.token)

    def join(self) -> dict[str, Any]:
        """A stream takes part; returns the fields of its STATE. Raises what the transfer failed with."""
        with self._changed:
            self._raise_failure()
            if self._done is not None:
                self._streams += 1
                return {"done": {"id": self._done.id, "bytes": self._done.size}}
            if self._partial is None:
                raise Refused("The transfer was put aside just now; begin again.", code="parked", status=409)
            self._streams += 1
            self._progress = self._clock()
            return {"have": self._partial.blocks.runs(_MOST_RUNS), "baseline": self._assembly.has_baseline}

    def grant(self) -> dict[str, str]:
        """What the sender needs to open streams without TLS; the same for as long as this is under way here."""
        with self._changed:
            self._grant = self._grant or Grant()
            return self._grant.fields()

    def granted(self, name: object, number: int, once: object, proof: object) -> bool:
        """True when a stream without TLS shows that its sender was given the grant of this transfer."""
        with self._changed:
            grant = self._grant
            return grant is not None and grant.name == name and grant.takes(number, once, proof)

    def leave(self) -> None:
        """A stream has ended, well or not."""
        with self._changed:
            self._streams -= 1
            self._progress = self._clock()
            if self._failure is not None and self._streams == 0:
                self._park()

    def write(self, frame: Frame, decoder: PartDecoder) -> int:
        """Writes what a DATA frame stands for, unless it is there; how many bytes of the file are new. ``decoder`` is the stream's own.

        Raises ProtocolError for what is no range of this file, Refused when the disk is full.
        """
        offset, length, flags = frame.header.offset, frame.header.raw_length, frame.header.flags
        if offset % BLOCK or offset + length > self.intent.size or (length % BLOCK and offset + length != self.intent.size):
            raise ProtocolError(f"There is no range of {length} bytes at {offset} in this transfer.")
        first, count = offset // BLOCK, block_count(length)
        # Whether its content is there or not: the stream's next parts refer to it.
        part = decoder.decode(flags == Flag.PART_FIRST, frame.payload, length) if flags in (Flag.PART_FIRST, Flag.PART) else None
        with self._changed:
            self._raise_failure()
            if self._done is not None:
                return 0  # a sender that comes back need not wait for STATE to send; it learns from that
            partial = self._partial
            if partial is None or self._finishing:
                raise ProtocolError("A range came after the end.")
            while any(begin < first + count and first < begin + run for begin, run in self._writing):
                self._changed.wait()  # the same over another stream: what is read back of it must be what stays
            if partial.blocks.has(first, count):
                return 0
            self._writing.append((first, count))
        fresh = 0
        try:
            self._assembly.place(frame, part)
            partial.note(offset, length)
            with self._changed:
                fresh = partial.blocks.add(first, count)
        except OSError as error:
            raise refusal(error) from None
        finally:
            with self._changed:
                self._writing.remove((first, count))
                self._progress = self._clock()
                self._changed.notify_all()
        return min(fresh * BLOCK, length)

    def finish(self, wanted: str, stall_timeout_s: float) -> Manifest:
        """Waits for what is missing, verifies and commits; a second call waits for the first and has its answer.

        Raises Refused, Corrupt.
        """
        with self._changed:
            while True:
                self._raise_failure()
                if self._done is not None:
                    if self._done.id != wanted:
                        raise Refused("The transfer ended with other content.", code="mismatch", status=409)
                    return self._done
                if self._partial is None:
                    raise Refused("The transfer was put aside.", code="parked", status=409)
                if not self._finishing and not self._writing and self._partial.blocks.there == self._partial.blocks.count:
                    break
                left = self._progress + stall_timeout_s - self._clock()
                if left <= 0 and not self._finishing:
                    raise Refused("Not every block has arrived.", code="incomplete", status=408)
                self._changed.wait(1.0 if self._finishing else min(left, 1.0))
            self._finishing = True
            partial = self._partial
        try:
            done = self._verified(partial, wanted)
        except AgentError as error:
            with self._changed:
                self._finishing = False
                self._partial = None if isinstance(error, Corrupt) else partial
                self._failure = error
                self._changed.notify_all()
            raise
        except BaseException:
            # A bug; but whoever waits for this must not wait for ever.
            with self._changed:
                self._finishing = False
                self._failure = Failed("The receiver failed.")
                self._changed.notify_all()
            raise
        with self._changed:
            self._done, self._partial = done, None
            self._assembly.close()
            self._changed.notify_all()
        return done

    def fail(self, error: AgentError) -> None:
        """Every stream learns at its next step that the transfer ends; what arrived waits for its sender to come back."""
        with self._changed:
            if self._done is None and self._failure is None:
                self._failure = error
            self._changed.notify_all()
            if self._streams == 0:
                self._park()

    def running(self) -> bool:
        """True when a stream takes part and the end is not reached."""
        with self._changed:
            return self._streams > 0 and self._done is None

    def figures(self) -> tuple[int, bool]:
        """Streams that take part, and whether there is a baseline."""
        with self._changed:
            return self._streams, self._assembly.has_baseline

    def idle_s(self) -> float:
        """Seconds since anything happened."""
        with self._changed:
            return self._clock() - self._progress

    def replaced(self) -> bool:
        """True when it ended well, and its name has other content by now: who sends this content again means it."""
        with self._changed:
            return self._done is not None and self._version() != (self._done.id, self._done.rounded)

    def over(self, stall_timeout_s: float) -> bool:
        """True when it can be forgotten: ended some time ago, or put aside now because its streams went away."""
        with self._changed:
            if self._streams:
                return False
            idle = self._clock() - self._progress
            if self._done is not None:
                return idle > _REMEMBER_S
            if self._failure is not None or idle > stall_timeout_s:
                self._park()
                return True
            return False

    def _verified(self, partial: Partial, wanted: str) -> Manifest:
        """The content has its name. Raises Corrupt when it is not ``wanted``, and Refused."""
        try:
            found = self._assembly.manifest()
        except OSError as error:
            raise refusal(error) from None
        return self._store.commit(self.intent.identity, self.intent.name, partial, replace(found, rounded=self.intent.rounded), wanted)

    def _open_baseline(self, wanted: str) -> tuple[int, Manifest] | None:
        """The content of this name as it is now, if it is the version that the sender knows."""
        found = self._current() if wanted else None
        if found is not None and found[1].id == wanted:
            return found
        if found is not None:
            os.close(found[0])
        return None

    def _version(self) -> tuple[str, str | None]:
        """Id and mark of what has the name now."""
        found = self._current()
        if found is None:
            return "", None
        os.close(found[0])
        return found[1].id, found[1].rounded

    def _current(self) -> tuple[int, Manifest] | None:
        with contextlib.suppress(Refused):
            return self._store.manifest(self.intent.identity, self.intent.name, compute=False)
        return None

    def _park(self) -> None:
        if self._finishing:
            return
        if self._partial is not None:
            self._partial.close()
            self._partial = None
        self._assembly.close()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise retold(self._failure)


class InboundTable:
    """Transfers by identity and token."""

    def __init__(self, store: Store, limit: int, max_bytes: int) -> None:
        self._store = store
        self._limit = limit
        self._max_bytes = max_bytes
        self._transfers: dict[tuple[Identity, str], Inbound] = {}
        self._lock = threading.Lock()
        self._purged = time.monotonic()

    def join(self, intent: Intent, baseline: str) -> tuple[Inbound, dict[str, Any]]:
        """The transfer of this intent, made or taken up by the first stream that names it, and the fields of the stream's STATE.

        Raises Refused when it says something else than the streams before it, is too large, or there are too many.
        """
        with self._lock:
            inbound = self._transfers.get((intent.identity, intent.token))
            if inbound is not None and (inbound.over(float("inf")) or inbound.replaced()):
                inbound = None
            if inbound is None:
                inbound = self._begin(intent, baseline)
                self._transfers[(intent.identity, intent.token)] = inbound
            elif inbound.intent != intent:
                raise Refused("This stream's HELLO does not agree with the transfer's first.", code="mismatch", status=409)
            return inbound, inbound.join()

    def join_granted(self, number: int, fields: dict[str, Any]) -> tuple[Inbound, dict[str, Any]]:
        """As :meth:`join`, for a stream without TLS: only a transfer that a stream with TLS was granted it for. Raises Refused."""
        with self._lock:
            for inbound in self._transfers.values():
                if inbound.granted(fields.get("grant"), number, fields.get("once"), fields.get("proof")):
                    return inbound, inbound.join()
        raise Refused("No transfer under way here is granted streams without TLS by that.", code="grant", status=403)

    def _begin(self, intent: Intent, baseline: str) -> Inbound:
        if intent.size > self._max_bytes:
            raise Refused(f"A transfer may have {self._max_bytes} bytes, not {intent.size}.", code="too-large", status=413)
        if sum(1 for inbound in self._transfers.values() if inbound.running()) >= self._limit:
            raise Refused(f"There are {self._limit} transfers already.", code="busy", status=503)
        return Inbound(intent, self._store, baseline)

    def running(self) -> int:
        """Transfers that streams take part in and that have not ended."""
        with self._lock:
            return sum(1 for inbound in self._transfers.values() if inbound.running())

    def figures(self) -> dict[str, int]:
        """``streams`` that take part, and transfers that any take part in, by their baseline: ``used`` or ``none``."""
        with self._lock:
            told = [inbound.figures() for inbound in self._transfers.values() if inbound.running()]
        used = sum(has for _, has in told)
        return {"streams": sum(streams for streams, _ in told), "used": used, "none": len(told) - used}

    def reap(self, stall_timeout_s: float) -> None:
        """Puts aside what nobody sends any more and forgets what is over; call it every second or so."""
        with self._lock:
            for key, inbound in list(self._transfers.items()):
                if inbound.over(stall_timeout_s):
                    del self._transfers[key]
            if time.monotonic() - self._purged > _PURGE_EVERY_S:
                self._purged = time.monotonic()
                self._store.purge_partials(frozenset(inbound.key for inbound in self._transfers.values()))

    def fail_all(self, reason: str) -> None:
        """Ends every transfer; what arrived is kept."""
        with self._lock:
            transfers = list(self._transfers.values())
        for inbound in transfers:
            inbound.fail(Refused(reason, code="draining", status=503))
