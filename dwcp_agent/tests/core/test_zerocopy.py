"""Sending without copies: the same bytes arrive whichever way is gone, and the way is known."""

from __future__ import annotations

import os
import random
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dwcp_agent._native import FileSender, ZeroCopySender

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "unix":
        left, right = socket.socketpair()
    else:
        left, right = tcp_pair()
    with left, right:
        left.settimeout(None)
        yield left, right


def tcp_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    return left, right


class Reader(threading.Thread):
    """Everything that comes, until the end; as slowly as told."""

    def __init__(self, sock: socket.socket, piece: int = 1 << 16) -> None:
        super().__init__()
        self._sock, self._piece = sock, piece
        self.content = bytearray()
        self.start()

    def run(self) -> None:
        while part := self._sock.recv(self._piece):
            self.content += part


@pytest.mark.parametrize("first", ["sendfile", "splice", "copy"])
def test_file_arrives_whole_by_the_way_that_is_asked_for(pair: Pair, tmp_path: Path, first: str) -> None:
    left, right = pair
    content = random.Random(1).randbytes(3_000_001)
    path = tmp_path / "content"
    path.write_bytes(content)
    reader, sender, offset = Reader(right, 10_000), FileSender(first), 17
    with path.open("rb") as file:
        # Requests of any size, also smaller than what splice has in its pipe.
        sizes = random.Random(2)
        while sent := sender.send(left, file, offset, sizes.choice([1, 999, 65_536, 1 << 22])):
            offset += sent
    left.shutdown(socket.SHUT_WR)
    reader.join(20)
    assert reader.content == content[17:] and offset == len(content)
    assert sender.via == first and sender.moved[first] == len(content) - 17
    assert sum(sender.moved.values()) == len(content) - 17


def test_a_request_chooses_its_way_by_its_size(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    content = random.Random(5).randbytes(2_000_000)
    path = tmp_path / "content"
    path.write_bytes(content)
    reader, sender, offset = Reader(right), FileSender(), 0
    sizes = random.Random(6)
    with path.open("rb") as file:
        while True:
            count = sizes.choice([1, 65_536, (256 << 10) - 1, 256 << 10, 1 << 20])
            if not (sent := sender.send(left, file, offset, count)):
                break
            offset += sent
            # What a large request left in the pipe goes that way too.
            assert sender.via == "splice" or (sender.via == "sendfile" and count < 256 << 10)
    left.shutdown(socket.SHUT_WR)
    reader.join(20)
    assert reader.content == content
    assert sender.moved["splice"] > 0 < sender.moved["sendfile"] and sum(sender.moved.values()) == len(content)


def test_what_the_kernel_does_not_allow_falls_back_and_says_so(tmp_path: Path) -> None:
    content = random.Random(3).randbytes(500_000)
    (tmp_path / "from").write_bytes(content)
    # A file opened to append takes neither sendfile nor splice; send(2) does not know it at all.
    with (tmp_path / "from").open("rb") as file, (tmp_path / "to").open("ab") as target:
        sender = FileSender()
        with pytest.raises(OSError, match="Socket operation on non-socket"):
            sender.send(target, file, 0, len(content))
        assert sender.via == "copy" and sum(sender.moved.values()) == 0


def test_a_file_that_neither_sendfile_nor_splice_reads_arrives_by_copy(pair: Pair) -> None:
    left, right = pair
    content = Path("/proc/self/cmdline").read_bytes()
    reader, sender, offset = Reader(right), FileSender(), 0
    with Path("/proc/self/cmdline").open("rb") as file:
        with pytest.raises(OSError, match="Invalid argument"):
            os.sendfile(left.fileno(), file.fileno(), 0, 10)
        while sent := sender.send(left, file, offset, 1 << 20):
            offset += sent
    left.shutdown(socket.SHUT_WR)
    reader.join(20)
    assert reader.content == content
    assert sender.via == "copy" and sender.moved == {"sendfile": 0, "splice": 0, "copy": len(content)}


def test_what_a_full_socket_left_of_one_file_is_not_sent_for_another(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1" * (8 << 20))
    (tmp_path / "two").write_bytes(b"2" * (8 << 20))
    left, right = socket.socketpair()
    with left, right, (tmp_path / "one").open("rb") as one, (tmp_path / "two").open("rb") as two:
        left.setblocking(False)
        sender, offset = FileSender("splice"), 0
        with pytest.raises(BlockingIOError):
            while True:
                offset += sender.send(left, one, offset, 8 << 20)
        received = bytearray()
        while len(received) < offset:
            received += right.recv(1 << 20)
        assert set(received) == {ord("1")}
        # Another place of the same file, then another file at the place that was stopped at.
        for file, at, expected in ((one, 5, b"1"), (two, offset, b"2")):
            sent = sender.send(left, file, at, 1000)
            assert right.recv(1 << 20) == expected * sent and sent == 1000


def test_a_full_socket_says_so_and_nothing_is_lost(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    content = random.Random(4).randbytes(8 << 20)
    (tmp_path / "content").write_bytes(content)
    for first in ("sendfile", "splice", "copy"):
        left.setblocking(False)
        sender, offset = FileSender(first), 0
        with (tmp_path / "content").open("rb") as file:
            with pytest.raises(BlockingIOError):
                while True:
                    offset += sender.send(left, file, offset, len(content))
            assert 0 < offset < len(content)
            received = bytearray()
            while len(received) < len(content):
                received += right.recv(1 << 20)
                try:
                    offset += sender.send(left, file, offset, len(content) - offset or 1)
                except BlockingIOError:
                    continue
        assert received == content, first


@pytest.mark.parametrize("first", [None, "sendfile"])
def test_a_broken_connection_is_an_error_and_not_another_way(tmp_path: Path, first: str | None) -> None:
    (tmp_path / "content").write_bytes(bytes(1 << 20))
    left, right = tcp_pair()
    right.close()
    sender = FileSender(first)
    with left, (tmp_path / "content").open("rb") as file, pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(100):
            sender.send(left, file, 0, 1 << 20)
    assert sender.via == (first or "splice")


def test_without_descriptors_for_a_pipe_sendfile_sends(pair: Pair, tmp_path: Path) -> None:
    left, right = pair
    (tmp_path / "content").write_bytes(bytes(400_000))
    reader, sender = Reader(right), FileSender()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "content").open("rb") as file:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit[1]))
        try:
            sent = sender.send(left, file, 0, 400_000)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert sent > 0 and sender.via == "sendfile"
        while sent < 400_000:
            sent += sender.send(left, file, sent, 400_000)
    assert sender.moved["splice"] > 0 or sent == sender.moved["sendfile"]
    left.shutdown(socket.SHUT_WR)
    reader.join(20)
    assert len(reader.content) == 400_000


def test_senders_refuse_what_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sendfile, splice or copy"):
        FileSender("teleport")
    with pytest.raises(ValueError, match="offset must not"):
        FileSender().send(0, 0, -1, 1)
    with pytest.raises(TypeError):
        ZeroCopySender("socket")  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [True, False])
def test_memory_arrives_whole_and_is_kept_until_the_kernel_is_done(pair: Pair, wanted: bool) -> None:
    left, right = pair
    reader, sender = Reader(right), ZeroCopySender(left, wanted)
    parts = [random.Random(n).randbytes(100_000 + n) for n in range(100)]
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[sender.send(view) :]
    assert sender.flush(20)
    left.shutdown(socket.SHUT_WR)
    reader.join(20)
    assert reader.content == b"".join(parts)
    said = sender.statistics()
    assert said["outstanding"] == 0
    if not wanted:
        assert not sender.on and said["completed"] == 0 and said["plain"] >= 100


def test_where_the_kernel_copies_anyway_it_is_switched_off() -> None:
    # Between two ends on one machine the receiver would hold the sender's pages: the kernel copies, and says so.
    left, right = tcp_pair()
    with left, right:
        reader, sender = Reader(right), ZeroCopySender(left)
        if not sender.on:
            pytest.fail("this kernel does not know SO_ZEROCOPY")
        for _ in range(200):
            sender.send(os.urandom(200_000))
        assert sender.flush(20)
        said = sender.statistics()
        left.shutdown(socket.SHUT_WR)
        reader.join(20)
    assert said["copied"] == said["completed"] >= 16
    assert not sender.on and said["plain"] > 100


def test_references_are_given_back() -> None:
    import sys

    left, right = tcp_pair()
    with left, right:
        reader = Reader(right)
        data = bytes(300_000)
        before = sys.getrefcount(data)
        sender = ZeroCopySender(left)
        for _ in range(100):
            sender.send(data)
        assert sender.flush(20) and sys.getrefcount(data) == before
        left.shutdown(socket.SHUT_WR)
        reader.join(20)
