"""The guard as a process beside a real HAProxy: the controller is gone, and traffic goes where it is safe."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.gateway_world import World, until, world

TTL_S = 2
GRACE_S = 4


class Monitoring:
    """Alertmanager and Prometheus as the guard sees them, on one port."""

    def __init__(self, made: World) -> None:
        self.firing: list[str] = []
        self.evaluates = True
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                if self.path.startswith("/api/v2/alerts"):
                    labels = [{"alertname": "DwcpErrorRateHigh", "release": release} for release in outer.firing]
                    answer: Any = [{"labels": each, "status": {"state": "active"}} for each in labels]
                else:
                    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - (0 if outer.evaluates else 3600)))
                    answer = {"data": {"groups": [{"name": "g", "lastEvaluation": at, "rules": []}]}}
                body = json.dumps(answer).encode()
                self.send_response_only(200)
                self.send_header("Date", formatdate(usegmt=True))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.tls / "gw-ops" / "monitor.crt", made.tls / "gw-ops" / "monitor.key")
        context.load_verify_locations(made.tls / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Guarded:
    """A gateway with its guard running, and a controller that a test plays."""

    def __init__(self, made: World, monitoring: Monitoring) -> None:
        self.world, self.monitoring = made, monitoring
        self.process: subprocess.Popen[bytes] | None = None
        self._run = 0
        self.token = 10

    def start_guard(self) -> None:
        with (self.world.root / "guard.log").open("ab") as log:
            self.process = subprocess.Popen(self.world.host_argv("guard"), stdout=log, stderr=log)
        until(self._alive, "the guard looks")

    def _alive(self) -> bool:
        age = self.world.get()["guard_age_s"]
        return age is not None and age < 2

    def stop_guard(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def lease(self, *, share: int, passed: int) -> None:
        """A controller opens the lease, shifts to ``share`` and is never heard of again."""
        self._run += 1
        self.token += 1
        self.change("weight", "set", "--slot-b", "0", "--stage", "start")
        self.change("lease", "open", "--candidate-slot", "b", "--passed", str(passed), "--ttl", str(TTL_S))
        self.change("weight", "set", "--slot-b", str(share), "--stage", "canary")
        self.beat()

    def change(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.world.change(*words, token=self.token, run=f"run-{self._run}", check=check)

    def beat(self) -> dict[str, Any]:
        return dict(json.loads(self.world.host("lease", "beat", "--token", str(self.token), "--run", f"run-{self._run}").stdout))

    def share(self) -> int:
        return int(self.world.get()["runtime"])

    def keep_beating(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.beat()
            assert self.share() == 50


@contextmanager
def guarded() -> Iterator[Guarded]:
    with world() as made:
        monitoring = Monitoring(made)
        settings = {
            "alertmanager": monitoring.url,
            "prometheus": monitoring.url,
            "ca": str(made.tls / "ca.crt"),
            "certificate": str(made.tls / "gw-h1" / "gateway.pem"),
            "interval_s": 0.2,
            "ask_timeout_s": 1,
            "stale_s": 30,
            "grace_s": GRACE_S,
        }
        (made.root / "etc/dwcp").mkdir(parents=True)
        (made.root / "etc/dwcp/guard.json").write_text(json.dumps(settings))
        all_of_it = Guarded(made, monitoring)
        try:
            all_of_it.start_guard()
            yield all_of_it
        finally:
            if all_of_it.process is not None:
                all_of_it.process.kill()
                all_of_it.process.wait(10)
            monitoring.stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[Guarded]:
    with guarded() as made:
        yield made


@pytest.fixture
def guard(shared: Guarded) -> Iterator[Guarded]:
    shared.monitoring.firing, shared.monitoring.evaluates = [], True
    yield shared
    shared.token += 1
    shared.change("lease", "close")


def test_a_dead_controller_and_a_firing_alert_go_back_to_what_passed_and_then_to_zero(guard: Guarded) -> None:
    guard.lease(share=50, passed=10)
    guard.monitoring.firing = ["release-b"]
    began = time.monotonic()
    until(lambda: guard.share() == 10, "back at what passed")
    assert time.monotonic() - began < TTL_S + 5
    act = guard.world.get()["guard"]
    assert (act["from"], act["to"], act["alerts"], act["acknowledged"]) == (50, 10, ["DwcpErrorRateHigh"], False)
    until(lambda: guard.share() == 0, "zero after the grace")
    last = json.loads(guard.world.host("weight", "history").stdout)["history"][-2:]
    assert [(entry["from"], entry["slot_b"], entry["by"]) for entry in last] == [(50, 10, "guard"), (10, 0, "guard")]
    assert guard.world.get()["consistent"] is True


def test_a_candidate_at_its_first_ten_percent_goes_straight_to_zero(guard: Guarded) -> None:
    guard.lease(share=10, passed=0)
    guard.monitoring.firing = ["release-b"]
    until(lambda: guard.share() == 0, "zero")


def test_it_leaves_a_living_controller_alone_whatever_fires(guard: Guarded) -> None:
    guard.lease(share=50, passed=10)
    guard.monitoring.firing = ["release-b"]
    guard.monitoring.evaluates = False
    guard.keep_beating(TTL_S * 2)
    assert guard.world.get()["guard"] is None or guard.world.get()["guard"]["acknowledged"]


def test_a_dead_controller_alone_moves_nothing_while_all_is_quiet(guard: Guarded) -> None:
    guard.lease(share=50, passed=10)
    guard.monitoring.firing = ["release-a"]
    asked = guard.monitoring.asked
    until(lambda: guard.monitoring.asked > asked + 6, "it asks again and again")
    assert guard.share() == 50


def test_rules_that_no_one_evaluates_count_as_unknown_and_go_back_to_what_passed_and_no_further(guard: Guarded) -> None:
    guard.lease(share=50, passed=10)
    guard.monitoring.evaluates = False
    until(lambda: guard.share() == 10, "back at what passed")
    acted = time.monotonic()
    until(lambda: time.monotonic() - acted > GRACE_S + 1, "the grace is over")
    assert guard.share() == 10


def test_a_closed_lease_is_left_alone(guard: Guarded) -> None:
    guard.lease(share=50, passed=10)
    guard.change("lease", "close")
    guard.monitoring.firing = ["release-b"]
    closed = time.monotonic()
    until(lambda: time.monotonic() - closed > TTL_S + 2, "long enough for it to act")
    assert guard.share() == 50


def lane(guard: Guarded, role: str = "load", number: int = 40) -> set[str]:
    """Which slots answer requests on the control lane."""
    client = guard.world.client(role)
    return {guard.world.ask(f"lane-{n}", client=client, X_DWCP_Lane="control")[2]["slot"] for n in range(number)}


def test_while_a_lease_is_open_the_control_lane_leads_to_the_incumbent_whatever_the_weight(guard: Guarded) -> None:
    guard.lease(share=100, passed=50)
    assert lane(guard) == {"a"}
    assert set(guard.world.slots_of([f"user-{n}" for n in range(40)]).values()) == {"b"}
    assert guard.world.get()["control"] == "a"
    told = guard.world.ask("lane-1", X_DWCP_Lane="control")[2]["headers"]
    assert "x-dwcp-lane" not in told
    assert guard.world.ask("lane-1", X_DWCP_Lane="control")[1]["x-dwcp-release"] == "release-a"
    guard.change("lease", "close")
    assert lane(guard) == {"b"}
    assert guard.world.get()["control"] is None


def test_users_cannot_choose_the_control_lane(guard: Guarded) -> None:
    guard.lease(share=100, passed=50)
    assert lane(guard, role="operator") == {"b"}


def test_a_slot_that_is_taken_out_takes_the_control_lane_with_it(guard: Guarded) -> None:
    guard.lease(share=100, passed=50)
    try:
        guard.change("slot", "disable", "a")
        assert lane(guard) == {"b"}
    finally:
        guard.change("slot", "enable", "a", "--up", "10")
    assert lane(guard) == {"b"}


def test_the_guard_puts_the_control_lane_right_and_a_restarted_haproxy_knows_it(guard: Guarded) -> None:
    guard.lease(share=100, passed=50)
    slots = guard.world.root / "var/lib/dwcp/gateway/slots.map"
    guard.world.runtime(f"set map {slots} control none")
    until(lambda: lane(guard, number=5) == {"a"}, "put right")
    guard.world.stop_haproxy()
    guard.world.start_haproxy()
    until(lambda: guard.world.up("a") and guard.world.up("b"), "all agents are up")
    assert lane(guard) == {"a"}


def test_a_lease_is_closed_also_while_haproxy_is_down(guard: Guarded) -> None:
    guard.lease(share=0, passed=0)
    guard.world.stop_haproxy()
    try:
        guard.change("lease", "close")
    finally:
        guard.world.start_haproxy()
        until(lambda: guard.world.up("a") and guard.world.up("b"), "all agents are up")
    assert guard.world.get()["control"] is None


def test_a_guard_killed_between_its_two_steps_finishes_after_its_restart(guard: Guarded) -> None:
    guard.lease(share=50, passed=10)
    guard.monitoring.firing = ["release-b"]
    until(lambda: guard.share() == 10, "back at what passed")
    guard.stop_guard(signal.SIGKILL)
    guard.start_guard()
    until(lambda: guard.share() == 0, "zero after the restart")
    assert guard.stop_guard() == 0
    guard.start_guard()


def test_it_acts_while_an_install_holds_the_hosts_lock(guard: Guarded) -> None:
    guard.lease(share=50, passed=10)
    with (guard.world.root / "run/dwcp-host.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        guard.beat()
        assert time.monotonic() - started < 5, "a beat waits for no install"
        guard.monitoring.firing = ["release-b"]
        until(lambda: guard.share() == 10, "back in spite of the lock")


def test_a_returned_controller_cannot_raise_what_the_guard_took_without_knowing(guard: Guarded) -> None:
    guard.lease(share=50, passed=10)
    guard.monitoring.firing = ["release-b"]
    until(lambda: guard.share() == 10, "back at what passed")
    assert guard.beat()["guard"]["to"] == 10
    refused = guard.change("weight", "set", "--slot-b", "50", "--stage", "on", check=False)
    assert refused.returncode == 4 and "The guard took the candidate from 50 to 10 %" in refused.stderr
    guard.monitoring.firing = []
    guard.change("lease", "open", "--candidate-slot", "b", "--passed", "10", "--ttl", str(TTL_S), "--acknowledge-guard")
    guard.change("weight", "set", "--slot-b", "50", "--stage", "on")
    guard.beat()
    assert guard.share() == 50


def test_a_restarted_haproxy_starts_with_what_the_guard_set_while_it_was_down(guard: Guarded) -> None:
    guard.lease(share=50, passed=10)
    guard.world.stop_haproxy()
    guard.monitoring.firing = ["release-b"]
    until(lambda: guard.world.get()["slot_b"] == 10, "recorded while HAProxy is down")
    guard.world.start_haproxy()
    assert guard.share() in (10, 0)


def test_what_a_killed_shift_left_in_haproxy_alone_is_taken_back(guard: Guarded) -> None:
    guard.lease(share=10, passed=0)
    socket = guard.world.root / "run/haproxy/admin.sock"
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{socket}'); s.sendall(b'set map {guard.world.root}"
    script += "/var/lib/dwcp/gateway/weights.map slot_b 50\\n'); s.recv(99)"
    subprocess.run(["python3", "-c", script], check=True, env=os.environ)
    until(lambda: guard.world.get()["consistent"] and guard.share() == 10, "the record's 10 %, the lesser for the candidate")
