"""Both releases on this machine, over loopback: no network, no other hosts. For a first look, and for tests.

Installed from their signed wheelhouses as on a host, started from one configuration, over one store.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from golive.errors import Held, Unprepared
from golive.fleet import pki
from golive.regress.ground import Ground, Side, ask_with
from golive.releases import Release

__all__ = ["installed", "loopback"]

_START_S = 60.0
_PORTS = {"a": 7400, "b": 7410}


def installed(release: Release, target: Path) -> Path:
    """The release's own ``dwcp``, installed offline into ``target`` from its files alone, every hash required. Raises Unprepared."""
    files = release.path / "files"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    steps = (
        [str(files / "uv"), "venv", "--quiet", "--offline", "--no-cache", "--no-python-downloads", "--python", version, str(target)],
        [
            *(str(files / "uv"), "pip", "install", "--quiet", "--offline", "--no-cache", "--no-index", "--compile-bytecode"),
            *(
                "--python",
                str(target / "bin/python"),
                "--find-links",
                str(files),
                "--require-hashes",
                "-r",
                str(files / "requirements.txt"),
            ),
        ],
    )
    for words in steps:
        done = subprocess.run(words, env=_bare(), capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise Unprepared(f"{release.id} could not be installed on this machine: {said}.")
    # As `dwcp-host install` leaves it: a release says what it is by the manifest beside its programs.
    (target / "manifest.json").write_bytes((release.path / "manifest.json").read_bytes())
    return target / "bin/dwcp"


@contextmanager
def loopback(incumbent: Release, candidate: Release) -> Iterator[Ground]:
    """Both run until the block is left, and nothing of them is left then. Raises Unprepared, Held."""
    number = secrets.randbelow(1 << 16)
    address, mark = f"127.83.{number >> 8}.{number & 255 or 1}", f"regress-{secrets.token_hex(4)}"
    with ExitStack() as left:
        place = Path(left.enter_context(tempfile.TemporaryDirectory(prefix="golive-regress-")))
        tls = _certificates(place, address)
        sides = []
        for role, release, slot in (("incumbent", incumbent, "a"), ("candidate", candidate, "b")):
            program = installed(release, place / role)
            agent = left.enter_context(_agent(program, place, slot, address, tls))
            side = Side(role, release.id, (str(program),), _PORTS[slot], {"pid": agent.pid}, version=release.version)
            sides.append(side)
        ask = ask_with(_run, "this machine")
        identity = {"ca": str(tls / "ca.crt"), "cert": str(tls / "here/agent.crt"), "key": str(tls / "here/agent.key")}
        yield Ground(
            where="this machine, loopback",
            incumbent=sides[0],
            candidate=sides[1],
            address=address,
            sender=ask,
            receiver=ask,
            neighbour=ask,
            sender_tls=identity,
            neighbour_tls=identity,
            work=str(place / mark),
            stores=[str(place / "store/agent.here" / mark)],
            prefix=mark,
            ship=_written,
            notes=["loopback: no network, and both ends share the processors"],
        )


@contextmanager
def _agent(program: Path, place: Path, slot: str, address: str, tls: Path) -> Iterator[subprocess.Popen[bytes]]:
    (place / "store").mkdir(exist_ok=True)
    config, log = place / f"agent-{slot}.yaml", place / f"agent-{slot}.log"
    settings = {
        **{"schema": 1, "host": "here", "site": "here", "listen": address, "store": str(place / "store"), "streams": 4},
        "tls": {"ca": str(tls / "ca.crt"), "cert": str(tls / "here/agent.crt"), "key": str(tls / "here/agent.key")},
    }
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    words = [str(program), "serve", "--config", str(config), "--release-dir", str(program.parent.parent)]
    with log.open("wb") as out:
        agent = subprocess.Popen(words, env={**_bare(), "DWCP_SLOT": slot}, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _START_S
        while b'"ready"' not in log.read_bytes():
            if agent.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing"]
                raise Held(f"The agent of slot {slot} did not start on this machine; it said: {said[-1][:300]}")
            time.sleep(0.05)
        yield agent
    finally:
        agent.terminate()
        try:
            agent.wait(timeout=40)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()


def _certificates(place: Path, address: str) -> Path:
    """A CA of this measurement's own, and a certificate of one host."""
    state = place / "state"
    state.mkdir()
    host: Any = SimpleNamespace(name="here", address=address, role="agent", gateway=False, load=False)
    lab: Any = SimpleNamespace(name="lab", is_lab=True, state=state)
    fleet: Any = SimpleNamespace(hosts=[host])
    pki.ensure(lab, fleet, {"here": [address]})
    return state / "pki"


def _written(path: str, content: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def _run(words: list[str], given: bytes, limit_s: float) -> tuple[int, bytes, bytes]:
    try:
        done = subprocess.run([sys.executable, *words[1:]], env=_bare(), input=given, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise Held(f"this machine: nothing was answered within {limit_s:.0f} s.") from None
    return done.returncode, done.stdout, done.stderr


def _bare() -> dict[str, str]:
    """This process's environment without anything that points Python, uv or the agent elsewhere."""
    away = ("PYTHON", "UV_", "PIP_", "VIRTUAL_ENV", "DWCP_")
    return {name: value for name, value in os.environ.items() if not name.startswith(away)}
