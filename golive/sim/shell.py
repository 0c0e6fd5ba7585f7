"""Commands on simulated hosts, with the contract of `golive.fleet.ssh.Shell`."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import threading
import time
from collections.abc import Callable, Sequence

from golive.errors import GoliveError, Refused, Unreachable
from golive.fleet.connection import Completed
from golive.fleet.model import Fleet, Host
from golive.onhost import machine
from golive.onhost.lease import LeaseFiles
from golive.onhost.main import perform
from golive.sim.machine import SimMachine, agent_at
from golive.sim.world import SimHost, World

__all__ = ["SimShell", "onhost"]

_CONNECT_S = 10.0
_SEND = re.compile(r"/opt/dwcp/releases/(\S+)/bin/dwcp send \"\$f\" https://([0-9.]+):(\d+)/functional/(\S+)")
_locks: dict[str, threading.Lock] = {}
_locks_guard = threading.Lock()


def onhost(world: World, host: SimHost, words: Sequence[str], stdin: bytes | None = None) -> tuple[Completed, float]:
    """The real ``dwcp-host`` over this host's files: how it ended, and what it waited."""
    fake = SimMachine(world, host)
    with _locks_guard:
        lock = _locks.setdefault(str(host.directory), threading.Lock())
    with lock:  # commands of one process on one host go one after the other: they share a process id, which hosts' never do
        machine.put(fake)
        try:
            if "guard" not in host.condition.dead and not host.condition.full:
                LeaseFiles(host.places).guard_is_alive()
            code, said = perform(["--root", str(host.root), *words], io.StringIO((stdin or b"").decode()))
        except SystemExit as wrong:
            code, said = int(wrong.code or 2), f"dwcp-host: the words {shlex.join(words)} are no verb"
        finally:
            machine.put(None)
    text = (said + "\n").encode()
    return (Completed(code, b"", text) if code else Completed(0, text, b"")), fake.waited_s


class SimShell:
    """Runs commands on the hosts of a world. Any thread may call it."""

    def __init__(self, world: World, fleet: Fleet, point: Callable[[], None]) -> None:
        self._world = world
        self._fleet = fleet
        self._point = point

    def __enter__(self) -> SimShell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is kept open."""

    def run(self, host: Host, argv: Sequence[str], *, input: bytes | None = None, timeout_s: float = 30) -> Completed:
        """As `golive.fleet.ssh.Shell.run`."""
        began = self._world.clock.monotonic()
        try:
            done, took = self._run(host, list(argv), input, timeout_s)
        except _Late as late:
            self._world.clock.at_least(began + late.seconds)
            raise late.error from None
        self._world.clock.at_least(began + took)
        return done

    def each(
        self, hosts: Sequence[Host], argv: Sequence[str], *, input: bytes | None = None, timeout_s: float = 30
    ) -> dict[str, Completed | GoliveError]:
        """As `golive.fleet.ssh.Shell.each`: what the slowest took is what it took."""
        began, longest = self._world.clock.monotonic(), 0.0
        answers: dict[str, Completed | GoliveError] = {}
        for host in hosts:
            try:
                answers[host.name], took = self._run(host, list(argv), input, timeout_s)
            except _Late as late:
                answers[host.name], took = late.error, late.seconds
            except GoliveError as error:
                answers[host.name], took = error, 0.0
            longest = max(longest, took)
        if longest:
            self._world.clock.at_least(began + longest)
        return answers

    def _run(self, host: Host, argv: list[str], stdin: bytes | None, timeout_s: float) -> tuple[Completed, float]:
        there = self._world.host(host.name)
        self._reached(there, host, timeout_s)
        self._point()
        if argv[:2] == ["sudo", "-n"]:
            argv = argv[2:]
        if argv[0] == "dwcp-host":
            if there.bare:
                return Completed(127, b"", b"bash: line 1: dwcp-host: command not found\n"), 0.0
            done, waited = onhost(self._world, there, argv[1:], stdin)
            if waited + there.condition.slow_s > timeout_s:
                sentence = f"{host.name}: `{argv[0]}` did not end within {timeout_s:.0f} s; whether it still runs is not known."
                raise _Late(Unreachable(sentence, host=host.name), timeout_s)
            self._point()
            return done, waited + there.condition.slow_s
        return self._other(there, argv), there.condition.slow_s

    def _reached(self, there: SimHost, host: Host, timeout_s: float) -> None:
        wrong, limit = there.condition, min(timeout_s, _CONNECT_S)
        where = f"{host.ssh_user}@{host.address}"
        if wrong.cut:
            raise _Late(Unreachable(f"{host.name}: {where} does not answer over SSH: timed out.", host=host.name), limit)
        if wrong.hangs:
            sentence = f"{host.name}: {where} did not finish the SSH handshake within {limit:.0f} s."
            raise _Late(Unreachable(sentence, host=host.name), limit)
        if there.key != host.host_key:
            sentence = f"{host.name}: {where} has another host key than the pinned one; if the host was rebuilt, pin its new key."
            raise Refused(sentence, host=host.name)

    # -- what is no dwcp-host --------------------------------------------------------------------------------------------------

    def _other(self, there: SimHost, argv: list[str]) -> Completed:
        text = argv[-1]
        if argv == ["true"]:
            return Completed(0, b"", b"")
        if argv[:3] == ["test", "!", "-e"]:
            return Completed(0 if there.bare else 1, b"", b"")
        if argv[0] == "sh" and "boot_id" in text:
            failed = 0
            used, free = (100, 0) if there.condition.full else (12, 50 << 30)
            boot = f"{there.name}-boot-{there.ledger.read().boots}"
            lines = [boot, f"{time.time() + there.condition.skew_s:.6f}", f" {free} {used}%", str(failed), "0.10 0.10 0.10 1/100 1", "4"]
            return Completed(0, ("\n".join(lines) + "\n").encode(), b"")
        if argv[0] == "sh" and (match := _SEND.search(text)):
            return self._sent(there, *match.groups())
        if argv[0] == "sha256sum":
            path = there.root / text.lstrip("/")
            if path.is_file():
                return Completed(0, f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {text}\n".encode(), b"")
            return Completed(1, b"", f"sha256sum: {text}: No such file or directory\n".encode())
        if argv[0] == "journalctl":
            return Completed(0, b"simulated: nothing was logged\n", b"")
        return Completed(127, b"", f"bash: line 1: {argv[0]}: a simulated host has no such command\n".encode())

    def _sent(self, there: SimHost, release: str, address: str, port: str, name: str) -> Completed:
        """A file that goes from the candidate here to the candidate there."""
        target = self._world.by_address.get(address)
        slot = {"7400": "a", "7410": "b"}[port]
        if target is None or not (there.root / "opt/dwcp/releases" / release).is_dir():
            return Completed(1, b"", b"dwcp: nothing to send with\n")
        other = self._world.host(target.name)
        if other.condition.cut or other.condition.full or agent_at(self._world, other, slot) is None:
            return Completed(1, b"", f"dwcp: {address}:{port} does not answer\n".encode())
        content = f"functional test from {name}\n".encode()
        stored = other.root / f"var/lib/dwcp/store/agent.{there.name}/functional/{name}"
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(content)
        receipt = {"bytes": len(content), "seconds": 0.1}
        expected = {"expected": hashlib.sha256(content).hexdigest()}
        return Completed(0, f"{json.dumps(receipt)}\n{json.dumps(expected)}\n".encode(), b"")


class _Late(Exception):
    """An error that took its time."""

    def __init__(self, error: GoliveError, seconds: float) -> None:
        super().__init__(str(error))
        self.error = error
        self.seconds = seconds
