"""Two hosts for the benchmarks of the data path: network namespaces joined by the lab's WAN link. Needs root; gone when left."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from benchmarks.measure import PeerMissing
from benchmarks.programs import built
from golive.fleet import pki
from golive.lab import wan

__all__ = ["FAR", "NEAR", "UNTUNED", "Hosts", "Run", "hosts", "memory"]

NEAR, FAR = "10.231.78.0", "10.231.78.1"
_BUFFERS = {"ipv4/tcp_rmem": "4096 131072 33554432", "ipv4/tcp_wmem": "4096 131072 33554432"}
UNTUNED = {"ipv4/tcp_rmem": "4096 131072 6291456", "ipv4/tcp_wmem": "4096 16384 4194304"}
"""What Linux sets where nobody does: its documentation, networking/ip-sysctl, on a machine with memory enough."""


@dataclass(frozen=True)
class Run:
    """One transfer: seconds, bytes of IP packets both ways, processor seconds of the whole machine."""

    seconds: float
    wire: int
    cpu: float
    told: dict[str, Any]
    memory_mb: dict[str, float] = field(default_factory=dict)
    """The most, in 10^6 bytes, of the sender's command and of the agent at the receiver, each "resident" (mapped files are in it) and
    "private" (they are not; as seen every 50 ms)."""


class Hosts:
    """``near`` sends, ``far`` receives; both have ``place`` as their disk."""

    def __init__(self, place: Path, near: str, far: str, library: Path) -> None:
        self.place, self.near, self.far = place, near, far
        self._library = library
        self._name = f"bench-{os.getpid()}"
        self._agent: subprocess.Popen[bytes] | None = None
        self._direct = False

    def direct(self, *, congestion: str) -> None:
        """A veth pair between them, which nothing shapes, instead of the link."""
        self._direct = True
        both = ((self.near, NEAR, f"dwn{os.getpid()}"), (self.far, FAR, f"dwf{os.getpid()}"))
        _ip("link", "add", both[0][2], "type", "veth", "peer", "name", both[1][2])
        for namespace, address, device in both:
            _ip("link", "set", device, "netns", namespace, "name", "wan0")
            _ip("-n", namespace, "address", "add", f"{address}/31", "dev", "wan0")
            _ip("-n", namespace, "link", "set", "wan0", "up")
        self.tune(congestion)

    def link(self, setting: wan.Wan, *, congestion: str) -> None:
        """The link between them is as said, new connections are controlled by ``congestion``."""
        if wan.ask(self._name) is None:
            wan.start(self._name, (self.near, "wan0"), (self.far, "wan0"), setting)
            for namespace, address in ((self.near, NEAR), (self.far, FAR)):
                _ip("-n", namespace, "address", "add", f"{address}/31", "dev", "wan0")
                _ip("-n", namespace, "link", "set", "wan0", "txqueuelen", "5000", "up")
        else:
            wan.change(self._name, setting)
        self.tune(congestion)

    def tune(self, congestion: str, buffers: dict[str, str] = _BUFFERS) -> None:
        """New connections are controlled by ``congestion``, and their buffers grow as far as ``buffers`` allow."""
        for namespace in (self.near, self.far):
            for key, value in {**buffers, "ipv4/tcp_congestion_control": congestion}.items():
                _ip("netns", "exec", namespace, "sh", "-c", f"echo {value} > /proc/sys/net/{key}")

    def end(self) -> None:
        """Nothing of them is left."""
        self.stop_agent()
        wan.end(self._name)

    def stop_agent(self) -> None:
        """The agent was asked to end, and has."""
        if self._agent is not None:
            self._agent.terminate()
            self._agent.wait()
            self._agent = None

    @property
    def agent(self) -> subprocess.Popen[bytes] | None:
        """The process of the agent, if it runs."""
        return self._agent

    def kill_agent(self) -> None:
        """The agent is gone without a word."""
        assert self._agent is not None
        self._agent.kill()
        self._agent.wait()
        self._agent = None

    def on(self, namespace: str, command: str, *, library: Path | None = None, **more: Any) -> subprocess.Popen[bytes]:
        """A shell command on one of them; ``library`` is another agent than this tree's."""
        environment = {**os.environ, "PYTHONPATH": str(library or self._library), "XDG_CACHE_HOME": str(self.place / "cache")}
        return subprocess.Popen(["ip", "netns", "exec", namespace, "bash", "-o", "pipefail", "-c", command], env=environment, **more)

    def timed(self, near: str, far: str = "", port: int = 0) -> Run:
        """``near`` on the sender, once ``far`` listens on ``port`` of the receiver; until both ended. Raises SystemExit if one fails."""
        os.sync()  # what was written before must not be flushed within the time
        begun = self.on(self.far, far) if far else None
        if begun is not None:
            self.listening(port)
        # Not wait4() here: its maximum begins with what this process has, of which a child is a copy until it executes something.
        peak = self.place / "peak"
        watched = f"exec time -q -f %M -o {peak} bash -o pipefail -c {shlex.quote(near)}"
        if self._agent is not None:
            Path(f"/proc/{self._agent.pid}/clear_refs").write_text("5")  # its maximum begins anew: proc(5)
        wire, cpu, started = self._wire(), _cpu_s(), time.monotonic()
        sent = self.on(self.near, watched, stdout=subprocess.PIPE)
        with self._private(sent) as private:
            out, _ = sent.communicate()
        failed = sent.returncode or (begun.wait() if begun is not None else 0)
        seconds = time.monotonic() - started
        if failed:
            raise SystemExit(f"ended with {failed}: {near}")
        told = json.loads(out) if out.startswith(b"{") else {}
        memory = {"sender resident": _mb(int(peak.read_text())), **private}
        if self._agent is not None:
            memory["receiver resident"] = _mb(_status_kib(self._agent.pid, "VmHWM"))
        return Run(round(seconds, 3), self._wire() - wire, round(_cpu_s() - cpu, 2), told, memory)

    def agent_cpu_s(self) -> float:
        """Processor seconds of the agent until now, the kernel's work for it included."""
        assert self._agent is not None
        fields = Path(f"/proc/{self._agent.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def serve(self, *, streams: int = 4, library: Path | None = None, under: str = "", **more: Any) -> None:
        """The agent runs on the receiver, its store on ``place``; ``under`` is put before its command, ``more`` into its configuration."""
        store = self.place / "store"
        store.mkdir(exist_ok=True)
        tls = self._certificates()
        config = {
            **{"schema": 1, "host": "far", "site": "far", "listen": FAR, "store": str(store), "streams": streams},
            "tls": {"ca": str(tls / "ca.crt"), "cert": str(tls / "far/agent.crt"), "key": str(tls / "far/agent.key")},
            **more,
        }
        (self.place / "agent.yaml").write_text(yaml.safe_dump(config))
        log = self.place / "agent.log"
        with log.open("wb") as out:
            self._agent = self.on(
                self.far,
                f"exec {under} {sys.executable} -m dwcp_agent serve --config {self.place}/agent.yaml",
                library=library,
                stdout=out,
                stderr=out,
            )
        deadline = time.monotonic() + 20
        while b'"ready"' not in log.read_bytes():
            if self._agent.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the agent did not start: {log.read_text()}")
            time.sleep(0.05)

    def sending(self, file: Path, name: str, *, streams: int | None = 4, more: str = "") -> str:
        """The command that sends ``file``; over as many streams as it wants when ``streams`` is None."""
        tls = self.place / "state/lab/pki"
        certificate = f"--ca {tls}/ca.crt --cert {tls}/operator.crt --key {tls}/operator.key"
        number = "" if streams is None else f"--streams {streams}"
        return f"{sys.executable} -m dwcp_agent send {file} https://{FAR}:7400/{name} {certificate} {number} --json {more}"

    def manifest(self, name: str) -> str:
        """The command that asks the receiver for the manifest of what it has under this name."""
        tls = self.place / "state/lab/pki"
        certificate = f"--cacert {tls}/ca.crt --cert {tls}/operator.crt --key {tls}/operator.key"
        return f"curl -sf -o /dev/null {certificate} https://{FAR}:7400/v1/manifests/{name}"

    def listening(self, port: int, namespace: str = "") -> None:
        """Returns when something listens on the receiver, or in ``namespace``."""
        deadline = time.monotonic() + 10
        while f":{port:04X} 00000000:0000 0A" not in subprocess.run(
            ["ip", "netns", "exec", namespace or self.far, "cat", "/proc/net/tcp", "/proc/net/tcp6"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.replace("00000000000000000000000000000000:0000", "00000000:0000"):
            if time.monotonic() > deadline:
                raise SystemExit(f"nothing listens on port {port}")
            time.sleep(0.02)

    def stored(self, name: str) -> Path:
        """Where the agent has what was sent under this name."""
        return self.place / "store/operator.operator" / name

    def _certificates(self) -> Path:
        state = self.place / "state/lab"
        state.mkdir(parents=True, exist_ok=True)
        host = SimpleNamespace(name="far", address=FAR, role="agent", gateway=False, load=False)
        lab: Any = SimpleNamespace(name="lab", is_lab=True, state=state)
        fleet: Any = SimpleNamespace(hosts=[host])
        pki.ensure(lab, fleet, {"far": [FAR]})
        return state / "pki"

    @contextmanager
    def _private(self, sent: subprocess.Popen[bytes]) -> Iterator[dict[str, float]]:
        """Holds, once left, the most private memory seen of the only child of ``sent``, and of the agent."""
        ended = threading.Event()
        most: dict[str, float] = {"sender private": 0.0, "receiver private": 0.0}

        def look() -> None:
            while not ended.wait(0.05):
                with suppress(OSError):  # it has ended meanwhile
                    for child in Path(f"/proc/{sent.pid}/task/{sent.pid}/children").read_text().split():
                        most["sender private"] = max(most["sender private"], _mb(_status_kib(int(child), "RssAnon")))
                if self._agent is not None:
                    most["receiver private"] = max(most["receiver private"], _mb(_status_kib(self._agent.pid, "RssAnon")))

        watching = threading.Thread(target=look)
        watching.start()
        try:
            yield most
        finally:
            ended.set()
            watching.join()

    def _wire(self) -> int:
        if self._direct:
            counters = [f"/sys/class/net/wan0/statistics/{way}_bytes" for way in ("rx", "tx")]
            return sum(map(int, subprocess.check_output(["ip", "netns", "exec", self.near, "cat", *counters]).split()))
        told = wan.ask(self._name)
        if told is None:
            raise SystemExit("the WAN link is gone")
        return int(told["a_to_b"]["bytes"]) + int(told["b_to_a"]["bytes"])


def memory(runs: list[Run]) -> dict[str, list[float]]:
    """What the sender and the receiver held at the most, run by run, in 10^6 bytes."""
    return {kind: [run.memory_mb[kind] for run in runs] for kind in sorted(runs[0].memory_mb)}


def _status_kib(pid: int, name: str) -> int:
    """A line of the process's status, in KiB; 0 of one that has ended and is not waited for yet."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _mb(kib: int) -> float:
    return round(kib * 1024 / 1e6, 1)


def _cpu_s() -> float:
    """Processor seconds that this machine has spent on anything."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:3]) + fields[5] + fields[6]) / os.sysconf("SC_CLK_TCK")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerMissing(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _allow(left: ExitStack, congestion: str) -> None:
    """Namespaces may use this congestion control until ``left`` is left, here and in every process that asked; then it is as it was."""
    allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
    users = left.enter_context(open(f"/run/lock/dwcp-allowed-{congestion}", "a+", encoding="ascii"))  # noqa: PTH123, SIM115 (left later)

    def restore() -> None:
        with suppress(BlockingIOError):  # another process needs it, and restores what stands in the file
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            users.seek(0)
            if before := users.read():
                allowed.write_text(before)
                users.truncate(0)

    fcntl.flock(users, fcntl.LOCK_SH)
    there = allowed.read_text()
    if congestion not in there.split():
        users.truncate(0)
        users.write(there)
        users.flush()
        allowed.write_text(f"{there.strip()} {congestion}")
    left.callback(restore)


@contextmanager
def hosts(place: Path, library: Path | None = None) -> Iterator[Hosts]:
    """With the agent of this tree, or the one built into ``library``. Raises PeerMissing without root."""
    if os.geteuid() != 0:
        raise PeerMissing("The data path is measured between two network namespaces, which takes root; run it with sudo.")
    near, far = (f"dwcp-bench-{os.getpid()}-{end}" for end in ("near", "far"))
    with ExitStack() as left:
        _allow(left, "cubic")
        for namespace in (near, far):
            _ip("netns", "add", namespace)
            left.callback(subprocess.run, ["ip", "netns", "del", namespace], capture_output=True, check=False)
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("netns", "exec", namespace, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
        made = Hosts(place, near, far, library or built(place / "agent"))
        left.callback(made.end)
        yield made
