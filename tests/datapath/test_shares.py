"""Commands that send to one host at the same time share the link by their weights, and the one that is left has all of it. Needs root.

A light command is due 1/4 beside one of three times its weight. Between 1/6 and 1/3 is taken for that: it waits in the queue that the heavy
one's search for the link's rate makes, so it often gets less than its share, and BBR's own probing moves shares from second to second.
Of two with the same weight each may have from 1/3 to 2/3.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wan_hosts import Hosts, hosts
from golive.lab.wan import Wan

MB = 10**6
RATE_MBIT = 80
SIZE = {"light": 150 * MB, "heavy": 101 * MB}
"""Of content; also what tells them apart while they arrive."""


class Two:
    """Two hosts, and the commands that send from one to the other."""

    def __init__(self, at: Hosts) -> None:
        self.at = at
        self.senders: dict[str, subprocess.Popen[bytes]] = {}

    def send(self, name: str, weight: float) -> None:
        path = self.at.place / name
        path.write_bytes(os.urandom(SIZE[name]))
        command = self.at.sending(path, name, streams=None, more=f"--weight {weight}")
        self.senders[name] = self.at.on(self.at.near, f"exec {command}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def arrived(self, name: str) -> int:
        for path in (self.at.place / "store").glob(".partial-a/*.content"):
            status = path.stat()
            if status.st_size == SIZE[name]:
                return status.st_blocks * 512
        return 0

    def until_arrived(self, name: str, count: int) -> None:
        deadline = time.monotonic() + 60
        while self.arrived(name) < count:
            assert self.senders[name].poll() is None, self.senders[name].communicate()
            assert time.monotonic() < deadline, f"{count} bytes of {name} did not arrive"
            time.sleep(0.02)

    def decided(self) -> list[dict[str, Any]]:
        """What the newest record says of shares."""
        explaining = self.at.on(self.at.near, f"{sys.executable} -m dwcp_agent explain last --json", stdout=subprocess.PIPE)
        told = json.loads(explaining.communicate()[0])
        return [decision for decision in told["decisions"] if decision["policy"] == "shares"]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, agent: Path) -> Iterator[Two]:
    with tempfile.TemporaryDirectory(prefix="dwcp-shares-", dir="/dev/shm") as directory:
        monkeypatch.setenv("GOLIVE_STATE", str(Path(directory) / "golive"))
        with hosts(Path(directory), agent) as at:
            at.link(Wan(rtt_ms=20, rate_mbit=RATE_MBIT), congestion="cubic")
            at.serve(streams=8)
            made = Two(at)
            try:
                yield made
            finally:
                for sender in made.senders.values():
                    if sender.poll() is None:
                        sender.kill()
                    sender.wait()


def kill(sender: subprocess.Popen[bytes]) -> None:
    sender.kill()
    sender.wait()


def stop(sender: subprocess.Popen[bytes]) -> None:
    """It holds what it has, its lock and its connections too, and does nothing."""
    sender.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize(
    ("weight", "least", "most", "leave"), [(3, 1 / 6, 1 / 3, kill), (1, 1 / 3, 2 / 3, stop)], ids=["1 to 3, killed", "1 to 1, stopped"]
)
def test_a_link_is_shared_by_weight_and_the_one_that_is_left_has_it_all(
    two: Two, weight: float, least: float, most: float, leave: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    two.send("heavy", weight)
    two.send("light", 1)
    two.until_arrived("light", 5 * MB)
    two.until_arrived("heavy", two.arrived("heavy") + 15 * MB)  # both know the link by then
    before = {name: two.arrived(name) for name in SIZE}
    two.until_arrived("heavy", before["heavy"] + 40 * MB)
    got = {name: two.arrived(name) - before[name] for name in SIZE}
    share = got["light"] / sum(got.values())
    print(f"{share:.3f} of the link")
    assert least < share < most, got

    leave(two.senders["heavy"])
    time.sleep(5)
    begun, had = time.monotonic(), two.arrived("light")
    two.until_arrived("light", had + 15 * MB)
    rate = (two.arrived("light") - had) / (time.monotonic() - begun)
    assert rate > 0.85 * RATE_MBIT * MB / 8
    out, err = two.senders["light"].communicate(timeout=60)
    assert two.senders["light"].returncode == 0, err.decode()
    assert json.loads(out)["verified"] is True
    decisions = two.decided()
    assert f"weight 1 of {weight + 1:g} of 2 commands" in decisions[0]["why"] and decisions[-1]["value"] is None


def test_a_command_that_is_alone_is_held_to_nothing(two: Two) -> None:
    two.send("light", 0.01)
    two.until_arrived("light", 20 * MB)
    begun, had = time.monotonic(), two.arrived("light")
    two.until_arrived("light", had + 40 * MB)
    assert (two.arrived("light") - had) / (time.monotonic() - begun) > 0.85 * RATE_MBIT * MB / 8
    assert two.senders["light"].wait(60) == 0
    assert two.decided() == []
