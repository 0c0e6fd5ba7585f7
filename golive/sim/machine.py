"""The fakes beside a host's files: systemd, HAProxy, pip and a release's own answer, as ``dwcp-host`` uses them."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golive.onhost import ready
from golive.onhost.machine import Machine
from golive.onhost.places import Places
from golive.sim import restic
from golive.sim.world import SimHost, World

if TYPE_CHECKING:
    from golive.sim.ledger import Unit

__all__ = ["SimMachine", "agent_at", "lives"]

_signatures: dict[bytes, tuple[int, str]] = {}
_signatures_lock = threading.Lock()


def lives(world: World, unit: str, since: float, now: float) -> bool:
    """Whether a unit that was started at ``since`` has not died of its planted defect by ``now``."""
    after = world.defect(unit.partition("@")[2].removesuffix(".service")).get("crash_after_s")
    return after is None or now - since < float(after)


def agent_at(world: World, host: SimHost, slot: str, now: float | None = None) -> str | None:
    """The release that answers in ``slot`` of ``host``."""
    now = world.clock.world() if now is None else now
    for name, unit in host.ledger.read().units.items():
        if unit.on and name.startswith("dwcp-agent@") and lives(world, name, unit.since, now):
            release = name.removeprefix("dwcp-agent@").removesuffix(".service")
            if unit.slot == slot:
                return release
    return None


def _slot(host: SimHost, release: str) -> str | None:
    try:
        return host.places.slot_file(release).read_text(encoding="utf-8").strip().removeprefix("DWCP_SLOT=")
    except FileNotFoundError:
        return None


class SimMachine(Machine):
    """One simulated host, as `golive.onhost` sees its machine while one command runs."""

    def __init__(self, world: World, host: SimHost) -> None:
        self._world = world
        self._host = host
        self._ledger = host.ledger
        self.waited_s = 0.0
        """What the command waited, in no time."""

    def writes(self, path: Path) -> None:
        if self._host.condition.full:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    # -- time ------------------------------------------------------------------------------------------------------------------

    def boot_id(self) -> str:
        return f"{self._host.name}-boot-{self._ledger.read().boots}"

    def boottime_s(self) -> float:
        return self._world.clock.monotonic() + self.waited_s

    def monotonic(self) -> float:
        return time.monotonic() + self.waited_s

    def sleep(self, seconds: float) -> None:
        self.waited_s += seconds

    # -- programs --------------------------------------------------------------------------------------------------------------

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        words = list(command)
        if words[:4] == ["nice", "-n", "5", "restic"]:
            return restic.ran(self._world, words[4:], options, self._world.clock.world() + self.waited_s)
        if words[:3] == ["nice", "-n", "19"]:
            return self._uv(words[3:])
        if words[0] == "systemctl":
            return self._systemctl([word for word in words[1:] if word not in ("--no-ask-password", "--quiet")])
        if words[0] == "journalctl":
            return subprocess.CompletedProcess(words, 0, "", "")
        if words[0] == "ssh-keygen":
            return _ssh_keygen(words, options)
        raise FileNotFoundError(errno.ENOENT, f"a simulated host has no {words[0]}")

    def _uv(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        """``uv venv`` and ``uv pip install``: a directory with the two programs that are looked for."""
        target = Path(words[-1] if words[1] == "venv" else words[words.index("--python") + 1])
        binaries = target / "bin" if words[1] == "venv" else target.parent
        binaries.mkdir(parents=True, exist_ok=True)
        (binaries / ("python" if words[1] == "venv" else "dwcp")).write_text("simulated\n", encoding="utf-8")
        if words[1] == "pip":
            self._ledger.write(self._world.clock.world(), "placed", release=target.parents[1].name.removesuffix(".partial"))
        return subprocess.CompletedProcess(words, 0, "", "")

    def _systemctl(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        verb, names, now = words[0], words[words.index("--") + 1 :], self._world.clock.world()
        known = self._ledger.read().units
        if verb == "show":
            blocks = [self._shown(name, known.get(name), now) for name in names]
            return subprocess.CompletedProcess(words, 0, "\n\n".join(blocks) + "\n", "")
        unit = known.get(names[0])
        if verb == "start":
            release = names[0].partition("@")[2].removesuffix(".service")
            if not any((self._host.places.releases(kind) / release / "bin/dwcp").exists() for kind in ("agent", "load")):
                return subprocess.CompletedProcess(words, 1, "", f"Unit {names[0]} has no program to run.")
            if unit is None or not unit.on or not lives(self._world, names[0], unit.since, now):
                if unit is not None and unit.on:
                    self._ledger.write(now, "stop", unit=names[0], why="died")
                self._ledger.write(now, "start", unit=names[0], slot=_slot(self._host, release))
        elif verb == "stop":
            if unit is not None and unit.on:
                self._ledger.write(now, "stop", unit=names[0])
        elif verb in ("enable", "disable"):
            self._ledger.write(now, verb, unit=names[0])
        return subprocess.CompletedProcess(words, 0, "", "")

    def _shown(self, name: str, unit: Unit | None, now: float) -> str:
        on = unit is not None and unit.on
        state = "inactive" if not on else "active" if unit is not None and lives(self._world, name, unit.since, now) else "failed"
        starts, enabled = (unit.starts, unit.enabled) if unit is not None else (0, False)
        invocation = hashlib.md5(f"{name}/{starts}".encode(), usedforsecurity=False).hexdigest() if starts else ""
        pid = 1000 + starts if state == "active" else 0
        facts = {"Id": name, "ActiveState": state, "SubState": state, "UnitFileState": "enabled" if enabled else "disabled"}
        return "\n".join(f"{key}={value}" for key, value in {**facts, "InvocationID": invocation, "MainPID": pid}.items())

    # -- HAProxy ---------------------------------------------------------------------------------------------------------------

    def haproxy(self, path: Path, command: str, timeout_s: float) -> bytes:
        ledger, now = self._ledger.read(), self._world.clock.world()
        if not ledger.haproxy:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        match command.split():
            case ["show", "map", file]:
                return "\n".join(f"0x1 {key} {value}" for key, value in ledger.maps.get(Path(file).name, {}).items()).encode()
            case [("set" | "add"), "map", file, key, value]:
                ledger.write(now, "map", map=Path(file).name, key=key, value=value)
                return b""
            case ["set", "server", server, "state", state]:
                ledger.write(now, "server", server=server, out=state == "maint")
                return b""
            case ["show", "stat", *_]:
                return "\n".join(["# pxname,svname,status,check_status", *self._servers(ledger.out, now)]).encode()
        return b"Unknown command."

    def _servers(self, out: set[str], now: float) -> list[str]:
        site = next(host.site for host in self._world.fleet.hosts if host.name == self._host.name)
        rows = []
        for slot in "ab":
            for server in self._world.servers(site):
                up = agent_at(self._world, self._world.host(server.name), slot, now) is not None
                status = "MAINT" if f"slot_{slot}/{server.name}" in out else "UP" if up else "DOWN"
                rows.append(f"slot_{slot},{server.name},{status},{'L7OK' if up else 'L4CON'}")
        return rows

    # -- the network -----------------------------------------------------------------------------------------------------------

    def connects(self, host: str, port: int, timeout_s: float) -> None:
        there = self._world.host(host).condition
        if there.cut or there.hangs:
            self.waited_s += timeout_s
            raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    # -- releases --------------------------------------------------------------------------------------------------------------

    def ready(self, places: Places, port: int, timeout_s: float) -> dict[str, Any]:
        now = self._world.clock.world()
        if port == ready.LOAD_PORT:
            running = [n for n, u in self._ledger.read().units.items() if u.on and n.startswith("dwcp-load@")]
            release = running[0].removeprefix("dwcp-load@").removesuffix(".service") if running else None
        else:
            release = agent_at(self._world, self._host, next(s for s, p in ready.CONTROL.items() if p == port), now)
        if release is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        kind = "load" if port == ready.LOAD_PORT else "agent"
        manifest = places.releases(kind) / release / "manifest.json"
        return {"ready": True, "id": release, "digest": hashlib.sha256(manifest.read_bytes()).hexdigest()}


def _ssh_keygen(words: list[str], options: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """The real program; the same question is asked once for the whole fleet."""
    stdin: Any = options.get("stdin")
    message = stdin.read() if hasattr(stdin, "read") else b""
    files = [Path(words[words.index(flag) + 1]).read_bytes() for flag in ("-s", "-f")]
    rest = [word for word in words if "/" not in word]
    key = hashlib.sha256(b"\0".join([repr(rest).encode(), *files, message])).digest()
    with _signatures_lock:
        if key not in _signatures:
            done = subprocess.run(words, input=message, capture_output=True, check=False)
            _signatures[key] = (done.returncode, done.stdout.decode(errors="replace"))
        code, out = _signatures[key]
    return subprocess.CompletedProcess(words, code, out, "")
