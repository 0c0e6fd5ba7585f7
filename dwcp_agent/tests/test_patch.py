"""Ranges told beside a baseline: what a sender makes of them, what a receiver puts together from them, and what it refuses."""

from __future__ import annotations

import fcntl
import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent.encoding.manifest import BLOCK, PAGE, PAGE_HASH_BYTES, hash_pages, manifest_of
from dwcp_agent.encoding.moved import MovedChunks, MovedPages
from dwcp_agent.encoding.patch import MAX_REFERRED_BYTES, decode_patch, encode_patch
from dwcp_agent.errors import ProtocolError
from dwcp_agent.transport.assembly import Assembly
from dwcp_agent.transport.frame import HEADER_BYTES, Flag, Frame, parse_header
from dwcp_agent.transport.source import BytesSource
from dwcp_agent.transport.units import UNIT, Baseline, Units
from fixtures import Agent

Runs = list[tuple[int, int]]


def reading(content: bytes) -> Callable[[int, int], bytes]:
    """A baseline."""
    return lambda offset, length: content[offset : offset + length]


def put_together(base: bytes, offset: int, length: int, payload: bytes) -> bytes:
    """What a receiver with ``base`` has at the range then."""
    patch = decode_patch(payload, offset, length, reading(base))
    made, content = bytearray(base[offset : offset + length].ljust(length, b"\0")), memoryview(patch.content)
    for at, count in patch.runs:
        made[at : at + count] = content[:count]
        content = content[count:]
    return bytes(made)


# -- payloads -----------------------------------------------------------------------------------------------------------------------


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, Runs]:
    """A range's length, and runs in it."""
    length = draw(st.integers(1, 20 * PAGE))
    pages = sorted(draw(st.sets(st.integers(0, (length - 1) // PAGE), min_size=1, max_size=8)))
    return length, [(page * PAGE, min(PAGE, length - page * PAGE)) for page in pages]


@settings(max_examples=80, deadline=None)
@given(ranges(), st.booleans(), st.integers(0, 3), st.integers(0, 9))
def test_a_patch_gives_the_new_content_and_no_other(what: tuple[int, Runs], beside: bool, kind: int, seed: int) -> None:
    length, runs = what
    draw = random.Random(seed)
    base = draw.randbytes(24 * PAGE)
    new = bytearray(base[:length])
    for at, count in runs:
        # edited in place, text, random bytes, or pages from elsewhere
        filled = [b"edited", b"text " * (count // 5 + 1), draw.randbytes(count), base[-count:]][kind][:count]
        new[at : at + len(filled)] = filled
    payload = encode_patch(bytes(new), 0, runs, reading(base) if beside else None, [(23 * PAGE, PAGE)])
    assert put_together(base, 0, length, payload) == new


def test_an_edit_costs_what_was_edited() -> None:
    base = os.urandom(16 * BLOCK)
    new = base[:100] + b"edited" + base[106:]
    assert len(encode_patch(new, 0, [(0, PAGE)], reading(base))) < 100
    assert PAGE < len(encode_patch(new, 0, [(0, PAGE)], None)) < PAGE + 40


def test_pages_from_elsewhere_cost_next_to_nothing() -> None:
    base = os.urandom(64 * PAGE)
    new = base[40 * PAGE : 44 * PAGE] + base[4 * PAGE : 16 * PAGE]
    moved = MovedPages(reading(base), len(base)).of(new[: 4 * PAGE], 0)
    assert moved == [(40 * PAGE, 4 * PAGE)]
    payload = encode_patch(new, 0, [(0, 4 * PAGE)], reading(base), moved)
    assert len(payload) < 200
    assert put_together(base, 0, 16 * PAGE, payload) == new


def test_more_than_may_be_referred_to_is_left_out() -> None:
    base = os.urandom(PAGE) * 2
    payload = encode_patch(base[:PAGE], 0, [(0, PAGE)], reading(base + bytes(MAX_REFERRED_BYTES)), [(0, MAX_REFERRED_BYTES), (0, PAGE)])
    assert put_together(base, 0, PAGE, payload) == base[:PAGE]


def test_pages_with_one_checksum_and_other_content_are_not_taken_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "dwcp_agent.encoding.moved.page_sums", lambda data, page: (b"\1\0\0\0" if any(data) else bytes(4)) * (len(data) // page)
    )
    base = os.urandom(4 * PAGE)
    assert MovedPages(reading(base), len(base)).of(os.urandom(4 * PAGE), 8 * PAGE) == []
    # The last of them is the one that is remembered.
    assert MovedPages(reading(base), len(base)).of(base[3 * PAGE :], 8 * PAGE) == [(3 * PAGE, PAGE)]


def told(runs: Runs, moved: Runs = (), how: int = 0, packed: bytes = b"") -> bytes:  # type: ignore[assignment]
    head = struct.pack(">H", len(runs)) + b"".join(struct.pack(">II", *run) for run in runs)
    return head + struct.pack(">H", len(moved)) + b"".join(struct.pack(">QI", *run) for run in moved) + bytes([how]) + packed


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        told([(0, PAGE)])[:6],  # cut
        told([(0, PAGE)])[:-1],  # cut before it says how
        b"\xff\xff" + bytes(65535 * 8) + b"\0\0\0",  # too many
        told([]),  # nothing new
        told([(0, PAGE)], packed=bytes(PAGE - 1)),  # too little
        told([(0, PAGE)], packed=bytes(PAGE + 1)),
        told([(PAGE, PAGE), (0, PAGE)], packed=bytes(2 * PAGE)),  # not ascending
        told([(0, PAGE), (0, PAGE)], packed=bytes(2 * PAGE)),  # twice
        told([(1, PAGE)], packed=bytes(PAGE)),  # not at a page
        told([(0, 1)], packed=b"x"),  # not a page
        told([(BLOCK, PAGE)], packed=bytes(PAGE)),  # behind the end
        told([(0, PAGE)], how=1, packed=b"not zstd"),
        told([(0, PAGE)], how=3, packed=bytes(PAGE)),
        told([(0, PAGE)], [(0, MAX_REFERRED_BYTES)], how=2, packed=b"x"),  # refers to too much
        told([(0, PAGE)], [(1 << 63, PAGE)], how=2, packed=b"x"),  # to nowhere
        told([(0, PAGE)], [(BLOCK - 5, 10)], how=2, packed=b"x"),  # behind the baseline's end
    ],
)
def test_a_payload_that_breaks_a_rule_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_patch(payload, 0, BLOCK, reading(os.urandom(BLOCK)))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_patch_of_the_right_size_or_refused(payload: bytes) -> None:
    try:
        patch = decode_patch(payload, 0, 4 * PAGE, reading(bytes(4 * PAGE)))
    except ProtocolError:
        return
    assert len(patch.content) == sum(count for _, count in patch.runs) <= 4 * PAGE


# -- what a sender makes --------------------------------------------------------------------------------------------------------------


def changed(content: bytes, *pages: int) -> bytes:
    new = bytearray(content)
    for page in pages:
        new[page * PAGE + 10 : page * PAGE + 20] = os.urandom(10)
    return bytes(new)


class Receiver:
    """Who has ``base``, and answers for its pages."""

    def __init__(self, base: bytes) -> None:
        self.base = base
        self.asked: list[Runs] = []

    def pages(self, runs: Runs) -> dict[int, bytes]:
        self.asked.append(runs)
        blocks = [index for first, count in runs for index in range(first, first + count)]
        return {index: hash_pages(self.base[index * BLOCK : (index + 1) * BLOCK]) for index in blocks}


def frames_of(units: Units) -> Iterator[Frame]:
    for unit in range(units.count):
        for part in units.parts(unit, 1, lambda chunk: (Flag.RAW, chunk)):
            yield Frame(parse_header(part.head), part.payload)


def flags_of(units: Units) -> list[int]:
    return [frame.header.flags for frame in frames_of(units)]


def test_a_receiver_is_asked_once_for_the_pages_of_all_that_differs() -> None:
    base = os.urandom(4 * UNIT)
    receiver = Receiver(base)
    units = Units(BytesSource(changed(base, 3, 300, 301, 900)), Baseline(manifest_of(BytesSource(base)), pages=receiver.pages))
    frames = list(frames_of(units))
    assert receiver.asked == [[(0, 1), (18, 1), (56, 1)]]
    assert [frame.header.flags for frame in frames] == [Flag.PATCH, Flag.PATCH, Flag.SAME, Flag.PATCH]
    assert sum(len(frame.payload) for frame in frames) < 4 * PAGE + 200


def test_a_receiver_that_does_not_answer_gets_the_blocks() -> None:
    base = os.urandom(2 * UNIT)
    units = Units(BytesSource(changed(base, 3)), Baseline(manifest_of(BytesSource(base)), pages=lambda runs: {}))
    assert flags_of(units) == [Flag.RAW, Flag.SAME, Flag.SAME]


def test_a_receiver_is_not_asked_for_pages_where_most_blocks_differ() -> None:
    base = os.urandom(UNIT)
    receiver = Receiver(base)
    new = changed(base, *range(0, 256, 16))
    assert set(flags_of(Units(BytesSource(new), Baseline(manifest_of(BytesSource(base)), pages=receiver.pages)))) == {Flag.RAW}
    assert receiver.asked == []


def test_blocks_that_became_zeros_stay_holes() -> None:
    base = os.urandom(UNIT)
    new = base[:BLOCK] + bytes(UNIT - BLOCK)
    assert flags_of(Units(BytesSource(new), Baseline(manifest_of(BytesSource(base)), BytesSource(base)))) == [Flag.SAME, Flag.ZERO]


# -- what a receiver puts together ----------------------------------------------------------------------------------------------------


def assembled(place: Path, base: bytes, new: bytes, *, local: bool, spoil: Any = None) -> tuple[Assembly, Path]:
    """``new`` as a receiver with ``base`` puts it together, in a file below ``place``."""
    (place / "base").write_bytes(base)
    (place / "new").write_bytes(b"")
    descriptor = os.open(place / "new", os.O_RDWR)
    os.ftruncate(descriptor, len(new))
    known = manifest_of(BytesSource(base))
    made = Assembly(descriptor, len(new), (os.open(place / "base", os.O_RDONLY), known), spoil)
    baseline = Baseline(known, BytesSource(base)) if local else Baseline(known, pages=Receiver(base).pages)
    for frame in frames_of(Units(BytesSource(new), baseline)):
        made.place(frame, None)
    return made, place / "new"


SIZES = [PAGE - 1, BLOCK, BLOCK + PAGE + 1, UNIT, 2 * UNIT + 3 * BLOCK + 7]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("local", [True, False])
def test_what_is_put_together_is_the_new_version(tmp_path: Path, size: int, local: bool) -> None:
    base = os.urandom(size)
    for count in (0, 1, 3):
        new = changed(base, *random.Random(size).sample(range(-(-size // PAGE)), min(count, size // PAGE)))[:size]
        made, path = assembled(tmp_path, base, new, local=local)
        assert path.read_bytes() == new
        assert made.manifest().id == manifest_of(BytesSource(new)).id
        made.close()


def test_what_is_read_back_wrong_shows_in_the_manifest(tmp_path: Path) -> None:
    base = os.urandom(2 * UNIT)
    new = changed(base, 5, 300)

    def spoil(descriptor: int, offset: int, length: int, size: int) -> None:
        if offset <= 300 * PAGE < offset + length:
            os.pwrite(descriptor, b"x", 300 * PAGE)

    made, _ = assembled(tmp_path, base, new, local=True, spoil=spoil)
    assert made.manifest().id != manifest_of(BytesSource(new)).id


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every file system shares blocks, as far as the agent can tell; the ranges that were."""
    shared: list[tuple[int, int]] = []

    def clone(descriptor: int, request: int, argument: bytes) -> int:
        assert request == 0x4020940D
        source, offset, length, to = struct.unpack("=qQQQ", argument)
        os.pwrite(descriptor, os.pread(source, length, offset), to)
        shared.append((offset, length))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    return shared


@pytest.mark.parametrize("size", SIZES)
def test_blocks_that_are_shared_give_the_new_version_too(tmp_path: Path, size: int, sharing: list[tuple[int, int]]) -> None:
    base = os.urandom(size)
    new = changed(base, 0)[:size]
    made, path = assembled(tmp_path, base, new, local=True)
    assert path.read_bytes() == new
    assert made.manifest().id == manifest_of(BytesSource(new)).id
    assert sharing or size < BLOCK


def test_a_version_that_was_written_to_while_its_blocks_were_shared_is_read_again(tmp_path: Path, sharing: list[tuple[int, int]]) -> None:
    base = os.urandom(2 * UNIT)
    made, path = assembled(tmp_path, base, changed(base, 3), local=True)
    with path.open("r+b") as file:  # as the shared block is after somebody wrote to both
        file.seek(UNIT)
        file.write(b"x")
    with (tmp_path / "base").open("r+b") as file:
        file.seek(UNIT)
        file.write(b"x")
    assert made.manifest().id == manifest_of(BytesSource(path.read_bytes())).id


def test_blocks_of_an_earlier_process_are_read(tmp_path: Path) -> None:
    content = os.urandom(3 * UNIT + 5)
    (tmp_path / "partial").write_bytes(content)
    descriptor = os.open(tmp_path / "partial", os.O_RDWR)
    assert Assembly(descriptor, len(content), None).manifest().id == manifest_of(BytesSource(content)).id
    os.close(descriptor)


# -- the question for pages -----------------------------------------------------------------------------------------------------------


async def test_pages_are_told_of_the_version_that_is_asked_for_and_of_no_other(agent: Agent) -> None:
    content = os.urandom(3 * BLOCK + 5)
    where = agent.store / "load.load.host-2"
    where.mkdir(exist_ok=True)
    (where / "image").write_bytes(content)
    async with agent.as_("load").head("/v1/manifests/image") as response:
        known, size = response.headers["X-DWCP-Manifest"], int(response.headers["X-DWCP-Size"])
        assert (size, await response.read()) == (len(content), b"")
    assert known == manifest_of(BytesSource(content)).id

    async def ask(body: Any, name: str = "image", who: str = "load") -> tuple[int, bytes]:
        async with agent.as_(who).post(f"/v1/manifests/{name}", data=body if isinstance(body, bytes) else json.dumps(body)) as response:
            return response.status, await response.read()

    assert await ask({"id": known, "blocks": [[1, 1], [3, 1]]}) == (
        200,
        hash_pages(content[BLOCK : 2 * BLOCK]) + hash_pages(content[3 * BLOCK :]),
    )
    assert len((await ask({"id": known, "blocks": [[0, 4]]}))[1]) == 49 * PAGE_HASH_BYTES
    assert await ask({"id": known, "blocks": [[100, 7]]}) == (200, b"")
    assert (await ask({"id": "0" * 64, "blocks": [[0, 1]]}))[0] == 409
    assert (await ask({"id": known, "blocks": [[0, 1]]}, "other"))[0] == 404
    assert (await ask({"id": known, "blocks": [[0, 1]]}, who="operator"))[0] == 404
    assert (await ask({"id": known, "blocks": [[0, 5000]]}))[0] == 413
    for body in (
        b"",
        b"[]",
        b"\xff",
        {"id": known},
        {"id": 7, "blocks": []},
        {"id": known, "blocks": [[-1, 1]]},
        {"id": known, "blocks": [1]},
    ):
        assert (await ask(body))[0] == 400


def test_a_header_says_how_long_its_frame_is() -> None:
    base = os.urandom(UNIT)
    units = Units(BytesSource(changed(base, 1)), Baseline(manifest_of(BytesSource(base)), BytesSource(base)))
    part = next(iter(units.parts(0, 1, lambda chunk: (Flag.RAW, chunk))))
    assert (part.length, part.same, part.wire_bytes) == (UNIT, UNIT - PAGE, HEADER_BYTES + len(part.payload))


# -- content that moved by any number of bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("inserted", [1, 777, 5 * PAGE + 3])
def test_what_stands_behind_an_insertion_costs_next_to_nothing(inserted: int) -> None:
    base = os.urandom(8 * UNIT)
    new = (base[:UNIT] + os.urandom(inserted) + base[UNIT:])[: 8 * UNIT]
    units = Units(BytesSource(new), Baseline(manifest_of(BytesSource(base)), BytesSource(base)))
    made, frames = bytearray(), list(frames_of(units))
    for frame in frames:
        at, length = frame.header.offset, frame.header.raw_length
        made += base[at : at + length] if frame.header.flags == Flag.SAME else put_together(base, at, length, bytes(frame.payload))
    assert bytes(made) == new
    # Around the ends of each unit a chunk or two are not found.
    assert sum(len(frame.payload) for frame in frames) < 7 * 48 * 1024 + inserted


def test_chunks_are_found_wherever_they_are_and_none_that_only_has_their_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    base = random.Random(5).randbytes(40 * PAGE)
    moved = MovedChunks(reading(base), len(base)).of(base[1000 : 30 * PAGE], 0)
    assert sum(length for _, length in moved) > 20 * PAGE
    assert len(moved) == 1 and moved[0][0] >= 1000
    monkeypatch.setattr("dwcp_agent.encoding.moved.crc32c", lambda piece: 7)
    monkeypatch.setattr("dwcp_agent.encoding.moved.chunk_ends", lambda data, average, **_: list(range(PAGE, len(data) + 1, PAGE)))
    assert MovedChunks(reading(base), len(base)).of(os.urandom(4 * PAGE), 0) == []


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 300_000)), min_size=1, max_size=6), st.integers(0, 1 << 20))
def test_what_is_said_to_have_moved_is_in_the_old_content_and_no_more_than_the_new(runs: list[tuple[int, int]], offset: int) -> None:
    base = random.Random(3).randbytes(500_000)
    new = b"".join(base[at : at + length] for at, length in runs)
    moved = MovedChunks(reading(base), len(base)).of(new, offset)
    assert all(at >= 0 and length > 0 and at + length <= len(base) for at, length in moved)
    assert sum(length for _, length in moved) <= len(new)
