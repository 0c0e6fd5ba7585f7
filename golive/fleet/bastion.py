"""Connections to bastions: one each, shared by everything that goes through it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko

from golive.errors import GoliveError, Unreachable
from golive.fleet.connection import Opened, connect, parse_host_key
from golive.fleet.model import Bastion

__all__ = ["Bastions", "shared"]

_REMEMBERED_S = 5.0
"""How long a bastion that does not answer is not asked again: else a hundred hosts behind it would wait for it one after another."""


class Bastions:
    """Ways through bastions, whose own host keys are pinned too. Any thread may ask; a broken connection is made anew.

    A hundred hosts behind one bastion are a hundred channels of one connection: a bastion admits few that are not logged in yet
    (``MaxStartups``), and limits no forwarding.
    """

    def __init__(self, identity: Path) -> None:
        self._identity = identity
        self._clients: dict[Bastion, paramiko.SSHClient] = {}
        self._locks: dict[Bastion, threading.Lock] = {}
        self._failed: dict[Bastion, tuple[float, GoliveError]] = {}
        self._guard = threading.Lock()

    def way(self, bastion: Bastion) -> Callable[[str, int, float], Opened]:
        """What opens a channel to an address and port through ``bastion``: ``way(bastion)(address, port, timeout_s)``.

        Raises, when called, Unreachable or Refused with the bastion named: its own trouble is not that of the host behind it.
        """

        def opened(address: str, port: int, timeout_s: float) -> Opened:
            transport = self._transport(bastion, timeout_s)
            try:
                return transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout_s)
            except paramiko.ChannelException as error:
                raise Unreachable(f"the bastion {bastion.name} cannot connect to {address}:{port}: {error.text or error}.") from None
            except (paramiko.SSHException, OSError, EOFError) as error:
                if not transport.is_active():
                    self._forget(bastion, transport)
                why = str(error) or type(error).__name__
                raise Unreachable(
                    f"the bastion {bastion.name} opened no way to {address}:{port} within {timeout_s:.0f} s ({why})."
                ) from None

        return opened

    def close(self) -> None:
        """All connections are closed."""
        with self._guard:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _transport(self, bastion: Bastion, timeout_s: float) -> paramiko.Transport:
        with self._guard:
            lock = self._locks.setdefault(bastion, threading.Lock())
        if not lock.acquire(timeout=timeout_s):
            raise Unreachable(f"the bastion {bastion.name} was not connected within {timeout_s:.0f} s.")
        try:
            known = self._clients.get(bastion)
            transport = known.get_transport() if known is not None else None
            if transport is not None and transport.is_active():
                return transport
            failed = self._failed.get(bastion)
            if failed is not None and time.monotonic() - failed[0] < _REMEMBERED_S:
                raise type(failed[1])(failed[1].message)
            key = parse_host_key(bastion.host_key)
            try:
                fresh = connect(bastion.address, bastion.ssh_port, bastion.ssh_user, key, self._identity, timeout_s)
            except GoliveError as error:
                told = type(error)(f"the bastion {bastion.name}: {error.message}")
                self._failed[bastion] = (time.monotonic(), told)
                raise told from None
            with self._guard:
                self._clients[bastion] = fresh
            transport = fresh.get_transport()
            if transport is None:
                raise Unreachable(f"the bastion {bastion.name} closed the connection at once.")
            return transport
        finally:
            lock.release()

    def _forget(self, bastion: Bastion, transport: paramiko.Transport) -> None:
        with self._guard:
            known = self._clients.get(bastion)
            if known is not None and known.get_transport() in (transport, None):
                del self._clients[bastion]


_shared: dict[Path, Bastions] = {}
_shared_guard = threading.Lock()


def shared(identity: Path) -> Bastions:
    """The bastions of this process for one key: a plan looks at many machines at once, through one connection."""
    with _shared_guard:
        return _shared.setdefault(identity, Bastions(identity))
