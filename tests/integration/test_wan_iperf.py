"""What iperf3 and ping see of a WAN link is what was set: rate, round trip, loss, jitter. Needs root, iperf3 and ping.

The link of 80 ms has a queue of two round trips: with the 50 ms that it has by default BBR's search loses a fifth of what it sends, and a
receiver with the kernel's usual 6 MB waits for holes to be filled. That is TCP's doing; the relay's counters say so. What the receiver's
kernel drops, because iperf3 did not read in time, the link has not lost.

Tolerances, each of what was set. They are for a machine of two processors that both ends, the relay and the tools share.

| | between |
|---|---|
| round trip, least of 25 pings of an idle link | 0 and 1.5 ms more |
| round trip, median of them | 0 and 4 ms more |
| TCP payload, BBR, of the rate less headers (1,448 of 1,500 bytes) | 85 and 100 %; 1 Gbit/s: 70 and 100 % |
| lost of 17,500 UDP packets at 50 Mbit/s | 0.25 points either way: five deviations; without loss 0.02 |
| UDP jitter without jitter | below 3 ms: what a busy machine makes of it |
| standard deviation of pings with a jitter of 5 ms each way, 4.1 ms by calculation | 2.4 and 5.8 ms |
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from test_wan_relay import B, Link, link

from golive.lab.commands import must
from golive.lab.wan import Wan

__all__ = ["link"]

pytestmark = pytest.mark.alone

PAYLOAD = 1448 / 1500
PORT = 5299


@pytest.fixture(autouse=True)
def _tools() -> None:
    missing = [package for tool, package in (("iperf3", "iperf3"), ("ping", "iputils-ping")) if shutil.which(tool) is None]
    assert not missing, f"on Debian, as root: apt-get install {' '.join(missing)}"


@contextlib.contextmanager
def serving(link: Link) -> Iterator[None]:
    """iperf3 listens at the far end."""
    command = ["ip", "netns", "exec", link.b, "iperf3", "-s", "-B", B, "-p", str(PORT), "--forceflush"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            while "listening" not in (line := server.stdout.readline()):
                assert line, "iperf3 does not listen"
            yield
        finally:
            server.kill()


def iperf(link: Link, *more: str) -> dict[str, Any]:
    """What iperf3 says at the end of some seconds."""
    command = ["ip", "netns", "exec", link.a, "iperf3", "-c", B, "-p", str(PORT), "-J", "--connect-timeout", "5000", *more]
    for left in (2, 1, 0):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        told: dict[str, Any] = json.loads(done.stdout)
        if "error" not in told or not left:
            break
        time.sleep(0.5)  # the server still ends the test before
    assert "error" not in told, told["error"]
    end: dict[str, Any] = told["end"]
    return end


def tcp(link: Link, congestion: str) -> tuple[float, float]:
    """Payload in Mbit/s at the receiver once the kernel has found the rate, and what was sent again, of segments of 1,448 bytes."""
    end = iperf(link, "-t", "5", "-O", "4", "-C", congestion)
    segments = end["sum_sent"]["bytes"] / 1448
    return end["sum_received"]["bits_per_second"] / 1e6, end["sum_sent"]["retransmits"] / segments


def udp(link: Link) -> tuple[float, float]:
    """Percent lost on the way, and iperf3's jitter in ms."""
    packets, before = 17_500, unread(link)
    end = iperf(link, "-u", "-b", "50M", "-l", "1400", "-n", str(packets * 1400))["sum"]
    assert 15_000 < end["packets"] < 20_000
    lost = end["lost_packets"] - (unread(link) - before)
    return 100 * lost / end["packets"], float(end["jitter_ms"])


def unread(link: Link) -> int:
    """UDP packets that came, and found no room in their socket."""
    told = must(["ip", "netns", "exec", link.b, "cat", "/proc/net/snmp"])
    names, values = (line.split() for line in told.splitlines() if line.startswith("Udp:"))
    return int(values[names.index("RcvbufErrors")])


def pings_ms(link: Link, count: int = 25) -> list[float]:
    """Round trips, in the order in which they came back."""
    command = ["ip", "netns", "exec", link.a, "ping", "-n", "-c", str(count), "-i", "0.05", B]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return [float(each) for each in re.findall(r"time=([\d.]+) ms", done.stdout)]


@pytest.mark.parametrize(
    ("setting", "least_share"),
    [
        (Wan(rtt_ms=20, rate_mbit=1000), 0.70),
        (Wan(rtt_ms=80, rate_mbit=200, queue_kb=4000), 0.85),
        (Wan(rtt_ms=20, rate_mbit=100, loss_percent=0.5), 0.85),
    ],
    ids=str,
)
def test_iperf3_and_ping_see_what_was_set(link: Link, setting: Wan, least_share: float) -> None:
    link.start(setting)
    pings = pings_ms(link)
    assert len(pings) >= 22  # at a loss of 0.5 % each way four of 25 are never lost
    assert setting.rtt_ms <= min(pings) < setting.rtt_ms + 1.5
    assert statistics.median(pings) < setting.rtt_ms + 4
    with serving(link):
        rate, again = tcp(link, "bbr")
        print(f"{setting}: pings {min(pings):.1f} to {max(pings):.1f} ms; BBR {rate:.0f} Mbit/s, {again:.2%} sent again")
        assert setting.rate_mbit is not None
        assert least_share < rate / (setting.rate_mbit * PAYLOAD) < 1.01
        assert again >= 0.6 * setting.loss_percent / 100
        lost, jitter = udp(link)
        print(f"UDP {lost:.2f} % lost, jitter {jitter:.3f} ms")
        assert abs(lost - setting.loss_percent) < (0.25 if setting.loss_percent else 0.02)
        assert jitter < 3


def test_loss_costs_cubic_its_rate_and_what_is_sent_again_is_what_was_lost(link: Link) -> None:
    """By Mathis' formula about 10 Mbit/s: 1.22 segments a round trip by the root of 0.005."""
    link.start(Wan(rtt_ms=20, rate_mbit=100, loss_percent=0.5))
    with serving(link):
        rate, again = tcp(link, "cubic")
    print(f"cubic {rate:.1f} Mbit/s, {again:.2%} sent again")
    assert 4 < rate < 30
    assert 0.0015 < again < 0.012


def test_ping_sees_the_jitter(link: Link) -> None:
    link.start(Wan(rtt_ms=20, jitter_ms=5))
    pings = pings_ms(link, 60)
    print(f"deviation {statistics.stdev(pings):.2f} ms")
    assert 2.4 < statistics.stdev(pings) < 5.8
    assert min(pings) >= 20 - 10 and abs(statistics.mean(pings) - 20) < 2.5
