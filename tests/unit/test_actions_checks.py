"""``checks.*``: every trouble is named, and what did not answer or answered nonsense is never a pass."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from golive import actions
from golive.actions import checks_hosts, checks_monitoring, checks_smoke
from golive.actions._check import on_each
from golive.actions.port import Found, StepContext
from golive.errors import Refused, Unreachable
from golive.fleet.model import Host
from golive.fleet.ssh import Completed
from golive.gates.verdict import Verdict
from tests.support import action_step
from tests.support.action_step import AGENTS, GATEWAYS, LOADS, NEW, OLD, OPS, Call, Step, environment, found, named, web

actions.load_all()
step = action_step.step


def test_a_check_passes_only_when_every_host_was_right(step: Step) -> None:
    def look(host: Host) -> str:
        if host.name == "nyc-1":
            raise Unreachable("nyc-1: no answer")
        if host.name == "nyc-2":
            raise Refused("nyc-2: wrong")
        return "fine"

    hosts = step.fleet.agents
    assert on_each(hosts[:2], look, "looks").verdict is Verdict.PASS
    outcome = on_each(hosts, look, "looks")
    assert outcome.verdict is Verdict.FAIL and outcome.summary == "looks: nyc-2: wrong (and 1 more)"
    assert outcome.data["hosts"] == {"ams-1": "fine", "ams-2": "fine", "nyc-1": "nyc-1: no answer", "nyc-2": "nyc-2: wrong"}
    assert on_each([], look, "looks").verdict is Verdict.ERROR


def test_checks_are_done_anew_each_time(step: Step) -> None:
    for name in ("checks.controller", "checks.hosts", "checks.monitoring", "checks.smoke", "checks.transfer", "release.verify"):
        assert set(found(named(name).probe(step.ctx())).values()) == {Found.ABSENT}


# -- checks.controller ------------------------------------------------------------------------------------------------------------


def _disk(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(gib * 2**30)))


def test_a_controller_with_tools_and_room_passes(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: f"/bin/{tool}")
    _disk(monkeypatch, 2.0)
    outcome = named("checks.controller").apply(step.ctx(env=environment(kind="lab")), {})
    assert outcome.verdict is Verdict.PASS and "podman" in outcome.data["tools"]
    static = named("checks.controller").apply(step.ctx(), {})
    assert static.data["tools"] == ["ssh", "ssh-keygen", "ssh-keyscan"]


def test_a_full_disk_and_a_missing_tool_fail(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool in ("nft", "ssh") else f"/bin/{tool}")
    _disk(monkeypatch, 50)
    outcome = named("checks.controller").apply(step.ctx(env=environment(kind="lab")), {})
    assert outcome.verdict is Verdict.FAIL and "lacks ssh, nft" in outcome.summary
    monkeypatch.setattr(shutil, "which", lambda tool: f"/bin/{tool}")
    _disk(monkeypatch, 1.9)
    outcome = named("checks.controller").apply(step.ctx(), {})
    assert outcome.verdict is Verdict.FAIL and "1.9 GiB free" in outcome.summary


# -- checks.hosts -----------------------------------------------------------------------------------------------------------------


def _healthy(
    step: Step, monkeypatch: pytest.MonkeyPatch, ready: Callable[[str], httpx.Response] | None = None, **change: Any
) -> StepContext:
    """All hosts are well, but for nyc-1, which says ``change``."""
    step.slots()

    def special(call: Call) -> Completed | None:
        said = {"skew": 0.0, "used": "40%", "failed": "0", "rc": 0, **(change if call.host == "nyc-1" else {})}
        lines = ["b-o-o-t", f"{time.time() + said['skew']:.3f}", f" 9000000000 {said['used']}", said["failed"], "0.5 0.4 0.3 1/99 7", "4"]
        return Completed(said["rc"], "\n".join(lines[: said.get("lines", 6)]).encode(), b"sh: trouble")

    step.hosts.special = special

    def answer(request: httpx.Request) -> httpx.Response:
        return ready(request.url.host) if ready else httpx.Response(200, json={"ready": True, "id": OLD})

    web(monkeypatch, checks_hosts, answer)
    return step.ctx(checks_hosts.ChecksHosts.Params().model_dump())


def test_healthy_hosts_pass_ops_too(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = named("checks.hosts").apply(_healthy(step, monkeypatch), {})
    assert outcome.verdict is Verdict.PASS, outcome.summary
    assert set(outcome.data["hosts"]) == {*AGENTS, OPS}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"skew": 5.0}, "clock is 5.0 s off"),
        ({"skew": -5.0}, "clock is 5.0 s off"),
        ({"used": "91%"}, "disk is 91% full"),
        ({"failed": "2"}, "2 systemd units have failed"),
        ({"rc": 1}, "does not answer sensibly"),
        ({"lines": 3}, "does not answer sensibly"),
    ],
)
def test_a_host_that_is_not_well_is_named(step: Step, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], why: str) -> None:
    outcome = named("checks.hosts").apply(_healthy(step, monkeypatch, **change), {})
    assert outcome.verdict is Verdict.FAIL and "nyc-1: " in outcome.summary and why in outcome.summary


def test_silent_hosts_do_not_pass(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = _healthy(step, monkeypatch)
    step.hosts.silent.add(OPS)
    outcome = named("checks.hosts").apply(ctx, {})
    assert outcome.verdict is not Verdict.PASS and "ops: no answer" in outcome.summary


@pytest.mark.parametrize(
    ("systemctl", "rc", "counted"),
    [
        (":", 0, "0"),
        ("echo 'x.service loaded failed failed X'; echo 'y.service loaded failed failed Y'", 0, "2"),
        ("echo 'Failed to connect to bus' >&2; exit 1", 1, None),
    ],
)
def test_a_systemctl_that_fails_is_not_a_host_without_failed_units(tmp_path: Path, systemctl: str, rc: int, counted: str | None) -> None:
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{systemctl}\n")
    (tmp_path / "systemctl").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", checks_hosts._LOOK], env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == rc
    lines = done.stdout.splitlines()
    assert (len(lines), lines[3]) == (6, counted) if counted is not None else lines == []


@pytest.mark.parametrize("said", ["another", "not ready", "nothing"])
def test_the_incumbent_has_to_answer_on_every_host(step: Step, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def ready(address: str) -> httpx.Response:
        if address != step.fleet.named("ams-2").address:
            return httpx.Response(200, json={"id": OLD})
        if said == "nothing":
            raise httpx.ConnectError("refused")
        return httpx.Response(503 if said == "not ready" else 200, json={"id": OLD if said == "not ready" else NEW})

    outcome = named("checks.hosts").apply(_healthy(step, monkeypatch, ready), {})
    assert outcome.verdict is not Verdict.PASS and "ams-2: " in outcome.summary


# -- checks.smoke -----------------------------------------------------------------------------------------------------------------


class _Agents:
    """The agents of the candidate; ``spoil`` changes what ams-2's answers."""

    def __init__(self, step: Step, spoil: Callable[[httpx.Request, httpx.Response], httpx.Response] | None = None) -> None:
        self.spoiled, self.spoil = step.fleet.named("ams-2").address, spoil
        self.objects: dict[str, bytes] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self._right(request)
        return self.spoil(request, answer) if self.spoil and request.url.host == self.spoiled else answer

    def _right(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.path == "/health":
            return httpx.Response(200 if url.port == 7412 and url.scheme == "http" else 404, json={"status": "ok"})
        if url.port != 7410 or url.scheme != "https":
            return httpx.Response(404)
        if url.path == "/ready":
            return httpx.Response(200, json={"ready": True, "id": NEW})
        if request.method == "PUT":
            self.objects[str(url)] = request.content
            return httpx.Response(201, json={"sha256": hashlib.sha256(request.content).hexdigest()})
        return httpx.Response(200, content=self.objects[str(url)])


def _smoke(step: Step, monkeypatch: pytest.MonkeyPatch, agents: _Agents) -> Any:
    step.slots()
    web(monkeypatch, checks_smoke, agents)
    return named("checks.smoke").apply(step.ctx({"release": "candidate"}), {})


def test_smoke_tests_store_and_read_an_object_on_every_host(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    agents = _Agents(step)
    outcome = _smoke(step, monkeypatch, agents)
    assert outcome.verdict is Verdict.PASS, outcome.summary
    assert set(outcome.data["hosts"]) == set(AGENTS) and len(agents.objects) == 4


def _draining(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
    return httpx.Response(200, json={"status": "draining"}) if request.url.path == "/health" else answer


def _other_release(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
    return httpx.Response(200, json={"ready": True, "id": OLD}) if request.url.path == "/ready" else answer


def _not_ready(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
    return httpx.Response(503, json={"ready": False, "id": NEW}) if request.url.path == "/ready" else answer


def _wrong_hash(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
    return httpx.Response(201, json={"sha256": "0" * 64}) if request.method == "PUT" else answer


def _not_stored(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
    return httpx.Response(507, json={"error": "full"}) if request.method == "PUT" else answer


def _other_content(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
    return httpx.Response(200, content=answer.content[:-1]) if "/objects/" in request.url.path and request.method == "GET" else answer


def _silent(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
    raise httpx.ReadTimeout("timed out")


def _silent_objects(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
    if "/objects/" in request.url.path:
        raise httpx.RemoteProtocolError("cut off")
    return answer


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_draining, "draining"),
        (_other_release, "not ready as"),
        (_not_ready, "not ready as"),
        (_wrong_hash, "answered 201"),
        (_not_stored, "answered 507"),
        (_other_content, "differs"),
        (_silent, "no answer"),
        (_silent_objects, "cut off"),
    ],
)
def test_smoke_tests_notice_a_host_that_is_wrong(step: Step, monkeypatch: pytest.MonkeyPatch, spoil: Any, why: str) -> None:
    outcome = _smoke(step, monkeypatch, _Agents(step, spoil))
    assert outcome.verdict is not Verdict.PASS and "ams-2: " in outcome.summary and why in outcome.summary
    assert sum("stored and read back" in said for said in outcome.data["hosts"].values()) == 3


# -- checks.transfer --------------------------------------------------------------------------------------------------------------


def _transfer(step: Step, receipt: Callable[[Call], Completed], stored: Callable[[Call], Completed] | None = None) -> Any:
    """``receipt`` answers ``dwcp send``, ``stored`` the ``sha256sum`` of what arrived."""
    step.slots()
    right = Completed(0, f"{'e' * 64}  a-file\n".encode(), b"")
    step.hosts.special = lambda call: receipt(call) if call.words[0] == "sh" else stored(call) if stored else right
    return named("checks.transfer").apply(step.ctx({"release": "candidate", "size_mib": 4}), {})


def _sent(*, rc: int = 0, stderr: bytes = b"", receipt: bool = True) -> Completed:
    said = [json.dumps({"bytes": 9, "seconds": 0.1})] if receipt else []
    return Completed(rc, "\n".join([*said, json.dumps({"expected": "e" * 64})]).encode(), stderr)


def test_each_site_sends_to_the_next_with_the_candidates_program(step: Step) -> None:
    outcome = _transfer(step, lambda call: _sent())
    assert outcome.verdict is Verdict.PASS and set(outcome.data["hosts"]) == set(GATEWAYS)
    scripts = {call.host: call.words[-1] for call in step.hosts.calls if call.words[0] == "sh"}
    for host, target in (("ams-1", "nyc-1"), ("nyc-1", "ams-1")):
        assert f"/opt/dwcp/releases/{NEW}/bin/dwcp send" in scripts[host]
        assert f"https://{step.fleet.named(target).address}:7410/functional/{host} " in scripts[host]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (_sent(rc=1, stderr=b"first\nstream broke off", receipt=False), "stream broke off"),
        (_sent(receipt=False), "failed"),
    ],
)
def test_a_transfer_that_did_not_arrive_whole_fails(step: Step, said: Completed, why: str) -> None:
    outcome = _transfer(step, lambda call: said if call.host == "nyc-1" else _sent())
    assert outcome.verdict is Verdict.FAIL and "nyc-1: " in outcome.summary and why in outcome.summary


@pytest.mark.parametrize("there", [Completed(0, b"0" * 64, b""), Completed(0, b"", b""), Completed(1, b"e" * 64, b"no such file")])
def test_what_arrived_is_hashed_where_it_arrived(step: Step, there: Completed) -> None:
    asked: list[tuple[str, str]] = []

    def stored(call: Call) -> Completed:
        asked.append((call.host, call.words[-1]))
        return there if call.host == "nyc-1" else Completed(0, b"e" * 64, b"")

    outcome = _transfer(step, lambda call: _sent(), stored)
    assert outcome.verdict is Verdict.FAIL and "ams-1: nyc-1 committed other content than was sent" in outcome.summary
    assert ("nyc-1", "/var/lib/dwcp/store/agent.ams-1/functional/ams-1") in asked


def test_a_silent_sender_does_not_pass(step: Step) -> None:
    step.hosts.silent.add("ams-1")
    outcome = _transfer(step, lambda call: _sent())
    assert outcome.verdict is not Verdict.PASS and "ams-1: no answer" in outcome.summary


# -- checks.monitoring ------------------------------------------------------------------------------------------------------------


class _Ops:
    """Prometheus and Alertmanager, all well."""

    def __init__(self) -> None:
        jobs = {"agent": AGENTS, "load": LOADS, "gateway": GATEWAYS, "node": (*AGENTS, OPS)}
        self.targets: list[dict[str, Any]] = [
            {"labels": {"job": job, "host": host}, "health": "up", "lastError": "", "scrapeUrl": f"https://{host}/metrics"}
            for job, hosts in jobs.items()
            for host in hosts
        ]
        self.rules = ["DwcpErrorRateHigh", "DwcpCorruption", "DwcpAgentDown", "DwcpMetricsAbsent", "DwcpLatencyHigh"]
        self.alerts: list[dict[str, Any]] = [{"state": "pending", "labels": {"alertname": "DwcpLatencyHigh"}}]
        self.ready, self.status = 200, "success"
        self.silent = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.silent and self.silent in str(request.url):
            raise httpx.ConnectError("refused")
        path = request.url.path
        if path == "/-/ready":
            return httpx.Response(self.ready)
        data: dict[str, Any] = {
            "/api/v1/targets": {"activeTargets": self.targets},
            "/api/v1/rules": {"groups": [{"rules": [{"name": name}]} for name in self.rules]},
            "/api/v1/alerts": {"alerts": self.alerts},
        }[path]
        return httpx.Response(200, json={"status": self.status, "data": data})


def _monitored(step: Step, monkeypatch: pytest.MonkeyPatch, ops: _Ops, settle_s: float = -1) -> Any:
    monkeypatch.setattr(checks_monitoring, "_SETTLE_S", settle_s)
    web(monkeypatch, checks_monitoring, ops)
    return named("checks.monitoring").apply(step.ctx(), {})


def test_monitoring_that_sees_all_passes(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = _monitored(step, monkeypatch, _Ops())
    assert outcome.verdict is Verdict.PASS and "13 targets up, 5 alert rules" in outcome.summary


def _down(ops: _Ops) -> None:
    ops.targets[0].update(health="down", lastError="connection refused")


def _not_yet(ops: _Ops) -> None:
    ops.targets[-1].update(health="unknown")


def _untargeted(ops: _Ops) -> None:
    ops.targets = [target for target in ops.targets if target["labels"] != {"job": "agent", "host": "nyc-2"}]


def _ruleless(ops: _Ops) -> None:
    ops.rules.remove("DwcpCorruption")


def _no_alertmanager(ops: _Ops) -> None:
    ops.ready = 503


def _firing(ops: _Ops) -> None:
    ops.alerts[0]["state"] = "firing"


def _erring(ops: _Ops) -> None:
    ops.status = "error"


def _mute_prometheus(ops: _Ops) -> None:
    ops.silent = ":9090"


def _mute_alertmanager(ops: _Ops) -> None:
    ops.silent = ":9093"


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (_down, "cannot scrape agent on ams-1: connection refused"),
        (_not_yet, "cannot scrape node on ops: unknown"),
        (_untargeted, "the fleet needs"),
        (_ruleless, "DwcpCorruption are not loaded"),
        (_no_alertmanager, "Alertmanager is not ready (503)"),
        (_firing, "DwcpLatencyHigh already fires"),
        (_erring, "Prometheus answered 200"),
        (_mute_prometheus, "no answer from https://10.9.1.10:9090"),
        (_mute_alertmanager, "no answer from https://10.9.1.10:9093"),
    ],
)
def test_monitoring_with_a_hole_does_not_pass(step: Step, monkeypatch: pytest.MonkeyPatch, harm: Callable[[_Ops], None], why: str) -> None:
    ops = _Ops()
    harm(ops)
    outcome = _monitored(step, monkeypatch, ops)
    assert outcome.verdict is not Verdict.PASS and why in outcome.summary


def test_monitoring_gets_the_time_to_settle(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    ops, looks = _Ops(), []
    _firing(ops)

    def healing(request: httpx.Request) -> httpx.Response:
        looks.append(request.url.path)
        if looks.count("/-/ready") == 3:
            ops.alerts.clear()
        return ops(request)

    monkeypatch.setattr(checks_monitoring, "_SETTLE_S", 60)
    web(monkeypatch, checks_monitoring, healing)
    assert named("checks.monitoring").apply(step.ctx(), {}).verdict is Verdict.PASS
    assert looks.count("/-/ready") == 4


def test_hosts_can_be_checked_before_anything_serves(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = _healthy(step, monkeypatch)
    outcome = named("checks.hosts").apply(step.ctx(ctx.params, incumbent=None), {})
    assert outcome.verdict is Verdict.PASS


@pytest.mark.parametrize("path", ["/health", "/ready", "/objects/"])
def test_an_agent_that_answers_nonsense_is_named(step: Step, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    def spoil(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        return httpx.Response(201 if request.method == "PUT" else 200, text="<html>") if path in request.url.path else answer

    outcome = _smoke(step, monkeypatch, _Agents(step, spoil))
    assert outcome.verdict is Verdict.FAIL and "ams-2: " in outcome.summary


def test_a_page_of_something_else_is_no_monitoring(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_monitoring, "_SETTLE_S", -1)
    web(monkeypatch, checks_monitoring, lambda request: httpx.Response(200, text="<html>"))
    outcome = named("checks.monitoring").apply(step.ctx(), {})
    assert outcome.verdict is not Verdict.PASS and "Prometheus" in outcome.summary


@pytest.mark.parametrize(
    ("silent", "wrong", "verdict", "named"),
    [
        ({"ams-2"}, set(), Verdict.ERROR, "ams-2"),
        ({"ams-2"}, {"nyc-1"}, Verdict.FAIL, "nyc-1"),
        (set(), {"nyc-1"}, Verdict.FAIL, "nyc-1"),
        (set(), set(), Verdict.PASS, "hosts"),
    ],
)
def test_silence_is_an_error_and_a_wrong_answer_a_failure(
    step: Step, silent: set[str], wrong: set[str], verdict: Verdict, named: str
) -> None:
    def look(host: Host) -> str:
        if host.name in silent:
            raise Unreachable(f"{host.name}: no answer")
        if host.name in wrong:
            raise Refused(f"{host.name}: says no")
        return "well"

    outcome = on_each(list(step.ctx().fleet().agents), look, "a look")
    assert outcome.verdict is verdict and named in outcome.summary
