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
from golive.engine.process import Process, carrying, started
from golive.errors import Held

__all__ = ["LocalLeftovers", "end_all"]

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
            end_all(list(found.values()), term_s=self._term_s, kill_s=self._kill_s)
        raise Held(
            f"Processes of run {run} keep appearing on this machine ({', '.join(ended[-3:])}); end what starts them, then try again."
        )


def end_all(processes: Sequence[Process], *, term_s: float = 2.0, kill_s: float = 5.0) -> None:
    """They have ended: asked first, killed when they do not within ``term_s``. Raises Held when one is there ``kill_s`` after that."""
    handles = {fd: process for process in processes if (fd := _open(process)) is not None}
    try:
        for number, patience in ((signal.SIGTERM, term_s), (signal.SIGKILL, kill_s)):
            for fd in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, number)
            if _all_gone(list(handles), patience):
                return
        stuck = [process for process in handles.values() if process.alive]
        if stuck:
            names = ", ".join(f"{process.pid} ({process.what})" for process in stuck)
            raise Held(f"Processes that were left behind do not end: {names}. End them by hand, then repeat the command.")
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
    found = []
    for pid, token in carrying(f"{MARK}={env}/{run}/".encode()):
        process = Process.of(pid, _command(pid)) if token.isdigit() and int(token) < below else None
        if process is not None:
            found.append(process)
    return found


def _command(pid: int) -> str:
    """The name that a process gives itself, and not its words: those may hold what is nobody's business."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
