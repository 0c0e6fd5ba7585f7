"""The data path beside its peers, over an emulated WAN between two network namespaces.

    ./inv bench wan [--json]                          measures, and writes docs/results/wan.json
    .venv/bin/python benchmarks/wan.py --only fresh   some of it; --size, --rounds and --out too
    .venv/bin/python benchmarks/wan.py --table        runs nothing; writes the committed result into docs/benchmarks.md

Ours is `dwcp send` as an operator types it: interpreter start, TLS 1.3 with both certificates, and the receiver's verification of the
whole file before it gets its name are in its time. Peers have neither TLS nor verification. Files lie in memory at both ends (a tmpfs), so
that no disk is measured. Every run's result is compared with what was sent, outside the time.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import images
from benchmarks.measure import PeerMissing, document, now, rewrite
from benchmarks.wan_hosts import FAR, Hosts, Run, hosts
from golive.environment import ROOT
from golive.lab.wan import Wan

RESULT = ROOT / "docs/results/wan.json"
MIB = 1 << 20
PORT = 9100
_TOOLS = {"rsync": "rsync", "zstd": "zstd", "lz4": "lz4", "socat": "socat", "mkfs.ext4": "e2fsprogs"}

Way = Callable[[], Run]


@dataclass(frozen=True)
class Setup:
    """One row's link and ways. ``peers`` by name; the best of them is the row's peer."""

    id: str
    case: str
    link: Wan
    ours: Way
    peers: dict[str, Way]
    bar: float | None = None
    most_wire: float | None = None
    """MB that ours may take on the wire."""
    congestion: str = "cubic"
    note: str = ""


@dataclass
class Files:
    """What is moved."""

    place: Path
    size: int
    made: dict[str, Path] = field(default_factory=dict)

    def get(self, name: str) -> Path:
        """``v1``, its versions ``v2`` (realistic) and ``v2r`` (random), or ``noise``; made when first asked for."""
        if name not in self.made:
            path = self.place / name
            if name == "v1":
                with tempfile.TemporaryDirectory(prefix="dwcp-bench-tree-") as tree:
                    images.file_system(path, self.size, Path(tree))
            elif name == "v2":
                images.changed_realistically(self.get("v1"), path)
            elif name == "v2r":
                images.changed_at_random(self.get("v1"), path)
            else:
                images.random_file(path, self.size)
            self.made[name] = path
        return self.made[name]


class Ways:
    """How each of those that are compared moves a file."""

    def __init__(self, at: Hosts, files: Files) -> None:
        self._at, self._files = at, files
        self._number = 0

    def dwcp(self, name: str, *, streams: int = 4, old: str = "", local: bool = False) -> Way:
        """``dwcp send``; beside version ``old`` at the receiver, and with ``local`` at the sender too."""

        def run() -> Run:
            self._number += 1
            stored, target = self._at.stored(f"image-{self._number}"), f"image-{self._number}"
            if old:
                stored.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._files.get(old), stored)
                # The receiver knows a version from its commit on; this one came another way, so it is read once before the time begins.
                self._at.timed(self._at.manifest(target))
            more = f"--baseline {self._files.get(old)}" if local else ""
            if local:
                self._at.timed(self._at.sending(self._files.get(old), target, streams=streams, more=more))  # the sender knows it too
            done = self._at.timed(self._at.sending(self._files.get(name), target, streams=streams, more=more))
            self._check(name, stored)
            return done

        return run

    def piped(self, name: str, pack: str, unpack: str) -> Way:
        """``pack`` of the file through socat into ``unpack``."""

        def run() -> Run:
            target = self._at.place / "piped"
            near = f"{pack} < {self._files.get(name)} | socat -u STDIN TCP:{FAR}:{PORT},nodelay"
            done = self._at.timed(near, f"socat -u TCP-LISTEN:{PORT},reuseaddr STDOUT | {unpack} > {target}", PORT)
            self._check(name, target)
            return done

        return run

    def rsync(self, name: str, options: str, *, old: str = "") -> Way:
        """rsync to a daemon; over version ``old``."""

        def run() -> Run:
            module = self._at.place / "rsync"
            module.mkdir(exist_ok=True)
            target = module / "image"
            if old:
                shutil.copyfile(self._files.get(old), target)
            config = self._at.place / "rsyncd.conf"
            config.write_text(f"use chroot = no\nuid = 0\ngid = 0\n[m]\npath = {module}\nread only = no\n")
            daemon = self._at.on(self._at.far, f"exec rsync --daemon --no-detach --port={PORT + 1} --config={config}")
            try:
                self._at.listening(PORT + 1)
                done = self._at.timed(f"rsync {options} {self._files.get(name)} rsync://{FAR}:{PORT + 1}/m/image")
            finally:
                daemon.terminate()
                daemon.wait()
            self._check(name, target)
            return done

        return run

    def _check(self, name: str, target: Path) -> None:
        if not filecmp.cmp(self._files.get(name), target, shallow=False):
            raise SystemExit(f"{target} is not {name}")
        target.unlink()


def setups(ways: Ways, size_mib: int) -> Iterator[Setup]:
    """Every row. The bytes allowed on the wire are asked of an image of 2 GiB, and of a smaller one in proportion."""
    most = 5 * size_mib / 2048
    fresh = {
        "zstd -3 -T2, socat": ways.piped("v1", "zstd -q -3 -T2 -c", "zstd -q -dc"),
        "lz4, socat": ways.piped("v1", "lz4 -q -1 -c", "lz4 -q -dc"),
        "rsync -W --zc=zstd": ways.rsync("v1", "-W --zc=zstd --zl=3"),
    }
    adapt = {"zstd --adapt -T2, socat": ways.piped("v1", "zstd -q --adapt -T2 -c", "zstd -q -dc")}
    yield Setup("fresh-1g", "fresh image, 1 Gbit/s, 1 ms", Wan(rtt_ms=1, rate_mbit=1000), ways.dwcp("v1"), fresh, 1.15)
    yield Setup("fresh-200m", "fresh image, 200 Mbit/s, 40 ms", Wan(rtt_ms=40, rate_mbit=200), ways.dwcp("v1"), fresh | adapt, 1.15)
    lossy = Wan(rtt_ms=80, rate_mbit=200, loss_percent=0.5)
    yield Setup("fresh-loss-bbr", "fresh image, 200 Mbit/s, 80 ms, 0.5 % loss, BBR", lossy, ways.dwcp("v1"), fresh, 1.1, congestion="bbr")
    for rate, bar in ((200, 2.0), (1000, 2.0)):
        link = Wan(rtt_ms=1, rate_mbit=rate)
        delta = {
            "rsync": ways.rsync("v2", "--inplace --no-whole-file -I", old="v1"),
            "rsync, zstd": ways.rsync("v2", "--inplace --no-whole-file -I --zc=zstd", old="v1"),
            "rsync -B4096, zstd": ways.rsync("v2", "--inplace --no-whole-file -I -B4096 --zc=zstd", old="v1"),
        }
        both = ways.dwcp("v2", old="v1", local=True)
        yield Setup(f"changed-both-{rate}", f"3 % changed, baseline on both sides, {rate} Mbit/s", link, both, delta, bar, most_wire=most)
        alone = ways.dwcp("v2", old="v1")
        yield Setup(f"changed-receiver-{rate}", f"3 % changed, baseline at the receiver, {rate} Mbit/s", link, alone, delta, 1.3)
    random = {"rsync -B4096": ways.rsync("v2r", "--inplace --no-whole-file -I -B4096", old="v1")}
    one_in_twenty = "5 % of 4 KiB blocks random, baseline on both sides, 200 Mbit/s"
    yield Setup("random-both-200", one_in_twenty, Wan(rtt_ms=1, rate_mbit=200), ways.dwcp("v2r", old="v1", local=True), random, 1.6)
    nothing = {"rsync": ways.rsync("v1", "--inplace --no-whole-file -I", old="v1")}
    yield Setup("nothing", "nothing changed, 200 Mbit/s", Wan(rtt_ms=1, rate_mbit=200), ways.dwcp("v1", old="v1"), nothing, 2.5)
    for loss in (0.0, 0.1, 1.0):
        link = Wan(rtt_ms=50, rate_mbit=1000, loss_percent=loss)
        one = {"one BBR stream, 32 MB": ways.piped("noise", "cat", "cat")}
        yield Setup(
            f"noise-{loss:g}",
            f"incompressible, 1 Gbit/s, 50 ms, {loss:g} % loss, BBR",
            link,
            ways.dwcp("noise"),
            one,
            0.97,
            congestion="bbr",
        )


def rows(setup: Setup, at: Hosts, rounds: int, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures everybody in turns; a row for the time and one for the bytes on the wire, both against the fastest peer."""
    at.link(setup.link, congestion=setup.congestion)
    runs: dict[str, list[Run]] = {"ours": [], **{name: [] for name in setup.peers}}
    for number in range(rounds):
        turns = [("ours", setup.ours), *setup.peers.items()]
        for name, way in turns if number % 2 == 0 else reversed(turns):
            runs[name].append(way())
            tell(f"{setup.id}: {name}: {runs[name][-1].seconds} s, {runs[name][-1].wire / 1e6:.1f} MB, {runs[name][-1].cpu} CPU s")
    best = min(setup.peers, key=lambda name: statistics.median(run.seconds for run in runs[name]))
    made = []
    for kind, unit, of, bar, most in (
        ("time", "s", lambda run: run.seconds, setup.bar, None),
        ("wire", "MB", lambda run: round(run.wire / 1e6, 3), None, setup.most_wire),
        ("cpu", "CPU s", lambda run: run.cpu, None, None),
    ):
        ours, theirs = [of(run) for run in runs["ours"]], [of(run) for run in runs[best]]
        mine = statistics.median(ours)
        ratio = statistics.median(theirs) / mine
        made.append(
            {
                **{"id": f"{setup.id}-{kind}", "case": f"{setup.case}: {kind}", "unit": unit, "peer": best},
                **{"samples_ours": ours, "samples_peer": theirs, "ratio": round(ratio, 3), "bar": bar, "least": None, "most": most},
                **{"less": True, "ok": (bar is None or ratio >= bar) and (most is None or mine < most), "note": setup.note},
            }
        )
    others = {name: [run.seconds for run in each] for name, each in runs.items() if name not in ("ours", best)}
    made[0]["other_peers_s"] = others
    tell(f"{setup.id}: ratio {made[0]['ratio']} against {best}{'' if made[0]['ok'] else ', MISSED'}")
    return made


def main() -> int:
    """Runs the benchmark; 2 when a peer is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024, help="of the image, in MiB")
    parser.add_argument("--only", default="", help="rows whose id begins so")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="run nothing; write the committed result into docs/benchmarks.md")
    options = parser.parse_args()
    if options.table:
        rewrite(RESULT)
        return 0
    started = now()
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    try:
        if missing:
            raise PeerMissing(f"Peers are missing: apt-get install {' '.join(missing)}.")
        with tempfile.TemporaryDirectory(prefix="dwcp-bench-", dir="/dev/shm") as directory:
            place = Path(directory)
            with hosts(place) as at:
                at.link(Wan(), congestion="cubic")
                at.serve()
                ways = Ways(at, Files(place, options.size * MIB))
                found = []
                for setup in setups(ways, options.size):
                    if setup.id.startswith(options.only):
                        found += rows(setup, at, options.rounds, lambda line: print(line, file=sys.stderr, flush=True))
    except PeerMissing as error:
        print(error)  # who called says it
        return 2
    result = document("./inv bench wan", started, found) | {"size_mib": options.size}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
