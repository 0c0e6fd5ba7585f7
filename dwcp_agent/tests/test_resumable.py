"""Protocol 2: streams may break and both ends may be killed; what arrives is verified and whole, and little is sent twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.encoding.manifest import BLOCK, HASH_BYTES, PAGE, Manifest, manifest_of
from dwcp_agent.errors import AgentError, BadInput, Corrupt, Refused, Unreachable
from dwcp_agent.transport import frame
from dwcp_agent.transport.frame import Flag, Kind, control, encode, parse_control
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.source import BytesSource
from dwcp_agent.transport.tally import Tally
from dwcp_agent.transport.units import UNIT, Baseline
from dwcp_agent.transport.wire import Wire
from fixtures import Agent, context_of, wait_for

STORED = "load.load.host-2"
TOKEN = "0123456789abcdef" * 2


def mixed(size: int, seed: int = 1) -> bytes:
    """Text, zeros and random bytes."""
    import random

    noise = random.Random(seed)
    parts = [b"%d a line of text\n" % seed * 10_000, bytes(300_000), noise.randbytes(200_000)]
    return (b"".join(parts) * (size // 600_000 + 1))[:size]


def changed(content: bytes, *blocks: int) -> bytes:
    """``content`` with a few bytes of these blocks overwritten."""
    new = bytearray(content)
    for block in blocks:
        new[block * BLOCK + 100 : block * BLOCK + 164] = secrets.token_bytes(64)
    return bytes(new)


def connecting(agent: Agent, who: str = "load") -> Callable[[], tuple[Link, str]]:
    """What an ``Outbound`` connects with, for use in a thread of its own."""
    link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people[who]), timeout_s=10)

    def connect() -> tuple[Link, str]:
        identity = agent.service.context.tickets
        from dwcp_agent.security.identity import Identity

        return link, identity.issue("s", Identity(who, {"load": "load.host-2", "operator": "operator"}[who]), time.time())[0]

    return connect


def outbound(agent: Agent, content: bytes | BytesSource, name: str = "big/file", **more: Any) -> Outbound:
    source = content if isinstance(content, BytesSource) else BytesSource(content)
    return Outbound(more.pop("connect", None) or connecting(agent, more.pop("who", "load")), name, source, **{"token": TOKEN, **more})


async def send(agent: Agent, content: bytes | BytesSource, name: str = "big/file", **more: Any) -> Tally:
    return await asyncio.to_thread(lambda: outbound(agent, content, name, **more).run())


def stored(agent: Agent, name: str = "big/file") -> bytes:
    return (agent.store / STORED / name).read_bytes()


# -- content ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, UNIT, UNIT + 1, 7 * UNIT + 12345])
@pytest.mark.parametrize("streams", [1, 4])
async def test_content_arrives_whole_and_verified(agent: Agent, size: int, streams: int) -> None:
    content = mixed(size)
    tally = await send(agent, content, streams=streams)
    assert stored(agent) == content
    assert tally.id == manifest_of(BytesSource(content)).id
    assert tally.sent_bytes + tally.zero_bytes == size
    assert agent.files() == [f"{STORED}/big/file"]


async def test_zeros_cost_a_header_and_leave_a_hole(agent: Agent) -> None:
    tally = await send(agent, bytes(8 * UNIT))
    assert tally.wire_bytes == 8 * frame.HEADER_BYTES
    assert stored(agent) == bytes(8 * UNIT)
    assert (agent.store / STORED / "big/file").stat().st_blocks == 0


# -- baselines --------------------------------------------------------------------------------------------------------------------


def open_files() -> set[Path]:
    """What this process, and so the agent in it, has open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(entry.readlink())
    return found


async def baseline_of(agent: Agent, name: str = "big/file") -> Manifest:
    async with agent.as_("load").get(f"/v1/manifests/{name}") as response:
        assert response.status == 200
        found = Manifest(int(response.headers["X-DWCP-Size"]), await response.read())
        assert found.id == response.headers["X-DWCP-Manifest"]
        return found


async def test_nothing_changed_sends_nothing(agent: Agent) -> None:
    content = mixed(6 * UNIT)
    await send(agent, content)
    before = (agent.store / STORED / "big/file").stat()
    tally = await send(agent, content, token="f" * 32, baseline=Baseline(await baseline_of(agent)))
    assert (tally.wire_bytes, tally.same_bytes, tally.id) == (0, 6 * UNIT, manifest_of(BytesSource(content)).id)
    assert (agent.store / STORED / "big/file").stat() == before


async def test_an_old_version_sent_again_is_sent_and_not_taken_for_done(agent: Agent) -> None:
    first, second = os.urandom(2 * UNIT), os.urandom(2 * UNIT)
    await send(agent, first)
    await send(agent, second, token="e" * 32)
    assert (await send(agent, first)).sent_bytes == len(first)
    assert stored(agent) == first
    # But a sender that did not hear the receipt is told that it is done.
    assert (await send(agent, first)).sent_bytes == 0


@pytest.mark.parametrize("both", [False, True], ids=["receiver only", "both sides"])
async def test_only_what_changed_is_sent(agent: Agent, both: bool) -> None:
    old = os.urandom(6 * UNIT + 500)
    new = changed(old, 3, 40, 41)
    await send(agent, old)
    baseline = Baseline(await baseline_of(agent), BytesSource(old) if both else None)
    tally = await send(agent, new, token="f" * 32, baseline=baseline)
    assert stored(agent) == new
    # A receiver that is not asked for its pages gets whole blocks.
    changes = 3 * PAGE if both else 3 * BLOCK
    assert (tally.sent_bytes, tally.same_bytes) == (changes, len(new) - changes)
    # Beside the old content three times 64 bytes are left of it; without, random bytes do not shrink.
    assert tally.wire_bytes < (4_000 if both else 3 * BLOCK + 4_000)


@pytest.mark.parametrize("size", [2 * UNIT + 77, 9 * UNIT + 1, 0])
async def test_a_version_of_another_size_is_sent_beside_the_old_one(agent: Agent, size: int) -> None:
    old = mixed(5 * UNIT + 300)
    new = (old + mixed(9 * UNIT, seed=2))[:size]
    await send(agent, old)
    tally = await send(agent, new, token="f" * 32, baseline=Baseline(await baseline_of(agent), BytesSource(old)))
    assert stored(agent) == new
    assert tally.same_bytes >= min(len(old), size) - 2 * BLOCK


async def test_a_baseline_that_is_another_by_now_is_not_used(agent: Agent) -> None:
    old = os.urandom(3 * UNIT)
    await send(agent, old)
    baseline = Baseline(await baseline_of(agent), BytesSource(old))
    await send(agent, os.urandom(3 * UNIT), token="e" * 32)
    tally = await send(agent, changed(old, 5), token="f" * 32, baseline=baseline)
    assert (tally.same_bytes, tally.sent_bytes) == (0, 3 * UNIT)
    assert stored(agent)[: 5 * BLOCK] == old[: 5 * BLOCK]


async def test_a_baseline_damaged_at_the_receiver_is_noticed_before_it_is_used(agent: Agent) -> None:
    old = os.urandom(3 * UNIT)
    await send(agent, old)
    baseline = Baseline(await baseline_of(agent), BytesSource(old))
    path = agent.store / STORED / "big/file"
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(7 * BLOCK)
        file.write(b"damage")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    new = changed(old, 30)
    tally = await send(agent, new, token="f" * 32, baseline=baseline)
    assert stored(agent) == new
    assert tally.same_bytes == 0


async def test_a_baseline_damaged_while_it_is_used_ends_in_an_error_and_the_old_version_stays(agent: Agent) -> None:
    old = os.urandom(3 * UNIT)
    await send(agent, old)
    path = agent.store / STORED / "big/file"

    class Damaging(BytesSource):
        """Damages the receiver's file once the transfer has begun, as a failing disk would."""

        def chunk(self, offset: int, length: int) -> memoryview:
            if offset == 0:
                wait_for("the transfer", lambda: agent.service.context.inbound.running())
                with path.open("r+b") as file:
                    file.seek(40 * BLOCK)
                    file.write(b"damage")
            return super().chunk(offset, length)

    baseline = Baseline(await baseline_of(agent))
    with pytest.raises(Corrupt, match="has the id"):
        await send(agent, Damaging(changed(old, 0)), token="f" * 32, baseline=baseline, streams=1)
    await asyncio.to_thread(wait_for, "no open version", lambda: path not in open_files())
    assert stored(agent)[:BLOCK] == old[:BLOCK]
    assert agent.files() == [f"{STORED}/big/file"]


async def test_a_baseline_written_to_between_two_looks_at_it_is_none(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    from dwcp_agent.transport import inbound

    old = os.urandom(4 * UNIT)
    await send(agent, old)
    baseline, made = Baseline(await baseline_of(agent)), inbound.Assembly

    def late(*arguments: Any) -> Any:
        with (agent.store / STORED / "big/file").open("r+b") as file:
            file.write(b"written")
        return made(*arguments)

    monkeypatch.setattr(inbound, "Assembly", late)
    new = changed(old, 40)
    assert (await send(agent, new, token="f" * 32, baseline=baseline)).same_bytes == 0
    assert stored(agent) == new


async def test_what_another_tenant_has_is_nobodys_baseline(agent: Agent) -> None:
    await send(agent, mixed(UNIT))
    async with agent.as_("operator").get("/v1/manifests/big/file") as response:
        assert response.status == 404
    async with agent.as_("monitor").get("/v1/manifests/big/file") as response:
        assert response.status == 403


async def test_content_that_came_another_way_has_a_manifest_too(agent: Agent) -> None:
    import hashlib

    content = mixed(200_000)
    headers = {"X-DWCP-SHA256": hashlib.sha256(content).hexdigest()}
    async with agent.as_("load").put("/v1/objects/small", data=content, headers=headers) as response:
        assert response.status == 201
    assert await baseline_of(agent, "small") == manifest_of(BytesSource(content))
    headers = {"X-DWCP-SHA256": hashlib.sha256(content[1:]).hexdigest()}
    async with agent.as_("load").put("/v1/objects/small", data=content[1:], headers=headers) as response:
        assert response.status == 201
    assert await baseline_of(agent, "small") == manifest_of(BytesSource(content[1:]))


# -- faults -----------------------------------------------------------------------------------------------------------------------


class Cutting(BytesSource):
    """Cuts streams of its transfer when a unit is read."""

    def __init__(self, content: bytes, *, at: set[int], every: bool = False) -> None:
        super().__init__(content)
        self.sending: Outbound | None = None
        self._at = at
        self._every = every
        self._lock = threading.Lock()
        self.cut = 0

    def chunk(self, offset: int, length: int) -> memoryview:
        with self._lock:
            if offset // UNIT in self._at and self.sending is not None:
                self._at.discard(offset // UNIT)
                wires = list(self.sending._entrance._wires)
                for wire in wires if self._every else wires[:1]:
                    with contextlib.suppress(OSError):  # it was cut before, and nobody has noticed yet
                        socket.socket.shutdown(wire.sock, socket.SHUT_RDWR)
                        self.cut += 1
        return super().chunk(offset, length)


class Counting(BytesSource):
    """How far it was read."""

    reached = 0

    def chunk(self, offset: int, length: int) -> memoryview:
        self.reached = max(self.reached, offset + length)
        return super().chunk(offset, length)


async def test_a_receiver_whose_disk_stands_still_stops_the_reading_of_the_source(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(96 * UNIT)
    source, real, goes_on = Counting(content), os.pwrite, threading.Event()

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        assert goes_on.wait(30)
        return real(descriptor, data, offset)

    def stands_still() -> bool:
        before = source.reached
        time.sleep(0.3)
        return 0 < source.reached == before

    monkeypatch.setattr(os, "pwrite", pwrite)
    sending = asyncio.create_task(send(agent, source, streams=1))
    try:
        await asyncio.to_thread(wait_for, "a standstill", stands_still)
        reached = source.reached
    finally:
        goes_on.set()
    tally = await sending
    # What two sockets and a buffer hold, and nothing beyond.
    assert reached < 24 * UNIT
    assert stored(agent) == content and tally.broken_streams == 0


@pytest.mark.parametrize("every", [False, True], ids=["one stream", "all streams"])
async def test_a_cut_stream_loses_nothing(agent: Agent, every: bool) -> None:
    content = os.urandom(24 * UNIT)
    source = Cutting(content, at={5, 11, 17}, every=every)
    sending = outbound(agent, source, streams=4)
    source.sending = sending
    tally = await asyncio.to_thread(sending.run)
    assert stored(agent) == content
    assert source.cut >= (4 if every else 1) and tally.broken_streams >= (4 if every else 1)
    assert tally.sent_bytes >= len(content)
    assert agent.files() == [f"{STORED}/big/file"]


class Stopping(BytesSource):
    """The sender dies when this much was read."""

    def __init__(self, content: bytes, at: int) -> None:
        super().__init__(content)
        self._at = at
        self.sending: Outbound | None = None

    def chunk(self, offset: int, length: int) -> memoryview:
        if offset >= self._at and self.sending is not None:
            self.sending.abort()
        return super().chunk(offset, length)


async def begun(agent: Agent, content: bytes, until: int) -> None:
    """A transfer that was given up when the second of its two streams, which begins in the middle, came to ``until``."""
    source = Stopping(content, until)
    sending = outbound(agent, source, streams=2)
    source.sending = sending
    with pytest.raises(AgentError):
        await asyncio.to_thread(sending.run)
    await asyncio.to_thread(wait_for, "no stream", lambda: not agent.service.context.inbound.running())


async def test_a_later_run_goes_on_where_the_first_was_ended(agent: Agent) -> None:
    content = os.urandom(40 * UNIT)
    await begun(agent, content, 30 * UNIT)
    tally = await send(agent, content)
    assert stored(agent) == content
    assert tally.resumed_bytes >= 12 * UNIT
    assert tally.sent_bytes == len(content) - tally.resumed_bytes
    assert agent.files() == [f"{STORED}/big/file"]


async def test_a_restarted_receiver_goes_on_too(start_agent: Any) -> None:
    content = os.urandom(40 * UNIT)
    async with start_agent() as first:
        await begun(first, content, 30 * UNIT)
        assert len(first.files()) == 2
    async with start_agent() as second:
        tally = await send(second, content)
        assert tally.resumed_bytes >= 12 * UNIT
        assert stored(second) == content
        assert second.files() == [f"{STORED}/big/file"]


async def test_partial_content_that_was_damaged_meanwhile_is_never_committed(start_agent: Any) -> None:
    content = os.urandom(20 * UNIT)
    async with start_agent() as first:
        await begun(first, content, 15 * UNIT)
        [partial] = [path for path in first.files() if path.endswith(".content")]
        with (first.store / partial).open("r+b") as file:
            file.write(b"damage")
    async with start_agent() as second:
        with pytest.raises(Corrupt):
            await send(second, content)
        assert second.files() == []
        await send(second, content)
        assert stored(second) == content


async def test_a_torn_journal_is_read_as_far_as_it_goes(start_agent: Any) -> None:
    content = os.urandom(20 * UNIT)
    async with start_agent() as first:
        await begun(first, content, 15 * UNIT)
        [journal] = [path for path in first.files() if path.endswith(".journal")]
        with (first.store / journal).open("ab") as file:
            file.write(b"torn")
    async with start_agent() as second:
        tally = await send(second, content)
        assert tally.resumed_bytes > 0 and stored(second) == content


async def test_a_stalled_transfer_is_put_aside_and_gone_on_with(start_agent: Any) -> None:
    content = os.urandom(20 * UNIT)
    async with start_agent(limits={"stall_timeout_s": 0.3}) as agent:
        await begun(agent, content, 15 * UNIT)
        await asyncio.to_thread(wait_for, "put aside", lambda: not agent.service.context.inbound._transfers)
        tally = await send(agent, content)
        assert tally.resumed_bytes > 0 and stored(agent) == content


async def test_a_receiver_that_is_away_for_a_while_is_waited_for(start_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(8 * UNIT)
    async with start_agent() as agent:
        connect, calls = connecting(agent), []

        def flaky() -> tuple[Link, str]:
            calls.append(time.monotonic())
            if len(calls) in (2, 3):
                raise Unreachable("away") if len(calls) == 2 else Refused("not yet", code="draining", status=503)
            return connect()

        sending = outbound(agent, content, connect=flaky)
        # A ticket of another process, as after a restart.
        sending._entrance._ticket = sending._entrance._ticket[:-4] + "AAAA"
        tally = await asyncio.to_thread(sending.run)
        assert tally.id and stored(agent) == content and len(calls) >= 4


async def test_patience_ends(agent: Agent) -> None:
    link = Link("127.0.0.1", 9, context_of(agent.people["load"]))
    sending = outbound(agent, mixed(UNIT), connect=lambda: (link, "x"), patience_s=0.3)
    with pytest.raises(Unreachable, match="cannot be reached"):
        await asyncio.to_thread(sending.run)


async def test_a_source_that_changes_while_it_is_sent_is_an_error_and_nothing_is_committed(agent: Agent) -> None:
    class Changing(BytesSource):
        def chunk(self, offset: int, length: int) -> bytes:  # type: ignore[override]
            return os.urandom(length)

    with pytest.raises(Corrupt):
        await send(agent, Changing(bytes(4 * UNIT)))
    assert agent.files() == []
    async with agent.as_("monitor").get("/metrics") as response:
        assert 'dwcp_transfers_total{result="corrupt"} 1.0' in await response.text()


async def test_a_full_disk_is_said_and_what_arrived_is_kept(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    content = os.urandom(12 * UNIT)
    real, written = os.pwrite, []

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        written.append(offset)
        if len(written) > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(Refused, match="disk is full") as caught:
        await send(agent, content)
    assert (caught.value.code, caught.value.status) == ("disk-full", 507)
    monkeypatch.undo()
    tally = await send(agent, content)
    assert tally.resumed_bytes > 0 and stored(agent) == content


async def test_draining_ends_a_transfer_that_a_later_agent_goes_on_with(start_agent: Any) -> None:
    content = os.urandom(60 * UNIT)
    begun_at = threading.Event()

    class Slow(BytesSource):
        def chunk(self, offset: int, length: int) -> memoryview:
            if offset > 20 * UNIT:
                time.sleep(0.05)
            return super().chunk(offset, length)

    def reached(done: int, size: int, tally: Tally) -> None:
        if done >= 10 * UNIT:
            begun_at.set()

    async with start_agent(limits={"drain_timeout_s": 0.1}) as first:
        sending = outbound(first, Slow(content), patience_s=0.5, streams=2, progress=reached)
        running = asyncio.get_running_loop().run_in_executor(None, sending.run)
        assert await asyncio.to_thread(begun_at.wait, 30)
    with pytest.raises(AgentError):
        await running
    async with start_agent() as second:
        tally = await send(second, content)
        assert tally.resumed_bytes >= 10 * UNIT and stored(second) == content


# -- the protocol's rules ---------------------------------------------------------------------------------------------------------


class Raw:
    """A stream of protocol 2, spoken by hand."""

    def __init__(self, agent: Agent, **changes: Any) -> None:
        link, ticket = connecting(agent)()
        self.wire: Wire = link.take()
        fields = {"protocol": 2, "ticket": ticket, "token": TOKEN, "name": "raw", "size": 4 * UNIT} | changes
        self.wire.write(control(Kind.HELLO, 7, fields))

    def state(self) -> dict[str, Any]:
        read = self.wire.read()
        assert read is not None and read.header.kind == Kind.STATE
        return parse_control(read.payload)

    def data(self, offset: int, content: bytes = b"x" * BLOCK, flags: int = 0, raw_length: int = 0) -> None:
        head = encode(Kind.DATA, 7, content, flags=flags, offset=offset, raw_length=raw_length or len(content))
        self.wire.write(head, content)

    def refusal(self) -> str:
        with pytest.raises(Refused) as caught:
            self.wire.answer()
        self.wire.close()
        return caught.value.code


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "short"},
        {"token": TOKEN.upper()},
        {"size": -1},
        {"size": "4"},
        {"size": True},
        {"baseline": "x"},
        {"baseline": 7},
        {"rounded": True},
        {"rounded": "float32 absolute"},
        {"name": "../escape"},
        {"name": ""},
        {"ticket": "forged.ticket"},
    ],
)
async def test_a_malformed_hello_is_refused(agent: Agent, changes: dict[str, Any]) -> None:
    code = await asyncio.to_thread(lambda: Raw(agent, **changes).refusal())
    assert code in ("protocol", "bad-name", "ticket-invalid")
    assert agent.files() == []


@pytest.mark.parametrize(
    ("offset", "content", "flags", "raw_length"),
    [
        (100, b"x" * BLOCK, 0, 0),  # not at a block
        (0, b"x" * 100, 0, 0),  # not a whole block
        (4 * UNIT, b"x" * BLOCK, 0, 0),  # behind the end
        (3 * UNIT + 15 * BLOCK, b"x" * 2 * BLOCK, 0, 0),  # over the end
        (0, b"", int(Flag.SAME), BLOCK),  # no baseline was agreed on
        (0, b"x", int(Flag.PATCH), BLOCK),
        (0, b"not zstd", int(Flag.ZSTD), BLOCK),
    ],
)
async def test_a_range_that_cannot_be_is_refused(agent: Agent, offset: int, content: bytes, flags: int, raw_length: int) -> None:
    def talk() -> str:
        raw = Raw(agent)
        assert raw.state() == {"have": [], "baseline": False}
        raw.data(offset, content, flags, raw_length)
        return raw.refusal()

    assert await asyncio.to_thread(talk) == "protocol"


async def test_a_hello_that_says_something_else_is_refused(agent: Agent) -> None:
    def talk() -> list[str]:
        first = Raw(agent)
        first.state()
        codes = [Raw(agent, size=5 * UNIT).refusal(), Raw(agent, name="other").refusal()]
        first.wire.close()
        return codes

    assert await asyncio.to_thread(talk) == ["mismatch", "mismatch"]


async def test_a_token_leads_to_its_owners_transfer_only(agent: Agent) -> None:
    content = os.urandom(20 * UNIT)
    await begun(agent, content, 15 * UNIT)
    with pytest.raises(AgentError):
        # The same token and content, another identity, too impatient to send it all.
        source = Stopping(content, 0)
        sending = outbound(agent, source, who="operator")
        source.sending = sending
        await asyncio.to_thread(sending.run)
    assert sending._tally.resumed_bytes == 0


async def test_streams_of_both_protocols_share_the_port(agent: Agent) -> None:
    from dwcp_agent.transport.sender import Sending

    content = mixed(3 * UNIT)
    link, ticket = connecting(agent)()
    await asyncio.to_thread(Sending(link, ticket, "one", BytesSource(content), streams=2).run)
    await send(agent, content, "two")
    assert stored(agent, "one") == stored(agent, "two") == content
    link.close()


# -- manifests --------------------------------------------------------------------------------------------------------------------


def test_equal_content_has_equal_ids_and_other_content_has_others() -> None:
    content = mixed(5 * BLOCK)
    ids = {manifest_of(BytesSource(each)).id for each in (content, content[:-1], content + b"\0", changed(content, 2), b"", b"\0")}
    assert len(ids) == 6
    assert manifest_of(BytesSource(bytes(bytearray(content)))).id in ids


def test_the_id_of_the_specification() -> None:
    """Computed from the words of the specification alone; another implementation has to find the same."""
    from blake3 import blake3

    content = bytes(range(256)) * 300  # one block and a bit
    hashes = blake3(content[:BLOCK]).digest() + blake3(content[BLOCK:]).digest()
    expected = blake3(len(content).to_bytes(8, "big") + hashes, derive_key_context="dwcp manifest v1").hexdigest()
    assert manifest_of(BytesSource(content)).id == expected
    assert manifest_of(BytesSource(content)).hashes == hashes


def test_a_manifest_with_too_few_hashes_is_none() -> None:
    with pytest.raises(BadInput):
        Manifest(BLOCK + 1, bytes(HASH_BYTES))
