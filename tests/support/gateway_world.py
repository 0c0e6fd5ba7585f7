"""A gateway as the role configures it, with a real HAProxy, the real ``dwcp-host`` and stand-ins for the agents behind it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from golive import environment
from golive.fleet import pki
from golive.fleet.model import Fleet, Host
from golive.onhost.build import build
from golive.onhost.haproxy import Runtime
from tests.support.programs import running

ROLE = environment.ROOT / "roles" / "dwcp_gateway"
HOSTS = {"gw-h1": "127.0.0.1", "gw-h2": "127.0.0.2"}
PORTS = {"gateway": 27443, "metrics": 27480, "a": 27400, "b": 27410}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def until(condition: Callable[[], Any], what: str, deadline_s: float = 15.0) -> Any:
    """What ``condition`` returns once it is true. Fails naming ``what`` when it is not in time."""
    end = time.monotonic() + deadline_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)


class StandIn:
    """One agent: answers every request with who it is and what it was told, and ``/ready`` while it is ready."""

    def __init__(self, host: str, address: str, slot: str, tls: Path) -> None:
        self.host, self.slot = host, slot
        self.ready = True
        self.breaks_off = False
        """Closes the connection instead of answering."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            # One answer, one packet: else each waits for a delayed acknowledgement.
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                if self.path == "/ready":
                    self._send(200 if outer.ready else 503, {"ready": outer.ready})
                elif outer.breaks_off:
                    self.request.close()
                    self.close_connection = True
                else:
                    self._send(200, {"host": outer.host, "slot": outer.slot, "headers": {k.lower(): v for k, v in self.headers.items()}})

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._send(201, {"bytes": len(body), "slot": outer.slot})

            def _send(self, status: int, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A health check that hangs up early is no error."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(tls / host / "agent.crt", tls / host / "agent.key")
        context.load_verify_locations(tls / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = Server((address, PORTS[slot]), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing listens there any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@dataclass
class World:
    """The gateway under test."""

    root: Path
    tls: Path
    zipapp: Path
    agents: dict[tuple[str, str], StandIn] = field(default_factory=dict)
    haproxy: ExitStack = field(default_factory=ExitStack)
    master: subprocess.Popen[bytes] | None = None

    def host(self, *words: str, check: bool = True, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs the real ``dwcp-host``."""
        done = subprocess.run(self.host_argv(*words), capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})
        assert not check or done.returncode == 0, done.stderr
        return done

    def host_argv(self, *words: str) -> list[str]:
        return [sys.executable, "-I", str(self.zipapp), "--root", str(self.root), *words]

    def change(self, *words: str, check: bool = True, token: int = 1, run: str = "run-1") -> subprocess.CompletedProcess[str]:
        """Runs a verb that changes something."""
        return self.host(*words, "--token", str(token), "--run", run, check=check)

    def set(self, percent: int) -> dict[str, Any]:
        return dict(json.loads(self.change("weight", "set", "--slot-b", str(percent), "--stage", "test").stdout))

    def get(self) -> dict[str, Any]:
        return dict(json.loads(self.host("weight", "get").stdout))

    def start_agent(self, host: str, slot: str) -> StandIn:
        self.agents[host, slot] = StandIn(host, HOSTS[host], slot, self.tls)
        return self.agents[host, slot]

    def stop_agent(self, host: str, slot: str) -> None:
        self.agents.pop((host, slot)).stop()

    def client(self, role: str = "load", *, verify: bool = True) -> http.client.HTTPSConnection:
        """A connection to the gateway with a certificate of ``role`` (of host gw-h2; ``""`` shows none)."""
        context = ssl.create_default_context(cafile=str(self.tls / "ca.crt"))
        if role:
            base = self.tls / role if role == "operator" else self.tls / ("gw-h1" if role == "gateway" else "gw-h2") / role
            context.load_cert_chain(f"{base}.crt", f"{base}.key")
        return http.client.HTTPSConnection("127.0.0.1", PORTS["gateway"], timeout=10, context=context)

    def ask(
        self, session: str | None, *, client: http.client.HTTPSConnection | None = None, **headers: str
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers (lower case) and body of one request."""
        used = client or self.client()
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        if session is not None:
            sent["X-DWCP-Session"] = session
        used.request("GET", "/v1/status", headers=sent)
        answer = used.getresponse()
        body = answer.read()
        if client is None:
            used.close()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, json.loads(body) if body else {}

    def slots_of(self, sessions: list[str]) -> dict[str, str]:
        """Which slot answers each session, over one kept connection."""
        client = self.client()
        found = {session: str(self.ask(session, client=client)[2].get("slot")) for session in sessions}
        client.close()
        return found

    def runtime(self, command: str) -> str:
        """The answer of HAProxy's runtime socket."""
        return Runtime(self.root / "run/haproxy/admin.sock").ask(command)

    def start_haproxy(self) -> None:
        self.host("slot", "render")
        self.master = self.haproxy.enter_context(running("haproxy", ["-W", "-db", "-f", str(self.root / "haproxy.cfg")], shared=self.root))
        until(lambda: self.get()["runtime"] is not None, "HAProxy answers")

    def reload_haproxy(self) -> None:
        """As systemd does it: the master starts another worker, and the one before takes nobody new in."""

        def worker() -> str:
            return self.runtime("show info").partition("\nPid: ")[2].split("\n")[0]

        before = worker()
        assert before and self.master is not None
        self.master.send_signal(signal.SIGUSR2)
        until(lambda: worker() not in ("", before), "another worker answers")

    def stop_haproxy(self) -> None:
        self.haproxy.close()
        self.haproxy = ExitStack()

    def up(self, slot: str) -> bool:
        state = json.loads(self.host("slot", "state").stdout)["slots"][slot]["servers"]
        return all(server["status"].startswith("UP") and server["check"] == "L7OK" for server in state.values())


def configuration(root: Path, tls: Path) -> str:
    """The role's template with the role's defaults, at this test's ports and paths."""
    values = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    values |= {
        "ansible_managed": "test",
        "hostvars": {name: {"address": address} for name, address in HOSTS.items()},
        "dwcp_gateway_servers": sorted(HOSTS),
        "dwcp_gateway_listen": "127.0.0.1",
        "dwcp_gateway_port": PORTS["gateway"],
        "dwcp_gateway_metrics_port": PORTS["metrics"],
        "dwcp_gateway_slot_a_port": PORTS["a"],
        "dwcp_gateway_slot_b_port": PORTS["b"],
        "dwcp_gateway_tls_dir": str(tls / "gw-h1"),
        "dwcp_gateway_state_dir": str(root / "var/lib/dwcp/gateway"),
        "dwcp_gateway_socket": str(root / "run/haproxy/admin.sock"),
    }
    template = (ROLE / "templates" / "haproxy.cfg.j2").read_text(encoding="utf-8")
    return (
        jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
        .from_string(template)
        .render(values)
    )


def certificates(state: Path) -> Path:
    """The lab's own PKI for the hosts of this test, under ``state``."""
    hosts = [
        Host(name="gw-h1", site="x", address="127.0.0.1", role="agent", gateway=True, host_key=KEY),
        Host(name="gw-h2", site="x", address="127.0.0.2", role="agent", load=True, host_key=KEY),
        Host(name="gw-ops", site="x", address="127.0.0.3", role="ops", host_key=KEY),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLIVE_STATE", str(state))
        env = environment.load("lab")
        pki.ensure(env, Fleet(env="lab", hosts=tuple(hosts)), {host.name: [host.address, "127.0.0.1"] for host in hosts})
        directory = env.state / "pki"
    gateway = directory / "gw-h1"
    (gateway / "gateway.pem").write_bytes((gateway / "gateway.crt").read_bytes() + (gateway / "gateway.key").read_bytes())
    shutil.copy(directory / "ca.crt", gateway / "ca.crt")
    return directory


@contextmanager
def world() -> Iterator[World]:
    """A gateway with two hosts, both slots labelled and in, everything to slot a."""
    # Not pytest's directory: the path of a socket is short.
    root = Path(tempfile.mkdtemp(prefix="dwcp-gw-"))
    try:
        made = World(root, certificates(root / "state"), build())
        (root / "run/haproxy").mkdir(parents=True)
        (root / "haproxy.cfg").write_text(configuration(root, made.tls), encoding="utf-8")
        for host in HOSTS:
            for slot in ("a", "b"):
                made.start_agent(host, slot)
        try:
            made.start_haproxy()
            for slot in ("a", "b"):
                made.change("slot", "label", slot, f"release-{slot}")
                made.change("slot", "enable", slot, "--up", "10")
            yield made
        finally:
            made.stop_haproxy()
            for agent in made.agents.values():
                agent.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
