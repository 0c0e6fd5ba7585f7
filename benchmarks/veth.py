"""Two ends of a veth pair, the far one in a network namespace of its own. Needs root; gone when left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measure import PeerMissing

__all__ = ["FAR", "NEAR", "veth"]

NEAR, FAR = "10.231.77.1", "10.231.77.2"


@contextmanager
def veth() -> Iterator[str]:
    """The name of the far end's namespace. Raises PeerMissing without root."""
    if os.geteuid() != 0:
        raise PeerMissing("The rows over a veth pair need root: they make a network namespace; run it with sudo.")
    name = f"dwcp-bench-{os.getpid()}"
    near, far = f"dwb{os.getpid()}a", f"dwb{os.getpid()}b"

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerMissing(f"ip {' '.join(words)}: {done.stderr.strip()}")

    try:
        ip("netns", "add", name)
        ip("link", "add", near, "type", "veth", "peer", "name", far)
        ip("link", "set", far, "netns", name)
        ip("addr", "add", f"{NEAR}/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "addr", "add", f"{FAR}/30", "dev", far)
        ip("-n", name, "link", "set", far, "up")
        yield name
    finally:
        subprocess.run(["ip", "link", "del", near], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
