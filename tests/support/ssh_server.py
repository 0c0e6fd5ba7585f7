"""A real SSH server in this process, on loopback, that can also misbehave."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Literal

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Manner = Literal["serve", "silent", "trickle", "mute-exec", "no-forwarding"]


def new_key(path: Path) -> str:
    """Writes an ed25519 key pair; returns ``ssh-ed25519 AAAA...``."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    path.write_bytes(private)
    path.chmod(0o600)
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


class SshServer:
    """Accepts one client key and runs commands with ``sh -c``.

    ``manner``: ``serve`` works; ``silent`` accepts and says nothing; ``trickle`` sends lines that are no banner, for ever; ``mute-exec``
    takes a command and never answers; ``no-forwarding`` is no bastion.
    """

    def __init__(self, directory: Path, client_key: str, manner: Manner = "serve") -> None:
        self.manner = manner
        self.public = new_key(directory / "server_key")
        self.commands: list[str] = []
        self.connections = 0
        self.forwarded: list[tuple[int, socket.socket]] = []
        self._allowed = client_key
        self._key = paramiko.Ed25519Key(filename=str(directory / "server_key"))
        self._closing = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        # close() alone leaves a thread in accept() and the port listening.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Cuts every connection, as a reboot would."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        if self.manner == "silent":
            self._closing.wait()
            return
        if self.manner == "trickle":
            while not self._closing.is_set():
                try:
                    connection.sendall(b"x\n")
                except OSError:
                    return
                time.sleep(0.2)
            return
        transport = paramiko.Transport(connection)
        transport.add_server_key(self._key)
        try:
            transport.start_server(server=_Session(self))
            kept = []  # a channel that nobody holds is closed
            while not self._closing.is_set() and transport.is_active():
                channel = transport.accept(0.5)
                kept.append(channel)
                way = next((way for number, way in self.forwarded if channel is not None and number == channel.get_id()), None)
                if channel is not None and way is not None:
                    self._open.append(way)
                    for source, target in ((channel, way), (way, channel)):
                        threading.Thread(target=_pump, args=(source, target), daemon=True).start()
        except (paramiko.SSHException, EOFError, OSError):
            transport.close()

    def accepts(self, key: paramiko.PKey) -> bool:
        return f"{key.get_name()} {key.get_base64()}" == self._allowed


def _pump(source: socket.socket | paramiko.Channel, target: socket.socket | paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError):
        while block := source.recv(65536):
            target.sendall(block)
    with contextlib.suppress(OSError, EOFError):
        target.shutdown(socket.SHUT_WR)


class _Session(paramiko.ServerInterface):
    def __init__(self, server: SshServer) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if self._server.accepts(key) else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]) -> int:
        if self._server.manner == "no-forwarding":
            return paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            self._server.forwarded.append((chanid, socket.create_connection(destination, timeout=5)))
        except OSError:
            return paramiko.OPEN_FAILED_CONNECT_FAILED
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.commands.append(command.decode())
        if self._server.manner != "mute-exec":
            threading.Thread(target=_execute, args=(channel, command.decode()), daemon=True).start()
        return True


def _execute(channel: paramiko.Channel, command: str) -> None:
    process = subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdin and process.stdout and process.stderr

    def feed() -> None:
        assert process.stdin
        try:
            while data := channel.recv(65536):
                process.stdin.write(data)
        except OSError:
            pass
        process.stdin.close()

    def copy(source: object, send: object) -> None:
        while data := source.read1(65536):  # type: ignore[attr-defined]
            send(data)  # type: ignore[operator]

    threads = [
        threading.Thread(target=feed, daemon=True),
        threading.Thread(target=copy, args=(process.stdout, channel.sendall)),
        threading.Thread(target=copy, args=(process.stderr, channel.sendall_stderr)),
    ]
    for thread in threads:
        thread.start()
    # The first one too: the client ends its input after it got the answer to its request, which must come before our end.
    for thread in threads:
        thread.join()
    try:
        channel.send_exit_status(process.wait())
        channel.close()
    except (OSError, EOFError, paramiko.SSHException):
        pass
