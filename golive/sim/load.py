"""What load clients and Prometheus would have seen: made up from a seed, by what gateways and agents really did at each moment.

Request k of a client is due at k / rate, so that the same world gives the same requests to whoever asks, however often a controller died.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from golive.fleet.model import Host
from golive.gates.metrics import Page, Track
from golive.gates.window import NoData, Reason, Series
from golive.sim.machine import agent_at, lives
from golive.sim.world import World

__all__ = ["SimMetrics", "SimRequests", "alerts", "rate", "requests", "targets"]

_GRAIN_S = 0.5
"""Requests become readable in pieces of so long: who reads until nothing new comes has to come to an end."""
_BLOCK = 512
_OPS = (("put-small", 0.70, 0.003), ("put-medium", 0.25, 0.005), ("transfer", 0.05, 0.015))
_CONTROL = 0.1
"""Share of the requests on the control lane: the incumbent's, whatever the weight."""
_SCRAPE_S = 3.0
_ALERT_S = 30.0
_TOTAL_PER_S = 720.0


def rate(world: World) -> float:
    """Requests per second of one client: all of them together stay the same, however many sites there are."""
    return _TOTAL_PER_S / len(world.fleet.loads)


def _origin(world: World, client: Host) -> float | None:
    """When the client was started; None while it does not run."""
    for name, unit in world.host(client.name).ledger.read().units.items():
        if name.startswith("dwcp-load@") and unit.on:
            return unit.since
    return None


class SimRequests:
    """`golive.gates.metrics.Requests` of one client."""

    def __init__(self, world: World, client: Host, since: float = 0.0) -> None:
        self.name = client.name
        self._since = since
        self._world = world
        self._client = client

    def close(self) -> None:
        """Nothing is kept open."""

    def after(self, seq: int) -> Page | NoData:
        world, source = self._world, f"Load client on {self.name}"
        host = world.host(self.name)
        if host.condition.cut or host.condition.hangs:
            world.clock.advance(5.0)
            return NoData(source, Reason.TIMEOUT, "simulated")
        begun = _origin(world, self._client)
        if begun is None:
            return NoData(source, Reason.UNREACHABLE, "Connection refused")
        now, per_s = world.clock.world() // _GRAIN_S * _GRAIN_S, rate(world)
        last = int((now - begun) * per_s)
        first = max(seq + 1, int((self._since - begun) * per_s) - 1, 1)
        rows = requests(world, self._client, begun, first, last)
        return Page(f"{self.name}-{host.ledger.boots}-{begun:.3f}", last, rows)


def requests(world: World, client: Host, begun: float, first: int, last: int) -> list[tuple[int, float, str, str, str, float]]:
    """Requests ``first`` to ``last`` of a client that was started at ``begun``, as a load client keeps them."""
    if last < first:
        return []
    due, release, result, op, spread, slower = drawn(world, client, begun, first, last)
    latency = np.array([value for _, _, value in _OPS])[op] * np.exp(spread) * slower
    names = np.array([name for name, _, _ in _OPS])[op]
    columns = (np.arange(first, last + 1), due, release, names, result, latency)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def drawn(world: World, client: Host, begun: float, first: int, last: int) -> tuple[Any, Any, Any, Any, Any, Any]:
    """When each was due, who answered, how it ended, what was asked, the spread of its latency and how much slower the release is."""
    parts = [_block(client.name, block) for block in range(first // _BLOCK, last // _BLOCK + 1)]
    op, spread, dice, bucket = (np.concatenate([part[column] for part in parts]) for column in range(4))
    skipped = first - first // _BLOCK * _BLOCK
    cut = slice(skipped, skipped + last - first + 1)
    due = begun + np.arange(first, last + 1) / rate(world)
    release, failing, wrong, slower = _answered(world, client.site, due, bucket[cut])
    dice = dice[cut]
    bad = (release == "none") | (dice < failing)
    result = np.where(bad, "error", np.where(dice < failing + wrong, "corrupt", "ok"))
    return due, release, result, op[cut].astype(int), spread[cut], slower


@functools.lru_cache(maxsize=4096)
def _block(client: str, number: int) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng((zlib.crc32(client.encode()), number))
    op = rng.choice(len(_OPS), _BLOCK, p=[share for _, share, _ in _OPS])
    sigma = np.where(rng.random(_BLOCK) < 1 / 12, 0.7, 0.3)
    return op, rng.normal(0, 1, _BLOCK) * sigma, rng.random(_BLOCK), rng.random(_BLOCK) * (100 / (1 - _CONTROL))


def _answered(world: World, site: str, due: Any, bucket: Any) -> tuple[Any, Any, Any, Any]:
    """Who answered each request, how likely it failed or was corrupted, and how much slower it was, by what was true when it was due."""
    gateway = next(host for host in world.fleet.gateways if host.site == site)
    ledger = world.host(gateway.name).ledger.read()
    moments = [moment for moment, _ in ledger.weights]
    index = np.searchsorted(np.array(moments), due, side="right") - 1
    shares = np.array([-1 if share is None else share for _, share in ledger.weights] or [-1])
    to_b = np.where(index >= 0, shares[np.maximum(index, 0)], -1)
    control = bucket >= 100
    runs = {slot: _runs(world, site, slot) for slot in "ab"}
    lane = _lane(ledger, due)
    slot_b = np.where(control, lane == "b", bucket < to_b)
    release = np.full(len(due), "none", dtype=object)
    failing, wrong, slower = (np.full(len(due), value) for value in (0.0002, 0.0, 1.0))
    for slot, mine in (("a", ~slot_b), ("b", slot_b)):
        for name, spans in runs[slot].items():
            defect = world.defect(name)
            for begin, end in spans:
                here = mine & (to_b >= 0) & (due >= begin) & (due < end)
                release[here] = name
                failing[here] = max(0.0002, float(defect.get("errors", 0.0)))
                wrong[here] = float(defect.get("corrupt", 0.0))
                slower[here] = 1.0 + float(defect.get("latency", 0.0))
    return release, failing, wrong, slower


def _lane(ledger: Any, due: Any) -> Any:
    """Which slot the control lane led to at each moment; where it leads nowhere of its own, the one with the greater share."""
    changes = [(e["t"], e["value"]) for e in ledger.events if e["do"] == "map" and e["map"] == "slots.map" and e["key"] == "control"]
    at = np.array([moment for moment, _ in changes])
    index = np.searchsorted(at, due, side="right") - 1
    values = np.array([value.removeprefix("slot_") for _, value in changes] or ["none"], dtype=object)
    lane = np.where(index >= 0, values[np.maximum(index, 0)], "none")
    heavier = np.where(np.array([(ledger.weight_at(moment) or 0) >= 50 for moment in due[:1]]).any(), "b", "a")
    return np.where(lane == "none", heavier, lane)


def _runs(world: World, site: str, slot: str) -> dict[str, list[tuple[float, float]]]:
    """By release: when any agent of the site answered for it in ``slot``."""
    found: dict[str, list[tuple[float, float]]] = {}
    for server in world.servers(site):
        for unit, spans in world.host(server.name).ledger.read().spans.items():
            release = unit.partition("@")[2].removesuffix(".service")
            after = float(world.defect(release).get("crash_after_s", "inf"))
            for begin, end, where in spans:
                if where == slot and unit.startswith("dwcp-agent@"):
                    found.setdefault(release, []).append((begin, min(begin + after, end if end is not None else float("inf"))))
    return {release: _joined(spans) for release, spans in found.items()}


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Overlapping spans as one: it is enough that one server of a slot is there."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def targets(world: World) -> list[dict[str, Any]]:
    """What Prometheus was told to scrape as ``agent``."""
    import json

    path = world.host(world.fleet.ops.name).root / "var/lib/dwcp/targets/agent.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


_OF_AGENT: dict[str, Callable[[Any, Any], Any]] = {
    "dwcp_start_time_seconds": lambda at, since: since,
    "dwcp_requests_total": lambda at, since: np.floor((at - since) * 2.0),
    "dwcp_corruption_total": lambda at, since: np.zeros(len(at)),
    "process_cpu_seconds_total": lambda at, since: (at - since) * 0.2,
    "process_resident_memory_bytes": lambda at, since: np.full(len(at), 8e7),
}
"""What an agent that has run since ``since`` exports at ``at``."""


class SimMetrics:
    """`golive.gates.metrics.Metrics`: what Prometheus would have scraped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: tuple[Any, list[tuple[dict[str, str], Any, Any, bool]]] = ((), [])

    def close(self) -> None:
        """Nothing is kept open."""

    def now(self) -> float | NoData:
        return self._gone("time") or self._world.clock.world()

    def raw(self, metric: str, labels: Mapping[str, str], seconds: float, now: float) -> list[Track] | NoData:
        gone = self._gone(metric)
        if gone is not None:
            return gone
        world = self._world
        end = np.floor(world.clock.world() / _SCRAPE_S) * _SCRAPE_S
        count = int(min(seconds, 3600.0) // _SCRAPE_S) + 1
        grid = end - _SCRAPE_S * np.arange(count)[::-1]
        grid = grid[(grid > now - seconds) & (grid <= world.clock.world())]
        tracks = []
        if labels.get("job") == "load":
            for client in world.fleet.loads:
                begun = _origin(world, client)
                if metric == "dwcp_load_offered_total" and begun is not None and (at := grid[grid >= begun]).size:
                    tracks.append(Track({"job": "load", "host": client.name}, Series(at, np.floor((at - begun) * rate(world)))))
        else:
            tracks = self._agents(metric, labels, grid)
        return tracks or NoData(metric, Reason.EMPTY, "no such series")

    def _agents(self, metric: str, labels: Mapping[str, str], grid: Any) -> list[Track]:
        tracks = []
        for mine, up, since, hidden in self._ran(labels.get("release"), grid):
            if metric == "up":
                tracks.append(Track(mine, Series(grid, (up & (not hidden)).astype(float))))
            elif metric in _OF_AGENT and up.any() and not hidden:
                at = grid[up]
                tracks.append(Track(mine, Series(at, _OF_AGENT[metric](at, since[up]))))
        return tracks

    def _ran(self, release: str | None, grid: Any) -> list[tuple[dict[str, str], Any, Any, bool]]:
        """Of each target: when it was up, since when it ran then, and whether it hides its metrics. One look asks for six metrics of it."""
        world = self._world
        key = (world.clock.changes, release, float(grid[0]) if len(grid) else 0.0, float(grid[-1]) if len(grid) else 0.0, len(grid))
        if self._known[0] == key:
            return self._known[1]
        found = []
        for group in targets(world):
            mine = group["labels"]
            if release not in (None, mine["release"]):
                continue
            host = world.host(mine["host"])
            spans = host.ledger.read().spans.get(f"dwcp-agent@{mine['release']}.service", [])
            defect = world.defect(mine["release"])
            up, since = np.zeros(len(grid), bool), np.zeros(len(grid))
            for begin, end, _ in () if host.condition.cut else spans:
                here = (grid >= begin) & (grid < min(end or np.inf, begin + float(defect.get("crash_after_s", np.inf))))
                up |= here
                since = np.where(here, begin, since)
            found.append((dict(mine), up, since, defect.get("metrics") is False))
        self._known = (key, found)
        return found

    def firing(self, now: float) -> list[Mapping[str, str]] | NoData:
        return self._gone("alerts") or list(alerts(self._world))

    def _gone(self, source: str) -> NoData | None:
        ops = self._world.host(self._world.fleet.ops.name).condition
        if "prometheus" in ops.dead:
            return NoData(source, Reason.UNREACHABLE, "Connection refused")
        if ops.cut or ops.hangs:
            self._world.clock.advance(5.0)
            return NoData(source, Reason.TIMEOUT, "simulated")
        return None


_alerts: dict[str, tuple[int, list[dict[str, str]]]] = {}


def alerts(world: World) -> list[dict[str, str]]:
    """The labels of what fires now; evaluated once in a second of the world."""
    second, key = int(world.clock.world()), str(world.directory)
    if _alerts.get(key, (0, []))[0] != second:
        _alerts[key] = (second, _evaluated(world))
    return _alerts[key][1]


def _evaluated(world: World) -> list[dict[str, str]]:
    now, failed, total, corrupt = world.clock.world(), dict[str, int](), dict[str, int](), set[str]()
    for client in world.fleet.loads:
        begun = _origin(world, client)
        if begun is None:
            continue
        last = int((now - begun) * rate(world))
        first = max(1, last - int(_ALERT_S * rate(world)))
        if last < first:
            continue
        _, release, result, *_rest = drawn(world, client, begun, first, last)
        for name in set(release.tolist()):
            mine = result[release == name]
            total[name] = total.get(name, 0) + len(mine)
            failed[name] = failed.get(name, 0) + int((mine != "ok").sum())
            if (mine == "corrupt").any():
                corrupt.add(name)
    every = sum(total.values())
    found = []
    for release, count in failed.items():
        of = every if release == "none" else total[release]
        if count >= 5 and count / of > 0.01:
            found.append({"alertname": "DwcpErrorRateHigh", "release": release})
    found += [{"alertname": "DwcpCorruption", "release": release} for release in sorted(corrupt)]
    for group in targets(world):
        mine = group["labels"]
        host = world.host(mine["host"])
        unit = host.ledger.read().units.get(f"dwcp-agent@{mine['release']}.service")
        down = unit is None or not unit.on or not lives(world, f"dwcp-agent@{mine['release']}.service", unit.since, now - 10)
        if down or (agent_at(world, host, mine["slot"], now) is None and unit is not None and unit.since < now - 10):
            found.append({"alertname": "DwcpAgentDown", "release": mine["release"], "host": mine["host"]})
    return found
