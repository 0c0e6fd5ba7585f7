"""The collector: cursors, roles, restarts, and sources that stop answering."""

from __future__ import annotations

import numpy as np
import pytest

from golive.gates.collect import Collector
from golive.gates.metrics import FakeMetrics, FakeRequests, Page
from golive.gates.samples import CANDIDATE, INCUMBENT, NOBODY, OTHER
from golive.gates.window import NoData, Reason

_NEW, _OLD = "3.0.0-aaaaaaaaaaaa", "2.9.0-bbbbbbbbbbbb"
_T = 1_000_000.0
_HOSTS = ("ams-1", "ams-2")


def _metrics(end: float = 30.0, **change: float) -> FakeMetrics:
    fake = FakeMetrics()
    at = np.arange(_T - 20, _T + end, 5.0)
    for host in _HOSTS:
        labels = {"job": "agent", "release": _NEW, "host": host}
        fake.put("up", [(t, 1.0) for t in at], **labels)
        fake.put("dwcp_start_time_seconds", [(t, _T - 500) for t in at], **labels)
        fake.put("dwcp_corruption_total", [(t, 0.0) for t in at], **labels)
        for op in ("get", "put"):
            fake.put("dwcp_requests_total", [(t, 100 + (t - _T) * 3) for t in at], op=op, code="200", **labels)
        fake.put("process_cpu_seconds_total", [(t, (t - _T) * 0.5) for t in at], **labels)
        fake.put("process_resident_memory_bytes", [(t, 8e7) for t in at], **labels)
    fake.put("dwcp_load_offered_total", [(t, (t - _T) * 60) for t in at], job="load", host="ams-2")
    return fake


def _collector(metrics: FakeMetrics, client: FakeRequests) -> Collector:
    return Collector(metrics, [client], candidate=_NEW, incumbent=_OLD, hosts=_HOSTS, cpus=2, start=_T)


def _client(count: int = 300) -> FakeRequests:
    client = FakeRequests("ams-2")
    for number in range(count):
        client.count(_T - 5 + number / 10, _NEW if number % 10 == 0 else _OLD)
    return client


def test_a_window_holds_what_was_counted_since_the_start_by_role() -> None:
    client = _client()
    client.count(_T + 26, "none", result="refused")
    client.count(_T + 26.1, "9.9.9-cccccccccccc")
    window = _collector(_metrics(), client).window(_T + 27)
    roles = [len(window.samples.by(role)) for role in (CANDIDATE, INCUMBENT, NOBODY, OTHER)]
    assert roles == [25, 225, 1, 1]
    assert window.samples.time.min() >= _T and not window.problems
    agent = window.agents[0]
    assert agent.requests.increase == pytest.approx(2 * 3 * 25) and agent.restarts == 0 and not agent.down
    assert agent.cpu.value == pytest.approx(np.full(len(agent.cpu.value), 0.25))
    assert window.clients[0].offered.increase > 0 and window.clients[0].read_at == _T + 27


def test_each_request_is_counted_once_however_often_one_reads() -> None:
    client = _client(100)
    client.page = 7
    collector = _collector(_metrics(), client)
    for number in range(100, 300):
        client.count(_T - 5 + number / 10, _OLD)
        if number % 20 == 0:
            collector.window(_T + number / 10)
    window = collector.window(_T + 27)
    assert len(window.samples) == 250
    assert len(np.unique(window.samples.time)) == 250


def test_a_client_that_restarted_shows_two_lives_and_its_new_requests() -> None:
    client = _client(200)
    collector = _collector(_metrics(), client)
    collector.window(_T + 15)
    client.restart("boot-2")
    client.count(_T + 16, _NEW)
    window = collector.window(_T + 17)
    assert window.clients[0].boots == ("boot-1", "boot-2")
    assert window.samples.time.max() == _T + 16


def test_requests_that_were_dropped_before_reading_are_counted_as_lost() -> None:
    client = _client(100)
    collector = _collector(_metrics(), client)
    collector.window(_T + 5)
    for number in range(100, 200):
        client.count(_T - 5 + number / 10, _OLD)
    client.samples = client.samples[150:]
    assert collector.window(_T + 15).clients[0].lost == 50


def test_a_source_that_stops_answering_becomes_a_problem_only_when_what_is_known_is_old() -> None:
    metrics, client = _metrics(), _client()
    collector = _collector(metrics, client)
    collector.window(_T + 5)
    metrics.broken = NoData("Prometheus", Reason.TIMEOUT)
    client.broken = NoData("Load client on ams-2", Reason.UNREACHABLE)
    soon, later = collector.window(_T + 12), collector.window(_T + 20)
    assert not soon.problems and soon.clients[0].read_at == _T + 5
    assert later.problems and all(gap.reason is Reason.TIMEOUT for gap in later.problems)
    assert later.clients[0].problem == client.broken
    metrics.broken = client.broken = None
    healed = collector.window(_T + 22)
    assert not healed.problems and healed.clients[0].problem is None and len(healed.samples) == len(later.samples) + 0


def test_restarts_corruption_and_silence_of_an_agent_are_seen() -> None:
    metrics = _metrics(end=10)
    labels = {"job": "agent", "release": _NEW, "host": "ams-1"}
    metrics.put("dwcp_start_time_seconds", [(_T + 12, _T + 11), (_T + 17, _T + 11)], **labels)
    metrics.put("dwcp_corruption_total", [(_T + 12, 2.0)], **labels)
    metrics.put("up", [(_T + t, 0.0) for t in (12, 17, 22)], **{**labels, "host": "ams-2"})
    first, second = _collector(metrics, _client()).window(_T + 22.5).agents
    assert (first.restarts, first.corruption) == (1, 2.0)
    assert second.down and not first.down


def test_a_host_that_is_no_target_is_no_data() -> None:
    metrics = _metrics()
    collector = Collector(metrics, [_client()], candidate=_NEW, incumbent=None, hosts=(*_HOSTS, "nyc-1"), cpus=1, start=_T)
    missing = collector.window(_T + 20).agents[2]
    assert [gap.reason for gap in missing.problems] == [Reason.EMPTY] and missing.seen is None


def test_alerts_carry_the_role_of_the_release_they_name() -> None:
    metrics = _metrics()
    metrics.alerts = [
        {"alertname": "DwcpAgentDown", "release": _NEW},
        {"alertname": "DwcpAgentDown", "release": _OLD},
        {"alertname": "DwcpMetricsAbsent"},
    ]
    told = _collector(metrics, _client()).window(_T + 5).alerts
    assert [(alert.name, alert.role) for alert in told] == [
        ("DwcpAgentDown", "candidate"),
        ("DwcpAgentDown", "incumbent"),
        ("DwcpMetricsAbsent", "environment"),
    ]


def test_a_client_that_talks_nonsense_is_no_data_and_ends_reading() -> None:
    class Babble:
        name = "ams-2"

        def after(self, seq: int) -> Page:
            return Page("boot", seq, [["one", "two", 3, 4, 5, 6]])

    window = Collector(_metrics(), [Babble()], candidate=_NEW, incumbent=_OLD, hosts=_HOSTS, cpus=1, start=_T).window(_T + 5)
    problem = window.clients[0].problem
    assert problem is not None and problem.reason is Reason.MALFORMED
