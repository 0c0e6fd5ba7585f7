"""One stream where no link limits it, beside iperf3, and what TLS costs on a link of 1 Gbit/s. Needs root.

    .venv/bin/python benchmarks/unshaped.py [--rounds 3] [--size MIB] [--out FILE]

Ours is `dwcp send`, its rate from the opening of the session to the receipt: handshakes, hashing at both ends, a file written and read
back, and a durable commit are in it, and the interpreter's start is not. iperf3 moves as many bytes out of one buffer and drops them; with
files at both ends it is shown too. Files lie in memory. Processor time is that of the two processes at the ends, from start to end.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import images
from benchmarks.measure import PeerMissing, document, now
from benchmarks.wan_hosts import FAR, NEAR, Hosts, hosts
from golive.lab.wan import Wan

__all__ = ["rows"]

MIB = 1 << 20
SIZE_MIB = 2048
SHAPED_MIB = 512
LINK = Wan(rtt_ms=1, rate_mbit=1000)
CONGESTION = "cubic"
PLAIN_BAR, TLS_BAR, SHAPED_BAR = 0.7, 0.4, 0.9
PORT = 9120

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Moved:
    """One time: seconds, bytes on the wire both ways, processor seconds of both ends."""

    seconds: float
    wire: int
    cpu: float


class Ways:
    """How a file of random bytes is moved over one stream."""

    def __init__(self, at: Hosts, size: int) -> None:
        self._at, self._size = at, size
        self._file = at.place / "noise"
        self._number = 0
        images.random_file(self._file, size)

    def dwcp(self, *, plain: bool) -> Moved:
        """``dwcp send``; checks what arrived."""
        self._number += 1
        name = f"noise-{self._number}"
        spent = _children_s() + self._at.agent_cpu_s()
        run = self._at.timed(self._at.sending(self._file, name, streams=1, more="--plain" if plain else ""))
        cpu = _children_s() + self._at.agent_cpu_s() - spent
        if run.told["congestion"] != CONGESTION or run.told["data_tls"] is plain or run.told["streams"] != 1:
            raise SystemExit(f"it was not sent as it was to be: {run.told}")
        if not filecmp.cmp(self._file, self._at.stored(name), shallow=False):
            raise SystemExit(f"{name} is not what was sent")
        self._at.stored(name).unlink()
        return Moved(run.told["seconds"], run.wire, round(cpu, 2))

    def iperf3(self, *, files: bool) -> Moved:
        """As many bytes by iperf3, out of memory or from file to file."""
        target, report = self._at.place / "iperf3.out", self._at.place / "iperf3.json"
        near = f"iperf3 -c {FAR} -p {PORT} -n {self._size} -C {CONGESTION} -J {f'-F {self._file}' if files else ''} > {report}"
        run = self._at.timed(near, f"iperf3 -s -1 -p {PORT} {f'-F {target}' if files else ''} > /dev/null", PORT)
        end = json.loads(report.read_text())["end"]
        got, spent = end["sum_received"], end["cpu_utilization_percent"]
        # It ends when all is sent, which its server may not have read by then; what counts is the rate at which that did.
        if not 0.95 * self._size <= got["bytes"] <= 1.01 * self._size or end["sender_tcp_congestion"] != CONGESTION:
            raise SystemExit(f"iperf3 did something else: {end}")
        if files:
            target.unlink()
        seconds = got["seconds"] * self._size / got["bytes"]
        return Moved(seconds, run.wire, round((spent["host_total"] + spent["remote_total"]) / 100 * got["seconds"], 2))


def rows(rounds: int, tell: Tell, size_mib: int = SIZE_MIB) -> list[dict[str, Any]]:
    """Measures everybody in turns. Raises PeerMissing."""
    if shutil.which("iperf3") is None:
        raise PeerMissing("Peers are missing: apt-get install iperf3.")
    return [*_unshaped(rounds, tell, size_mib), *_shaped(rounds, tell)]


def _unshaped(rounds: int, tell: Tell, size_mib: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="dwcp-bench-", dir="/dev/shm") as directory, hosts(Path(directory)) as at:
        at.direct(congestion=CONGESTION)
        at.serve(plain_from=[f"{NEAR}/32"])
        ways = Ways(at, size_mib * MIB)
        turns: dict[str, Callable[[], Moved]] = {
            "plain": lambda: ways.dwcp(plain=True),
            "iperf3": lambda: ways.iperf3(files=False),
            "tls": lambda: ways.dwcp(plain=False),
            "files": lambda: ways.iperf3(files=True),
        }
        runs = _measured("unshaped", turns, rounds, tell)
    case = f"incompressible, {size_mib} MiB, veth that nothing shapes, one stream, {CONGESTION}"
    rate = {name: [round(size_mib * MIB / run.seconds / 1e9, 4) for run in each] for name, each in runs.items()}
    made = []
    for name, how, bar in (("plain", "without TLS", PLAIN_BAR), ("tls", "TLS 1.3", TLS_BAR)):
        of, peer, told = f"unshaped-{name}", "iperf3", f"{case}, {how}"
        note = "iperf3 has no TLS, writes no file and verifies nothing"
        made.append(_row(f"{of}-rate", f"{told}: rate", "GB/s", peer, rate[name], rate["iperf3"], bar=bar, less=False, note=note))
        files = "iperf3 -F, file to file"
        made.append(_row(f"{of}-files", f"{told}: rate", "GB/s", files, rate[name], rate["files"], less=False, note="verifies nothing"))
        made += _costs(of, told, peer, runs[name], runs["iperf3"])
    return made


def _shaped(rounds: int, tell: Tell) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="dwcp-bench-", dir="/dev/shm") as directory, hosts(Path(directory)) as at:
        at.link(LINK, congestion=CONGESTION)
        at.serve(plain_from=[f"{NEAR}/32"])
        ways = Ways(at, SHAPED_MIB * MIB)
        runs = _measured("unshaped-not", {"tls": lambda: ways.dwcp(plain=False), "plain": lambda: ways.dwcp(plain=True)}, rounds, tell)
    told, peer = f"incompressible, {SHAPED_MIB} MiB, 1 Gbit/s, 1 ms, one stream, TLS 1.3", "ours without TLS"
    seconds = [[run.seconds for run in runs[name]] for name in ("tls", "plain")]
    note = "with and without within 10 %"
    return [
        _row("unshaped-not-time", f"{told}: time", "s", peer, *seconds, bar=SHAPED_BAR, note=note),
        *_costs("unshaped-not", told, peer, runs["tls"], runs["plain"]),
    ]


def _measured(what: str, turns: dict[str, Callable[[], Moved]], rounds: int, tell: Tell) -> dict[str, list[Moved]]:
    runs: dict[str, list[Moved]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in turns if number % 2 == 0 else reversed(turns):
            done = turns[name]()
            runs[name].append(done)
            tell(f"{what}: {name}: {done.seconds:.3f} s, {done.wire / 1e6:.1f} MB, {done.cpu} CPU s")
    return runs


def _costs(of: str, told: str, peer: str, ours: list[Moved], theirs: list[Moved]) -> list[dict[str, Any]]:
    wire = [[round(run.wire / 1e6, 3) for run in each] for each in (ours, theirs)]
    return [
        _row(f"{of}-wire", f"{told}: wire", "MB", peer, *wire),
        _row(f"{of}-cpu", f"{told}: cpu", "CPU s", peer, [run.cpu for run in ours], [run.cpu for run in theirs]),
    ]


def _row(
    name: str,
    case: str,
    unit: str,
    peer: str,
    ours: list[float],
    theirs: list[float],
    *,
    bar: float | None = None,
    less: bool = True,
    note: str = "",
) -> dict[str, Any]:
    mine, other = statistics.median(ours), statistics.median(theirs)
    ratio = other / mine if less else mine / other
    return {
        **{"id": name, "case": case, "unit": unit, "peer": peer, "samples_ours": ours, "samples_peer": theirs, "ratio": round(ratio, 3)},
        **{"bar": bar, "least": None, "most": None, "less": less, "ok": bar is None or ratio >= bar, "note": note},
    }


def _children_s() -> float:
    """Processor seconds of the processes that this one has waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> int:
    """Runs the benchmark; 2 when a peer is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=SIZE_MIB, help="of what goes over the veth pair, in MiB")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    started = now()
    try:
        found = rows(options.rounds, lambda line: print(line, file=sys.stderr, flush=True), options.size)
    except PeerMissing as error:
        print(error)  # who called says it
        return 2
    result = document("benchmarks/unshaped.py", started, found)
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
