"""Peers of the data path that take more than a pipe: casync from a chunk store over HTTP, and eight streams of iperf3."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.wan_hosts import FAR, NEAR, UNTUNED, Hosts, Run

__all__ = ["EIGHT_S", "casync", "eight_streams", "in_proportion"]

PORT = 9120
_SERVER = Path(__file__).with_name("file_server.py")
EIGHT_S = 10
"""How long iperf3 sends: at 1 % loss a GiB would take it eight minutes and more."""


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
    """What ``size`` bytes take eight streams of iperf3, from memory to memory, on hosts as Linux is without tuning: cubic, default buffers.

    They send for ``EIGHT_S`` seconds, and all of it is multiplied to ``size``. The hosts are tuned again for ``congestion`` after.
    """
    at.tune("cubic", UNTUNED)
    try:
        send = f"iperf3 -c {FAR} -p {PORT + 1} -P 8 -t {EIGHT_S} --connect-timeout 10000 --json"
        done = at.timed(send, f"exec iperf3 -s -1 -p {PORT + 1} >/dev/null", PORT + 1)
    finally:
        at.tune(congestion)
    return in_proportion(done, size)


def in_proportion(done: Run, size: int) -> Run:
    """A run of iperf3 as if it had moved ``size`` bytes; its receiver counts the seconds. Raises SystemExit if nothing came."""
    came = done.told["end"]["sum_received"]
    if not came["bytes"]:
        raise SystemExit("nothing that iperf3 sent has come")
    factor = size / came["bytes"]
    return replace(done, seconds=round(came["seconds"] * factor, 3), wire=round(done.wire * factor), cpu=round(done.cpu * factor, 2))
