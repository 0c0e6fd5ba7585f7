"""Targets: whole conversations on a data stream, from either side."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from dwcp_agent.encoding.manifest import manifest_of
from dwcp_agent.errors import AgentError, ProtocolError
from dwcp_agent.release import Release
from dwcp_agent.security.identity import Identity
from dwcp_agent.sessions.ticket import TicketIssuer
from dwcp_agent.store.manifests import read_manifest, save_manifest
from dwcp_agent.store.store import Store
from dwcp_agent.telemetry.metrics import AgentMetrics
from dwcp_agent.transport.buffers import FreshBuffers
from dwcp_agent.transport.frame import MAX_CONTROL_BYTES, Kind
from dwcp_agent.transport.inbound import InboundTable
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.receiver import DataServer, ReceiverLimits
from dwcp_agent.transport.resumable import ResumableStreams
from dwcp_agent.transport.sender import Sending
from dwcp_agent.transport.source import BytesSource
from dwcp_agent.transport.transfer import TransferTable
from dwcp_agent.transport.units import UNIT, Baseline
from dwcp_agent.transport.wire import Wire
from fuzz.given import Given
from fuzz.place import fresh
from fuzz.scripted import PATTERN, ScriptedSocket, ScriptedWire, frames_of, frames_said

__all__ = ["receiver", "sender"]

PEER = Identity("load", "load.host-2")
MAX_BYTES = 1 << 26
OLD = PATTERN[: 65536 + 1000]
"""What the receiver has under ``base`` already, and under ``@old`` in a script its id."""
NEW = PATTERN[: UNIT + 3 * 65536 + 17]
"""What the sender sends; ``@id`` in a script is its id."""


class _AtOnce(Executor):
    """Does what it is given before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


@functools.cache
def _around() -> tuple[AgentMetrics, TicketIssuer, bytes, bytes, bytes]:
    """What every conversation shares: metrics, tickets and one of them, ids of OLD and NEW."""
    logging.getLogger("dwcp").setLevel(logging.CRITICAL + 1)
    issuer = TicketIssuer("boot", 86400)
    ids = [manifest_of(BytesSource(content)).id.encode() for content in (OLD, NEW)]
    return AgentMetrics(Release("dev", "0", "dev")), issuer, issuer.issue("s-1", PEER, time.time())[0].encode(), ids[0], ids[1]


def _filled(payload: bytes) -> bytes:
    _, _, ticket, old, new = _around()
    return payload.replace(b"@ticket", ticket).replace(b"@old", old).replace(b"@id", new)


class _NoState:
    """Takes no puts: their conversation has threads and a database of its own, and what it reads is a target by itself."""

    def converse(self, *_: object) -> None:
        raise ProtocolError("no state here")


def receiver(data: bytes) -> None:
    """Whatever comes on a stream, the receiver says whole frames, commits what it gives a receipt for, and leaves nothing open."""
    given = Given(data)
    piece = given.number(0xFF) * 16
    script = frames_of(given, _filled)
    metrics, issuer = _around()[:2]
    root = fresh("store")
    before = _open_files()
    store = Store(root, "a")
    try:
        _put_old(store)
        transfers, table = TransferTable(store, 2, MAX_BYTES), InboundTable(store, 2, MAX_BYTES)
        server = DataServer(
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            issuer,
            transfers,
            FreshBuffers(),
            _AtOnce(),
            None,  # type: ignore[arg-type]
            metrics,
            ReceiverLimits(1, 1, 0.0, 0.0),
            ResumableStreams(issuer, table, metrics, 0.0, None),
            _NoState(),  # type: ignore[arg-type]
        )
        wire = ScriptedWire(ScriptedSocket(script, piece))
        server._converse(wire)
        transfers.fail_all("the end")
        table.fail_all("the end")
        _are_committed(store, frames_said(wire.socket.sent))
        assert store.read(PEER, "base", MAX_BYTES) == OLD or b'"base"' in script, "content that nobody named was changed"
        assert {path.name for path in root.iterdir()} <= {".partial-a", ".manifests", PEER.directory}
        assert all(path.suffix for path in (root / ".partial-a").iterdir()), "a temporary file of protocol 1 is left"
    finally:
        store.close()
    assert _open_files() == before, "a file is left open"


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _put_old(store: Store) -> None:
    incoming = store.begin(PEER, "base")
    incoming.write(0, OLD)
    incoming.commit(hashlib.sha256(OLD).hexdigest())
    descriptor = store.open(PEER, "base")
    assert descriptor is not None
    save_manifest(store._manifests, f"{PEER.directory}/base", descriptor, manifest_of(BytesSource(OLD)))
    os.close(descriptor)


def _are_committed(store: Store, said: list[tuple[Kind, dict[str, Any]]]) -> None:
    receipts = [fields for kind, fields in said if kind == Kind.RECEIPT]
    if receipts:
        there = set()
        for directory, _, names in os.walk(f"/proc/self/fd/{store._root}/{PEER.directory}"):
            for name in names:
                with open(f"{directory}/{name}", "rb") as file:  # noqa: PTH123 - below a descriptor
                    there |= {read_manifest(file.fileno()).id, hashlib.sha256(file.read()).hexdigest()}
        assert receipts[-1].get("id", receipts[-1].get("sha256")) in there, "a receipt was given for what is not there"
    for kind, fields in said:
        assert kind in (Kind.STATE, Kind.ACK, Kind.RECEIPT, Kind.ERROR)
        assert kind != Kind.ERROR or fields["status"] < 500, fields


class _ScriptedLink:
    """Every connection goes on where the script of the one before ended."""

    congestion = ""

    def __init__(self, socket: ScriptedSocket) -> None:
        self._socket = socket

    def take(self) -> Wire:
        return ScriptedWire(self._socket, MAX_CONTROL_BYTES)

    def give(self, wire: Wire) -> None:
        """Kept by whoever reads the script."""

    def close(self) -> None:
        """Nothing is open."""


def sender(data: bytes) -> None:
    """Whatever a receiver says, a sender ends: with an error of ours, or because it was told of exactly what it sent."""
    given = Given(data)
    sort, piece, silent = given.number(3), given.number(0xFF) * 16, given.number(0xFFFFFF)
    script = frames_of(given, _filled)
    link: Any = _ScriptedLink(ScriptedSocket(script, piece, silent))
    content = NEW if sort & 1 else NEW[: 65536 + 5]
    source = BytesSource(content)
    try:
        if sort < 2:
            sent = Sending(link, "ticket", "new", source, streams=1, chunk=65536).run()
            assert sent.sha256.encode() in script and sent.bytes == len(content)
        else:
            baseline = Baseline(manifest_of(BytesSource(OLD)), BytesSource(OLD))
            run = Outbound(lambda: (link, "ticket"), "new", source, token="0" * 32, baseline=baseline, streams=1, patience_s=0.0).run
            assert run().id.encode() in script
    except AgentError as error:
        assert isinstance(error.message, str)
        assert "unexpectedly" not in error.message, error.message
