"""When a receiver trains a dictionary: from what an identity has sent in small batches, once there was enough of it to be worth one.

Whoever sends few puts, or only large batches, never has one. A new one is measured on puts it was not trained from, and kept only if it
makes them enough smaller than zstd alone does, and than the identity's last one does.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dwcp_agent import log
from dwcp_agent.encoding.trained import LARGEST_BATCH, Dictionary, encode, train
from dwcp_agent.security.identity import Identity
from dwcp_agent.store.dictionaries import Dictionaries
from dwcp_agent.transport.entries import encode_entries

__all__ = ["SAMPLES", "Training"]

SAMPLES = 160
"""Puts that a dictionary is made and measured of."""
_OF_A_BATCH = 4
"""So that 40 batches at least have come: what they would have saved pays for sending the dictionary (5 KiB compressed) once."""
_SAMPLE_BYTES = 4096
"""A longer value learns most from itself."""
_MOST_BYTES = 256 * 1024
_MOST_OWNERS = 32
"""Identities whose puts are held at once: 8 MiB."""
_AGAIN_S = 3600.0
"""At the earliest, another one is tried."""
_HELD_OUT = 4
"""Every so many samples one is not trained from."""
_PAYS = 0.9
_BETTER = 0.95
"""What is left of the bytes, at most, beside no dictionary, and beside the last one."""


@dataclass
class _Seen:
    samples: list[bytes] = field(default_factory=list)
    bytes: int = 0
    not_before: float = 0.0
    made: str | None = None


class Training:
    """Samples of what comes, and one training at a time on a thread of its own. Safe from several threads."""

    def __init__(self, dictionaries: Dictionaries, clock: Callable[[], float] = time.monotonic) -> None:
        self._dictionaries = dictionaries
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[Identity, _Seen] = OrderedDict()
        self._thread: threading.Thread | None = None

    def saw(self, owner: Identity, entries: Sequence[tuple[str, bytes]], size: int) -> None:
        """``owner`` sent a batch, a payload of ``size`` bytes."""
        if size > LARGEST_BATCH:
            return
        with self._lock:
            seen = self._seen.setdefault(owner, _Seen())
            self._seen.move_to_end(owner)
            if len(self._seen) > _MOST_OWNERS:
                self._seen.popitem(last=False)
            if self._clock() < seen.not_before:
                return
            if len(seen.samples) < SAMPLES and seen.bytes < _MOST_BYTES:
                for key, value in entries[:: -(-len(entries) // _OF_A_BATCH)]:
                    if len(value) <= _SAMPLE_BYTES:
                        seen.samples.append(encode_entries([(key.encode(), value)]))
                        seen.bytes += len(seen.samples[-1])
            elif self._thread is None or not self._thread.is_alive():
                samples, seen.samples, seen.bytes = seen.samples, [], 0
                seen.not_before = self._clock() + _AGAIN_S
                self._thread = threading.Thread(target=self._make, args=(owner, seen, samples), name="training", daemon=True)
                self._thread.start()

    def made(self, owner: Identity) -> str | None:
        """The id of the dictionary that was made last here for ``owner``."""
        with self._lock:
            seen = self._seen.get(owner)
            return None if seen is None else seen.made

    def wait(self) -> None:
        """Returns when no training runs."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _make(self, owner: Identity, seen: _Seen, samples: list[bytes]) -> None:
        try:
            began = time.monotonic()
            held = samples[::_HELD_OUT]
            new = train([sample for place, sample in enumerate(samples) if place % _HELD_OUT])
            old = self._dictionaries.latest(owner)
            plain, with_old, with_new = (_packed(held, dictionary) for dictionary in (None, old, new))
            most = _PAYS * plain if old is None else min(_PAYS * plain, _BETTER * with_old)
            kept = new is not None and with_new <= most and self._dictionaries.keep(owner, new)
            if new is not None and kept:
                with self._lock:
                    seen.made = new.id
            seconds = round(time.monotonic() - began, 3)
            log.event("dictionary", identity=str(owner), kept=kept, share=round(with_new / plain, 3), samples=len(samples), seconds=seconds)
        except Exception:  # whoever puts has nothing to do with it
            log.bug("training-bug", identity=str(owner))


def _packed(samples: Sequence[bytes], dictionary: Dictionary | None) -> int:
    return sum(len(encode(sample, dictionary)[1]) for sample in samples)
