"""A PostgreSQL of a test's own: a cluster in a temporary directory, on a unix socket, started and killed at will."""

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
import pytest

__all__ = ["Postgres"]

INSTALL = "PostgreSQL is not installed; on Debian: apt install postgresql"


class Postgres:
    """A running server. ``url`` is what an operator would write into environment.yaml."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or [Path(p) for p in [shutil.which("postgres")] if p]
        if not found:
            pytest.fail(INSTALL, pytrace=False)
        self._bin = found[-1].parent
        # Not below pytest's directories: those are root's alone, and the path of a socket is limited to 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
        made = subprocess.run(
            self._as(str(self._bin / "initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"),
            capture_output=True,
            text=True,
            cwd=self.directory,
        )
        assert made.returncode == 0, made.stderr
        self.start()

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/journal?host={self.directory}"

    def _as(self, *command: str) -> list[str]:
        return ["runuser", "-u", "postgres", "--", *command] if os.getuid() == 0 else list(command)

    def start(self) -> None:
        """The server takes connections."""
        log = (self.directory / "log").open("ab")
        settings = (
            "listen_addresses=",
            f"unix_socket_directories={self.directory}",
            "fsync=on",
            "max_connections=60",
            "shared_buffers=16MB",
        )
        options = [part for setting in settings for part in ("-c", setting)]
        self._process = subprocess.Popen(
            self._as(str(self._bin / "postgres"), "-D", str(self.data), *options), stdout=log, stderr=log, cwd=self.directory
        )
        log.close()
        end = time.monotonic() + 60
        while True:
            try:
                with psycopg.connect(f"postgresql://postgres@/postgres?host={self.directory}", autocommit=True) as connection:
                    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'journal'").fetchone():
                        connection.execute("CREATE DATABASE journal")
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end, (self.directory / "log").read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        """The server is gone as in a crash: nothing is flushed, and no client is told."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
        for each in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        assert self._process is not None
        self._process.wait(timeout=30)
        # A new server does not start while a process of the old one is attached to its memory.
        end = time.monotonic() + 30
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < end
            time.sleep(0.01)

    def psql(self, *statements: str) -> list[tuple[object, ...]]:
        """Rows of the last of ``statements``, done by the cluster's superuser."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def emptied(self) -> None:
        """No journal is there."""
        self.psql("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
