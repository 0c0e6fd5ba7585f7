"""The run in the terminal while it goes on: a panel that redraws itself on a TTY, plain lines anywhere else.

It is told of events by the thread that runs the steps and must never hold that up: an event goes into a queue and is drawn by a thread of
the view's own. A terminal that is slow, stopped or gone loses lines; the run goes on.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from golive.views.custody import KINDS, custody
from golive.views.view import version_of

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Screen", "Terminal"]

JSON = dict[str, Any]

_QUEUED = 1000
_KEPT = 8
_OF_PEOPLE = ("approval.", "waiver.", "step.waived", "skip.refused", "notice.failed")
_COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "ERROR": "magenta"}


@dataclass
class Screen:
    """What is shown now: fed with events, drawn by whoever asks. Keeps no clock: times left count from when they were told."""

    env: str = ""
    candidate: str | None = None
    incumbent: str | None = None
    outcome: str = "running"
    stage: str = ""
    owner: str = ""
    step: str = ""
    doing: str = ""
    until: float | None = None
    """Monotonic time at which the running watch is over."""
    verdict: str = ""
    figures: JSON = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    traffic: dict[str, dict[str, float]] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)
    """The last lines: verdict and text."""

    def take(self, kind: str, data: JSON, now: float) -> str | None:
        """Takes an event in; returns the line that a plain log gets, None for what would only flood it."""
        line = self._line(kind, data, now)
        if line is not None:
            self.said = [*self.said, (str(data.get("verdict") or ""), line)][-_KEPT:]
        return line

    def _line(self, kind: str, data: JSON, now: float) -> str | None:
        where = "/".join(part for part in (data.get("stage"), data.get("step")) if part)
        if kind == "run.started":
            self.candidate, self.incumbent = data.get("candidate"), data.get("incumbent")
            return f"run of {self.candidate} against {self.incumbent or 'nothing'}, pace {data.get('pace')}"
        if kind == "stage.started":
            self.stage, self.owner, self.step, self.doing, self.until = str(data.get("stage")), str(data.get("owner") or ""), "", "", None
            return f"stage {self.stage} ({self.owner})"
        if kind == "stage.waiting":
            return f"stage {data.get('stage')} waits until {data.get('due')}"
        if kind == "step.intent":
            self.step, self.doing, self.until, self.verdict, self.problems = (
                str(data.get("step")),
                str(data.get("uses") or ""),
                None,
                "",
                [],
            )
            return None
        if kind == "step.outcome":
            self._hosts(data)
            self.until = None
            changed = f", changed {data['changed']}" if data.get("changed") else ""
            return f"{data.get('verdict')} {where}: {data.get('summary')}{changed} ({float(data.get('seconds') or 0):.1f} s)"
        if kind == "gate.look":
            self.until = now + float(data.get("left_s") or 0)
            self.verdict, self.figures, self.problems = (
                str(data.get("verdict")),
                dict(data.get("figures") or {}),
                list(data.get("problems") or []),
            )
            return None
        if kind == "baseline" and "left_s" in data:
            self.until = now + float(data["left_s"])
            return None
        if kind == "play.task":
            self.doing = f"{data.get('playbook')}: {data.get('task')}"
            return None
        if kind == "traffic.set":
            weights = {str(k): float(v) for k, v in (data.get("weights") or {}).items()}
            self.traffic[str(data.get("gateway"))] = weights
            return f"{data.get('gateway')}: " + ", ".join(f"{version_of(name)} {share:g} %" for name, share in sorted(weights.items()))
        if kind == "step.holding":
            return f"{where} held until {data.get('until')}"
        if kind in ("run.paused", "run.unpaused"):
            self.outcome = "paused" if kind == "run.paused" else "running"
            return f"{'paused' if kind == 'run.paused' else 'let go on'} by {data.get('by')}: {data.get('reason')}"
        if kind == "run.standing":
            self.outcome = "paused"
            return f"stands still, paused by {data.get('by')}: {data.get('reason')}; `./inv resume --env {self.env}` lets it go on"
        if kind == "request.refused":
            return f"{data.get('kind')} refused: {data.get('why')}"
        if kind == "rollback.overrun":
            return f"{data.get('stage')} took {float(data.get('seconds') or 0):.0f} s, more than its budget; it goes on"
        if kind in ("trigger", "rollback.started", "run.held", "run.aborting"):
            self.outcome = {"rollback.started": "rolling back", "run.held": "held", "run.aborting": "ends"}.get(kind, self.outcome)
            return f"{kind}: {data.get('reason')} {data.get('do') or ''}".strip()
        if kind == "rollback.traffic-back":
            took = data.get("seconds")
            return "all traffic is back on the incumbent" + (f" after {took} s" if took is not None else "")
        if kind.startswith(_OF_PEOPLE):
            told = self.told_of_people(kind, data)
            return f"{where}: {told}" if where and told else told
        if kind == "run.resumed":
            return "resumed" + (f" after {data['took_over']}" if data.get("took_over") else "")
        if kind == "run.finished":
            self.outcome, self.until = str(data.get("outcome")), None
            return f"run ended: {self.outcome}"
        if kind in KINDS and (kind != "journal.anchored" or data.get("missed")):
            return custody(kind, data)
        if kind == "bug":
            return f"error of the toolkit in {where}: {data.get('error')}"
        return None

    @staticmethod
    def told_of_people(kind: str, data: JSON) -> str | None:
        """What was asked, answered, waived or told, in a line."""
        roles = " or ".join(map(str, data.get("roles") or []))
        who = f"{data.get('person')} ({data.get('role')})"
        return {
            "approval.asked": f"waits for the approval of {roles} until {data.get('expires')}: ./inv approve",
            "approval.auto": f"AUTO: nobody is asked for the approval of {roles}",
            "approval.given": f"approved by {who}",
            "approval.rejected": f"rejected by {who}: {data.get('comment')}",
            "approval.refused": f"{data.get('kind')} by {data.get('by')} does not count: {data.get('why')}",
            "waiver.given": f"waiver by {who}",
            "step.waived": f"WAIVED by {who}: {data.get('reason')}",
            "skip.refused": f"not left out: {data.get('why')}",
            "notice.failed": f"NOT TOLD by {data.get('route') or 'any route'}: {data.get('why')}",
        }.get(kind)

    def _hosts(self, data: JSON) -> None:
        for name, seen in (data.get("targets") or {}).items():
            found = seen.get("found") if isinstance(seen, dict) else None
            if name != "environment" and isinstance(found, str):
                self.hosts[name] = found

    def draw(self, now: float) -> RenderableType:
        """The panel."""
        from rich.console import Group
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        left = f", {max(0, self.until - now):.0f} s left" if self.until is not None else ""
        head = Text.assemble(
            (f"{version_of(self.candidate) or '?'}", "bold"),
            f" against {version_of(self.incumbent) or 'nothing'}   ",
            (self.outcome, "bold"),
            f"\n{self.stage or '-'} ({self.owner})  {self.step}  {self.doing}{left}",
        )
        parts: list[RenderableType] = [head]
        if self.figures:
            table = Table(box=None, padding=(0, 2, 0, 0))
            for name in ("", "requests", "errors", "error rate", "p50", "p99", "per s"):
                table.add_column(name, justify="left" if not name else "right")
            for who, told in self.figures.items():
                if told.get("requests"):
                    table.add_row(who, *_row(told))
            parts.append(table)
            parts.append(Text(f"gate: {self.verdict}", style=_COLOURS.get(self.verdict, "")))
        parts += [Text(problem, style="magenta") for problem in self.problems[:3]]
        if self.traffic:
            shares = (
                f"{name} {', '.join(f'{version_of(r)} {p:g} %' for r, p in sorted(w.items()))}" for name, w in sorted(self.traffic.items())
            )
            parts.append(Text("\n".join(shares), style="cyan"))
        if self.hosts:
            bad = [f"{name} {found}" for name, found in sorted(self.hosts.items()) if found != "DONE"]
            parts.append(Text(f"hosts: {len(self.hosts)} asked" + (f", {'; '.join(bad)}" if bad else "")))
        parts += [Text(line, style=_COLOURS.get(verdict, "dim"), overflow="ellipsis", no_wrap=True) for verdict, line in self.said]
        return Panel(Group(*parts), title=f"go-live {self.env}", title_align="left")


def _row(told: JSON) -> list[str]:
    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value * 1000:.3g} ms"

    rate = told.get("error_rate")
    return [
        f"{told['requests']:,}",
        f"{told.get('errors', 0)}",
        "-" if rate is None else f"{rate * 100:.3g} %",
        ms(told.get("p50_s")),
        ms(told.get("p99_s")),
        "-" if told.get("per_s") is None else f"{told['per_s']:.1f}",
    ]


class Terminal:
    """Shows a run; call it with each event. Use it in a ``with``, which leaves the last picture standing."""

    def __init__(self, env: str, stream: IO[str] | None = None) -> None:
        self.screen = Screen(env=env)
        self._stream = stream or sys.stderr
        self._events: queue.Queue[tuple[str, JSON] | None] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._show, name="terminal", daemon=True)

    def __enter__(self) -> Terminal:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(queue.Full):
            self._events.put(None, timeout=1)
        self._thread.join(timeout=2)

    def __call__(self, kind: str, data: JSON) -> None:
        """Takes an event; never waits. When a thousand are unseen, this one is not shown."""
        with contextlib.suppress(queue.Full):
            self._events.put_nowait((kind, dict(data)))

    def _show(self) -> None:
        try:
            if self._stream.isatty():
                self._live()
            else:
                self._plain()
        except Exception:
            self._drain()

    def _plain(self) -> None:
        while (event := self._events.get()) is not None:
            line = self.screen.take(*event, time.monotonic())
            if line is not None:
                print(f"{time.strftime('%H:%M:%S')} {line}", file=self._stream, flush=True)

    def _live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        with Live(self.screen.draw(time.monotonic()), console=Console(file=self._stream), auto_refresh=False) as live:
            going = True
            while going:
                with contextlib.suppress(queue.Empty):
                    event = self._events.get(timeout=0.5)
                    while event is not None:
                        self.screen.take(*event, time.monotonic())
                        event = self._events.get_nowait()
                    going = False
                live.update(self.screen.draw(time.monotonic()), refresh=True)

    def _drain(self) -> None:
        """Nobody can read: events are taken and forgotten."""
        while self._events.get() is not None:
            pass
