"""Fixtures: a CA for the whole run, agents in this process, agents as processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from dwcp_agent.config import AgentConfig, Ports, Tls
from dwcp_agent.release import Release
from dwcp_agent.security.rotation import following
from dwcp_agent.service import Service
from pki import Authority, Files

RELEASE = Release("3.0.0-0123456789ab", "3.0.0", "0123456789ab" + "0" * 52)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def people(authority: Authority) -> dict[str, Files]:
    """One certificate of every role."""
    names = {"agent": "host-1", "gateway": "gateway.host-1", "load": "load.host-2", "monitor": "monitor.ops", "operator": "operator"}
    return {ou: authority.issue(ou, cn) for ou, cn in names.items()} | {"other": authority.issue("load", "load.host-9")}


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    socks = [socket.socket() for _ in range(count)]
    try:
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """The first true value of ``condition``; fails the test after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
    return value


def context_of(files: Files) -> ssl.SSLContext:
    return following(Tls(ca=files.ca, cert=files.cert, key=files.key))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Agent:
    """An agent in this process."""

    service: Service
    store: Path
    people: dict[str, Files]
    sessions: list[aiohttp.ClientSession] = field(default_factory=list)

    @property
    def control(self) -> str:
        return f"https://127.0.0.1:{self.service.ports.control}"

    @property
    def health(self) -> str:
        return f"http://127.0.0.1:{self.service.ports.health}"

    def as_(self, who: str) -> aiohttp.ClientSession:
        """A client with the certificate of ``who``."""
        connector = aiohttp.TCPConnector(ssl=context_of(self.people[who]))
        session = aiohttp.ClientSession(self.control, connector=connector, auto_decompress=False)
        self.sessions.append(session)
        return session

    async def open_session(self, who: str = "load", session: str = "s-1", **more: str) -> dict[str, Any]:
        """What the agent answers; ``more`` are further headers."""
        async with self.as_(who).post("/v1/sessions", headers={"X-DWCP-Session": session, **more}) as response:
            assert response.status == 201, await response.text()
            answer: dict[str, Any] = await response.json()
            return answer

    def files(self) -> list[str]:
        """Every file of the store, temporary ones too; but for kept manifests."""
        found = (path.relative_to(self.store) for path in self.store.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if path.parts[0] != ".manifests")


def agent_settings(store: Path, files: Files, **more: Any) -> dict[str, Any]:
    store.mkdir(parents=True, exist_ok=True)
    base = {
        "schema": 1,
        "host": "host-1",
        "site": "ams",
        "listen": "127.0.0.1",
        "tls": files.as_config(),
        "store": str(store),
        "streams": 2,
    }
    base["limits"] = {"drain_grace_s": 0.0, "stall_timeout_s": 5.0} | more.pop("limits", {})
    return base | more


@pytest.fixture
def start_agent(tmp_path: Path, people: dict[str, Files]) -> Callable[..., Any]:
    """An async context manager that yields a running :class:`Agent`; keyword arguments change its configuration."""

    @asynccontextmanager
    async def start(*, defect: dict[str, float | bool] | None = None, **settings: Any) -> AsyncIterator[Agent]:
        store = tmp_path / "store"
        config = AgentConfig.model_validate(agent_settings(store, people["agent"], **settings))
        control, data, health = free_ports(3)
        service = Service(config, "a", RELEASE, ports=Ports(control=control, data=data, health=health), defect=defect)
        await service.start()
        agent = Agent(service, store, people)
        try:
            yield agent
        finally:
            for session in agent.sessions:
                await session.close()
            await service.drain()

    return start


@pytest.fixture
async def agent(start_agent: Callable[..., Any]) -> AsyncIterator[Agent]:
    async with start_agent() as running:
        yield running


class Process:
    """``dwcp serve`` or ``dwcp load`` as its own process, its log read as it is written."""

    def __init__(self, arguments: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self._log = log
        self._out = log.open("wb")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "dwcp_agent", *arguments],
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )

    def lines(self) -> list[str]:
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()

    def events(self, name: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.lines() if line.startswith("{")]
        return [line for line in found if line["event"] == name]

    def wait_for_event(self, name: str, timeout_s: float = 15.0) -> dict[str, Any]:
        def seen() -> list[dict[str, Any]]:
            assert self.popen.poll() is None or self.events(name), "\n".join(self.lines())
            return self.events(name)

        first: dict[str, Any] = wait_for(f"event {name} in {self._log}", seen, timeout_s)[0]
        return first

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()
        self._out.close()


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    """What is appended is ended with the test."""
    started: list[Process] = []
    yield started
    for process in started:
        process.end()


def write_yaml(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def dwcp(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs a command in this process (starting one takes a second); what needs signals or a log is a :class:`Process`."""

    def run(*arguments: str, **environment: str) -> Done:
        from dwcp_agent import cli

        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            capfd.readouterr()
            code = cli.main(arguments)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run


def one_sentence(text: str) -> bool:
    return text.count("\n") == 1 and text.rstrip().endswith(".") and "Traceback" not in text


@pytest.fixture
def local(tmp_path: Path, people: dict[str, Files]) -> Callable[..., tuple[Path, int]]:
    """A program that serves on free ports of 127.0.0.1 instead of the slot's: certificates of tests are for that address."""

    return lambda **settings: program_on_free_ports(tmp_path, people["agent"], **settings)


def program_on_free_ports(place: Path, files: Files, **settings: Any) -> tuple[Path, int]:
    """Its program and control port; configuration and store are in ``place``."""
    config = write_yaml(place / "local.yaml", agent_settings(place / "store", files, **settings))
    control_port, data, health = free_ports(3)
    program = place / "serve.py"
    program.write_text(
        "import sys\nfrom dwcp_agent import config, cli\n"
        f"config._PORTS['a'] = config.Ports(control={control_port}, data={data}, health={health})\n"
        f"sys.exit(cli.main(['serve', '--config', {str(config)!r}]))\n"
    )
    return program, control_port


class Program(Process):
    """A Python program as a process whose log is read."""

    def __init__(self, program: Path, log: Path) -> None:
        self._log = log
        self._out = log.open("wb")
        self.popen = subprocess.Popen([sys.executable, str(program)], stdout=self._out, stderr=subprocess.STDOUT)


@dataclass
class Host:
    """A host with an agent as a process of its own, shared by tests that give their content names of their own."""

    place: Path
    port: int
    identity: Files

    @property
    def store(self) -> Path:
        """What the operator sent, by its names."""
        return self.place / "store" / "operator.operator"

    @property
    def config(self) -> Path:
        return self.place / "local.yaml"

    def to(self, name: str) -> list[str]:
        """The arguments that follow the source of ``dwcp send``."""
        return [f"https://127.0.0.1:{self.port}/{name}", *self.identity.as_arguments(), "--json"]


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory, people: dict[str, Files]) -> Iterator[Host]:
    place = tmp_path_factory.mktemp("host")
    program, port = program_on_free_ports(place, people["agent"])
    process = Program(program, place / "log")
    try:
        process.wait_for_event("ready")
        yield Host(place, port, people["operator"])
    finally:
        process.end()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache directory: this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dwcp"
