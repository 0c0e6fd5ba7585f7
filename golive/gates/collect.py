"""Gathers a watch: reads the ports again and again, and hands out what was seen so far as a ``Window``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from golive.gates.metrics import Metrics, Requests
from golive.gates.samples import CANDIDATE, INCUMBENT, NOBODY, OTHER, Samples
from golive.gates.window import Agent, Alert, Client, NoData, Reason, Series, Window

__all__ = ["Collector"]

_DOWN_AFTER_S = 10.0
_BEFORE_S = 15.0
"""Scrapes from this long before the watch are read too: what a counter stood at when the watch began. The same span is read again at every
look, since a scrape becomes visible only after it is over."""
_MOST_PAGES = 100
_AGENT = (
    "up",
    "dwcp_start_time_seconds",
    "dwcp_requests_total",
    "dwcp_corruption_total",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
)
_OFFERED = "dwcp_load_offered_total"
_LANE = "control"
"""What a load client writes where a release would stand, for a request on the control lane that nobody answered: it was the incumbent's."""
_BUCKETS = "dwcp_load_latency_seconds_bucket"


@dataclass
class _Cursor:
    """Where reading of one load client stands."""

    seq: int = 0
    boots: list[str] = field(default_factory=list)
    lost: int = 0
    problem: NoData | None = None
    read_at: float | None = None


class Collector:
    """One watch: which release plays which role, from when on, and where to read.

    Args:
        metrics: what Prometheus scraped.
        requests: the load clients.
        candidate: release id under test.
        incumbent: release id that answers what the candidate does not, users or the control lane; None where none serves.
        hosts: hosts on which the candidate runs; each has to be scraped.
        cpus: CPUs that the agent may use on a host.
        start: unix seconds from which on requests and scrapes count: when the weight was read back.
        stale_after_s: how long a source may fail before that is a problem of the window.
        baseline: frozen requests of the incumbent, for ``against: baseline``.
        histogram: read the candidate's latency histogram too, for ``latency_from: histogram``.
    """

    def __init__(
        self,
        metrics: Metrics,
        requests: Sequence[Requests],
        *,
        candidate: str,
        incumbent: str | None,
        hosts: Sequence[str],
        cpus: int,
        start: float,
        stale_after_s: float = 10.0,
        baseline: Samples | None = None,
        histogram: bool = False,
    ) -> None:
        self.start = start
        self._metrics, self._requests = metrics, requests
        self._candidate, self._incumbent = candidate, incumbent
        self._hosts, self._cpus, self._stale = tuple(hosts), max(1, cpus), stale_after_s
        self._baseline = baseline
        self._wanted = [(metric, {"job": "agent", "release": candidate}) for metric in _AGENT] + [(_OFFERED, {"job": "load"})]
        if histogram:
            self._wanted.append((_BUCKETS, {"job": "load", "release": candidate}))
        self._cursors = {source.name: _Cursor() for source in requests}
        self._samples = Samples()
        self._points: dict[str, dict[str, dict[tuple[tuple[str, str], ...], dict[float, float]]]] = {}
        """By metric and host: a look over a fleet must not read every host's series for every host."""
        self._answered_at: dict[str, float] = {}
        self._gaps: dict[str, NoData] = {}
        self._alerts: tuple[Alert, ...] = ()

    def window(self, now: float) -> Window:
        """Reads everything that is new and returns the watch so far. Never raises for a source that does not answer: the window says so."""
        fresh = [part for source in self._requests for part in self._read(source, now)]
        if fresh:
            self._samples = Samples.joined([self._samples, *fresh])
        for metric, labels in self._wanted:
            self._scrape(metric, labels, now)
        firing = self._metrics.firing(now)
        if not isinstance(firing, NoData):
            self._alerts = tuple(Alert(alert.get("alertname", "unnamed"), self._about(alert)) for alert in firing)
        self._note("alerts", firing if isinstance(firing, NoData) else None, now)
        return Window(
            start=self.start,
            end=now,
            samples=self._samples,
            clients=tuple(self._client(name, cursor) for name, cursor in self._cursors.items()),
            agents=tuple(self._agent(host, now) for host in self._hosts),
            alerts=self._alerts,
            baseline=self._baseline,
            histogram=self._histogram(),
            problems=tuple(gap for key, gap in sorted(self._gaps.items()) if now - self._answered_at.get(key, self.start) > self._stale),
        )

    def role_of(self, release: str) -> int:
        """The role of a release that a load client names."""
        if release == self._candidate:
            return CANDIDATE
        if release == self._incumbent or (release == _LANE and self._incumbent is not None):
            return INCUMBENT
        return NOBODY if release in ("none", "") else OTHER

    def _about(self, alert: Mapping[str, str]) -> str:
        release = alert.get("release")
        if release is None:
            return "environment"
        return {CANDIDATE: "candidate", INCUMBENT: "incumbent", NOBODY: "nobody"}.get(self.role_of(release), "other")

    def _note(self, key: str, gap: NoData | None, now: float) -> None:
        if gap is None:
            self._answered_at[key] = now
            self._gaps.pop(key, None)
        else:
            self._gaps[key] = gap

    def _read(self, source: Requests, now: float) -> list[Samples]:
        """New requests of one client since the watch began."""
        cursor = self._cursors[source.name]
        parts: list[Samples] = []
        for _ in range(_MOST_PAGES):
            page = source.after(cursor.seq)
            if isinstance(page, NoData):
                cursor.problem = page
                return parts
            if not cursor.boots or page.boot != cursor.boots[-1]:
                cursor.boots.append(page.boot)
                if len(cursor.boots) > 1:
                    # A new life counts from 1 again: what it answered to the old position is not what was asked for.
                    cursor.seq = 0
                    continue
            if not page.samples:
                break
            try:
                first, last = int(page.samples[0][0]), int(page.samples[-1][0])
                if cursor.seq and first > cursor.seq + 1:
                    cursor.lost += first - cursor.seq - 1
                elif not cursor.seq and first > 1 and float(page.samples[0][1]) > self.start:
                    cursor.lost += first - 1
                rows = [row for row in page.samples if float(row[1]) >= self.start]
                parts.append(Samples.of(source.name, rows, self.role_of))
            except (TypeError, ValueError) as error:
                cursor.problem = NoData(f"Load client on {source.name}", Reason.MALFORMED, str(error))
                return parts
            if last <= cursor.seq:
                break
            cursor.seq = last
        cursor.problem, cursor.read_at = None, now
        return [part for part in parts if len(part)]

    def _scrape(self, metric: str, labels: Mapping[str, str], now: float) -> None:
        since = self._answered_at.get(metric, self.start)
        found = self._metrics.raw(metric, labels, now - since + _BEFORE_S, now)
        self._note(metric, found if isinstance(found, NoData) else None, now)
        for track in [] if isinstance(found, NoData) else found:
            of_host = self._points.setdefault(metric, {}).setdefault(track.labels.get("host", ""), {})
            kept = of_host.setdefault(tuple(sorted(track.labels.items())), {})
            kept.update(zip(track.series.time.tolist(), track.series.value.tolist(), strict=True))

    def _series(self, metric: str, host: str) -> Series:
        """The points of all series of ``host``, those of one scrape summed."""
        total: dict[float, float] = {}
        for points in self._points.get(metric, {}).get(host, {}).values():
            for time, value in points.items():
                total[time] = total.get(time, 0.0) + value
        times = sorted(total)
        return Series(np.array(times, float), np.array([total[time] for time in times], float))

    def _client(self, name: str, cursor: _Cursor) -> Client:
        return Client(
            name=name,
            offered=self._series(_OFFERED, name),
            boots=tuple(dict.fromkeys(cursor.boots)),
            lost=cursor.lost,
            problem=cursor.problem,
            read_at=cursor.read_at,
        )

    def _agent(self, host: str, now: float) -> Agent:
        up = self._series("up", host)
        lately = up.since(now - _DOWN_AFTER_S).value
        problems = []
        if not len(up.time):
            problems.append(NoData(f"The candidate on {host}", Reason.EMPTY, "Prometheus does not scrape it"))
        elif now - up.time[-1] > self._stale:
            problems.append(NoData(f"The candidate on {host}", Reason.OLD, f"last scraped {now - up.time[-1]:.0f} s ago"))
        started = self._series("dwcp_start_time_seconds", host)
        return Agent(
            host=host,
            down=len(lately) >= 2 and not lately.any(),
            seen=float(started.time[-1]) if len(started.time) else None,
            requests=self._series("dwcp_requests_total", host).since(self.start),
            cpu=self._cpu(host),
            memory=self._series("process_resident_memory_bytes", host).since(self.start),
            restarts=int((np.abs(np.diff(started.value)) > 1.0).sum()),
            corruption=self._series("dwcp_corruption_total", host).increase,
            problems=tuple(problems),
        )

    def _cpu(self, host: str) -> Series:
        """Share of the agent's CPUs over each interval between scrapes. An interval with a restart in it says nothing."""
        used = self._series("process_cpu_seconds_total", host).since(self.start)
        steps, spans = np.diff(used.value), np.diff(used.time)
        kept = (steps >= 0) & (spans > 0)
        return Series(used.time[1:][kept], steps[kept] / spans[kept] / self._cpus)

    def _histogram(self) -> Mapping[float, float] | None:
        """The candidate's requests since the watch's first scrape, by upper edge, over all clients."""
        counted: dict[float, float] = {}
        for key, points in ((key, points) for series in self._points.get(_BUCKETS, {}).values() for key, points in series.items()):
            times = sorted(time for time in points if time >= self.start)
            edge = float(dict(key).get("le", "nan"))
            counted[edge] = counted.get(edge, 0.0) + Series(np.array(times), np.array([points[time] for time in times], float)).increase
        return counted or None
