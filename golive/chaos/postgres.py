"""A PostgreSQL of somebody's own: a cluster in a temporary directory, on a unix socket there, killed and started at will."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from golive.errors import Unprepared

__all__ = ["Postgres", "programs"]

_DEBIAN = Path("/usr/lib/postgresql")
_START_S = 60.0
_SETTINGS = ("listen_addresses=", "fsync=on", "max_connections=60", "shared_buffers=16MB")


def programs() -> Path:
    """The directory of PostgreSQL's programs, the newest here. Raises Unprepared."""
    found = sorted(_DEBIAN.glob("*/bin/postgres")) or [Path(path) for path in [shutil.which("postgres")] if path]
    if not found:
        raise Unprepared("PostgreSQL is not installed; on Debian: apt-get install postgresql.")
    return found[-1].parent


class Postgres:
    """A running server. ``url`` is what an operator would write into environment.yaml."""

    def __init__(self) -> None:
        """Raises Unprepared: there is no PostgreSQL, or it makes no cluster here."""
        self._bin = programs()
        # Not below a directory that is root's alone; and the path of a socket is limited to 107 bytes. In memory where there is such a
        # place: a server that is killed loses nothing that it wrote.
        memory = "/dev/shm"  # noqa: S108  # a directory of our own is made in it
        self.directory = Path(tempfile.mkdtemp(prefix="pg-", dir=memory if os.access(memory, os.W_OK) else None))
        self._process: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
        words = ("-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        made = subprocess.run(self._as(str(self._bin / "initdb"), *words), capture_output=True, text=True, cwd=self.directory, check=False)
        if made.returncode:
            shutil.rmtree(self.directory, ignore_errors=True)
            said = made.stderr.strip().splitlines() or [f"exit status {made.returncode}"]
            raise Unprepared(f"PostgreSQL makes no cluster here: {said[-1]}.")
        self.start()

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/journal?host={self.directory}"

    def start(self) -> None:
        """The server takes connections."""
        self.starts()
        self.up()

    def starts(self, after_s: float = 0.0) -> None:
        """The server is started, so much later; whoever wants it up waits for :meth:`up`."""
        settings = (*_SETTINGS, f"unix_socket_directories={self.directory}")
        server = [str(self._bin / "postgres"), "-D", str(self.data), *(part for setting in settings for part in ("-c", setting))]
        with (self.directory / "log").open("ab") as log:
            argv = self._as("sh", "-c", 'sleep "$0"; exec "$@"', f"{after_s:.3f}", *server)
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self.directory)

    def up(self) -> None:
        """It was started, if nobody did, and takes connections. Raises TimeoutError."""
        if self._process is None:
            self.starts()
        end = time.monotonic() + _START_S
        while True:
            try:
                with psycopg.connect(f"postgresql://postgres@/postgres?host={self.directory}", autocommit=True) as connection:
                    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'journal'").fetchone():
                        connection.execute("CREATE DATABASE journal")
                return
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise TimeoutError(f"PostgreSQL did not come up within {_START_S:.0f} s: {self._said()}") from None
                time.sleep(0.05)

    def kill(self) -> None:
        """The server is gone as in a crash: nothing is flushed, and no client is told."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout.split()
        for each in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(timeout=30)
            self._process = None
        # A new server does not start while a process of the old one is attached to its memory.
        end = time.monotonic() + 30
        while any(Path(f"/proc/{child}").exists() for child in children):
            if time.monotonic() > end:
                raise TimeoutError("processes of a killed PostgreSQL did not end within 30 s")
            time.sleep(0.01)

    def close(self) -> None:
        """Nothing of it is left."""
        try:
            if self._process is not None and self._process.poll() is None:
                self.up()  # one that was to start later
                self.kill()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _as(self, *command: str) -> list[str]:
        return ["runuser", "-u", "postgres", "--", *command] if os.getuid() == 0 else list(command)

    def _said(self) -> str:
        lines = (self.directory / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
