"""A clock that jumps under a transfer, at either end: it ends with the right bytes, verified, or with a clear error. Needs root.

golive.chaos.clock moves what one process takes for the time of day, and nothing else. So that tickets and certificates meet the new time,
all streams are broken once after the jump, and have to begin again with a ticket from before.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_faults import LINK, World, world

from golive.chaos.clock import WallClock
from golive.lab.wan import Wan

__all__ = ["world"]

HOUR = 3600


class Clock(WallClock):
    """What processes that run :attr:`under` it take for the time of day is off by so much."""

    @property
    def under(self) -> str:
        return " ".join(["env", *(f"{name}={value}" for name, value in self.variables.items())])

    def check(self, offset_s: int) -> None:
        """A process under it sees just that."""
        code = "import time; print(time.time(), time.monotonic())"
        done = subprocess.run([*self.under.split(), sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seen, monotonic = map(float, done.stdout.split())
        assert abs(seen - time.time() - offset_s) < 5 and abs(monotonic - time.monotonic()) < 5


@pytest.fixture
def clock(world: World) -> Clock:
    return Clock(world.at.place)


def send(world: World, path: Path, under: str, more: str = "") -> None:
    command = world.at.sending(path, "content", more=more)
    world.sender = world.at.on(world.at.near, f"exec {under} {command}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def break_streams(world: World) -> None:
    """Each stream loses a byte to TLS before long, and has to begin again."""
    world.at.link(Wan(rtt_ms=20, rate_mbit=200, damage_percent=0.5), congestion="cubic")
    time.sleep(1.5)
    world.at.link(LINK, congestion="cubic")


def jump_in_the_middle(world: World, clock: Clock, end: str, offset_s: int, more: str = "") -> Path:
    """A transfer of 60 MiB with the clock of ``end`` set when a third was there; returns its source."""
    path = world.file(60)
    if end == "receiver":
        world.at.stop_agent()
        world.at.serve(under=clock.under)
    send(world, path, clock.under if end == "sender" else "", more)
    world.until_arrived(20)
    process = world.sender if end == "sender" else world.at.agent
    assert process is not None and clock.holds(process.pid)
    clock.set(offset_s)
    clock.check(offset_s)
    break_streams(world)
    return path


@pytest.mark.parametrize("offset_s", [HOUR, -HOUR], ids=["an hour on", "an hour back"])
@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_a_clock_that_jumps_by_an_hour_costs_streams_and_no_transfer(world: World, clock: Clock, end: str, offset_s: int) -> None:
    jump_in_the_middle(world, clock, end, offset_s)
    report = world.whole(60)
    assert report["broken_streams"] >= 1
    assert report["again_bytes"] < 30 << 20


@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_before_the_certificates_begin_it_ends_with_that_and_goes_on_when_the_clock_is_right(world: World, clock: Clock, end: str) -> None:
    """They are valid from an hour before they were made."""
    path = jump_in_the_middle(world, clock, end, -3 * HOUR, "--patience 5")
    begun = time.monotonic()
    code, _, said = world.ended(60)
    assert code == 4 and said.count("\n") == 1 and "certificate" in said and "_ssl.c" not in said, said
    assert time.monotonic() - begun < 30
    assert not world.at.stored("content").exists()
    kept = world.arrived_mib()
    assert kept >= 18
    clock.set(0)
    send(world, path, "")
    assert world.whole(60)["resumed_bytes"] >= (kept - 4) << 20
