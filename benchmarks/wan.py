"""The data path beside its peers, over an emulated WAN between two network namespaces.

    ./inv bench wan [--json]                          measures, and writes docs/results/wan.json
    .venv/bin/python benchmarks/wan.py --only fresh   some of it; --size, --rounds and --out too
    .venv/bin/python benchmarks/wan.py --table        runs nothing; writes the committed result into docs/benchmarks.md

Ours is `dwcp send` as an operator types it: interpreter start, TLS 1.3 with both certificates, and the receiver's verification of the
whole file before it gets its name are in its time. Peers have neither TLS nor verification. Files lie in memory at both ends (a tmpfs), so
that no disk is measured; what changes is measured on XFS too (in a file in memory), which can share blocks between versions. Every run's
result is compared with what was sent, outside the time.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import images, state
from benchmarks.measure import PeerMissing, document, now, rewrite
from benchmarks.wan_hosts import FAR, Hosts, Run, hosts
from golive.environment import ROOT
from golive.lab.wan import Wan

RESULT = ROOT / "docs/results/wan.json"
MIB = 1 << 20
PORT = 9100
_TOOLS = {
    **{"rsync": "rsync", "zstd": "zstd", "lz4": "lz4", "socat": "socat", "xdelta3": "xdelta3"},
    **{"curl": "curl", "mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs"},
}
_SMALL_MIB = 32
"""What a lone cubic stream is given to move where packets are lost: more would take it an hour."""

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
        """``v1``, its versions ``v2`` (realistic) and ``v2r`` (random), its ``small`` beginning, or ``noise``; made when asked for."""
        if name not in self.made:
            path = self.place / name
            if name == "v1":
                with tempfile.TemporaryDirectory(prefix="dwcp-bench-tree-") as tree:
                    images.file_system(path, self.size, Path(tree))
            elif name == "v2":
                images.changed_realistically(self.get("v1"), path)
            elif name == "v2r":
                images.changed_at_random(self.get("v1"), path)
            elif name == "small":
                with self.get("v1").open("rb") as whole:
                    path.write_bytes(whole.read(_SMALL_MIB * MIB))
            else:
                images.random_file(path, self.size)
            self.made[name] = path
        return self.made[name]


class Ways:
    """How each of those that are compared moves a file."""

    def __init__(self, at: Hosts, files: Files) -> None:
        self._at, self._files = at, files
        self._number = 0

    def dwcp(self, name: str, *, streams: int | None = None, old: str = "", local: bool = False) -> Way:
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

    def xdelta(self, name: str, *, old: str) -> Way:
        """What xdelta3 makes of the file beside version ``old``, which both ends have, through socat."""

        def run() -> Run:
            target, before = self._at.place / "patched", self._files.get(old)
            near = f"xdelta3 -1 -e -c -B {self._files.size} -s {before} {self._files.get(name)} | socat -u STDIN TCP:{FAR}:{PORT},nodelay"
            done = self._at.timed(near, f"socat -u TCP-LISTEN:{PORT},reuseaddr STDOUT | xdelta3 -d -c -s {before} > {target}", PORT)
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


def fresh(ways: Ways) -> Iterator[Setup]:
    """A new image, and one that nothing shrinks."""
    best = {
        "zstd -3 -T2, socat": ways.piped("v1", "zstd -q -3 -T2 -c", "zstd -q -dc"),
        "lz4, socat": ways.piped("v1", "lz4 -q -1 -c", "lz4 -q -dc"),
        "rsync -W --zc=zstd": ways.rsync("v1", "-W --zc=zstd --zl=3"),
    }
    adapt = {"zstd --adapt -T2, socat": ways.piped("v1", "zstd -q --adapt -T2 -c", "zstd -q -dc")}
    yield Setup("fresh-1g", "fresh image, 1 Gbit/s, 1 ms", Wan(rtt_ms=1, rate_mbit=1000), ways.dwcp("v1"), best, 1.15)
    yield Setup("fresh-200m", "fresh image, 200 Mbit/s, 40 ms", Wan(rtt_ms=40, rate_mbit=200), ways.dwcp("v1"), best | adapt, 1.15)
    lossy = Wan(rtt_ms=80, rate_mbit=200, loss_percent=0.5)
    yield Setup("fresh-loss-bbr", "fresh image, 200 Mbit/s, 80 ms, 0.5 % loss, BBR", lossy, ways.dwcp("v1"), best, 1.1, congestion="bbr")
    small = {"zstd -3 -T2, socat": ways.piped("small", "zstd -q -3 -T2 -c", "zstd -q -dc")}
    case = f"{_SMALL_MIB} MiB of it, 200 Mbit/s, 80 ms, 0.5 % loss, hosts on cubic"
    note = "BBR is allowed on the hosts, and ours asks for it; peers have what the host has"
    yield Setup("fresh-loss-cubic", case, lossy, ways.dwcp("small"), small, 5.0, note=note)
    for loss in (0.0, 0.1, 1.0):
        link = Wan(rtt_ms=50, rate_mbit=1000, loss_percent=loss)
        one = {"one BBR stream, 32 MB": ways.piped("noise", "cat", "cat")}
        case = f"incompressible, 1 Gbit/s, 50 ms, {loss:g} % loss, BBR"
        yield Setup(f"noise-{loss:g}", case, link, ways.dwcp("noise"), one, 0.97, congestion="bbr")


def changed(ways: Ways, size_mib: int, disk: str) -> Iterator[Setup]:
    """Versions of an image on ``disk``. The bytes allowed on the wire are asked of one of 2 GiB, and of a smaller one in proportion."""
    most, over = 5 * size_mib / 2048, "--inplace --no-whole-file -I"
    of = f" on {disk}"
    delta = {
        "rsync": ways.rsync("v2", over, old="v1"),
        "rsync, zstd": ways.rsync("v2", f"{over} --zc=zstd", old="v1"),
        "rsync -B4096, zstd": ways.rsync("v2", f"{over} -B4096 --zc=zstd", old="v1"),
    }
    both, alone = ways.dwcp("v2", old="v1", local=True), ways.dwcp("v2", old="v1")
    links = {"200": Wan(rtt_ms=1, rate_mbit=200), "1000": Wan(rtt_ms=1, rate_mbit=1000)}
    for rate, link in links.items():
        case = f"3 % changed{of}, baseline on both sides, {rate} Mbit/s"
        yield Setup(f"changed-both-{rate}-{disk}", case, link, both, delta, 2.0, most_wire=most)
        case = f"3 % changed{of}, baseline at the receiver, {rate} Mbit/s"
        yield Setup(f"changed-receiver-{rate}-{disk}", case, link, alone, delta, 1.3)
    lossy = Wan(rtt_ms=50, rate_mbit=1000, loss_percent=0.1)
    case = f"3 % changed{of}, baseline on both sides, 1 Gbit/s, 50 ms, 0.1 % loss, BBR"
    yield Setup(f"changed-both-loss-{disk}", case, lossy, both, delta, 2.0, congestion="bbr")
    random = {"rsync -B4096": ways.rsync("v2r", f"{over} -B4096", old="v1"), "xdelta3 -1, socat": ways.xdelta("v2r", old="v1")}
    case = f"5 % of 4 KiB blocks random{of}, baseline on both sides, 200 Mbit/s"
    yield Setup(f"random-both-200-{disk}", case, links["200"], ways.dwcp("v2r", old="v1", local=True), random, 1.6)
    nothing = {"rsync": ways.rsync("v1", over, old="v1")}
    yield Setup(f"nothing-{disk}", f"nothing changed{of}, 200 Mbit/s", links["200"], ways.dwcp("v1", old="v1"), nothing, 2.5)


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


@contextmanager
def on(disk: str, size_mib: int) -> Iterator[Path]:
    """A directory on a ``tmpfs``, or on an ``XFS`` in a file in one with room for a dozen images; gone when left."""
    with tempfile.TemporaryDirectory(prefix="dwcp-bench-", dir="/dev/shm") as directory:
        if disk == "tmpfs":
            yield Path(directory)
            return
        file, place = Path(directory) / "disk", Path(directory) / "mounted"
        place.mkdir()
        with file.open("wb") as made:
            made.truncate(12 * size_mib * MIB)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(file)], check=True)
        subprocess.run(["mount", "-o", "loop,noatime", str(file), str(place)], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)


def tell(line: str) -> None:
    """On standard error, where whoever waits can read it."""
    print(line, file=sys.stderr, flush=True)


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
        found = []
        for disk in ("tmpfs", "XFS"):
            with ExitStack() as left:
                place = left.enter_context(on(disk, options.size))
                at = left.enter_context(hosts(place))
                at.link(Wan(), congestion="cubic")
                at.serve()
                ways = Ways(at, Files(place, options.size * MIB))
                new = fresh(ways) if disk == "tmpfs" else iter(())
                for setup in (*new, *changed(ways, options.size, disk)):
                    if setup.id.startswith(options.only):
                        found += rows(setup, at, options.rounds, tell)
                if disk == "tmpfs" and "state".startswith(options.only):
                    found += state.rows(at, options.rounds, tell)
    except PeerMissing as error:
        print(error)  # who called says it
        return 2
    result = document("./inv bench wan", started, found) | {"size_mib": options.size}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
