"""Preflight over real SSH connections: all hosts at once, none waited for past the deadline, nothing changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from golive import environment
from golive.environment import Environment
from golive.preflight import Report, preflight
from golive.preflight.probe import echoed, listeners, ways
from golive.preflight.question import COMMAND, script
from tests.support.ssh_server import Manner, SshServer, new_key


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment of an owner's, in a checkout of the test's own."""
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    real = Path(__file__).resolve().parents[2]
    (tmp_path / "inventories" / "prod").mkdir(parents=True)
    shutil.copy(real / "inventories" / "prod" / "environment.yaml", tmp_path / "inventories" / "prod")
    shutil.copytree(real / "policies", tmp_path / "policies")
    env = environment.load("prod")
    (env.state / "keys").mkdir()
    return env


@pytest.fixture
def serve(shop: Environment, tmp_path: Path) -> Iterator[Callable[..., SshServer]]:
    opened: list[SshServer] = []
    client = new_key(shop.state / "keys" / "operator")

    def make(manner: Manner = "serve") -> SshServer:
        directory = tmp_path / f"server{len(opened)}"
        directory.mkdir()
        opened.append(SshServer(directory, client, manner))
        return opened[-1]

    yield make
    for server in opened:
        server.close()


def listed(env: Environment, *servers: SshServer, **keys: str) -> None:
    """Hosts h0, h1, ... at addresses of their own on loopback, and ``ops``, which is not there."""
    entries: list[dict[str, Any]] = [
        {
            "name": f"h{n}",
            "site": "s",
            "address": f"127.0.0.{n + 1}",
            "role": "agent",
            "ssh_port": server.port,
            "host_key": keys.get(f"h{n}", server.public),
        }
        for n, server in enumerate(servers)
    ]
    entries[0] |= {"gateway": True, "load": True}
    ops = {"name": "ops", "site": "s", "address": "127.0.0.250", "role": "ops", "ssh_port": 1, "host_key": new_key(env.state / "other")}
    (env.inventory_dir / "hosts.yaml").write_text(yaml.safe_dump({"hosts": [*entries, ops]}))


def told(report: Report, name: str) -> str:
    return "\n".join(f"{finding.check}: {finding.says}" for finding in report.hosts[name])


def asked(env: Environment, deadline_s: float = 60) -> Report:
    return preflight(env, knows=lambda run: False, looks={}, deadline_s=deadline_s)


def test_what_keeps_hosts_from_answering_is_told_of_all_at_once(shop: Environment, serve: Callable[..., SshServer], tmp_path: Path) -> None:
    # The server listens on 127.0.0.1 alone, so that every host but the first has nobody at its address.
    good = serve()
    listed(shop, good, good, h1=new_key(tmp_path / "another"))
    report = asked(shop)
    assert report.silent == ["h1", "ops"]
    assert "ssh: " in told(report, "h1") and "does not answer" in told(report, "ops")
    assert "ssh: " not in told(report, "h0")
    assert good.commands and all(command.startswith(("true", "sh -c")) for command in good.commands)
    assert len(good.commands) == 2


def test_another_host_key_is_told_and_nothing_runs_there(shop: Environment, serve: Callable[..., SshServer], tmp_path: Path) -> None:
    server = serve()
    listed(shop, server, h0=new_key(tmp_path / "another"))
    assert "has another host key than the pinned one; if the host was rebuilt, pin its new key" in told(asked(shop), "h0")
    assert server.commands == []


def test_a_host_that_accepts_and_hangs_does_not_hold_the_others_past_the_deadline(
    shop: Environment, serve: Callable[..., SshServer]
) -> None:
    listed(shop, serve("silent"))
    began = time.monotonic()
    report = asked(shop, deadline_s=2)
    assert time.monotonic() - began < 8
    assert "deadline: was not asked to the end within 2 s" in told(report, "h0")
    assert "h0" in report.silent and not report.ok


def test_what_this_machine_lacks_is_told_of_it_all_at_once(shop: Environment, serve: Callable[..., SshServer]) -> None:
    listed(shop, serve())
    (shop.state / "keys" / "operator").chmod(0o644)

    def broken() -> None:
        from golive.errors import BadInput

        raise BadInput("line 7 is wrong")

    report = preflight(shop, knows=lambda run: False, looks={"runbooks": broken})
    said = {finding.check: finding.says for finding in report.controller}
    assert "chmod 600" in said["key"] and said["runbooks"] == "line 7 is wrong"
    assert {"signers", "ca", "releases"} <= set(said)


def test_looking_changes_nothing_on_a_host(tmp_path: Path) -> None:
    """The probe as it is sent, run here: it leaves no file behind, and its answer is one line of JSON."""

    def seen() -> str:
        paths = [path for place in ("/etc", "/opt", "/var/lib") for path in sorted(Path(place).glob("*"))]
        return hashlib.sha256("".join(f"{path} {path.lstat().st_mtime_ns}" for path in paths).encode()).hexdigest()

    question = {
        "paths": ["/opt/dwcp", "/etc"],
        "programs": ["sh", "nothing-of-this-name"],
        "ways": [],
        "large": [],
        "patience_s": 1,
        "mtu": 1500,
    }
    before = seen()
    done = subprocess.run(COMMAND, input=script(question), capture_output=True, check=True, cwd=tmp_path)
    assert seen() == before and list(tmp_path.iterdir()) == []
    answer = json.loads(done.stdout)
    assert answer["programs"]["sh"] and answer["programs"]["nothing-of-this-name"] is None
    assert answer["python"].startswith("3.") and answer["disks"]["/etc"]["free"] > 0
    assert answer["began"] <= answer["ended"]


def test_a_host_without_python_can_still_say_so(tmp_path: Path) -> None:
    done = subprocess.run(["/bin/sh", *COMMAND[1:]], env={"PATH": str(tmp_path)}, input=b"", capture_output=True, check=True)
    assert done.stdout == b"no-python\n"


def test_a_user_who_needs_a_password_for_sudo_is_heard(tmp_path: Path) -> None:
    for name, text in (
        ("id", "echo 1000"),
        ("sudo", "echo 'sudo: a password is required' >&2; exit 1"),
        ("python3", f'exec {sys.executable} "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    asked = {"paths": [], "programs": [], "ways": [], "large": [], "patience_s": 1, "mtu": 1500}
    done = subprocess.run(
        ["/bin/sh", *COMMAND[1:]], env={"PATH": f"{tmp_path}:/usr/bin"}, input=script(asked), capture_output=True, check=True
    )
    assert json.loads(done.stdout)["sudo"] == "sudo: a password is required"


def test_a_way_is_open_when_it_is_taken_or_refused_and_shut_when_nobody_answers() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = {(name, way): trouble for name, _, way, trouble in ways([["a", "127.0.0.1", port], ["a", "127.0.0.1", 1]], 1)}
        assert found == {("a", port): "", ("a", 1): ""}
        assert any(listener["port"] == port and listener["command"] for listener in listeners())
    [[_, _, _, trouble]] = ways([["b", "192.0.2.255", 9]], 0.5)
    assert trouble
    assert echoed("127.0.0.1", 1400) is True


def test_the_probe_is_python_that_old_hosts_read() -> None:
    import ast

    source = Path(__file__).resolve().parents[2] / "golive" / "preflight" / "probe.py"
    ast.parse(source.read_text(encoding="utf-8"), feature_version=(3, 6))
