"""A guest's memory image through `dwcp send` on a far link, beside ``zstd -19 --long=27``: how small, and at what cost. Needs root.

    ./inv bench memory [--json]                 measures, and writes docs/results/memory.json; zstd alone takes some minutes
    .venv/bin/python benchmarks/memory.py       the same; --size, --rounds and --out too
    .venv/bin/python benchmarks/memory.py --table   runs nothing; writes the committed result into docs/benchmarks.md

Zero pages are not counted: zstd is given the image without them, and ours, which is sent the image as it is, has only the bytes of the
others above its ratio. Ours is what went into TLS, headers and all, and the processor time of the whole `dwcp send`: the interpreter's
start, hashing and TLS too. zstd's is the compressed file and the time of compressing it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import PeerMissing, document, now, rewrite
from benchmarks.memory_image import DIGEST, FULL_MIB, memory_image, without_zeros
from benchmarks.wan_hosts import Hosts, hosts
from golive.environment import ROOT
from golive.lab.wan import Wan

__all__ = ["LINK", "rows"]

RESULT = ROOT / "docs/results/memory.json"
LINK = Wan(rtt_ms=100, rate_mbit=50)
"""Far, so that the profile is the one for throughput and its tier global; and slow, so that the level may climb to the tier's highest."""
PEER = "zstd -19 --long=27"
CLAIM = 3.2
"""What was claimed before anything was measured."""
BEHIND, OF_CPU = 0.98, 10
"""As good is: this share of the peer's ratio for the peer's time by this, or the peer's ratio for any."""
_OTHER_LEVELS = (1, 3, 9, 12, 15)


def packed(file: Path, level: int) -> tuple[int, float]:
    """Bytes that zstd makes of ``file``, and its processor seconds."""
    before = _children_s()
    target = file.with_suffix(".zst")
    subprocess.run(["zstd", "-q", "-f", f"-{level}", "--long=27", str(file), "-o", str(target)], check=True)
    size = target.stat().st_size
    target.unlink()
    return size, _children_s() - before


def rows(at: Hosts, rounds: int, tell: Callable[[str], None], size_mib: int = FULL_MIB) -> list[dict[str, Any]]:
    """A row for the ratio and one for the processor time. Raises SystemExit when the image is not the one whose digest is known."""
    at.link(LINK, congestion="bbr")
    image, dense = at.place / "memory", at.place / "memory-dense"
    memory_image(image, size_mib << 20)
    with image.open("rb") as made:
        found = hashlib.file_digest(made, "sha256").hexdigest()
    if size_mib == FULL_MIB and found != DIGEST:
        raise SystemExit(f"the memory image has the digest {found}, and not {DIGEST}")
    counted = without_zeros(image, dense)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    levels: list[int] = []
    for number in range(rounds):
        before = _children_s()
        done = at.timed(at.sending(image, f"memory-{number}", streams=None))
        ours.append((counted / done.told["wire_bytes"], _children_s() - before))
        levels.append(done.told["level"])
        at.stored(f"memory-{number}").unlink()
        length, cpu_s = packed(dense, 19)
        theirs.append((counted / length, cpu_s))
        tell(f"memory: ours {ours[-1][0]:.3f} in {ours[-1][1]:.1f} CPU s, {PEER} {theirs[-1][0]:.3f} in {theirs[-1][1]:.1f}")
    others = {}
    for level in _OTHER_LEVELS:
        length, cpu_s = packed(dense, level)
        others[f"zstd -{level} --long=27"] = [round(counted / length, 3), round(cpu_s, 1)]
        tell(f"memory: zstd -{level}: {others[f'zstd -{level} --long=27']}")
    image.unlink()
    dense.unlink()
    made = made_of(ours, theirs, size_mib, levels)
    made[0]["other_peers_ratio_cpu_s"] = others
    return made


def made_of(ours: list[tuple[float, float]], theirs: list[tuple[float, float]], size_mib: int, levels: list[int]) -> list[dict[str, Any]]:
    """The rows of (ratio, processor seconds)."""
    median = [[statistics.median(sample[index] for sample in each) for each in (ours, theirs)] for index in (0, 1)]
    ratio, cpu = median[0][0] / median[0][1], median[1][1] / median[1][0]
    bar = BEHIND if cpu >= OF_CPU else 1.0
    case = f"memory image of {size_mib} MiB, zero pages not counted, global tier, {LINK.rate_mbit:g} Mbit/s, {LINK.rtt_ms:g} ms"
    note = (
        f"{BEHIND:g}x is enough at a tenth of its CPU time; {CLAIM:g}x was claimed once; levels at the end: {', '.join(map(str, levels))}"
    )
    made = []
    for index, (kind, unit, less) in enumerate((("compression ratio", "x", False), ("the sender's CPU", "CPU s", True))):
        row = {
            **{"id": f"memory-{'cpu' if less else 'ratio'}", "case": f"{case}: {kind}", "unit": unit, "peer": PEER},
            **{
                "samples_ours": [round(sample[index], 3) for sample in ours],
                "samples_peer": [round(sample[index], 3) for sample in theirs],
            },
            **{"ratio": round(cpu if less else ratio, 3), "bar": None if less else bar, "least": None, "most": None, "less": less},
            **{"ok": less or ratio >= bar, "note": "" if less else note},
        }
        made.append(row)
    return made


def _children_s() -> float:
    """Processor seconds of all children that were waited for, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> int:
    """Runs the benchmark; 2 when a peer is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--size", type=int, default=FULL_MIB, help="of the image, in MiB")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="run nothing; write the committed result into docs/benchmarks.md")
    options = parser.parse_args()
    if options.table:
        rewrite(RESULT)
        return 0
    started = now()
    try:
        if shutil.which("zstd") is None:
            raise PeerMissing("Peers are missing: apt-get install zstd.")
        with tempfile.TemporaryDirectory(prefix="dwcp-bench-", dir="/dev/shm") as directory, hosts(Path(directory)) as at:
            at.link(LINK, congestion="cubic")
            at.serve()
            found = rows(at, options.rounds, lambda line: print(line, file=sys.stderr, flush=True), options.size)
    except PeerMissing as error:
        print(error)  # who called says it
        return 2
    result = document("./inv bench memory", started, found) | {"size_mib": options.size}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
