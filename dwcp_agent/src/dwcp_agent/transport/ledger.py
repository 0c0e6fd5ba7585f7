"""Which transfers of this host are under way, as each of them says: a file for each in a directory that all of them read.

A transfer holds a lock on its file, which the kernel takes from it when its process ends, however that ends. So no clock, no process
number and no clean end is needed to know who is there. Who is there but stands still lapses when it has said nothing for some seconds.
Nobody ever waits for a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["LINE_BYTES", "Ledger", "lines", "this_place"]

LINE_BYTES = 1024
"""Of every file: one write replaces all of it."""
_LAPSES_S = 3.0
_MOST = 256
"""Files that are looked at; a directory with more is not one of transfers."""


def this_place() -> str:
    """This start of this machine's kernel, and this network: an address means the same to all who are here. Raises OSError."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/net').stat().st_ino}"


def lines(directory: Path, *, clean: bool) -> dict[str, dict[str, Any]]:
    """What each transfer that is there says, by the name of its file; with ``clean`` the files of those that are not are removed.

    What says nothing that can be read is passed over. Raises OSError when the directory cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    visible = (path for path in directory.iterdir() if not path.name.startswith("."))
    for path in list(itertools.islice(visible, _MOST)):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            told = _line(path, clean)
            if told is not None:
                found[path.name] = told
    return found


def _line(path: Path, clean: bool) -> dict[str, Any] | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            told = json.loads(os.pread(descriptor, LINE_BYTES, 0))
            return told if isinstance(told, dict) and told.get("schema") == 1 else None
        if clean:
            path.unlink()
        return None
    finally:
        os.close(descriptor)


class Ledger:
    """One transfer's line, and what the others say. One thread's to use. :meth:`tell` and :meth:`others` raise OSError."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._name = secrets.token_hex(12)
        self._descriptor: int | None = None
        self._beat = 0
        self._heard: dict[str, tuple[object, float]] = {}
        """Of each other: its last beat, and when that was new."""

    @property
    def name(self) -> str:
        """Of its file."""
        return self._name

    def tell(self, fields: Mapping[str, Any]) -> None:
        """The transfer's line says this from now on."""
        self._beat += 1
        line = json.dumps({"schema": 1, "beat": self._beat, **fields}).encode()
        if len(line) > LINE_BYTES:
            raise OSError(f"a line of {len(line)} bytes")
        line = line.ljust(LINE_BYTES)
        if self._descriptor is not None and not os.fstat(self._descriptor).st_nlink:
            self.close()  # somebody removed the file
        if self._descriptor is None:
            self._descriptor = self._begin()
        if self._descriptor is not None and os.pwrite(self._descriptor, line, 0) != LINE_BYTES:
            raise OSError("the disk is full")

    def others(self) -> dict[str, dict[str, Any]]:
        """What those say that are there and do not stand still, by name."""
        now = self._clock()
        found = lines(self._directory, clean=True)
        found.pop(self._name, None)
        heard = {}
        for name, told in found.items():
            beat, since = self._heard.get(name, (None, now))
            heard[name] = (told.get("beat"), since if beat == told.get("beat") else now)
        self._heard = heard
        return {name: told for name, told in found.items() if now - heard[name][1] <= _LAPSES_S}

    def close(self) -> None:
        """The transfer is not there any more."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                (self._directory / self._name).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _begin(self) -> int | None:
        """The file, with a lock on it; None when another looked at it just then, and took it for one of a process that has ended."""
        path = self._directory / self._name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.fchmod(descriptor, 0o640)  # the agent beside it reads what its group may read
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return descriptor
