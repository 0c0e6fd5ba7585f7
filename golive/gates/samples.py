"""Requests as the load clients counted them, in columns: what every statistic of a gate is computed from."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golive.errors import BadInput

__all__ = ["CANDIDATE", "INCUMBENT", "NOBODY", "OTHER", "RESULTS", "Samples"]

CANDIDATE, INCUMBENT, NOBODY, OTHER = range(4)
"""Who answered. NOBODY: no release did (refused, timed out at the gateway). OTHER: a release that has no role in this run."""

RESULTS = ("ok", "error", "timeout", "refused", "corrupt")
"""Results a load client reports; any result a client adds later counts as an error."""

_OK, _ERROR, _TIMEOUT, _REFUSED, _CORRUPT = range(5)
_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Samples:
    """Requests ordered by time. ``op`` and ``client`` are codes into ``ops`` and ``clients``."""

    time: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Unix seconds."""
    latency: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Seconds since the request was due; for a timeout, how long it was waited for."""
    role: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    result: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    op: NDArray[np.int16] = field(default_factory=lambda: np.empty(0, np.int16))
    client: NDArray[np.int16] = field(default_factory=lambda: np.empty(0, np.int16))
    ops: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of(cls, client: str, rows: Iterable[Sequence[Any]], role_of: Callable[[str], int]) -> Samples:
        """Rows ``[seq, unix_time, release, op, result, latency_s]`` of one client.

        Raises:
            ValueError: a row is not of that shape, or holds a time or latency that is no finite number.
        """
        listed = list(rows)
        if not listed:
            return cls(clients=(client,))
        try:
            time = np.array([float(row[1]) for row in listed])
            latency = np.array([float(row[5]) for row in listed])
            releases = [str(row[2]) for row in listed]
            op_names = [str(row[3]) for row in listed]
            results = [str(row[4]) for row in listed]
        except (TypeError, IndexError, KeyError) as error:
            raise ValueError(f"a sample is not [seq, time, release, op, result, latency]: {error}") from None
        if not (np.isfinite(time).all() and np.isfinite(latency).all()):
            raise ValueError("a sample holds a time or a latency that is not a number")
        roles = {name: role_of(name) for name in set(releases)}
        ops = tuple(sorted(set(op_names)))
        codes = {name: RESULTS.index(name) if name in RESULTS else _ERROR for name in set(results)}
        order = np.argsort(time, kind="stable")
        return cls(
            time=time[order],
            latency=np.maximum(latency[order], 0.0),
            role=np.array([roles[r] for r in releases], np.int8)[order],
            result=np.array([codes[r] for r in results], np.int8)[order],
            op=np.array([ops.index(o) for o in op_names], np.int16)[order],
            client=np.zeros(len(listed), np.int16),
            ops=ops,
            clients=(client,),
        )

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """All parts in one, ordered by time."""
        ops = tuple(sorted({name for part in parts for name in part.ops}))
        clients = tuple(sorted({name for part in parts for name in part.clients}))
        full = [part for part in parts if len(part)]
        if not full:
            return cls(ops=ops, clients=clients)
        time = np.concatenate([part.time for part in full])
        order = np.argsort(time, kind="stable")

        def recoded(codes: str, names: str, target: tuple[str, ...]) -> NDArray[np.int16]:
            columns = []
            for part in full:
                lookup = np.array([target.index(name) for name in getattr(part, names)], np.int16)
                columns.append(lookup[getattr(part, codes)])
            return np.concatenate(columns)[order]

        return cls(
            time=time[order],
            latency=np.concatenate([part.latency for part in full])[order],
            role=np.concatenate([part.role for part in full])[order],
            result=np.concatenate([part.result for part in full])[order],
            op=recoded("op", "ops", ops),
            client=recoded("client", "clients", clients),
            ops=ops,
            clients=clients,
        )

    def where(self, mask: NDArray[np.bool_]) -> Samples:
        """Those for which ``mask`` holds."""
        return replace(
            self,
            time=self.time[mask],
            latency=self.latency[mask],
            role=self.role[mask],
            result=self.result[mask],
            op=self.op[mask],
            client=self.client[mask],
        )

    def between(self, start: float, end: float) -> Samples:
        """Those with ``start <= time <= end``."""
        return self.where((self.time >= start) & (self.time <= end))

    def by(self, role: int) -> Samples:
        """Those that ``role`` answered."""
        return self.where(self.role == role)

    def as_role(self, role: int) -> Samples:
        """The same requests, all counted as ``role``'s."""
        return replace(self, role=np.full(len(self), role, np.int8))

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which requests did not end ``ok``."""
        return np.asarray(self.result != _OK)

    @property
    def corrupt(self) -> NDArray[np.bool_]:
        return np.asarray(self.result == _CORRUPT)

    @property
    def timed(self) -> NDArray[np.bool_]:
        """Which requests say how slow the release is: served, or waited for in vain. A quick error is not a quick answer."""
        return np.asarray((self.result == _OK) | (self.result == _CORRUPT) | (self.result == _TIMEOUT))

    def thinned(self, most: int) -> Samples:
        """At most ``most`` of them, evenly over time."""
        if len(self) <= most:
            return self
        mask = np.zeros(len(self), bool)
        mask[np.linspace(0, len(self) - 1, most).astype(int)] = True
        return self.where(mask)

    def to_json(self, most: int = 100_000) -> dict[str, Any]:
        """A frozen form, about 11 bytes a request before base64; time to 1 ms, latency to seven digits. Thinned to ``most``."""
        kept = self.thinned(most)
        origin = float(kept.time[0]) if len(kept) else 0.0
        packed = b"".join(
            (
                np.round((kept.time - origin) * 1000).astype("<u4").tobytes(),
                kept.latency.astype("<f4").tobytes(),
                kept.role.astype("<i1").tobytes(),
                kept.result.astype("<i1").tobytes(),
                kept.op.astype("<i2").tobytes(),
                kept.client.astype("<i2").tobytes(),
            )
        )
        return {
            "schema": _SCHEMA,
            "count": len(kept),
            "of": len(self),
            "origin": origin,
            "ops": list(kept.ops),
            "clients": list(kept.clients),
            "sha256": hashlib.sha256(packed).hexdigest(),
            "columns": base64.b64encode(zlib.compress(packed, 6)).decode("ascii"),
        }

    @classmethod
    def from_json(cls, data: object) -> Samples:
        """Reads ``to_json``'s form. Raises BadInput when it is of another schema, cut short or changed."""
        if not isinstance(data, dict) or data.get("schema") != _SCHEMA:
            raise BadInput("The frozen baseline is not of a form this toolkit reads; take it again before the shift.")
        try:
            count = int(data["count"])
            packed = zlib.decompress(base64.b64decode(data["columns"], validate=True))
            intact = hashlib.sha256(packed).hexdigest() == data["sha256"] and len(packed) == count * 14
            ops, clients, origin = tuple(data["ops"]), tuple(data["clients"]), float(data["origin"])
        except (KeyError, ValueError, TypeError, zlib.error):
            intact = False
        if not intact:
            raise BadInput("The frozen baseline was cut short or changed since it was written; take it again before the shift.")
        columns, at = [], 0
        for kind in ("<u4", "<f4", "<i1", "<i1", "<i2", "<i2"):
            size = count * np.dtype(kind).itemsize
            columns.append(np.frombuffer(packed[at : at + size], kind))
            at += size
        time, latency, role, result, op, client = columns
        return cls(
            time=origin + time.astype(np.float64) / 1000,
            latency=latency.astype(np.float64),
            role=role.astype(np.int8),
            result=result.astype(np.int8),
            op=op.astype(np.int16),
            client=client.astype(np.int16),
            ops=ops,
            clients=clients,
        )
