"""One TLS connection, read by one thread and written by another, at both ends and both ways at once."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from dwcp_agent.config import Tls
from dwcp_agent.errors import Unreachable
from dwcp_agent.security.tls import server_context
from dwcp_agent.transport.duplex import Duplex
from dwcp_agent.transport.frame import MAX_CHUNK, Kind, control, encode
from dwcp_agent.transport.wire import Wire
from fixtures import context_of
from pki import Files

STALL_S = 0.4


@pytest.fixture
def ends(people: dict[str, Files]) -> Iterator[tuple[Duplex, Duplex]]:
    files = people["agent"]
    server = server_context(Tls(ca=files.ca, cert=files.cert, key=files.key))
    accepted: list[ssl.SSLSocket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: accepted.append(server.wrap_socket(listener.accept()[0], server_side=True)))
        thread.start()
        near = context_of(people["load"]).wrap_socket(socket.create_connection(listener.getsockname()), server_hostname="127.0.0.1")
        thread.join()
    both = tuple(Duplex(Wire(sock, bytearray(MAX_CHUNK)), STALL_S) for sock in (near, accepted[0]))
    yield both[0], both[1]
    for end in both:
        end.close()


def patient(_: float) -> None:
    """Waits on."""


def test_both_directions_at_once_mix_nothing(ends: tuple[Duplex, Duplex]) -> None:
    contents = [os.urandom(size) for size in (1, 100, 5000, 300_000, MAX_CHUNK)]
    wrong: list[object] = []

    def write(end: Duplex) -> None:
        for number in range(150):
            content = contents[number % 5]
            end.write(encode(Kind.DATA, 7, content, offset=number, raw_length=len(content)), content)

    def read(end: Duplex) -> None:
        try:
            for number in range(150):
                frame = end.read_while(patient)
                if frame is None or frame.header.offset != number or frame.payload != contents[number % 5]:
                    wrong.append(number)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(end,)) for end in ends for work in (write, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)


def test_frames_of_two_writers_do_not_mix(ends: tuple[Duplex, Duplex]) -> None:
    content = os.urandom(MAX_CHUNK)  # goes in parts, since nobody reads as fast as two write

    def write() -> None:
        for _ in range(40):
            ends[0].write(encode(Kind.DATA, 7, content, raw_length=MAX_CHUNK), content)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(80):
        frame = ends[1].read_while(patient)
        assert frame is not None and frame.payload == content
    for thread in threads:
        thread.join(10)


def test_who_waits_for_a_frame_decides_how_long(ends: tuple[Duplex, Duplex]) -> None:
    def enough(waited_s: float) -> None:
        if waited_s > 2 * STALL_S:
            raise Unreachable("enough")

    began = time.monotonic()
    with pytest.raises(Unreachable, match="enough"):
        ends[0].read_while(enough)
    assert time.monotonic() - began >= 2 * STALL_S
    ends[1].write(control(Kind.FIN, 7, {}))
    frame = ends[0].read_while(enough)
    assert frame is not None and frame.header.kind == Kind.FIN


def test_a_standstill_within_a_frame_is_noticed_on_both_sides(ends: tuple[Duplex, Duplex]) -> None:
    head = encode(Kind.DATA, 7, bytes(1000), raw_length=1000)
    ends[1].write(head[:20])
    with pytest.raises(Unreachable, match="stalled"):
        ends[0].read_while(patient)
    with pytest.raises(Unreachable, match="stalled"):
        while True:  # nobody reads
            ends[0].write(head, bytes(MAX_CHUNK))


def test_a_cut_wakes_who_reads_and_an_end_before_a_frame_is_none(ends: tuple[Duplex, Duplex]) -> None:
    found: list[object] = []
    reading = threading.Thread(target=lambda: found.append(ends[0].read_while(patient)))
    reading.start()
    ends[0].cut()
    reading.join(5)
    assert found == [None]
    with pytest.raises(Unreachable):
        ends[0].write(control(Kind.FIN, 7, {}))
    assert ends[1].read_while(patient) is None
