"""HTTPS to hosts behind a bastion: through it, to hosts of the fleet alone, and for this process alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from golive import environment
from golive.environment import Environment
from golive.fleet.model import Bastion, Fleet, Host
from golive.fleet.tunnel import proxy
from tests.support.ssh_server import SshServer, new_key


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Environment, Fleet, SshServer]]:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    env = environment.load("lab")
    (env.state / "keys").mkdir()
    jump = SshServer(tmp_path, new_key(env.state / "keys" / "operator"))
    behind = Bastion(name="jump", address="127.0.0.1", ssh_port=jump.port, host_key=jump.public)
    ops = Host(name="ops", site="s", address="127.0.0.1", role="ops", host_key="ssh-ed25519 AAAA", bastion=behind)
    yield env, Fleet(env="lab", hosts=(ops,)), jump
    jump.close()


def connect(url: str, target: str) -> str:
    """Asks the proxy for ``target`` as httpx would; the status line."""
    import base64
    import socket
    from urllib.parse import urlparse

    parts = urlparse(url)
    secret = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5) as sock:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nProxy-Authorization: Basic {secret}\r\n\r\n".encode())
        first = sock.recv(1000).split(b"\r\n")[0].decode()
        if " 200 " not in first:
            return first
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        said = b""
        while more := sock.recv(1000):
            said += more
        return said.decode().splitlines()[-1]


def test_a_request_reaches_the_host_through_the_bastion(world: tuple[Environment, Fleet, SshServer], port: int) -> None:
    env, fleet, jump = world
    url = proxy(env, fleet)
    assert url is not None and proxy(env, fleet) == url
    assert connect(url, f"127.0.0.1:{port}") == "hello"
    assert len(jump.forwarded) == 1


def test_plain_http_goes_the_same_way_and_one_connection_never_serves_two_hosts(
    world: tuple[Environment, Fleet, SshServer], port: int
) -> None:
    env, fleet, jump = world
    with httpx.Client(proxy=proxy(env, fleet), trust_env=False) as client:
        assert [client.get(f"http://127.0.0.1:{port}/health?x=1").text for _ in range(2)] == ["hello", "hello"]
        assert client.get(f"http://127.0.0.2:{port}/health").status_code == 403
    assert len(jump.forwarded) == 2


def test_only_hosts_of_the_fleet_and_only_who_knows_the_secret(world: tuple[Environment, Fleet, SshServer], port: int) -> None:
    env, fleet, jump = world
    url = proxy(env, fleet) or ""
    assert "403" in connect(url, f"127.0.0.2:{port}")
    assert "407" in connect(url.replace("golive:", "golive:x"), f"127.0.0.1:{port}")
    assert "502" in connect(url, "127.0.0.1:1")
    assert jump.forwarded == []
    with pytest.raises(httpx.ProxyError, match="407"), httpx.Client(proxy=url.replace("golive:", "golive:x")) as client:
        client.get(f"https://127.0.0.1:{port}/")


def test_a_fleet_without_bastions_needs_no_proxy(world: tuple[Environment, Fleet, SshServer]) -> None:
    env, fleet, _ = world
    assert proxy(env, Fleet(env="lab", hosts=tuple(host.model_copy(update={"bastion": None}) for host in fleet.hosts))) is None


def test_whoever_asks_a_host_over_https_says_which_way() -> None:
    """A client without the way would ask the open network for an address inside a site."""
    sources = [path for path in (environment.ROOT / "golive").rglob("*.py") if path.name != "adapters.py"]
    calls = [
        line
        for path in sources
        for line in path.read_text(encoding="utf-8").splitlines()
        if " Prometheus(" in line or "LoadClient(" in line
    ]
    assert len(calls) >= 3
    assert [line for line in calls if "proxy=" not in line] == []
