"""What is measured of two releases, and in which order: turn by turn, the first of each pair changing with every pair."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from golive.errors import GoliveError, Held, Occupied
from golive.regress.ground import Ground, Side
from golive.regress.rows import Criterion, Row, counted, judged
from golive.regress.tolerances import Policy

__all__ = ["SWITCHES", "Extent", "Measure", "compared", "measures"]

Tell = Callable[[str], None]
Sample = Mapping[str, float | None]

SWITCHES: Mapping[str, str] = {
    "avx2": "vector paths of AVX2 (and what needs them)",
    "sse42": "CRC-32C and scans by SSE 4.2",
    "zerocopy": "mapped source",
    "pool": "buffers from pools",
    "queue": "lock-free queues",
    "affinity": "threads pinned",
}
"""Optimisations that work in `dwcp send`, by their name in DWCP_DISABLE; `batch` works in `dwcp put`."""

_SEND_S = 180.0
_ASK_S = 120.0
_USAGE_S = 60.0
_STATE_PUTS = 2000
_KEYS = 40


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    pairs: int
    sizes_mib: Sequence[int] = (1, 16, 64)
    connections: Sequence[int] = (10, 100)
    switches: bool = True
    switched_mib: int = 16
    """What is sent with an optimisation on and off."""
    requests: int = 800
    """A pair, of each side over all of its connections."""


@dataclass
class _Told:
    """What could not be measured or failed, by side; requests and transfers together."""

    counts: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {"incumbent": [], "candidate": []})
    why: dict[str, str] = field(default_factory=dict)

    def count(self, side: Side, failed: int, of: int) -> None:
        self.counts[side.role].append((failed, of))


Taken = tuple[Sample, Sample]
"""Ours and theirs."""


@dataclass(frozen=True)
class Measure:
    """One thing done with both sides; each pair gives either side a sample for each of the criteria, or none."""

    name: str
    criteria: Sequence[Criterion]
    pair: Callable[[int, dict[str, str]], Taken]
    """Of the pair's number; what was in the way is left in the mapping, by side."""
    after: Callable[[], None] = lambda: None
    """Takes away what the pairs left and the next measure would not."""


def _one_by_one(take: Callable[[Side, int], Sample], ours: Side, theirs: Side) -> Callable[[int, dict[str, str]], Taken]:
    """One side after the other; which comes first changes with every pair."""

    def pair(number: int, missing: dict[str, str]) -> Taken:
        got: dict[str, Sample] = {}
        for side in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            try:
                got[side.role] = take(side, number)
            except Occupied:
                raise
            except GoliveError as error:
                got[side.role], missing[side.role] = {}, str(error).rstrip(".")
        return got[ours.role], got[theirs.role]

    return pair


def compared(ground: Ground, policy: Policy, extent: Extent, tell: Tell, only: str = "") -> Iterator[Row]:
    """Every row, as soon as it is known; of the measures whose names begin with one of ``only``, separated by commas.

    Raises Occupied, Held when the ground is no longer ours.
    """
    told = _Told()
    for measure in measures(ground, extent, told):
        if not measure.name.startswith(tuple(only.split(","))):
            continue
        ours: dict[str, list[float | None]] = {criterion.id: [] for criterion in measure.criteria}
        theirs: dict[str, list[float | None]] = {criterion.id: [] for criterion in measure.criteria}
        missing: dict[str, str] = {}
        try:
            for number in range(-1, extent.pairs):  # the pair before the first warms both up, and counts for nothing
                ground.still()
                both = measure.pair(number, missing)
                for samples, sample in zip((ours, theirs), both if number >= 0 else (), strict=number >= 0):
                    for criterion in measure.criteria:
                        value = sample.get(criterion.id)
                        samples[criterion.id].append(None if value is None else round(value, 4))
        finally:
            measure.after()
        why = "; ".join(f"{role}: {text}" for role, text in sorted(missing.items()))
        for criterion in measure.criteria:
            row = judged(criterion, ours[criterion.id], theirs[criterion.id], policy, why)
            tell(_line(row))
            yield row
    failures = Criterion("errors", "requests and transfers that failed", "%", "errors")
    row = counted(failures, told.counts["candidate"], told.counts["incumbent"], policy)
    tell(_line(row))
    yield row


def _line(row: Row) -> str:
    change = "" if row.change is None else f" {row.change:+.1f} %"
    return f"{row.criterion.id}: {row.verdict}{change}{f' ({row.note})' if row.note and row.verdict != 'PASS' else ''}"


def measures(ground: Ground, extent: Extent, told: _Told | None = None) -> Iterator[Measure]:
    """What is measured there, one after the other."""
    told = told or _Told()
    ours, theirs = ground.candidate, ground.incumbent
    for connections in extent.connections:
        yield Measure(f"requests-{connections}", _request_criteria(connections), _requests(ground, connections, extent, told))
    for mib in extent.sizes_mib:
        whole = mib == _whole(extent)
        take = _transfers(ground, mib, told)
        yield Measure(f"transfer-{mib}", _transfer_criteria(mib, whole), _one_by_one(take, ours, theirs))
    state = Criterion("state-put-rate", f"{_STATE_PUTS} small puts by `dwcp put`", "puts/s", "throughput")
    yield Measure("state", [state], _one_by_one(_state(ground, told), ours, theirs), lambda: _forgotten(ground))
    if extent.switches:
        yield from _switches(ground, extent.switched_mib)


def _whole(extent: Extent) -> int:
    """The size that more than the rate is measured of, in MiB: large enough to tell, and not so large that it takes minutes."""
    return max((size for size in extent.sizes_mib if size <= 64), default=min(extent.sizes_mib))


def _request_criteria(connections: int) -> list[Criterion]:
    case = f"object put and get of 4 KiB over {connections} connections to each, asked in turn"
    found = [
        Criterion(f"latency-mean-{connections}", f"{case}: mean", "ms", "latency"),
        Criterion(f"latency-p99-{connections}", f"{case}: p99", "ms", "latency"),
        Criterion(f"connect-{connections}", f"{connections} TLS connections to each, until the first answer: mean", "ms", "latency"),
    ]
    if connections == 100:
        found.append(Criterion("memory-requests", f"{case}: most resident memory of the agent", "MB", "memory"))
        found.append(Criterion("cpu-requests", f"{case}: the agent's processor time for each request", "CPU ms", "cpu"))
    return found


def _requests(ground: Ground, connections: int, extent: Extent, told: _Told) -> Callable[[int, dict[str, str]], Taken]:
    def pair(number: int, missing: dict[str, str]) -> Taken:
        sides = [ground.candidate, ground.incumbent] if number % 2 == 0 else [ground.incumbent, ground.candidate]
        try:
            before = [_good(ground.receiver({"do": "usage", **side.process, "clear": True}, _USAGE_S)) for side in sides]
            asked = [{"port": side.port, "release": side.release, "prefix": f"{ground.prefix}/{side.role}"} for side in sides]
            each = max(1, extent.requests // connections // 2)
            many = {"connections": connections, "at_once": min(2 * connections, 64), "each": each}
            task = {"do": "requests", "address": ground.address, "tls": dict(ground.neighbour_tls), "sides": asked, **many}
            got = _good(ground.neighbour(task, _ASK_S))["sides"]
            after = [_good(ground.receiver({"do": "usage", **side.process}, _USAGE_S)) for side in sides]
        except Occupied:
            raise
        except GoliveError as error:
            missing["both"] = str(error).rstrip(".")
            return {}, {}
        samples: dict[str, Sample] = {}
        for side, one, *processes in zip(sides, got, before, after, strict=True):
            if number >= 0:
                told.count(side, int(one["failed"]), int(one["asked"]))
            try:
                samples[side.role] = _of_requests(connections, one, *processes)
            except Held as error:
                samples[side.role], missing[side.role] = {}, str(error).rstrip(".")
        return samples["candidate"], samples["incumbent"]

    return pair


def _of_requests(connections: int, got: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> Sample:
    if not got["requests"]:
        raise Held(f"no request was answered well: {got['why']}")
    return {
        f"latency-mean-{connections}": got["mean_ms"],
        f"latency-p99-{connections}": got["p99_ms"],
        f"connect-{connections}": got["setup_ms"],
        **_cost(before, after, "memory-requests", "cpu-requests", got["requests"] / 1000),
    }


def _cost(before: dict[str, Any], after: dict[str, Any], memory: str, cpu: str, per: float) -> Sample:
    """What the agent held at most, and its processor seconds by what they were spent on; nothing of one that was restarted."""
    if before["pid"] != after["pid"]:
        raise Held("the agent was restarted while it was measured")
    # No time at all is below what the kernel counts in, and no sample.
    return {memory: after["peak_kib"] * 1024 / 1e6, cpu: (after["cpu_s"] - before["cpu_s"]) / per or None}


def _transfer_criteria(mib: int, watched: bool) -> list[Criterion]:
    case = f"`dwcp send` of {mib} MiB (a quarter random, a quarter zero, half records)"
    found = [Criterion(f"throughput-{mib}MiB", f"{case}: rate", "MB/s", "throughput")]
    if watched:
        found += [
            Criterion("compression", f"{case}: bytes for each byte on the wire", "", "compression"),
            Criterion("cpu-receiver", f"{case}: the agent's processor time", "CPU s/GB", "cpu"),
            Criterion("cpu-sender", f"{case}: the command's processor time, its start with it", "CPU s/GB", "cpu"),
            Criterion("memory-transfer", f"{case}: most resident memory of the agent", "MB", "memory"),
        ]
    return found


def _transfers(ground: Ground, mib: int, told: _Told) -> Callable[[Side, int], Sample]:
    def take(side: Side, number: int) -> Sample:
        path = _content(ground, mib, number)
        before = _good(ground.receiver({"do": "usage", **side.process, "clear": True}, _USAGE_S))
        got = _sent(ground, side, path, f"{mib}-{number}", told if number >= 0 else None)
        after = _good(ground.receiver({"do": "usage", **side.process}, _USAGE_S))
        ground.receiver({"do": "remove", "paths": list(ground.stores)}, _USAGE_S)
        size, report = mib * (1 << 20), got["told"]
        return {
            f"throughput-{mib}MiB": size / report["seconds"] / 1e6,
            "compression": size / report["wire_bytes"],
            "cpu-sender": got["cpu_s"] / size * 1e9,
            **_cost(before, after, "memory-transfer", "cpu-receiver", size / 1e9),
        }

    return take


def _content(ground: Ground, mib: int, number: int) -> str:
    """The file of this pair at the sender, other than that of the pair before; both sides send the same."""
    path = f"{ground.work}/{mib}MiB"
    made = _CONTENT.get(path)
    if made != number:
        _good(ground.sender({"do": "content", "path": path, "mib": mib, "seed": number + 1}, _ASK_S))
        _CONTENT[path] = number
    return path


_CONTENT: dict[str, int] = {}
"""By path, the pair whose content is in the file; paths have the measurement's own name in them."""


def _sent(ground: Ground, side: Side, path: str, name: str, told: _Told | None) -> dict[str, Any]:
    """What `dwcp send` said. Raises Held when it failed, or another release took it."""
    url = f"https://{ground.address}:{side.port}/{ground.prefix}/{side.role}-{name}"
    environment = {"XDG_CACHE_HOME": f"{ground.work}/cache-{side.role}", **side.environment}
    task = {"do": "send", "program": list(side.program), "path": path, "url": url, "tls": dict(ground.sender_tls)}
    got = ground.sender({**task, "environment": environment, "limit_s": _SEND_S - 20}, _SEND_S)
    if told is not None:
        told.count(side, int("error" in got), 1)
    _good(got)
    if got["told"].get("release") != side.release:
        raise Held(f"{got['told'].get('release')} took what was sent to {side.release}")
    return got


def _state(ground: Ground, told: _Told | None, name: str = "state-put-rate") -> Callable[[Side, int], Sample]:
    def take(side: Side, number: int) -> Sample:
        task = {
            **{"do": "put", "program": list(side.program), "url": f"https://{ground.address}:{side.port}", "tls": dict(ground.sender_tls)},
            **{"count": _STATE_PUTS, "seed": number + 1, "keys": _KEYS, "prefix": ground.prefix, "environment": dict(side.environment)},
        }
        got = ground.sender(task, _ASK_S)
        if "error" in got and ("no small state" in got["error"] or "is not one of" in got["error"] or "nvalid choice" in got["error"]):
            raise Held(f"{side.release} has no small state")
        if number >= 0 and told is not None:
            told.count(side, int("error" in got), 1)
        return {name: _good(got)["told"]["puts_per_s"]}

    return take


def _forgotten(ground: Ground) -> None:
    """The keys of this measurement are gone; an agent that has no small state has none."""
    names = [f"{ground.prefix}-{number}" for number in range(_KEYS)]
    task = {"do": "forget", "address": ground.address, "tls": dict(ground.sender_tls), "names": names}
    with contextlib.suppress(GoliveError):
        ground.sender({**task, "port": ground.candidate.port}, _USAGE_S)


def _switches(ground: Ground, mib: int) -> Iterator[Measure]:
    """Each optimisation on, beside off: the candidate with itself. It must not cost more than a tolerance allows."""
    on = ground.candidate
    note = "switched at the sender's command; the receiver runs as installed; `inv bench core` measures it alone"
    off = dataclasses.replace(on, role=f"{on.role}-without-batch", environment={**on.environment, "DWCP_DISABLE": "batch"})
    case = f"{_STATE_PUTS} small puts by `dwcp put` in batches"
    batches = Criterion("switch-batch-rate", case, "puts/s", "throughput", note, peer="without batch")
    take_puts = _state(ground, None, "switch-batch-rate")
    yield Measure("switch-batch", [batches], _one_by_one(take_puts, on, off), lambda: _forgotten(ground))
    for switch, what in SWITCHES.items():
        off = dataclasses.replace(on, role=f"{on.role}-without-{switch}", environment={**on.environment, "DWCP_DISABLE": switch})
        criteria = [
            Criterion(f"switch-{switch}-rate", f"{mib} MiB with {what}: rate", "MB/s", "throughput", note, peer=f"without {switch}"),
            Criterion(f"switch-{switch}-cpu", f"{mib} MiB with {what}: command", "CPU s/GB", "cpu", note, peer=f"without {switch}"),
        ]

        def take(side: Side, number: int, switch: str = switch) -> Sample:
            got = _sent(ground, side, _content(ground, mib, 0), f"{switch}-{number}", None)
            ground.receiver({"do": "remove", "paths": list(ground.stores)}, _USAGE_S)
            size = mib * (1 << 20)
            return {f"switch-{switch}-rate": size / got["told"]["seconds"] / 1e6, f"switch-{switch}-cpu": got["cpu_s"] / size * 1e9}

        yield Measure(f"switch-{switch}", criteria, _one_by_one(take, on, off))


def _good(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise Held(str(answer["error"]))
    return answer
