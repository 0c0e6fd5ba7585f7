"""The gateway as configured: who goes where, who says so, and what a request cannot claim."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator

import pytest

from golive.onhost.places import Places
from golive.onhost.weights import Gateway
from golive.traffic.buckets import bucket, slot_for
from tests.support.gateway_world import PORTS, World, until, world

SESSIONS = [f"session-{number:04d}" for number in range(400)]


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def gateway(shared: World) -> World:
    """The shared gateway, everything on slot a and all agents up."""
    shared.set(0)
    until(lambda: shared.up("a") and shared.up("b"), "all agents are up")
    return shared


def test_fifty_percent_contains_every_session_of_ten_and_zero_drains_all(gateway: World) -> None:
    gateway.set(10)
    ten = {session for session, slot in gateway.slots_of(SESSIONS).items() if slot == "b"}
    gateway.set(50)
    fifty = {session for session, slot in gateway.slots_of(SESSIONS).items() if slot == "b"}
    gateway.set(0)
    none = gateway.slots_of(SESSIONS)
    assert ten and ten < fifty
    assert 20 <= len(ten) <= 65 and 150 <= len(fifty) <= 250
    assert set(none.values()) == {"a"}


def test_the_split_is_the_one_that_agents_without_a_gateway_compute(gateway: World) -> None:
    gateway.set(37)
    assert gateway.slots_of(SESSIONS) == {session: slot_for(session, 37) for session in SESSIONS}
    assert len({bucket(session) for session in SESSIONS}) > 90


def test_a_session_stays_on_one_server_and_a_named_host_gets_its_requests(gateway: World) -> None:
    hosts = {gateway.ask("sticky-1")[2]["host"] for _ in range(10)}
    assert len(hosts) == 1
    assert len({gateway.ask(session)[2]["host"] for session in SESSIONS[:40]}) == 2
    for name in ("gw-h1", "gw-h2", "GW-H2"):
        assert gateway.ask("sticky-1", X_DWCP_Host=name)[2]["host"] == name.lower()
    status, _, body = gateway.ask("sticky-1", X_DWCP_Host="elsewhere")
    assert (status, body["error"]) == (404, "host")


@pytest.mark.parametrize("session", [None, "", "has space", "a,b", "x" * 129])
def test_a_request_without_one_plain_session_is_told_so(gateway: World, session: str | None) -> None:
    status, _, body = gateway.ask(session)
    assert (status, body["error"]) == (400, "session")
    assert "X-DWCP-Session" in body["message"]


def test_two_session_headers_are_refused(gateway: World) -> None:
    client = gateway.client()
    client.putrequest("GET", "/v1/status")
    client.putheader("X-DWCP-Session", "one")
    client.putheader("X-DWCP-Session", "two")
    client.endheaders()
    assert client.getresponse().status == 400


def test_identity_is_the_certificate_and_never_what_the_request_claims(gateway: World) -> None:
    told = gateway.ask("s", X_DWCP_Client="OU=operator,CN=operator")[2]["headers"]
    assert told["x-dwcp-client"] == "OU=load,CN=load.gw-h2"
    client = gateway.client()
    client.putrequest("GET", "/v1/status")
    for header, value in (("X-DWCP-Session", "s"), ("x-dwcp-client", "OU=operator,CN=a"), ("X-DWCP-CLIENT", "OU=operator,CN=b")):
        client.putheader(header, value)
    client.endheaders()
    assert json.loads(client.getresponse().read())["headers"]["x-dwcp-client"] == "OU=load,CN=load.gw-h2"
    assert gateway.ask("s", client=gateway.client("operator"))[2]["headers"]["x-dwcp-client"] == "OU=operator,CN=operator"


def test_no_certificate_and_no_old_tls(gateway: World) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        gateway.ask("s", client=gateway.client(""))
    old = ssl.create_default_context(cafile=str(gateway.tls / "ca.crt"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    client = gateway.client()
    client._context = old  # type: ignore[attr-defined]
    with pytest.raises(ssl.SSLError):
        gateway.ask("s", client=client)


def test_a_body_of_a_mebibyte_passes(gateway: World) -> None:
    client = gateway.client()
    client.request("PUT", "/v1/objects/x", body=os.urandom(1 << 20), headers={"X-DWCP-Session": "s"})
    answer = client.getresponse()
    assert (answer.status, json.loads(answer.read())["bytes"]) == (201, 1 << 20)


def test_a_dead_slot_answers_503_in_its_own_name_and_the_other_does_not_cover_for_it(gateway: World) -> None:
    gateway.set(50)
    stopped = time.monotonic()
    for host in ("gw-h1", "gw-h2"):
        gateway.stop_agent(host, "b")
    until(
        lambda: not any("UP" in s["status"] for s in json.loads(gateway.host("slot", "state").stdout)["slots"]["b"]["servers"].values()),
        "down",
    )
    took = time.monotonic() - stopped
    try:
        client = gateway.client()
        for session in SESSIONS[:60]:
            status, headers, body = gateway.ask(session, client=client)
            want = slot_for(session, 50)
            assert headers["x-dwcp-release"] == f"release-{want}"
            assert status == (200 if want == "a" else 503)
            assert want == "b" or body["slot"] == "a"
    finally:
        for host in ("gw-h1", "gw-h2"):
            gateway.start_agent(host, "b")
    assert took < 3.0, f"a dead agent was seen after {took:.1f} s"


def test_what_an_agent_breaks_off_is_told_first_and_counted_for_its_slot_always(gateway: World) -> None:
    """HAProxy closes a kept connection without a word; its counters know the slot, and the alert reads them."""

    def unanswered() -> int:
        rows = list(csv.DictReader(io.StringIO(gateway.runtime("show stat").lstrip("# "))))
        row = next(row for row in rows if (row["pxname"], row["svname"]) == ("slot_a", "BACKEND"))
        return int(row["stot"]) - sum(int(row[f"hrsp_{code}"]) for code in ("1xx", "2xx", "3xx", "4xx", "5xx", "other"))

    before = unanswered()
    for agent in gateway.agents.values():
        agent.breaks_off = True
    try:
        status, headers, _ = gateway.ask("s")
        assert (status, headers["x-dwcp-release"]) == (502, "release-a")
        client = gateway.client()
        client.connect()
        gateway.agents["gw-h1", "a"].breaks_off = gateway.agents["gw-h2", "a"].breaks_off = False
        assert gateway.ask("s", client=client)[0] == 200
        gateway.agents["gw-h1", "a"].breaks_off = gateway.agents["gw-h2", "a"].breaks_off = True
        with pytest.raises(http.client.RemoteDisconnected):
            gateway.ask("s", client=client)
    finally:
        for agent in gateway.agents.values():
            agent.breaks_off = False
    assert unanswered() == before + 1


@pytest.mark.parametrize("size", [4 << 10, 64 << 10])
def test_an_upload_to_a_dead_slot_hears_whose_fault_it_is(gateway: World, size: int) -> None:
    session = next(session for session in SESSIONS if slot_for(session, 50) == "b")
    gateway.set(50)
    for host in ("gw-h1", "gw-h2"):
        gateway.stop_agent(host, "b")
    try:
        for _ in range(25):
            client = gateway.client()
            client.request("PUT", "/v1/objects/x", body=os.urandom(size), headers={"X-DWCP-Session": session})
            answer = client.getresponse()
            assert (answer.status, answer.headers["X-DWCP-Release"]) == (503, "release-b")
            answer.read()
            client.close()
    finally:
        for host in ("gw-h1", "gw-h2"):
            gateway.start_agent(host, "b")


def test_one_dead_server_loses_only_its_own_named_requests(gateway: World) -> None:
    gateway.agents["gw-h2", "a"].ready = False
    try:
        until(lambda: gateway.ask("s", X_DWCP_Host="gw-h2")[0] == 503, "gw-h2 is seen as not ready")
        status, headers, body = gateway.ask("s", X_DWCP_Host="gw-h2")
        assert (status, body["error"], headers["x-dwcp-release"]) == (503, "host", "release-a")
        assert {gateway.ask(session)[2]["host"] for session in SESSIONS[:20]} == {"gw-h1"}
    finally:
        gateway.agents["gw-h2", "a"].ready = True


def test_a_disabled_slot_gets_nothing_and_cannot_be_disabled_or_relabelled_under_traffic(gateway: World) -> None:
    gateway.set(10)
    refused = gateway.change("slot", "disable", "b", check=False)
    assert refused.returncode == 4 and "10 %" in refused.stderr
    refused = gateway.change("slot", "label", "b", "other", check=False)
    assert refused.returncode == 4 and "cannot become other" in refused.stderr
    gateway.set(0)
    gateway.change("slot", "disable", "b")
    refused = gateway.change("weight", "set", "--slot-b", "10", "--stage", "x", check=False)
    assert refused.returncode == 4 and "Slot b is out" in refused.stderr
    assert gateway.get()["runtime"] == 0
    gateway.change("slot", "enable", "b", "--up", "10")


def test_a_host_that_was_set_aside_stays_out_of_the_slot_also_after_a_restart(gateway: World) -> None:
    gateway.change("slot", "disable", "b")
    gateway.agents["gw-h2", "b"].ready = False  # it need not be up: it is waited for by nobody
    try:
        gateway.change("slot", "enable", "b", "--up", "10", "--without", "gw-h2")
        gateway.agents["gw-h2", "b"].ready = True
        gateway.set(100)
        assert {gateway.ask(session)[2]["host"] for session in SESSIONS[:40]} == {"gw-h1"}
        assert gateway.get()["slots"]["b"]["without"] == ["gw-h2"]
        gateway.stop_haproxy()
        gateway.start_haproxy()
        until(lambda: gateway.up("b"), "up after the restart")
        assert "slot_b/gw-h2: out" in Gateway(Places(gateway.root)).settle("b", {"token": 1, "run": "run-1", "stage": "x", "by": "guard"})
        assert {gateway.ask(session)[2]["host"] for session in SESSIONS[:40]} == {"gw-h1"}
        refused = gateway.change("slot", "enable", "b", "--without", "gw-h1", "--without", "gw-h2", check=False)
        assert refused.returncode == 4 and "cannot be in" in refused.stderr
    finally:
        gateway.agents["gw-h2", "b"].ready = True
        gateway.set(0)
        gateway.change("slot", "enable", "b", "--up", "10")
    assert "without" not in gateway.get()["slots"]["b"]


def test_weights_labels_and_slots_survive_a_restart(gateway: World) -> None:
    gateway.set(10)
    before = gateway.slots_of(SESSIONS[:100])
    gateway.stop_haproxy()
    assert gateway.get()["runtime"] is None and gateway.get()["consistent"] is False
    refused = gateway.change("weight", "set", "--slot-b", "50", "--stage", "x", check=False)
    assert refused.returncode == 4 and "HAProxy does not answer" in refused.stderr
    assert gateway.get()["slot_b"] == 10
    gateway.start_haproxy()
    until(lambda: gateway.up("a") and gateway.up("b"), "up after the restart")
    assert gateway.slots_of(SESSIONS[:100]) == before
    assert gateway.ask("s")[1]["x-dwcp-release"].startswith("release-")


def test_a_reload_leaves_no_request_of_a_kept_connection_unanswered(gateway: World) -> None:
    kept, first = [gateway.client() for _ in range(20)], gateway.client()
    try:
        gateway.ask("first", client=first)
        assert {gateway.ask("kept", client=client)[0] for client in kept} == {200}
        gateway.reload_haproxy()
        until(lambda: gateway.ask("first", client=first)[1].get("connection") == "close", "the worker before is on its way out")
        # Asked again over connections that the worker before still has, and told there that these are over.
        for client in kept:
            status, headers, _ = gateway.ask("kept", client=client)
            assert (status, headers.get("connection")) == (200, "close")
        assert {gateway.ask("kept", client=client)[0] for client in kept} == {200}
    finally:
        for client in (*kept, first):
            client.close()
    until(lambda: gateway.up("a") and gateway.up("b"), "up after the reload")


def test_setting_a_weight_twice_changes_nothing_and_history_tells_each_change_once(gateway: World) -> None:
    before = len(json.loads(gateway.host("weight", "history").stdout)["history"])
    assert gateway.set(10)["changed"] is True
    assert gateway.set(10)["changed"] is False
    gateway.set(50)
    entries = json.loads(gateway.host("weight", "history").stdout)["history"][before:]
    assert [(entry["from"], entry["slot_b"], entry["stage"], entry["run"], entry["token"]) for entry in entries] == [
        (0, 10, "test", "run-1", 1),
        (10, 50, "test", "run-1", 1),
    ]
    assert [entry["seq"] for entry in entries] == list(range(entries[0]["seq"], entries[0]["seq"] + 2))


def test_a_weight_set_killed_at_any_moment_leaves_something_that_the_next_one_puts_right(gateway: World) -> None:
    gateway.set(10)
    argv = gateway.host_argv("weight", "set", "--slot-b", "50", "--stage", "killed", "--token", "1", "--run", "run-1")
    started = time.monotonic()
    subprocess.run(argv, capture_output=True, check=True)
    whole = time.monotonic() - started
    seen = set()
    for step in range(10):
        gateway.set(10)
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # The point of death is what this test varies, not something it waits for.
        time.sleep(whole * (0.4 + 0.07 * step))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        state = gateway.get()
        assert (state["slot_b"], state["runtime"]) in {(10, 10), (10, 50), (50, 50)}, state
        seen.add((state["slot_b"], state["runtime"]))
        assert gateway.set(50)["consistent"] is True
        history = json.loads(gateway.host("weight", "history").stdout)["history"]
        assert [entry["seq"] for entry in history] == list(range(1, len(history) + 1)), "no change is lost or told twice"
    assert (10, 10) in seen


def test_metrics_are_for_monitors(gateway: World) -> None:
    for role, want in (("monitor", 200), ("operator", 200), ("load", 403)):
        host = "gw-ops" if role == "monitor" else "gw-h2"
        context = ssl.create_default_context(cafile=str(gateway.tls / "ca.crt"))
        base = gateway.tls / role if role == "operator" else gateway.tls / host / role
        context.load_cert_chain(f"{base}.crt", f"{base}.key")
        client = gateway.client()
        client._context = context  # type: ignore[attr-defined]
        client.port = PORTS["metrics"]
        client.request("GET", "/metrics")
        answer = client.getresponse()
        body = answer.read()
        assert answer.status == want, role
        assert (b'haproxy_server_status{proxy="slot_a",server="gw-h1",state="UP"}' in body) is (want == 200)
