"""Peers of the data path that take more than a pipe: casync from a chunk store over HTTP, and eight streams of nuttcp."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.wan_hosts import FAR, NEAR, UNTUNED, Hosts, Run

__all__ = ["EIGHT_S", "casync", "eight_streams", "fields"]

PORT = 9120
_SERVER = Path(__file__).with_name("file_server.py")
EIGHT_S = 10
"""How long nuttcp sends: at 1 % loss a GiB would take it eight minutes."""


def casync(at: Hosts, old: Path, new: Path) -> tuple[Run, Path]:
    """``casync make`` of ``new`` at the sender, into a store that has the chunks of ``old``; then ``casync extract`` at the receiver, over
    HTTP, with ``old`` as its seed. Chunks and their compression are casync's defaults. Returns where the receiver has it too.
    """
    place = at.place / "casync"
    if not place.exists():  # an earlier release was published: not in the time
        (place / "temporary").mkdir(parents=True)
        subprocess.run(
            ["casync", "make", f"--store={place}/published", f"{place}/old.caibx", str(old)], stdout=subprocess.DEVNULL, check=True
        )
    target, url = at.place / "extracted", f"http://{NEAR}:{PORT}"
    subprocess.run(["cp", "-al", str(place / "published"), str(place / "store")], check=True)
    server = at.on(at.near, f"exec {sys.executable} {_SERVER} {NEAR} {PORT} {place}")
    try:
        at.listening(PORT, at.near)
        # What it fetches it keeps below TMPDIR, which is a slow disk if nobody says otherwise.
        make = f"casync make --store={place}/store {place}/new.caibx {new}"
        extract = f"ip netns exec {at.far} casync extract --store={url}/store --seed={old} {url}/new.caibx {target}"
        done = at.timed(f"export TMPDIR={place}/temporary; {make} >/dev/null && {extract} >/dev/null")
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(place / "store")
    return done, target


def eight_streams(at: Hosts, size: int, congestion: str) -> Run:
    """What ``size`` bytes take eight streams of nuttcp, from memory to memory, on hosts as Linux is without tuning: cubic, default buffers.

    They send for ``EIGHT_S`` seconds, and all of it is multiplied to ``size``. The hosts are tuned again for ``congestion`` after.
    """
    told = at.place / "nuttcp"
    at.tune("cubic", UNTUNED)
    try:
        done = at.timed(f"nuttcp -N8 -T{EIGHT_S} -fparse {FAR} > {told}", "exec nuttcp -1 --nofork", 5000)
    finally:
        at.tune(congestion)
    said = fields(told.read_text())
    moved = said["megabytes"] * (1 << 20)
    factor = size / moved
    return replace(done, seconds=round(said["real_seconds"] * factor, 3), wire=round(done.wire * factor), cpu=round(done.cpu * factor, 2))


def fields(said: str) -> dict[str, float]:
    """The numbers of what ``nuttcp -fparse`` prints. Raises SystemExit when it printed none."""
    found: dict[str, float] = {}
    for word in said.split():
        name, _, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            continue
    if not found.get("megabytes") or not found.get("real_seconds"):
        raise SystemExit(f"nuttcp says: {said.strip() or 'nothing'}")
    return found
