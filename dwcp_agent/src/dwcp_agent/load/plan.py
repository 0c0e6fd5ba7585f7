"""What is due when: arrivals, the mix, and the sessions that requests belong to. Pure: a seed repeats it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from dwcp_agent.config import LoadConfig

__all__ = ["SIZES", "Due", "Plan"]

SIZES = {"put_4k": 4096, "put_64k": 65536, "transfer_1m": 1 << 20}
TRANSFER = "transfer_1m"


@dataclass(frozen=True)
class Due:
    """A request: ``after_s`` after the one before it."""

    after_s: float
    op: str
    session: str
    name: str
    control: bool = False
    """On the control lane: what the incumbent does with it says how fast hosts and network are at this moment."""


class Plan:
    """An endless sequence of requests: Poisson arrivals, some with a session of their own, the others from a set of kept ones."""

    def __init__(self, config: LoadConfig, source: random.Random) -> None:
        self._config = config
        self._source = source
        self._mix = config.mix.model_dump()
        self._used: Counter[str] = Counter()
        self._kept = {control: [self._new_kept() for _ in range(config.sessions)] for control in (False, True)}

    def __iter__(self) -> Iterator[Due]:
        ops, weights = list(self._mix), list(self._mix.values())
        share = self._config.control_share
        rate = self._config.rate_per_s * (1 + share)
        while True:
            op = self._source.choices(ops, weights)[0]
            control = self._source.random() < share / (1 + share)
            yield Due(self._source.expovariate(rate), op, self._session(control), self._name(op), control)

    def _session(self, control: bool) -> str:
        if self._source.random() < self._config.single_share:
            return self._new_id()
        kept = self._kept[control]
        index = self._source.randrange(len(kept))
        session, left = kept[index]
        kept[index] = (session, left - 1) if left > 1 else self._new_kept()
        return session

    def _new_kept(self) -> tuple[str, int]:
        requests = 1 + int(self._source.expovariate(1 / self._config.session_requests))
        return self._new_id(), requests

    def _new_id(self) -> str:
        return f"{self._config.host}-{self._source.getrandbits(64):016x}"

    def _name(self, op: str) -> str:
        # Names are used in turn, so that the store does not grow; fewer of the large ones.
        names = max(1, self._config.objects // 10) if op == TRANSFER else self._config.objects
        number = self._used[op] % names
        self._used[op] += 1
        return f"{op}/{number}"
