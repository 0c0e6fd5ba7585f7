"""Commands on the fleet's hosts: pinned keys, pooled connections, a total time limit on everything."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import paramiko

from golive.environment import Environment
from golive.errors import GoliveError, Unreachable
from golive.fleet.bastion import Bastions
from golive.fleet.connection import Completed, NotSent, connect, execute, parse_host_key
from golive.fleet.model import Fleet, Host

__all__ = ["HOSTS_AT_ONCE", "Completed", "Shell"]

HOSTS_AT_ONCE = 32
"""Commands of one `Shell.each` that run at the same time; the hosts beyond wait for their wave."""

_CONNECT_S = 10.0


class Shell:
    """Runs commands on hosts of one environment. Any thread may call it; close it, or use it in a ``with``.

    Connections are kept and shared: one host's commands run side by side over its one connection.
    """

    def __init__(self, env: Environment, fleet: Fleet) -> None:
        self._identity = env.state / "keys" / "operator"
        self._fleet = fleet
        self._bastions = Bastions(self._identity)
        self._clients: dict[str, paramiko.SSHClient] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run(self, host: Host, argv: Sequence[str], *, input: bytes | None = None, timeout_s: float = 30) -> Completed:
        """How ``argv`` ended on ``host``; a non-zero exit status is a result, not an error.

        A pooled connection that turns out dead before the command was sent is made anew, once. A command that was sent is never sent twice.

        Args:
            host: Where.
            argv: The command; every argument is quoted.
            input: Its standard input; empty when None.
            timeout_s: For everything together: connecting, running, reading.

        Raises:
            Unreachable: the host did not answer, or not in time; when the command had been sent, whether it ran is not known.
            Refused: the host has another key than the pinned one, or did not take the operator's.
            Unprepared: the operator's key is missing.
        """
        try:
            try:
                return execute(self._client(host, timeout_s), argv, stdin=input, timeout_s=timeout_s)
            except NotSent:
                self._forget(host)
                return execute(self._client(host, timeout_s), argv, stdin=input, timeout_s=timeout_s)
        except GoliveError as error:
            if isinstance(error, Unreachable):
                self._forget(host)
            raise type(error)(f"{host.name}: {error.message}", host=host.name) from None

    def each(
        self, hosts: Sequence[Host], argv: Sequence[str], *, input: bytes | None = None, timeout_s: float = 30, at_once: int = 32
    ) -> dict[str, Completed | GoliveError]:
        """``run`` on all ``hosts`` at once: by host name, how it ended or why it is not known: whatever ``run`` raises of one host is
        that host's answer, and takes nothing from the others."""

        def one(host: Host) -> Completed | GoliveError:
            try:
                return self.run(host, argv, input=input, timeout_s=timeout_s)
            except GoliveError as error:
                return error

        if not hosts:
            return {}
        with ThreadPoolExecutor(max_workers=min(len(hosts), at_once), thread_name_prefix="ssh") as pool:
            return dict(zip([host.name for host in hosts], pool.map(one, hosts), strict=True))

    def close(self) -> None:
        """All connections are closed."""
        with self._guard:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()
        self._bastions.close()

    def _client(self, host: Host, timeout_s: float) -> paramiko.SSHClient:
        with self._guard:
            lock = self._locks.setdefault(host.name, threading.Lock())
        if not lock.acquire(timeout=timeout_s):
            raise Unreachable(f"no connection within {timeout_s:.0f} s.")
        try:
            known = self._clients.get(host.name)
            if known is not None:
                transport = known.get_transport()
                if transport is not None and transport.is_active():
                    return known
                known.close()
            limit = min(timeout_s, _CONNECT_S)
            way = None if host.bastion is None else self._bastions.way(host.bastion)
            key = parse_host_key(host.host_key)
            fresh = connect(host.address, host.ssh_port, host.ssh_user, key, self._identity, limit, through=way)
            with self._guard:
                self._clients[host.name] = fresh
            return fresh
        finally:
            lock.release()

    def _forget(self, host: Host) -> None:
        """The next command to ``host`` opens a connection of its own. One that others still read from is left to them."""
        with self._guard:
            known = self._clients.pop(host.name, None)
        if known is not None:
            transport = known.get_transport()
            if transport is None or not transport.is_active():
                known.close()
