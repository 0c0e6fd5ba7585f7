"""A PostgreSQL of a test's own: a cluster in a temporary directory, reached by its socket there, that can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

__all__ = ["Postgres", "postgres"]


class Postgres:
    """Runs as the user postgres: it refuses to be root."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self._directory, self._programs = directory, programs
        self.url = f"postgresql://postgres@/golive?host={directory}"
        self._run("initdb", "-D", str(directory / "data"), "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()
        self._run("createdb", "-h", str(directory), "golive")

    def start(self) -> None:
        """It answers."""
        options = f"-c listen_addresses='' -k {self._directory} -c fsync=off -c max_connections=60"
        self._run("pg_ctl", "-D", str(self._directory / "data"), "-o", options, "-w", "-l", str(self._directory / "log"), "start")

    def kill(self) -> None:
        """The server and all its processes are gone without a word, as after a power cut."""
        pid = int((self._directory / "data" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + 15
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.02)

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._directory / "data"), "-m", "immediate", "stop", check=False)

    def value(self, query: str) -> object:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query).fetchone()  # type: ignore[arg-type]
        return None if row is None else row[0]

    def _run(self, program: str, *words: str, check: bool = True) -> None:
        argv = ["runuser", "-u", "postgres", "--", str(self._programs / program), *words]
        done = subprocess.run(argv, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 0 or not check, done.stderr.decode()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A fresh cluster; removed afterwards."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.fail("PostgreSQL is missing: apt-get install postgresql")
    directory = Path(tempfile.mkdtemp(prefix="golive-pg-"))
    shutil.chown(directory, "postgres", "postgres")
    made = None
    try:
        made = Postgres(directory, found[-1])
        yield made
    finally:
        if made is not None:
            made.stop()
        shutil.rmtree(directory, ignore_errors=True)
