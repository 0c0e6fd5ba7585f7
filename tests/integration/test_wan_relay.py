"""The WAN link's relay does to packets what it is told to: between two real network namespaces, seen by sockets in them. Needs root."""

from __future__ import annotations

import ctypes
import hashlib
import os
import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from golive.errors import BadInput, Refused
from golive.lab import wan
from golive.lab.commands import must, run
from golive.lab.wan import Wan

A, B = "10.79.0.0", "10.79.0.1"
_CLONE_NEWNET, _RCVBUFFORCE = 0x40000000, 33


class Link:
    """Two namespaces and the link between them."""

    def __init__(self, number: int) -> None:
        self.name = f"test-{number}"
        self.a, self.b = f"dwcp-test-{number}-a", f"dwcp-test-{number}-b"

    def start(self, setting: Wan) -> None:
        wan.start(self.name, (self.a, "wan0"), (self.b, "wan0"), setting)
        for namespace, address in ((self.a, A), (self.b, B)):
            must(["ip", "-n", namespace, "address", "add", f"{address}/31", "dev", "wan0"])
            must(["ip", "-n", namespace, "link", "set", "wan0", "txqueuelen", "5000", "up"])

    def socket(self, namespace: str, kind: socket.SocketKind) -> socket.socket:
        with _inside(namespace):
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(10)
        return made

    def udp(self) -> tuple[socket.socket, socket.socket]:
        ends = self.socket(self.a, socket.SOCK_DGRAM), self.socket(self.b, socket.SOCK_DGRAM)
        for end, mine in zip(ends, (A, B), strict=True):
            end.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 24)
            end.bind((mine, 0))
        ends[0].connect(ends[1].getsockname())
        ends[1].connect(ends[0].getsockname())
        return ends

    def tcp(self) -> tuple[socket.socket, socket.socket]:
        listening = self.socket(self.b, socket.SOCK_STREAM)
        listening.bind((B, 0))
        listening.listen()
        left = self.socket(self.a, socket.SOCK_STREAM)
        left.connect(listening.getsockname())
        right, _ = listening.accept()
        right.settimeout(10)
        listening.close()
        return left, right

    def counts(self) -> dict[str, int]:
        told = wan.ask(self.name)
        assert told is not None
        return dict(told["a_to_b"])


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """This thread is in a namespace; a socket stays in the one it was made in."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as home, Path("/run/netns", namespace).open() as there:
        assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), _CLONE_NEWNET) == 0


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    monkeypatch.setattr(wan, "SOCKETS", tmp_path)
    made = Link(os.getpid())
    for namespace in (made.a, made.b):
        must(["ip", "netns", "add", namespace])
        must(["ip", "-n", namespace, "link", "set", "lo", "up"])
        # What the kernel says by itself on a new interface would be counted, and lost, too.
        must(["ip", "netns", "exec", namespace, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"])
    try:
        yield made
    finally:
        wan.end(made.name)
        for namespace in (made.a, made.b):
            must(["ip", "netns", "delete", namespace])


def _round_trips_ms(ends: tuple[socket.socket, socket.socket], count: int) -> list[float]:
    measured = []
    for number in range(count):
        begin = time.monotonic()
        ends[0].send(struct.pack("!I", number))
        ends[1].send(ends[1].recv(64))
        assert ends[0].recv(64) == struct.pack("!I", number)
        measured.append((time.monotonic() - begin) * 1e3)
    return measured


def _moved(ends: tuple[socket.socket, socket.socket], content: bytes) -> tuple[str, float]:
    """SHA-256 of what arrived, and the seconds until its end arrived."""

    def send() -> None:
        ends[0].sendall(content)
        ends[0].shutdown(socket.SHUT_WR)

    begin = time.monotonic()
    sender = threading.Thread(target=send)
    sender.start()
    seen = hashlib.sha256()
    while piece := ends[1].recv(1 << 20):
        seen.update(piece)
    elapsed = time.monotonic() - begin
    sender.join()
    return seen.hexdigest(), elapsed


def test_a_packet_takes_half_the_round_trip_each_way(link: Link) -> None:
    link.start(Wan(rtt_ms=30))
    measured = _round_trips_ms(link.udp(), 20)
    assert min(measured) >= 30
    assert statistics.median(measured) < 33


def test_jitter_spreads_the_delay_and_keeps_the_order(link: Link) -> None:
    link.start(Wan(rtt_ms=20, jitter_ms=8))
    ends = link.udp()
    measured = _round_trips_ms(ends, 40)
    assert min(measured) >= 20 - 16
    assert max(measured) - min(measured) > 4
    for number in range(200):
        ends[0].send(struct.pack("!I", number))
    assert [struct.unpack("!I", ends[1].recv(64))[0] for _ in range(200)] == list(range(200))


def test_the_stated_share_is_lost_and_the_same_packets_again(link: Link) -> None:
    def survivors() -> list[int]:
        link.start(Wan(loss_percent=10))
        left, right = link.udp()
        right.settimeout(0.5)
        got = []
        for first in range(0, 4000, 100):
            for number in range(first, first + 100):
                left.send(struct.pack("!I", number))
            time.sleep(0.002)
        while True:
            try:
                got.append(struct.unpack("!I", right.recv(64))[0])
            except TimeoutError:
                return got

    got = survivors()
    assert link.counts()["lost"] == 4000 - len(got)
    assert 4000 - 6 * 19 < len(got) / 0.9 < 4000 + 6 * 21 + 20  # six standard deviations of 4,000 draws at 10 %
    assert survivors() == got


@pytest.mark.parametrize("rate_mbit", [20, 200])
def test_tcp_gets_the_rate_and_no_more(link: Link, rate_mbit: int) -> None:
    link.start(Wan(rtt_ms=10, rate_mbit=rate_mbit))
    content = os.urandom(rate_mbit * 1_000_000 // 8)
    digest, elapsed = _moved(link.tcp(), content)
    assert digest == hashlib.sha256(content).hexdigest()
    # One second of payload: headers take 3.6 %, the beginning of a TCP stream some round trips.
    assert 1.0 < elapsed < 1.35


def test_content_arrives_whole_though_segments_of_big_packets_are_lost(link: Link) -> None:
    link.start(Wan(rtt_ms=2, loss_percent=1))
    content, before = os.urandom(20_000_000), link.counts()
    digest, _ = _moved(link.tcp(), content)
    assert digest == hashlib.sha256(content).hexdigest()
    counted = link.counts()
    sent = counted["packets"] + counted["lost"]
    assert sent > 20_000_000 / 1448  # packets of the wire were counted, not the kernel's big ones
    assert 0.006 < counted["lost"] / sent < 0.014
    assert counted["refused"] == before["refused"]


def test_damage_is_of_one_bit_and_reaches_the_application(link: Link) -> None:
    link.start(Wan(damage_percent=0.2))
    content = bytes(5_000_000)
    left, right = link.tcp()
    sender = threading.Thread(target=lambda: (left.sendall(content), left.shutdown(socket.SHUT_WR)))
    sender.start()
    got = bytearray()
    while piece := right.recv(1 << 20):
        got += piece
    sender.join()
    hit = [byte for byte in got if byte]
    assert len(got) == len(content)
    assert all(byte.bit_count() == 1 for byte in hit)
    assert 1 <= len(hit) <= link.counts()["damaged"]


def test_what_does_not_fit_the_queue_is_dropped(link: Link) -> None:
    link.start(Wan(rate_mbit=1, queue_kb=10))
    left, right = link.udp()
    for _ in range(100):
        left.send(bytes(972))  # 1,000 bytes as an IP packet
    right.settimeout(1)
    got = 0
    try:
        while right.recv(2000):
            got += 1
    except TimeoutError:
        pass
    assert 10 <= got <= 12
    assert link.counts()["dropped"] == 100 - got


def test_a_link_changes_while_it_is_used(link: Link) -> None:
    link.start(Wan(rtt_ms=4))
    ends = link.udp()
    assert statistics.median(_round_trips_ms(ends, 10)) < 8
    wan.change(link.name, Wan(rtt_ms=40))
    assert min(_round_trips_ms(ends, 10)) >= 40
    wan.change(link.name, Wan(loss_percent=100))
    ends[0].send(b"x")
    ends[1].settimeout(0.3)
    with pytest.raises(TimeoutError):
        ends[1].recv(64)
    assert wan.fault(link.name, Wan(loss_percent=100)) is None
    assert "loss_per_million is 1000000 and not 0" in str(wan.fault(link.name, Wan()))


def test_a_link_can_be_made_again_and_ended_twice(link: Link) -> None:
    link.start(Wan())
    link.start(Wan(rtt_ms=6))
    assert min(_round_trips_ms(link.udp(), 3)) >= 6
    wan.end(link.name)
    wan.end(link.name)
    assert wan.ask(link.name) is None and wan.names("test-") == []
    assert not run(["ip", "-n", link.a, "link", "show", "wan0"]).ok


def test_a_relay_that_was_killed_is_missed_and_made_again(link: Link) -> None:
    link.start(Wan())
    [pid] = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _arguments(entry)[1:2] == [str(wan.SOCKETS / f"{link.name}.wan")]
    ]
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert wan.ask(link.name) is None
    assert "no relay" in str(wan.fault(link.name, Wan()))
    link.start(Wan())
    assert wan.fault(link.name, Wan()) is None


def _arguments(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def test_what_cannot_be_is_refused_in_a_sentence(link: Link) -> None:
    with pytest.raises(Refused, match="There is no WAN link"):
        wan.change(link.name, Wan())
    with pytest.raises(Refused, match="did not start: /run/netns/nowhere: No such file"):
        wan.start(link.name, ("nowhere", "wan0"), (link.b, "wan0"), Wan())
    assert wan.ask(link.name) is None
    for wrong in ({"rtt_ms": -1}, {"loss_percent": 101}, {"rate_mbit": 0.5}, {"rtt_ms": 10, "jitter_ms": 6}):
        with pytest.raises(BadInput):
            Wan(**wrong)  # type: ignore[arg-type]


def test_settings_are_typed_with_their_units() -> None:
    assert wan.setting_of(rtt="80ms", rate="1gbit", loss="0.5%", jitter="250us") == {
        "rtt_ms": 80,
        "rate_mbit": 1000,
        "loss_percent": 0.5,
        "jitter_ms": 0.25,
    }
    assert wan.setting_of() == {}
    for wrong in ({"rtt": "80"}, {"rate": "fast"}, {"loss": "1"}, {"rtt": "-5ms"}):
        with pytest.raises(BadInput, match="is not a number followed by"):
            wan.setting_of(**wrong)
