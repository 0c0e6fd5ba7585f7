"""The board's one picture of an environment, kept up to date from its sources, and what changed in it, number by number."""

from __future__ import annotations

import bisect
import copy
import secrets
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from golive.engine import EnvironmentState, Record, RunState
from golive.engine.fold import FORGOTTEN, known_after
from golive.errors import GoliveError
from golive.views.board import picture
from golive.views.board.changes import changes
from golive.views.board.hosts import HostsSeen
from golive.views.board.lines import line_of, record_of
from golive.views.board.readiness import Readiness
from golive.views.board.sources import Book, Sources
from golive.views.board.watches import Watches
from golive.views.looks import LookReader

__all__ = ["Feed"]

JSON = dict[str, Any]

_KEPT = 1000
"""Changes that a page which was away for a moment can still catch up with."""
_TAIL = 300
"""Lines of the journal that a page gets at first; it asks for the others when it shows something."""
_MOST = 5000
_SAID = 5


class Feed:
    """One for all pages. :meth:`refresh` may be called from any thread."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._lock = threading.RLock()
        self._epoch = secrets.token_hex(4)
        self._ring: deque[JSON] = deque(maxlen=_KEPT)
        self._readiness, self._looks = Readiness(sources.readiness), LookReader(sources.looks)
        self._books: Sequence[Book] = ()
        self._books_trouble = ""
        self._hosts: list[Mapping[str, Any]] = []
        self._waiting: deque[JSON] = deque(maxlen=100_000)
        self._identity = ""
        self._holder: str | None = None
        self._trouble = ""
        self.rev = 0
        self.sections: JSON = {}
        self.lines: list[JSON] = []
        self._forget()

    def _forget(self) -> None:
        """Nothing was read of the journal yet."""
        self._known = EnvironmentState(self._sources.env, last=RunState(env=self._sources.env))
        self._seen, self._watches = HostsSeen(), Watches()
        self._time: JSON | None = None
        self._wrong: list[str] = []
        self._there = False
        self.lines = []

    def refresh(self) -> bool:
        """Looks at every source; whether anything changed. Never raises for what a source holds or lacks: the picture says it."""
        with self._lock:
            fresh, anew = self._journal()
            self._readiness.look()
            self._recorded()
            self._watched()
            now = self._sections()
            found = changes(self.sections, now)
            if not found and not fresh and not anew:
                return False
            self.rev += 1
            self.sections = copy.deepcopy(now)
            self._ring.append({"rev": self.rev, "id": self.id, "anew": anew, "sections": found, "lines": fresh})
            return True

    @property
    def id(self) -> str:
        """Names what a page that was told everything up to now has seen: the journal, its last record, and the number of the change."""
        return f"{self._identity[:12] or '0'}-{self.seq}-{self._epoch}-{self.rev}"

    @property
    def seq(self) -> int:
        """Number of the last record that was read."""
        return int(self.lines[-1]["seq"]) if self.lines else 0

    def whole(self) -> JSON:
        """Everything there is to show, with the journal's last lines."""
        with self._lock:
            return {"id": self.id, "sections": self.sections, "lines": self.lines[-_TAIL:], "total": len(self.lines)}

    def since(self, last: str) -> list[JSON]:
        """What a page has to take in that saw ``last``: the changes since; or, when those are not kept, all sections and its lines.

        ``whole`` is set in such an answer; ``anew`` as well when the page has to forget its lines, because they are another journal's, or
        more were missed than it would ask for anyway.
        """
        with self._lock:
            identity, seq, epoch, rev = _parsed(last)
            if epoch == self._epoch and rev <= self.rev and (rev == self.rev or (self._ring and self._ring[0]["rev"] <= rev + 1)):
                return [change for change in self._ring if change["rev"] > rev]
            missed = self._after(seq) if identity == (self._identity[:12] or "0") and 0 < seq <= self.seq else None
            all_ = {name: {"all": value} for name, value in self.sections.items()}
            if missed is not None and len(missed) <= _MOST:
                return [{"rev": self.rev, "id": self.id, "whole": True, "anew": False, "sections": all_, "lines": missed}]
            tail = self.lines[-_TAIL:]
            return [
                {"rev": self.rev, "id": self.id, "whole": True, "anew": True, "sections": all_, "lines": tail, "total": len(self.lines)}
            ]

    def before(self, seq: int, most: int) -> list[JSON]:
        """The last ``most`` lines before record ``seq``, oldest first."""
        with self._lock:
            end = bisect.bisect_left(self.lines, seq, key=lambda line: int(line["seq"]))
            return self.lines[max(0, end - min(most, _MOST)) : end]

    def _after(self, seq: int) -> list[JSON]:
        return self.lines[bisect.bisect_right(self.lines, seq, key=lambda line: int(line["seq"])) :]

    def _journal(self) -> tuple[list[JSON], bool]:
        """The lines that are new, and whether all earlier ones are no longer true."""
        try:
            sight = self._sources.look()
        except GoliveError as error:
            self._trouble = error.message
            return [], False
        self._trouble = ""
        if sight is None:
            before, self._identity, self._holder = self._there, "", None
            self._forget()
            return [], before
        anew = sight.anew and bool(self.lines)
        if sight.anew:
            self._forget()
        self._there, self._identity = True, sight.identity
        self._holder = sight.holder.sentence if sight.holder is not None else None
        self._wrong += sight.wrong
        fresh = []
        for row in sight.rows:
            if type(row.seq) is not int or (self.lines and row.seq <= self.lines[-1]["seq"]):
                continue  # named by what is wrong with the chain; it has no place in a list by number
            record = record_of(row)
            self._take(record)
            line = line_of(record)
            self.lines.append(line)
            fresh.append(line)
        return fresh, anew

    def _take(self, record: Record) -> None:
        if record.kind == "run.started" or record.run != self._known.last.run or record.kind == FORGOTTEN:
            self._watches, self._time = Watches(), None
            self._plan()
        try:
            if record.kind == "gate":
                self._watched(_end(record.data))
            self._known = known_after(self._known, record)
            self._seen.take(record, self._role_of)
            if record.kind == "rollback-time":
                self._time = record.data
            elif record.kind == "gate":
                self._watches.decided(record, self._limits_of)
            elif record.kind in ("run.finished", "run.held", "step.interrupted"):
                self._watches.over()
        except Exception as error:
            # A record that was edited may hold anything; what can be read of the others is shown all the same, and that one is named.
            self._wrong.append(f"record {record.seq} ({record.kind}) cannot be understood: {type(error).__name__}: {error}")

    def _plan(self) -> None:
        try:
            self._books, self._books_trouble = tuple(self._sources.books()), ""
        except GoliveError as error:
            self._books, self._books_trouble = (), error.message

    def _recorded(self) -> None:
        try:
            self._hosts = list(self._sources.hosts())
        except GoliveError:
            self._hosts = []

    def _watched(self, until: float | None = None) -> None:
        """Looks of this run are drawn: those up to a gate's decision before it, all others when no record is left to be read."""
        anew, looks = self._looks.more()
        if anew:
            self._waiting.clear()
        self._waiting.extend(look for look in looks if isinstance(look.get("end"), int | float))
        state = self._known.last
        if state.begin is None or state.begin != self._looks.begin:
            if until is None:
                self._waiting.clear()
            return
        while self._waiting and (until is None or self._waiting[0]["end"] <= until):
            look = self._waiting.popleft()
            # What a process of the run saw before it was over; the journal has the last word on a watch that it decided.
            if state.open and not any(gate.get("gate") == look.get("gate") and _end(gate) >= look["end"] for gate in state.gates[-20:]):
                self._watches.look(look, self._limits_of)

    def _step_of(self, step: str) -> Any:
        return next((planned for book in self._books for stage in book.stages for planned in stage.steps if planned.id == step), None)

    def _role_of(self, stage: str, step: str) -> str:
        planned = self._step_of(step)
        return planned.release if planned is not None else ""

    def _limits_of(self, gate: str) -> Mapping[str, JSON]:
        planned = self._step_of(gate)
        return planned.limits if planned is not None else {}

    def _sections(self) -> JSON:
        if not self._books and not self._books_trouble:
            self._plan()
        state = self._known.last
        rows = picture.stages(state, self._books)
        book = next((book for book in self._books if book.name == (state.runbook or "golive")), None)
        changed = bool(state.runbook_digest and book and book.digest != state.runbook_digest)
        return {
            "journal": {
                **{"there": self._there, "trouble": self._trouble, "total": len(self.lines), "seq": self.seq},
                **{"wrong": self._wrong[:_SAID], "wrongs": len(self._wrong), "runbook": self._books_trouble},
            },
            "run": picture.run(self._sources.env, state, holder=self._holder, rows=rows, changed_book=changed),
            "stages": rows,
            "traffic": picture.traffic(state),
            "watches": self._watches.rows,
            "points": self._watches.points,
            "latest": self._watches.latest,
            "hosts": self._seen.rows(self._hosts, state.traffic),
            "approvals": picture.approvals(state),
            "rollback": picture.rollback(state, self._time, rows),
            "readiness": self._readiness.summary,
            "items": self._readiness.items,
        }


def _parsed(last: str) -> tuple[str, int, str, int]:
    parts = last.split("-")
    if len(parts) == 4 and parts[1].isdecimal() and parts[3].isdecimal() and max(map(len, parts)) < 20:
        return parts[0], int(parts[1]), parts[2], int(parts[3])
    return "", 0, "", 0


def _end(gate: Mapping[str, Any]) -> float:
    end = gate.get("end")
    return float(end) if isinstance(end, int | float) else 0.0
