"""One SSH connection with a pinned host key, and one command over it, under one total time limit."""

from __future__ import annotations

import base64
import logging
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import paramiko

from golive.errors import BadInput, GoliveError, Refused, Unprepared, Unreachable

__all__ = ["Completed", "NotSent", "Opened", "connect", "connected", "execute", "load_identity", "parse_host_key"]

# paramiko's threads log what they raise with its traceback, which would reach the operator's stderr; callers get it as an error anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


@dataclass(frozen=True)
class Completed:
    """How a command on a host ended."""

    rc: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "replace")


class Opened(Protocol):
    """What a connection runs over: a socket, or a channel of another connection."""

    def close(self) -> None: ...


class NotSent(Unreachable):
    """The connection was dead before the command went out: it certainly did not run, and may be tried again."""


def parse_host_key(line: str) -> paramiko.PKey:
    """A public key from ``ssh-ed25519 AAAA...``. Raises BadInput when it is none."""
    try:
        kind, body = line.split()[:2]
        return paramiko.PKey.from_type_string(kind, base64.b64decode(body, validate=True))
    except Exception:
        raise BadInput(f"{line[:40]!r} is not a public host key like `ssh-ed25519 AAAA...`.") from None


def load_identity(path: Path) -> paramiko.PKey:
    """The private key at ``path``. Raises Unprepared when it is missing, has a password, or is none."""
    try:
        return paramiko.PKey.from_path(path)
    except FileNotFoundError:
        raise Unprepared(f"The SSH key {path} is missing.") from None
    except paramiko.PasswordRequiredException:
        raise Unprepared(f"The SSH key {path} has a password, which nobody is there to type at night; give one without.") from None
    except Exception as error:
        if "encrypted" in str(error).lower() or "password" in str(error).lower():
            raise Unprepared(f"The SSH key {path} has a password, which nobody is there to type at night; give one without.") from None
        raise Unprepared(f"{path} is not a private SSH key that can be used ({error or type(error).__name__}).") from None


def connect(
    address: str,
    port: int,
    user: str,
    host_key: paramiko.PKey,
    identity: Path,
    timeout_s: float,
    *,
    through: Callable[[str, int, float], Opened] | None = None,
) -> paramiko.SSHClient:
    """A connection to a host that proved the pinned key and took ours, within ``timeout_s`` in all.

    ``through`` opens the way to address and port within a time limit; by default that is a plain TCP connection.

    Raises:
        Unreachable: nothing answered, or not in time.
        Refused: it has another host key, or did not take ours.
        Unprepared: our own key is missing or not usable.
    """
    where = f"{user}@{address}" + (f":{port}" if port != 22 else "")
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    name = address if port == 22 else f"[{address}]:{port}"
    client.get_host_keys().add(name, host_key.get_name(), host_key)
    # paramiko limits each phase, not their sum: a server that sends a byte now and then would hold us for ever.
    overdue = threading.Event()
    connection: list[Opened] = []

    def give_up() -> None:
        overdue.set()
        for opened in connection:
            opened.close()
        client.close()

    watch = threading.Timer(timeout_s, give_up)
    watch.daemon = True
    watch.start()
    try:
        connection.append((through or _straight)(address, port, timeout_s))
        client.connect(
            address,
            port=port,
            username=user,
            key_filename=str(identity),
            sock=connection[0],  # type: ignore[arg-type]
            allow_agent=False,
            look_for_keys=False,
            timeout=timeout_s,
            banner_timeout=timeout_s,
            auth_timeout=timeout_s,
            disabled_algorithms=_only(host_key),
        )
    except paramiko.BadHostKeyException:
        client.close()
        raise Refused(f"{where} has another host key than the pinned one; if the host was rebuilt, pin its new key.") from None
    except paramiko.AuthenticationException as error:
        client.close()
        if overdue.is_set():
            raise Unreachable(f"{where} did not finish the SSH handshake within {timeout_s:.0f} s.") from None
        raise Refused(f"{where} did not accept the key {identity}: {error}") from None
    except GoliveError:
        client.close()
        raise
    except FileNotFoundError:
        client.close()
        raise Unprepared(f"The SSH key {identity} is missing.") from None
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        client.close()
        if overdue.is_set() or isinstance(error, TimeoutError):
            raise Unreachable(f"{where} did not finish the SSH handshake within {timeout_s:.0f} s.") from None
        if "not found in known_hosts" in str(error) or "no acceptable host key" in str(error):
            raise Refused(f"{where} has another kind of host key than the pinned one; pin its {host_key.get_name()} key.") from None
        raise Unreachable(f"{where} does not answer over SSH: {error or type(error).__name__}.") from None
    finally:
        watch.cancel()
    transport = client.get_transport()
    if overdue.is_set() or transport is None:
        client.close()
        raise Unreachable(f"{where} did not finish the SSH handshake within {timeout_s:.0f} s.")
    transport.set_keepalive(15)
    return client


def _straight(address: str, port: int, timeout_s: float) -> Opened:
    return socket.create_connection((address, port), timeout=timeout_s)


def _only(host_key: paramiko.PKey) -> dict[str, list[str]]:
    """Asks the host for the pinned kind of key: a host with several would otherwise show one we cannot compare."""
    kind = host_key.get_name()
    allowed = {"rsa-sha2-512", "rsa-sha2-256"} if kind == "ssh-rsa" else {kind}
    return {"keys": [known for known in paramiko.Transport._preferred_keys if known not in allowed]}  # type: ignore[attr-defined]


@contextmanager
def connected(
    address: str,
    port: int,
    user: str,
    host_key: paramiko.PKey,
    identity: Path,
    timeout_s: float,
    *,
    through: Callable[[str, int, float], Opened] | None = None,
) -> Iterator[paramiko.SSHClient]:
    """``connect`` for the length of a block."""
    client = connect(address, port, user, host_key, identity, timeout_s, through=through)
    try:
        yield client
    finally:
        client.close()


def execute(client: paramiko.SSHClient, argv: Sequence[str], *, stdin: bytes | None = None, timeout_s: float) -> Completed:
    """Runs ``argv`` and returns when it ended and both its streams were read. Arguments are quoted: no shell of the host sees them bare.

    Raises:
        NotSent: the connection was dead; the command did not run.
        Unreachable: no end within ``timeout_s``, or the connection broke: whether the command ran is not known.
    """
    deadline = time.monotonic() + timeout_s
    transport = client.get_transport()
    try:
        if transport is None or not transport.is_active():
            raise NotSent("The SSH connection is closed.")
        channel = transport.open_session(timeout=min(timeout_s, 10))
    except NotSent:
        raise
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise NotSent(f"The SSH connection is dead: {error or type(error).__name__}.") from None
    with channel:
        streams: tuple[list[bytes], list[bytes]] = ([], [])
        readers: list[threading.Thread] = []
        try:
            channel.settimeout(timeout_s)
            channel.exec_command(shlex.join(argv))
            for receive, chunks in ((channel.recv, streams[0]), (channel.recv_stderr, streams[1])):
                readers.append(threading.Thread(target=_drain, args=(receive, chunks), daemon=True))
                readers[-1].start()
            if stdin:
                channel.sendall(stdin)
            channel.shutdown_write()
            for reader in readers:
                reader.join(max(0.0, deadline - time.monotonic()))
            ended = channel.status_event.wait(max(0.0, deadline - time.monotonic()))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unreachable(
                f"The SSH connection broke while `{argv[0]}` ran, whose end is not known: {error or type(error).__name__}."
            ) from None
        if not ended or any(reader.is_alive() for reader in readers):
            raise Unreachable(f"`{argv[0]}` did not end within {timeout_s:.0f} s; whether it still runs is not known.")
        if channel.exit_status == -1:
            raise Unreachable(f"The SSH connection broke while `{argv[0]}` ran; its end is not known.")
        return Completed(channel.exit_status, b"".join(streams[0]), b"".join(streams[1]))


def _drain(receive: object, chunks: list[bytes]) -> None:
    assert callable(receive)
    try:
        while chunk := receive(65536):
            chunks.append(chunk)
    except (OSError, EOFError):
        return
