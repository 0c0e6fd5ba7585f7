"""Small state beside HTTP/1.1 and gRPC: 10,000 puts of 1 KiB over an emulated WAN of 200 Mbit/s and 40 ms. Needs root.

    .venv/bin/python benchmarks/state.py [--rounds 3] [--out FILE]

Ours is `dwcp put` as an operator types it: interpreter start, TLS 1.3 with both certificates, a session, and every put durable on a disk
before it is acknowledged. Peers have no TLS and keep what they get in memory; their interpreters start within the time too.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import PeerMissing, document, now
from benchmarks.wan_hosts import FAR, Hosts, Run, hosts, memory
from golive.lab.wan import Wan

__all__ = ["LINK", "missing", "rows"]

LINK = Wan(rtt_ms=40, rate_mbit=200)
PUTS = 10_000
HTTP_PUTS = 500
RATE_PER_S = 2000
HTTP_BAR, GRPC_BAR, MOST_P99_MS = 10.0, 1.0, 95.0
PORT = 9110
_PEERS = Path(__file__).with_name("state_peers.py")
_DISK = Path("/var/tmp")  # noqa: S108 - a disk, which /tmp may not be


def missing() -> str:
    """What has to be installed; empty when nothing has to be."""
    return "" if importlib.util.find_spec("grpc") else "Peers are missing: .venv/bin/pip install grpcio."


def write_puts(path: Path, count: int = PUTS, seed: int = 1) -> None:
    """``count`` lines for `dwcp put`: values of 1,024 bytes as machines report them, half of each words and numbers, half of it random."""
    source = random.Random(seed)  # noqa: S311 - the same content in every run
    states = ("running", "paused", "migrating", "stopped", "degraded")
    with path.open("w", encoding="utf-8") as out:
        for number in range(count):
            fields: dict[str, Any] = {
                "vm": f"vm-{source.randrange(10_000):05}",
                "state": source.choice(states),
                "node": f"ams-{source.randrange(64)}",
                "cpu": round(source.random() * 16, 3),
                "memory": source.randrange(1 << 36),
                "disks": [{"id": f"disk-{n}", "read": source.randrange(10**9), "written": source.randrange(10**9)} for n in range(4)],
                "labels": {"team": source.choice(states), "tier": source.randrange(4)},
            }
            text = json.dumps(fields)
            text += source.randbytes(512).hex()[: 1024 - len(text)]
            out.write(json.dumps({"key": f"vm/{number:05}/state", "value": text}) + "\n")


class Ways:
    """How each of those that are compared puts the lines of a file."""

    def __init__(self, at: Hosts, file: Path) -> None:
        self._at, self._file = at, file

    def dwcp(self, rate: float = 0.0) -> Run:
        """``dwcp put``."""
        tls = self._at.place / "state/lab/pki"
        certificate = f"--ca {tls}/ca.crt --cert {tls}/operator.crt --key {tls}/operator.key"
        more = f"--rate {rate}" if rate else ""
        done = self._at.timed(f"{sys.executable} -m dwcp_agent put https://{FAR}:7400 --from {self._file} {certificate} --json {more}")
        if done.told.get("puts") != PUTS:
            raise SystemExit(f"{done.told.get('puts')} of {PUTS} puts were acknowledged")
        return done

    def peer(self, what: str, count: int, rate: float = 0.0) -> Run:
        """A client of ``state_peers.py``, whose server runs."""
        return self._at.timed(f"{sys.executable} {_PEERS} {what} {FAR} {_port(what)} {self._file} {count} {rate}")

    @contextmanager
    def servers(self) -> Iterator[None]:
        """Both peers' servers run on the receiver."""
        started = [
            self._at.on(self._at.far, f"exec {sys.executable} {_PEERS} {what}-server {FAR} {_port(what)}") for what in ("http", "grpc")
        ]
        try:
            for what in ("http", "grpc"):
                self._at.listening(_port(what))
            yield
        finally:
            for server in started:
                server.terminate()
                server.wait()


def _port(what: str) -> int:
    return PORT + ("http", "grpc").index(what)


@contextmanager
def on_disk(at: Hosts) -> Iterator[Path]:
    """The agent's state lies on a disk, wherever its store is; to be entered before its first put."""
    place = Path(tempfile.mkdtemp(prefix="dwcp-bench-state-", dir=_DISK))
    link = at.place / "store" / ".state"
    link.symlink_to(place)
    try:
        yield place
    finally:
        at.stop_agent()
        link.unlink()
        shutil.rmtree(place)


def rows(at: Hosts, rounds: int, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures everybody in turns. The agent serves, and is stopped when this returns. Raises PeerMissing."""
    if missing():
        raise PeerMissing(missing())
    at.link(LINK, congestion="cubic")
    file = at.place / "puts"
    write_puts(file)
    ways = Ways(at, file)
    runs: dict[str, list[Run]] = {"ours": [], "http": [], "grpc": [], "ours, rate": [], "grpc, rate": []}
    turns: dict[str, Callable[[], Run]] = {
        "ours": ways.dwcp,
        "http": lambda: ways.peer("http", HTTP_PUTS),
        "grpc": lambda: ways.peer("grpc", PUTS),
        "ours, rate": lambda: ways.dwcp(RATE_PER_S),
        "grpc, rate": lambda: ways.peer("grpc", PUTS, RATE_PER_S),
    }
    with on_disk(at), ways.servers():
        for number in range(rounds):
            for name in turns if number % 2 == 0 else reversed(turns):
                runs[name].append(turns[name]())
                done = runs[name][-1]
                tell(
                    f"state: {name}: {done.seconds} s, {done.wire / 1e6:.2f} MB, {done.cpu} CPU s, p99 {done.told.get('latency_p99_ms')} ms"
                )
    ours = [run.seconds for run in runs["ours"]]
    # What a put takes, not what starting takes, is multiplied.
    http = [round(run.seconds + run.told["seconds"] * (PUTS / HTTP_PUTS - 1), 3) for run in runs["http"]]
    case = f"{PUTS} puts of 1 KiB, 200 Mbit/s, 40 ms"
    alone = f"a plain aiohttp server in memory; {HTTP_PUTS} puts measured, and the time of the others added in proportion"
    made = [
        _row("state-http", f"{case}: time", "s", "HTTP/1.1, one kept connection", ours, http, bar=HTTP_BAR, note=alone),
        _row("state-grpc", f"{case}: time", "s", "gRPC, one stream", ours, [run.seconds for run in runs["grpc"]], bar=GRPC_BAR),
    ]
    made[0]["memory_mb"] = memory([*runs["ours"], *runs["ours, rate"]])
    p99 = [[run.told["latency_p99_ms"] for run in runs[name]] for name in ("ours, rate", "grpc, rate")]
    made.append(_row("state-p99", f"{case}, {RATE_PER_S} a second: p99 of a put", "ms", "gRPC, one stream", *p99, most=MOST_P99_MS))
    wire = [[round(run.wire / 1e6, 3) for run in runs[name]] for name in ("ours", "grpc")]
    made.append(_row("state-wire", f"{case}: wire", "MB", "gRPC, one stream", *wire))
    for row in made:
        tell(f"{row['id']}: ratio {row['ratio']}{'' if row['ok'] else ', MISSED'}")
    return made


def _row(
    name: str,
    case: str,
    unit: str,
    peer: str,
    ours: list[float],
    theirs: list[float],
    *,
    bar: float | None = None,
    most: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    mine = statistics.median(ours)
    ratio = statistics.median(theirs) / mine
    return {
        **{"id": name, "case": case, "unit": unit, "peer": peer, "samples_ours": ours, "samples_peer": theirs, "ratio": round(ratio, 3)},
        **{"bar": bar, "least": None, "most": most, "less": True},
        **{"ok": (bar is None or ratio >= bar) and (most is None or mine < most), "note": note},
    }


def main() -> int:
    """Runs the benchmark; 2 when a peer is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    started = now()
    try:
        with tempfile.TemporaryDirectory(prefix="dwcp-bench-", dir="/dev/shm") as directory, hosts(Path(directory)) as at:
            at.link(LINK, congestion="cubic")
            at.serve()
            found = rows(at, options.rounds, lambda line: print(line, file=sys.stderr, flush=True))
    except PeerMissing as error:
        print(error)  # who called says it
        return 2
    result = document("benchmarks/state.py", started, found)
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
