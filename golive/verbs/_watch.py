"""A run watched in a terminal from another process than the one that works on it: by its journal, and the looks of its watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from golive.engine import EnvironmentState, JournalReader, Record, RunState
from golive.engine.fold import known_after
from golive.environment import Environment
from golive.views.board.lines import record_of
from golive.views.looks import LOOKS, LookReader
from golive.views.terminal import Screen

__all__ = ["Watch", "watched"]

_EVERY_S = 0.5


class Watch:
    """Everything that was seen of the environment's last run, on a screen. Reads only; each record once."""

    def __init__(self, env: Environment) -> None:
        self._env = env.name
        self._reader, self._looks = JournalReader(env), LookReader(env.state / LOOKS)
        self._alive = True
        self._begin()

    def _begin(self) -> None:
        self._known = EnvironmentState(self._env, last=RunState(env=self._env))
        self.screen = Screen(env=self._env)

    @property
    def state(self) -> RunState:
        """The last run as it stands."""
        return self._known.last

    def look(self) -> list[str]:
        """Takes in what came since the last look; its lines. Raises Held when the journal cannot be read."""
        sight = self._reader.look()
        if sight is None:
            self._begin()
            return []
        if sight.anew:
            self._begin()
        lines = [f"NOT AS IT WAS WRITTEN: {sentence}" for sentence in sight.wrong]
        for row in sight.rows:
            lines += self._take(record_of(row))
        _, looks = self._looks.more()
        if self.state.open and self._looks.begin == self.state.begin:
            for look in looks:
                self.screen.take("gate.look", look, time.monotonic())
        if self.state.open and self._alive and sight.holder is None:
            lines.append(f"no process works on the run: `./inv golive --env {self._env}` continues it")
        self._alive = sight.holder is not None
        return lines

    def _take(self, record: Record) -> list[str]:
        before = self.state.run
        self._known = known_after(self._known, record)
        if self.state.run != before:
            self.screen = Screen(env=self._env)
        told: dict[str, Any] = {**record.data, "stage": record.stage, "step": record.step}
        line = self.screen.take(record.kind, told, time.monotonic())
        if record.kind == "gate":
            self.screen.figures, self.screen.verdict = dict(record.data.get("figures") or {}), str(record.data.get("verdict"))
        return [line] if line is not None else []

    def close(self) -> None:
        self._reader.close()


def watched(env: Environment, stream: IO[str] | None = None, *, every_s: float = _EVERY_S) -> None:
    """Shows the environment's run until it is over or the reader has seen enough (Ctrl-C): a panel on a terminal, lines anywhere else.

    A run that stands still is watched on: somebody else may let it go on. Raises Held when its journal cannot be read.
    """
    out = stream or sys.stderr
    watch = Watch(env)
    try:
        with _shown(watch, out) as show:
            # What was said before anybody looked is on the panel, and is not told line by line.
            first = watch.look()
            show(first[-5:])
            while watch.state.open:
                time.sleep(every_s)
                show(watch.look())
    except KeyboardInterrupt:
        pass
    finally:
        watch.close()


@contextmanager
def _shown(watch: Watch, out: IO[str]) -> Iterator[Callable[[list[str]], None]]:
    if not out.isatty():

        def plain(lines: list[str]) -> None:
            for line in lines:
                print(f"{time.strftime('%H:%M:%S')} {line}", file=out, flush=True)

        yield plain
        return
    from rich.console import Console
    from rich.live import Live

    with Live(watch.screen.draw(time.monotonic()), console=Console(file=out), auto_refresh=False) as live:
        yield lambda _: live.update(watch.screen.draw(time.monotonic()), refresh=True)
