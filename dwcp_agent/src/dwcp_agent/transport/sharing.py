"""A transfer's share of its link, from what the others that go to the same place say of themselves twice a second."""

from __future__ import annotations

import contextlib
import math
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dwcp_agent import log as logs
from dwcp_agent.congestion.pace import FLOOR_BYTES_PER_S
from dwcp_agent.prediction.competition import Contender, Share, share_of
from dwcp_agent.prediction.sample import Forecast
from dwcp_agent.telemetry.path import PathSample
from dwcp_agent.transport.foresight import Foresight
from dwcp_agent.transport.ledger import Ledger, this_place

__all__ = ["Sharing"]

_COMMAND = secrets.token_hex(8)
_REMEMBERED = 8
"""Samples whose largest sum counts until there is a forecast, as for streams."""
_LATELY = 4
"""Samples whose mean is what arrives of late: a single one is a burst."""
_WANTED = 3
"""Samples, in one of which it had more to send than the network took: it wants more."""
_NEAR_LIMIT = 0.9
"""From this part of its own limit on that limit is what holds it; headers take 4 % of it."""


class Sharing:
    """One transfer among others. Whatever cannot be read or written costs the share and nothing else. One thread's to use.

    Args:
        directory: of the ledger.
        to: where the transfer's data goes now.
        weight: of its command; above 0.
        command: which transfers belong together; those of this process when not given.
        figures: what the ledger says of the transfer besides, for who reads it.
    """

    def __init__(
        self,
        directory: Path,
        to: Callable[[], str],
        weight: float = 1.0,
        *,
        command: str = _COMMAND,
        figures: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._ledger: Ledger | None = Ledger(directory)
        self._to = to
        self._weight = weight
        self._command = command
        self._figures = figures
        self._place = ""
        self._share: Share | None = None
        self._foresight = Foresight()
        self._wanted: deque[bool] = deque(maxlen=_WANTED)
        self._sums: deque[float] = deque(maxlen=_REMEMBERED)

    def step(self, sample: PathSample, limit: float | None, cap: float | None) -> Share | None:
        """Its share, None for none: it is alone, nobody wants more, or the others cannot be seen.

        ``limit`` is what it may send by its own rules, in bytes/s; ``cap`` what it may send at all, by the last share too.
        """
        if self._ledger is None or sample.interval_s <= 0:
            return None
        try:
            return self._step(self._ledger, sample, limit, cap)
        except OSError as error:
            # Not to be tried again: a share that comes and goes would be worse than none.
            logs.warn("sharing-failed", reason=str(error))
            self.close()
            return None

    def close(self) -> None:
        """The others have the link."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()

    def _step(self, ledger: Ledger, sample: PathSample, limit: float | None, cap: float | None) -> Share | None:
        self._place = self._place or this_place()
        self._wanted.append(2 * sample.wanting_streams >= sample.streams)
        free = limit is None or sample.delivered_bytes_per_s < _NEAR_LIMIT * limit
        most = math.inf if limit is None else limit
        own = Contender(ledger.name, self._command, self._weight, sample.delivered_bytes_per_s, free and any(self._wanted), most)
        where = {"place": self._place, "to": self._to()}
        shared = round(self._share.bytes_per_s) if self._share is not None else None
        ledger.tell(where | _as_json(own) | {"cap_bytes_per_s": cap, "share_bytes_per_s": shared} | dict(self._figures()))
        told = {name: fields for name, fields in ledger.others().items() if {key: fields.get(key) for key in where} == where}
        others = [each for each in (_contender(name, fields) for name, fields in told.items()) if each is not None]
        forecast = self._foreseen(sample, [own, *others])
        lately = list(self._sums)[-_LATELY:]
        self._share = share = share_of(own, others, forecast, math.fsum(lately) / max(1, len(lately)))
        if share is None:
            return None
        held = None if share.cap_bytes_per_s is None else max(share.cap_bytes_per_s, FLOOR_BYTES_PER_S)
        return replace(share, cap_bytes_per_s=held, why=f"{share.why} to {where['to']}")

    def _foreseen(self, sample: PathSample, all_of_them: list[Contender]) -> Forecast:
        """Of the link. While nobody wants more, what arrives says nothing of what it carries."""
        if any(each.wants for each in all_of_them):
            together = math.fsum(each.bytes_per_s for each in all_of_them)
            self._sums.append(together)
            self._foresight(replace(sample, delivered_bytes_per_s=together, delivery_bytes_per_s=together))
        said = self._foresight.forecast
        if said is not None and said.enough:
            return said
        seen = max(self._sums, default=0.0)
        return Forecast(seen, seen, seen, "largest of late", len(self._sums), False)


def _as_json(own: Contender) -> dict[str, Any]:
    limit = own.limit_bytes_per_s
    fields = {"command": own.command, "weight": own.weight, "bytes_per_s": round(own.bytes_per_s), "wants": own.wants}
    return fields | {"limit_bytes_per_s": limit if math.isfinite(limit) else None}


def _contender(name: str, fields: Mapping[str, Any]) -> Contender | None:
    """Another, by what it says; None when that cannot be."""
    with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
        limit = fields["limit_bytes_per_s"]
        found = Contender(
            name,
            str(fields["command"]),
            float(fields["weight"]),
            float(fields["bytes_per_s"]),
            fields["wants"] is True,
            math.inf if limit is None else float(limit),
        )
        if 0 < found.weight < math.inf and 0 <= found.bytes_per_s < math.inf and found.limit_bytes_per_s >= 0:
            return found
    return None
