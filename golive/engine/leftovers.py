"""Processes that a dead controller left behind on this machine, found by the mark in their environment and by record, and ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from golive.actions.port import MARK
from golive.engine.process import Process, started
from golive.errors import Held

__all__ = ["LocalLeftovers"]

_ROUNDS = 5
"""A process may start another while it is being ended; after this many looks something is starting them anew."""


class LocalLeftovers:
    """Looks through ``/proc``. Descendants are found even when they left their group and session: they inherit the mark."""

    def __init__(self, *, term_s: float = 2.0, kill_s: float = 5.0) -> None:
        self._term_s = term_s
        self._kill_s = kill_s

    def end(self, env: str, run: str, below: int, recorded: Sequence[Process]) -> Sequence[str]:
        ended: list[str] = []
        for _ in range(_ROUNDS):
            found = {process.pid: process for process in recorded if process.local and process.alive}
            found |= {process.pid: process for process in _marked(env, run, below)}
            found.pop(os.getpid(), None)
            if not found:
                return ended
            ended += [f"pid {process.pid}{f' ({process.what})' if process.what else ''}" for process in found.values()]
            self._end_all(list(found.values()))
        raise Held(
            f"Processes of run {run} keep appearing on this machine ({', '.join(ended[-3:])}); end what starts them, then try again."
        )

    def _end_all(self, processes: Sequence[Process]) -> None:
        handles = {fd: process for process in processes if (fd := _open(process)) is not None}
        try:
            for number, patience in ((signal.SIGTERM, self._term_s), (signal.SIGKILL, self._kill_s)):
                for fd in handles:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fd, number)
                if _all_gone(list(handles), patience):
                    return
            stuck = [process for process in handles.values() if process.alive]
            if stuck:
                names = ", ".join(f"{process.pid} ({process.what})" for process in stuck)
                raise Held(f"Processes left by an earlier controller do not end: {names}. End them by hand, then repeat the command.")
        finally:
            for fd in handles:
                os.close(fd)


def _open(process: Process) -> int | None:
    """A handle that means this very process, whatever its pid is used for later; None when it is gone."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return None
    if started(process.pid) != process.start:
        os.close(fd)
        return None
    return fd


def _all_gone(handles: list[int], patience_s: float) -> bool:
    waiting = select.poll()
    for fd in handles:
        waiting.register(fd, select.POLLIN)
    left, end = set(handles), time.monotonic() + patience_s
    while left:
        remaining = end - time.monotonic()
        if remaining <= 0:
            return False
        for fd, _ in waiting.poll(remaining * 1000):
            left.discard(fd)
            waiting.unregister(fd)
    return True


def _marked(env: str, run: str, below: int) -> list[Process]:
    wanted = f"{MARK}={env}/{run}/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(wanted) and variable[len(wanted) :].isdigit() and int(variable[len(wanted) :]) < below:
                process = Process.of(int(entry.name), _command(entry))
                if process is not None:
                    found.append(process)
                break
    return found


def _command(entry: Path) -> str:
    try:
        return (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
