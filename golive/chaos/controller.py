"""A controller under test: a process of its own that stops where a fault is to strike, and is killed or goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golive.engine.journal import Record, SqlJournal
from golive.environment import Environment
from golive.errors import GoliveError
from golive.sim import hosts_of
from golive.verbs.result import Result

__all__ = ["Controller", "Place"]

BUG = 99
"""Exit status of a controller that ended with an error no one raised on purpose."""


@dataclass(frozen=True)
class Place:
    """Where a fault strikes: at the ``count``-th record or host command after ``stage`` was started (of the whole run without a stage)."""

    stage: str | None
    what: str
    """``record`` or ``command``."""
    count: int

    def __str__(self) -> str:
        return f"{self.stage or 'run'}+{self.count} {self.what}s"


class Controller:
    """One verb in a forked process. Not to be started while this process has other threads."""

    def __init__(self, env: Environment, verb: Callable[[], Result], log: Path, stops: tuple[Place, ...] = (), jump_s: float = 0.0) -> None:
        self._log = log
        self.status: int | None = None
        """Exit status; negative for a signal; None while it lives."""
        self._pid = os.fork()
        if self._pid == 0:
            _child(env, verb, log, stops, jump_s)

    def stopped(self, timeout_s: float) -> bool:
        """Waits until it has stopped (True) or ended (False). Raises TimeoutError when it does neither."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            pid, status = os.waitpid(self._pid, os.WUNTRACED | os.WNOHANG)
            if pid and os.WIFSTOPPED(status):
                return True
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return False
            time.sleep(0.005)
        self.kill()
        raise TimeoutError(f"the controller neither ended nor came to a stop within {timeout_s:.0f} s")

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, released or journaled on the way out."""
        os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self.status = os.waitstatus_to_exitcode(status)

    @property
    def said(self) -> str:
        """The last line that it left."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self._log.exists() else []
        return lines[-1] if lines else ""


def _child(env: Environment, verb: Callable[[], Result], log: Path, stops: tuple[Place, ...], jump_s: float) -> None:
    """Never returns."""
    code = BUG
    try:
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        points = _Points(env, list(stops), jump_s)
        points.hook()
        result = verb()
        print(result.text, flush=True)
        code = result.exit_code
    except GoliveError as error:
        print(error, file=sys.stderr, flush=True)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


class _Points:
    """Counts records and host commands, and stops this process at the places it was given, one after the other."""

    def __init__(self, env: Environment, stops: list[Place], jump_s: float) -> None:
        self._stops = stops
        self._jump_s = jump_s
        self._hosts = hosts_of(env)
        self._counting = bool(stops) and stops[0].stage is None
        self._count = 0

    def hook(self) -> None:
        original, points = SqlJournal.append, self

        def append(journal: SqlJournal, *args: Any, **kwargs: Any) -> Record:
            record = original(journal, *args, **kwargs)
            points.recorded(record)
            return record

        SqlJournal.append = append  # type: ignore[method-assign, assignment]
        self._hosts.on_point = lambda: self._point("command")

    def recorded(self, record: Record) -> None:
        if self._stops and not self._counting and record.kind == "stage.started" and record.stage == self._stops[0].stage:
            self._counting = True
        self._point("record")

    def _point(self, what: str) -> None:
        if not self._stops or not self._counting or self._stops[0].what != what:
            return
        self._count += 1
        if self._count < self._stops[0].count:
            return
        del self._stops[0]
        self._count, self._counting = 0, True  # a second stop counts from the first
        if self._jump_s:
            self._hosts.clock.jump(self._jump_s)
            self._jump_s = 0.0
        os.kill(os.getpid(), signal.SIGSTOP)
