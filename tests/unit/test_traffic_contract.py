"""One body of tests for everything that is a `Traffic`: gateways, admission by agents, and the fake."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from golive.errors import BadInput, GoliveError, Held, Refused, Unreachable
from golive.fleet.model import Fleet, Host
from golive.onhost import admission
from golive.onhost.lease import LeaseFiles
from golive.onhost.main import main
from golive.onhost.places import Places
from golive.traffic import AdmissionTraffic, Beat, GatewayTraffic, SlotName, Traffic, traffic_of
from golive.traffic.fake import FakePoint, FakeTraffic
from tests.support.fake_haproxy import FakeHaproxy
from tests.support.host_shell import HostShell

KEY = "ssh-ed25519 AAAA"


@dataclass
class Site:
    """A fleet of one kind, and what a test does to it from outside."""

    make: Callable[..., Traffic]
    """``make(token=, run=, candidate_slot=)``: what a controller holds."""
    points: list[str]
    silence: Callable[[str], None]
    guard_acts: Callable[[str, int], None]
    guard_stops: Callable[[str], None]


def fleet(gateways: bool) -> Fleet:
    hosts = [Host(name="ops", site="x", address="10.0.0.9", role="ops", host_key=KEY)]
    for number in (1, 2):
        hosts.append(Host(name=f"h{number}", site=f"s{number}", address=f"10.0.0.{number}", role="agent", gateway=gateways, host_key=KEY))
    return Fleet(env="test", hosts=tuple(hosts))


class Agents:
    """The health ports of a host whose agents admit sessions: they go by the file at once, as watching agents do within a second."""

    deaf = False

    def __init__(self, file: Path) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                weights = json.loads(file.read_text()).get("weights", {}) if file.exists() else {}
                said = 0 if outer.deaf else int(weights.get("slot_b", 0))
                body = json.dumps({"status": "ok", "admission": {"slot_b": said}}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in "ab"]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def ports(self) -> dict[str, int]:
        return {slot: server.server_address[1] for slot, server in zip("ab", self.servers, strict=True)}

    def stop(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def hosts_site(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    top = Path(tempfile.mkdtemp(prefix="dwcp-tr-"))
    roots = {"h1": top / "1", "h2": top / "2"}
    made: list[FakeHaproxy | Agents] = []
    files = {name: LeaseFiles(Places(root)) for name, root in roots.items()}
    by_root: dict[Path, dict[str, int]] = {}
    try:
        for root in roots.values():
            root.mkdir()
            if kind == "admission":
                (root / "etc/dwcp").mkdir(parents=True)
                (root / "etc/dwcp/traffic.json").write_text('{"mode": "admission"}')
                agents = Agents(root / "var/lib/dwcp/admission.json")
                by_root[root] = agents.ports
                made.append(agents)
            else:
                assert main(["--root", str(root), "slot", "render"]) == 0
                made.append(FakeHaproxy(root / "run/haproxy/admin.sock", root / "var/lib/dwcp/gateway"))
        if kind == "admission":
            original = admission.AdmissionRuntime.__init__
            monkeypatch.setattr(
                admission.AdmissionRuntime, "__init__", lambda self, places: original(self, places, ports=by_root[places.root])
            )
        for each in files.values():
            each.guard_is_alive()
        shell = HostShell(roots)

        def make(*, token: int = 7, run: str = "run-1", candidate_slot: SlotName = "b") -> Traffic:
            adapter = AdmissionTraffic if kind == "admission" else GatewayTraffic
            return adapter(shell, fleet(kind == "gateway"), run=run, token=token, candidate_slot=candidate_slot)

        def guard_acts(name: str, to: int) -> None:
            lease = files[name].read()
            assert lease is not None
            files[name].write_guard({"run": lease.run, "from": 50, "to": to, "at": "now", "why": "test", "acknowledged": False})

        def guard_stops(name: str) -> None:
            (roots[name] / "run/dwcp-gateway/guard-alive.json").unlink()

        yield Site(make, ["h1", "h2"], shell.silent.add, guard_acts, guard_stops)
    finally:
        for each_made in made:
            each_made.stop()
        shutil.rmtree(top)


@contextlib.contextmanager
def fake_site() -> Iterator[Site]:
    points = {"h1": FakePoint(), "h2": FakePoint()}

    def make(*, token: int = 7, run: str = "run-1", candidate_slot: SlotName = "b") -> Traffic:
        return FakeTraffic([], run=run, token=token, candidate_slot=candidate_slot, points=points)

    def silence(name: str) -> None:
        points[name].silent = True

    def guard_stops(name: str) -> None:
        points[name].guard_age_s = None

    yield Site(make, ["h1", "h2"], silence, lambda name, to: points[name].guard_takes(to), guard_stops)


@pytest.fixture(params=["gateway", "admission", "fake"])
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    with fake_site() if request.param == "fake" else hosts_site(request.param, monkeypatch) as made:
        traffic = made.make()
        for slot, release in (("a", "2.9.0-aaa"), ("b", "3.0.0-bbb")):
            traffic.label(slot, release)
            traffic.enable(slot)
        yield made


def test_a_shift_holds_at_all_points_when_it_returns(site: Site) -> None:
    traffic = site.make()
    for percent in (10, 50, 100, 0):
        shift = traffic.shift(percent, stage="canary")
        assert shift.percent == percent
        assert sorted(shift.changed) == site.points
        for weights in traffic.read().values():
            assert weights.by_release() == {"2.9.0-aaa": 100 - percent, "3.0.0-bbb": percent}
            assert weights.percent("b") == percent


def test_a_shift_done_twice_changes_nothing(site: Site) -> None:
    traffic = site.make()
    traffic.shift(10, stage="canary")
    assert traffic.shift(10, stage="canary").changed == ()


def test_percent_is_the_candidates_whichever_slot_it_has(site: Site) -> None:
    site.make().shift(100, stage="first")
    traffic = site.make(candidate_slot="a")
    assert all(weights.percent("a") == 0 for weights in traffic.read().values())
    traffic.shift(10, stage="next")
    for weights in traffic.read().values():
        assert (weights.slot_b, weights.by_release()["2.9.0-aaa"]) == (90, 10)


def test_the_last_change_says_who_and_why(site: Site) -> None:
    site.make(token=8, run="run-2").shift(10, stage="canary")
    for weights in site.make(token=8, run="run-2").read().values():
        assert {key: weights.last[key] for key in ("token", "run", "stage", "by", "from", "slot_b")} == {
            "token": 8, "run": "run-2", "stage": "canary", "by": "controller", "from": 0, "slot_b": 10,
        }  # fmt: skip


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_share_that_is_none_is_refused_before_anything_changes(site: Site, percent: int) -> None:
    with pytest.raises(BadInput):
        site.make().shift(percent, stage="x")
    assert all(weights.slot_b == 0 for weights in site.make().read().values())


def test_a_silent_point_is_named_and_the_others_are_shifted(site: Site) -> None:
    site.silence("h2")
    with pytest.raises(Unreachable) as caught:
        site.make().shift(10, stage="canary")
    assert "h2" in str(caught.value) and caught.value.host == "h2"
    with pytest.raises(Unreachable):
        site.make().read()


def test_a_slot_that_is_out_gets_no_share_and_one_with_a_share_is_not_taken_out(site: Site) -> None:
    traffic = site.make()
    traffic.shift(10, stage="canary")
    with pytest.raises(Refused, match="10 %"):
        traffic.disable("b")
    traffic.shift(0, stage="back")
    traffic.disable("b")
    with pytest.raises(Refused, match="out"):
        traffic.shift(10, stage="again")
    assert all(weights.slot_b == 0 and not weights.slots["b"].is_in for weights in traffic.read().values())
    traffic.disable("a", last=True)
    assert all(not weights.slots["a"].is_in for weights in traffic.read().values())


def test_users_are_not_sent_to_a_slot_without_a_server_that_is_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    haproxies: list[FakeHaproxy] = []
    made = FakeHaproxy.__init__
    monkeypatch.setattr(FakeHaproxy, "__init__", lambda self, *words: (made(self, *words), haproxies.append(self))[0])
    with hosts_site("gateway", monkeypatch) as site:
        traffic = site.make()
        for slot, release in (("a", "2.9.0-aaa"), ("b", "3.0.0-bbb")):
            traffic.label(slot, release)
            traffic.enable(slot)
        traffic.shift(100, stage="full")
        for haproxy in haproxies:
            haproxy.servers["slot_a"] = dict.fromkeys(haproxy.servers["slot_a"], "DOWN")
        with pytest.raises(Refused, match="No server of slot a is up"):
            traffic.shift(0, stage="back")
        assert all(weights.slot_b == 100 for weights in traffic.read().values())
        for haproxy in haproxies:
            haproxy.servers["slot_b"] = dict.fromkeys(haproxy.servers["slot_b"], "DOWN")
        traffic.shift(0, stage="back")
        assert all(weights.slot_b == 0 for weights in traffic.read().values())


def test_a_slot_under_traffic_keeps_its_name(site: Site) -> None:
    traffic = site.make()
    with pytest.raises(Refused, match=r"2\.9\.0-aaa"):
        traffic.label("a", "other")
    traffic.label("b", "3.0.1-ccc")
    assert all(weights.slots["b"].release == "3.0.1-ccc" for weights in traffic.read().values())


def test_an_open_lease_takes_beats_and_a_closed_one_refuses_them(site: Site) -> None:
    traffic = site.make()
    traffic.open(passed=0, ttl_s=5)
    assert all(isinstance(said, Beat) and not said.guard_acted for said in traffic.beat().values())
    traffic.passed(10)
    for weights in traffic.read().values():
        assert weights.lease is not None
        assert (weights.lease["passed"], weights.lease["run"], weights.lease["candidate_slot"], weights.lease["ttl_s"]) == (
            10,
            "run-1",
            "b",
            5,
        )
    traffic.close()
    traffic.close()
    assert all(isinstance(said, Refused) for said in traffic.beat().values())
    assert all(weights.lease is None for weights in traffic.read().values())
    with pytest.raises(Refused):
        traffic.passed(50)


def test_a_beat_says_which_point_is_silent_and_never_raises(site: Site) -> None:
    traffic = site.make()
    traffic.open(passed=0)
    site.silence("h1")
    beats = traffic.beat()
    assert isinstance(beats["h1"], Unreachable) and isinstance(beats["h2"], Beat)


def test_a_controller_that_was_replaced_cannot_beat(site: Site) -> None:
    old, new = site.make(), site.make(token=9)
    old.open(passed=0)
    new.open(passed=0)
    assert all(isinstance(said, GoliveError) for said in old.beat().values())
    assert all(isinstance(said, Beat) for said in new.beat().values())


def test_no_lease_where_no_guard_would_watch_it(site: Site) -> None:
    site.guard_stops("h2")
    with pytest.raises(Refused, match="dwcp-guard") as caught:
        site.make().open(passed=0)
    assert "h2" in str(caught.value)


def test_what_a_guard_did_is_seen_and_has_to_be_acknowledged(site: Site) -> None:
    traffic = site.make()
    traffic.open(passed=0)
    site.guard_acts("h1", 0)
    beat = traffic.beat()["h1"]
    assert isinstance(beat, Beat) and beat.guard_acted
    assert traffic.read()["h1"].guard_acted
    with pytest.raises(Refused):
        traffic.shift(50, stage="on")
    with pytest.raises(Refused):
        traffic.open(passed=0)
    traffic.open(passed=0, acknowledge_guard=True)
    assert not traffic.read()["h1"].guard_acted
    traffic.shift(50, stage="on")


def test_a_fleet_of_both_kinds_is_one_traffic() -> None:
    mixed = Fleet(env="t", hosts=tuple(h.model_copy(update={"gateway": h.name == "h1"}) for h in fleet(False).hosts))
    shell = HostShell({})
    shell.silent = {"h1", "h2"}
    assert sorted(traffic_of(shell, mixed, run="r", token=1, candidate_slot="b").beat()) == ["h1", "h2"]
    with pytest.raises(BadInput):
        GatewayTraffic(shell, fleet(False), run="r", token=1, candidate_slot="b")


def test_an_agent_that_does_not_go_by_the_weight_is_no_shift(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(admission, "_SETTLE_S", 0.2)
    monkeypatch.setattr(Agents, "deaf", True)
    with hosts_site("admission", monkeypatch) as made:
        traffic = made.make()
        for slot, release in (("a", "2.9.0-aaa"), ("b", "3.0.0-bbb")):
            traffic.label(slot, release)
            traffic.enable(slot)
        with pytest.raises(Held, match="go by 0 %"):
            traffic.shift(10, stage="x")
