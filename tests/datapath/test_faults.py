"""The data path under faults, between two hosts over a WAN link: it ends with the right bytes, verified, or with a clear error. Needs root.

Hosts are network namespaces with the agent of this tree, `dwcp serve` on one and `dwcp send` on the other; every fault is a real one.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wan_hosts import NEAR, Hosts, hosts
from golive.lab.wan import Wan

MIB = 1 << 20
LINK = Wan(rtt_ms=20, rate_mbit=200)


class World:
    """Two hosts, a file on its way, and its sender."""

    def __init__(self, at: Hosts) -> None:
        self.at = at
        self.sender: subprocess.Popen[bytes] | None = None
        self.content = b""

    def file(self, size_mib: int) -> Path:
        """Content that nothing shrinks: how far a transfer is shows in bytes."""
        self.content = os.urandom(size_mib * MIB)
        path = self.at.place / "content"
        path.write_bytes(self.content)
        return path

    def send(self, path: Path, more: str = "") -> None:
        command = self.at.sending(path, "content", more=more)
        self.sender = self.at.on(self.at.near, f"exec {command}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def arrived_mib(self) -> int:
        found = (self.at.place / "store").glob(".partial-a/*.content")
        return sum(path.stat().st_blocks * 512 for path in found) // MIB

    def until_arrived(self, mib: int) -> None:
        deadline = time.monotonic() + 30
        while self.arrived_mib() < mib:
            assert self.sender is not None and self.sender.poll() is None, "the sender ended too early"
            assert time.monotonic() < deadline, f"{mib} MiB did not arrive"
            time.sleep(0.02)

    def ended(self, timeout_s: float = 90) -> tuple[int, dict[str, Any], str]:
        """Exit code, report and what was said on stderr."""
        assert self.sender is not None
        out, err = self.sender.communicate(timeout=timeout_s)
        return self.sender.returncode, json.loads(out) if out else {}, err.decode()

    def whole(self, timeout_s: float = 90) -> dict[str, Any]:
        """The sender's report, once it ended well and the very content is there, and nothing beside it."""
        code, report, said = self.ended(timeout_s)
        assert code == 0, said
        assert self.at.stored("content").read_bytes() == self.content
        assert list((self.at.place / "store").glob(".partial-a/*")) == []
        return report


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, agent: Path) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="dwcp-faults-", dir="/dev/shm") as directory:
        monkeypatch.setenv("GOLIVE_STATE", str(Path(directory) / "golive"))
        with hosts(Path(directory), agent) as at:
            at.link(LINK, congestion="cubic")
            at.serve()
            made = World(at)
            try:
                yield made
            finally:
                if made.sender is not None and made.sender.poll() is None:
                    made.sender.kill()
                    made.sender.wait()


def test_a_killed_receiver_that_comes_back_has_what_it_had(world: World) -> None:
    world.send(world.file(60))
    world.until_arrived(20)
    world.at.kill_agent()
    time.sleep(1)
    world.at.serve()
    report = world.whole()
    assert report["broken_streams"] >= 1
    assert report["again_bytes"] < 12 * MIB


def test_a_killed_sender_is_gone_on_with_by_the_same_command(world: World) -> None:
    path = world.file(60)
    world.send(path)
    world.until_arrived(30)
    assert world.sender is not None
    world.sender.kill()
    world.sender.wait()
    world.send(path)
    report = world.whole()
    assert report["resumed_bytes"] >= 28 * MIB
    assert report["sent_bytes"] <= len(world.content) - 28 * MIB


def test_both_ends_killed_lose_nothing_that_was_written(world: World) -> None:
    path = world.file(60)
    world.send(path)
    world.until_arrived(30)
    world.at.kill_agent()
    assert world.sender is not None
    world.sender.kill()
    world.sender.wait()
    kept = world.arrived_mib()
    world.at.serve()
    world.send(path)
    report = world.whole()
    # At most one part in a hundred of what arrived is sent again: the units that four streams were writing.
    assert report["resumed_bytes"] >= (kept - 4) * MIB


def test_a_link_that_is_down_for_half_a_minute_is_sat_out(world: World) -> None:
    world.send(world.file(60))
    world.until_arrived(20)
    world.at.link(Wan(rtt_ms=20, rate_mbit=200, loss_percent=100), congestion="cubic")
    time.sleep(30)
    world.at.link(LINK, congestion="cubic")
    world.whole(120)


def test_a_link_that_falls_to_a_tenth_of_its_rate_only_takes_longer(world: World) -> None:
    world.send(world.file(40))
    world.until_arrived(20)
    world.at.link(Wan(rtt_ms=20, rate_mbit=20), congestion="cubic")
    report = world.whole()
    assert report["broken_streams"] == 0


def test_bits_that_turn_on_the_way_break_streams_and_no_content(world: World) -> None:
    """TCP does not notice them, TLS does; each costs a stream, and what was not acknowledged goes again."""
    world.at.link(Wan(rtt_ms=20, rate_mbit=200, damage_percent=0.01), congestion="cubic")
    world.send(world.file(60))
    report = world.whole(120)
    assert report["broken_streams"] >= 1


def test_bits_that_turn_where_there_is_no_tls_are_noticed_by_every_frames_checksum(world: World) -> None:
    """Neither TCP nor TLS notices them here; nor does what they cost become wrong content."""
    world.at.stop_agent()
    world.at.serve(plain_from=[f"{NEAR}/32"])
    world.at.link(Wan(rtt_ms=20, rate_mbit=200, damage_percent=0.01), congestion="cubic")
    world.send(world.file(60), "--plain")
    report = world.whole(120)
    assert not report["data_tls"] and report["broken_streams"] >= 1
    assert b"was damaged on its way" in (world.at.place / "agent.log").read_bytes()


def test_a_limit_is_kept_to(world: World) -> None:
    path = world.file(20)
    world.send(path, "--limit 40mbit")
    report = world.whole()
    assert report["seconds"] > 20 * MIB / 5e6 * 0.9


def test_a_long_path_is_not_left_to_cubic(world: World) -> None:
    """Where the kernel has BBR: one packet in two hundred lost, and still most of the rate."""
    world.at.link(Wan(rtt_ms=80, rate_mbit=200, loss_percent=0.5), congestion="cubic")
    world.send(world.file(60))
    report = world.whole()
    assert report["congestion"] == "bbr"
    assert report["bytes_per_s"] > 0.5 * 200e6 / 8


def test_loss_and_jitter_change_no_byte(world: World) -> None:
    world.at.link(Wan(rtt_ms=20, jitter_ms=5, rate_mbit=200, loss_percent=1), congestion="bbr")
    world.send(world.file(40))
    world.whole()


def test_a_source_that_is_written_while_it_is_sent_is_never_committed(world: World) -> None:
    path = world.file(60)
    world.send(path)
    world.until_arrived(30)
    with path.open("r+b") as file:
        for offset in range(0, 60 * MIB, MIB):
            file.seek(offset)
            file.write(b"changed")
    code, _, said = world.ended()
    assert code == 4 and "was changed while it was sent, so nothing was committed" in said and said.count("\n") == 1
    assert not world.at.stored("content").exists()


def test_a_full_disk_is_one_sentence_and_what_arrived_is_gone_on_with(world: World) -> None:
    world.at.stop_agent()
    store = world.at.place / "store"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(store)], check=True)
    try:
        world.at.serve()
        path = world.file(60)
        world.send(path)
        code, _, said = world.ended()
        assert code == 4 and said == "The store's disk is full.\n"
        kept = world.arrived_mib()
        assert kept > 20
        subprocess.run(["mount", "-o", "remount,size=200m", str(store)], check=True)
        world.send(path)
        report = world.whole()
        assert report["resumed_bytes"] >= 20 * MIB
    finally:
        world.at.stop_agent()
        subprocess.run(["umount", str(store)], check=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stored, manifests: stored.write_bytes(b"x" + stored.read_bytes()[1:]),
        lambda stored, manifests: stored.unlink(),
        lambda stored, manifests: [path.write_bytes(b"no manifest") for path in manifests.iterdir()],
    ],
    ids=["damaged", "missing", "manifest damaged"],
)
def test_a_baseline_that_is_damaged_or_missing_costs_time_and_no_content(world: World, spoil: Callable[[Path, Path], Any]) -> None:
    old = world.file(20)
    world.send(old)
    world.whole()
    before = world.at.place / "before"
    before.write_bytes(world.content)
    spoil(world.at.stored("content"), world.at.place / "store/.manifests")
    new = bytearray(world.content)
    new[5 * MIB : 5 * MIB + 7] = b"changed"
    world.content = bytes(new)
    old.write_bytes(world.content)
    world.send(old, f"--baseline {before}")
    world.whole()
