"""The ports that gates measure through: one contract for fakes and for a real Prometheus over mutual TLS; every way to get no answer."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from golive.documents.health import MEASURES
from golive.documents.prometheus import answers
from golive.errors import Unprepared
from golive.gates.adapters import LoadClient, Prometheus, operator_tls
from golive.gates.metrics import FakeMetrics, FakeRequests, Metrics, Page, Requests
from golive.gates.window import NoData, Reason
from tests.support.gateway_world import certificates, until
from tests.support.programs import running

_PROMETHEUS, _TARGET, _SERVER = 27490, 27491, 27492
_LABELS = {"job": "agent", "host": "ams-1", "release": "3.0.0-aaaaaaaaaaaa"}


@pytest.fixture(scope="module")
def pki() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="dwcp-metrics-"))
    yield certificates(root)
    shutil.rmtree(root, ignore_errors=True)


class _Served:
    """A server whose next answers a test sets: HTTPS with client certificates, or plain."""

    def __init__(self, port: int, pki: Path | None) -> None:
        self.answer: Callable[[str], tuple[int, bytes]] = lambda path: (200, b"")
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                status, body = outer.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that is refused by TLS or gives up is no error of ours."""

        self._server = Server(("127.0.0.1", port), Handler)
        if pki is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(pki / "gw-h2" / "load.crt", pki / "gw-h2" / "load.key")
            context.load_verify_locations(pki / "ca.crt")
            context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(pki: Path) -> Iterator[_Served]:
    served = _Served(_SERVER, pki)
    yield served
    served.close()


class _Real:
    """A Prometheus that scrapes what a test exports, every second."""

    def __init__(self, metrics: Prometheus, target: _Served) -> None:
        self.port: Metrics = metrics
        self._target = target

    def now(self) -> float:
        return time.time()

    def export(self, text: str) -> None:
        """Exports and waits until it was scraped twice."""
        self._target.answer = lambda path: (200, text.encode())
        seen = len(self._target.paths)
        until(lambda: len(self._target.paths) >= seen + 2, "Prometheus scraped twice")

    def fire(self, value: float) -> None:
        self.export(f"dwcp_probe {value}\n")


class _Fake:
    def __init__(self) -> None:
        self.fake = FakeMetrics(clock=self.now)
        self.port: Metrics = self.fake
        self._now = 1_000_000.0

    def now(self) -> float:
        return self._now

    def export(self, text: str) -> None:
        self._now += 2.0
        for line in text.splitlines():
            name, value = line.split()
            self.fake.put(name, [(self._now - 1, float(value)), (self._now, float(value))], **_LABELS)

    def fire(self, value: float) -> None:
        self.fake.alerts = [{"alertname": "DwcpProbe", "release": _LABELS["release"]}] if value else []


@pytest.fixture(scope="module")
def real(pki: Path) -> Iterator[_Real]:
    root = Path(tempfile.mkdtemp(prefix="dwcp-prom-"))
    target = _Served(_TARGET, None)
    files = {
        "web.yml": {
            "tls_server_config": {
                "cert_file": str(root / "tls.crt"),
                "key_file": str(root / "tls.key"),
                "client_auth_type": "RequireAndVerifyClientCert",
                "client_ca_file": str(root / "ca.crt"),
                "min_version": "TLS13",
            }
        },
        "rules.yml": {
            "groups": [{"name": "g", "rules": [{"alert": "DwcpProbe", "expr": "dwcp_probe > 0"}]}],
        },
        "prometheus.yml": {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {
                    "job_name": "agent",
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{_TARGET}"], "labels": {"host": _LABELS["host"], "release": _LABELS["release"]}}
                    ],
                }
            ],
        },
    }
    for name, content in files.items():
        (root / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    for source, name in (("gw-ops/monitor.crt", "tls.crt"), ("gw-ops/monitor.key", "tls.key"), ("ca.crt", "ca.crt")):
        shutil.copy(pki / source, root / name)
    argv = [f"--config.file={root}/prometheus.yml", f"--web.config.file={root}/web.yml", f"--storage.tsdb.path={root}/data"]
    port = Prometheus("127.0.0.1", operator_tls(pki), port=_PROMETHEUS)
    try:
        with running("prometheus", [*argv, f"--web.listen-address=127.0.0.1:{_PROMETHEUS}"], shared=root):
            until(lambda: not isinstance(port.raw("up", {}, 30, time.time()), NoData), "Prometheus scrapes", 60)
            yield _Real(port, target)
    finally:
        port.close()
        target.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(params=["fake", "real"])
def world(request: pytest.FixtureRequest) -> _Real | _Fake:
    return _Fake() if request.param == "fake" else request.getfixturevalue("real")


def test_points_come_as_scraped_with_their_labels_and_times(world: _Real | _Fake) -> None:
    world.export("dwcp_contract_total 41\n")
    found = world.port.raw("dwcp_contract_total", {"release": _LABELS["release"]}, 30, world.now())
    assert not isinstance(found, NoData) and len(found) == 1
    assert found[0].labels["host"] == "ams-1" and found[0].series.value[-1] == 41
    assert world.now() - 5 < found[0].series.time[-1] <= world.now()


def test_a_metric_that_is_not_there_is_empty_not_zero(world: _Real | _Fake) -> None:
    for metric, labels in (("dwcp_never_total", {}), ("up", {"release": "no-such"})):
        found = world.port.raw(metric, labels, 30, world.now())
        assert isinstance(found, NoData) and found.reason is Reason.EMPTY


def test_a_point_that_is_not_a_number_is_no_data(world: _Real | _Fake) -> None:
    world.export("dwcp_broken NaN\n")
    found = world.port.raw("dwcp_broken", {}, 30, world.now())
    assert isinstance(found, NoData) and found.reason is Reason.NOT_A_NUMBER


def test_a_series_that_ended_is_empty_once_its_points_are_older_than_asked_for(world: _Real | _Fake) -> None:
    world.export("dwcp_gone_total 7\n")
    world.export("dwcp_other_total 1\n")
    world.export("dwcp_other_total 1\n")
    assert not isinstance(world.port.raw("dwcp_gone_total", {}, 30, world.now()), NoData)
    late = until(
        lambda: isinstance(found := world.port.raw("dwcp_gone_total", {}, 1, world.now()), NoData) and found, "no point in the last second"
    )
    assert late.reason is Reason.EMPTY


def test_the_time_is_that_of_what_stamps_the_points(world: _Real | _Fake) -> None:
    world.export("dwcp_stamped_total 1\n")
    now, found = world.port.now(), world.port.raw("dwcp_stamped_total", {}, 30, world.now())
    assert not isinstance(now, NoData) and not isinstance(found, NoData)
    assert 0 <= now - float(found[0].series.time[-1]) < 10


def test_alerts_fire_and_stop_with_their_labels(world: _Real | _Fake) -> None:
    def names() -> list[str]:
        found = world.port.firing(world.now())
        assert not isinstance(found, NoData), found
        return [alert["alertname"] for alert in found if alert.get("release") == _LABELS["release"]]

    world.fire(1)
    until(lambda: names() == ["DwcpProbe"], "the alert fires")
    world.fire(0)
    until(lambda: names() == [], "the alert is over")


def test_rules_that_were_not_evaluated_lately_are_old(real: _Real) -> None:
    found = real.port.firing(time.time() + 3600)
    assert isinstance(found, NoData) and found.reason is Reason.OLD


_HEALTHY = """dwcp_load_requests_total{{result="ok"}} {n}
dwcp_load_latency_seconds_bucket{{le="0.01"}} {n}
dwcp_load_latency_seconds_bucket{{le="+Inf"}} {n}
dwcp_start_time_seconds 1700000000
process_cpu_seconds_total {n}
process_resident_memory_bytes 80000000
"""


def test_the_health_reports_questions_are_answered_and_an_absence_is_no_zero(real: _Real) -> None:
    for number in (100, 200, 300):
        real.export(_HEALTHY.format(n=number))

    def asked(release: str) -> dict[str, Any]:
        now = datetime.now(UTC)
        return answers(real.port.over, release, now, now)

    def whole() -> dict[str, Any] | None:
        got = asked(_LABELS["release"])
        return got if all(isinstance(one, list) for one in got.values()) else None

    found = until(whole, "every question is answered")
    assert {measure.name for measure in MEASURES} == set(found)
    last = {name: points[-1][1] for name, points in found.items()}
    assert last["failed requests"] == 0 and last["agents up"] == 1 and last["memory of an agent"] == 80_000_000
    assert 0 < last["p99 latency"] <= 0.01 and last["requests"] > 0
    for name, answer in asked("no-such-release").items():
        assert isinstance(answer, str) != (name == "alerts that fire"), (name, answer)
    wrong = real.port.over("sum(", 0, 1, 1)
    assert isinstance(wrong, NoData) and wrong.reason is Reason.REFUSED
    several = real.port.over('{__name__=~"process_.*"}', time.time(), time.time(), 1)
    assert isinstance(several, NoData) and several.reason is Reason.MALFORMED


_MATRIX = {"resultType": "matrix", "result": []}
_ANSWERS: dict[str, tuple[int, bytes, Reason]] = {
    "a status that is no success": (503, b"starting", Reason.REFUSED),
    "200 with status error": (200, b'{"status":"error","errorType":"timeout","error":"query timed out"}', Reason.REFUSED),
    "200 without data": (200, b'{"status":"success"}', Reason.REFUSED),
    "not JSON": (200, b"<html>login</html>", Reason.MALFORMED),
    "a scalar instead of series": (200, b'{"status":"success","data":{"resultType":"scalar","result":[1,"0"]}}', Reason.MALFORMED),
    "no series": (200, json.dumps({"status": "success", "data": _MATRIX}).encode(), Reason.EMPTY),
    "a value that is text": (
        200,
        json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "x"]]}]}}).encode(),
        Reason.MALFORMED,
    ),
    "infinity": (
        200,
        json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "+Inf"]]}]}}).encode(),
        Reason.NOT_A_NUMBER,
    ),
}


@pytest.mark.parametrize("name", sorted(_ANSWERS))
def test_an_answer_that_is_no_measurement_is_no_data(name: str, server: _Served, pki: Path) -> None:
    status, body, reason = _ANSWERS[name]
    server.answer = lambda path: (status, body)
    port = Prometheus("127.0.0.1", operator_tls(pki), port=_SERVER)
    found = port.raw("up", {}, 10, time.time())
    port.close()
    assert isinstance(found, NoData) and found.reason is reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (_ANSWERS["not JSON"][1], Reason.MALFORMED),
        (_ANSWERS["200 with status error"][1], Reason.REFUSED),
        (_ANSWERS["no series"][1], Reason.MALFORMED),
        (b'{"status":"success","data":{"resultType":"scalar","result":[1,"NaN"]}}', Reason.NOT_A_NUMBER),
    ],
)
def test_a_time_that_is_none_is_no_data(body: bytes, reason: Reason, server: _Served, pki: Path) -> None:
    server.answer = lambda path: (200, body)
    port = Prometheus("127.0.0.1", operator_tls(pki), port=_SERVER)
    found = port.now()
    port.close()
    assert isinstance(found, NoData) and found.reason is reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"groups": []}, Reason.EMPTY),
        ({"groups": [{"rules": [{"name": "A", "health": "err", "lastError": "boom"}]}]}, Reason.REFUSED),
        ({"groups": [{"rules": [{"name": "A", "health": "ok", "lastEvaluation": "0001-01-01T00:00:00Z", "alerts": []}]}]}, Reason.OLD),
        ({"groups": [{"rules": [{"name": "A", "health": "ok"}]}]}, Reason.MALFORMED),
    ],
)
def test_rules_that_cannot_fire_are_no_data_rather_than_silence(data: dict[str, Any], reason: Reason, server: _Served, pki: Path) -> None:
    server.answer = lambda path: (200, json.dumps({"status": "success", "data": data}).encode())
    port = Prometheus("127.0.0.1", operator_tls(pki), port=_SERVER)
    found = port.firing(time.time())
    port.close()
    assert isinstance(found, NoData) and found.reason is reason


def test_a_closed_port_is_unreachable_and_a_silent_one_times_out(pki: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = Prometheus("127.0.0.1", operator_tls(pki), port=silent.getsockname()[1], timeout_s=0.3)
        found = hanging.raw("up", {}, 10, time.time())
        hanging.close()
        free = silent.getsockname()[1]
    assert isinstance(found, NoData) and found.reason is Reason.TIMEOUT
    closed = LoadClient("ams-2", "127.0.0.1", operator_tls(pki), port=free)
    page = closed.after(0)
    closed.close()
    assert isinstance(page, NoData) and page.reason is Reason.UNREACHABLE


def test_a_server_of_another_authority_is_unreachable(pki: Path, tmp_path: Path) -> None:
    strange = _Served(0, certificates(tmp_path / "other"))
    port = Prometheus("127.0.0.1", operator_tls(pki), port=strange._server.server_address[1])
    found = port.raw("up", {}, 10, time.time())
    port.close()
    strange.close()
    assert isinstance(found, NoData) and found.reason is Reason.UNREACHABLE and strange.paths == []


def test_an_operator_without_certificate_is_told_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(Unprepared, match="inv provision"):
        operator_tls(tmp_path)


def test_a_metric_name_cannot_smuggle_a_query(server: _Served, pki: Path) -> None:
    port = Prometheus("127.0.0.1", operator_tls(pki), port=_SERVER)
    with pytest.raises(ValueError, match="no series"):
        port.raw("up or vector(0)", {}, 10, time.time())
    server.answer = lambda path: (200, json.dumps({"status": "success", "data": _MATRIX}).encode())
    port.raw("up", {"release": 'x"} or up{a="'}, 10, time.time())
    port.close()
    assert "x%5C%22%7D" in server.paths[-1]


@pytest.fixture(params=["fake", "real"])
def requests(request: pytest.FixtureRequest, pki: Path) -> Iterator[tuple[Requests, FakeRequests]]:
    """A port to a load client, and the hand that drives it."""
    fake = FakeRequests("ams-2", page=5)
    if request.param == "fake":
        yield fake, fake
        return
    served = _Served(_SERVER, pki)

    def answer(path: str) -> tuple[int, bytes]:
        assert path.startswith("/samples?after=")
        page = fake.after(int(path.split("after=")[1].split("&")[0]))
        assert isinstance(page, Page)
        return 200, json.dumps({"boot": page.boot, "next": page.next, "samples": page.samples}).encode()

    served.answer = answer
    port = LoadClient("ams-2", "127.0.0.1", operator_tls(pki), port=_SERVER)
    yield port, fake
    port.close()
    served.close()


def test_requests_are_read_in_pages_each_once(requests: tuple[Requests, FakeRequests]) -> None:
    port, fake = requests
    for number in range(12):
        fake.count(1000.0 + number, "3.0.0-aaaaaaaaaaaa", latency_s=0.002)
    seen, at = [], 0
    while True:
        page = port.after(at)
        assert isinstance(page, Page) and page.boot == "boot-1"
        if not page.samples:
            break
        seen += [int(row[0]) for row in page.samples]
        at = page.next
    assert seen == list(range(1, 13))
    fake.restart("boot-2")
    again = port.after(0)
    assert isinstance(again, Page) and again.boot == "boot-2" and not again.samples


@pytest.mark.parametrize("body", [b"[]", b'{"boot":"b"}', b'{"boot":"b","next":1,"samples":[[1,2]]}', b'{"boot":"","next":1,"samples":[]}'])
def test_a_page_that_is_none_is_malformed(body: bytes, server: _Served, pki: Path) -> None:
    server.answer = lambda path: (200, body)
    port = LoadClient("ams-2", "127.0.0.1", operator_tls(pki), port=_SERVER)
    page = port.after(0)
    port.close()
    assert isinstance(page, NoData) and page.reason is Reason.MALFORMED
