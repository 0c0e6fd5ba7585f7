"""What the sender remembers of its transfers, for ``dwcp explain``: one JSON file each, the newest hundred."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dwcp_agent.commands.cache import cache_directory
from dwcp_agent.commands.ledger import ledger_directory
from dwcp_agent.errors import AgentError
from dwcp_agent.transport.tally import Tally
from dwcp_agent.transport.totals import count

__all__ = ["KEPT", "Record", "recorded", "records"]

KEPT = 100
_SUFFIX = ".json"


@dataclass
class Record:
    """One transfer: what it was to be, what was decided in it and why, how it ended."""

    token: str
    source: str
    url: str
    """Of the content, with its name."""
    began: float = field(default_factory=time.time)
    """Unix seconds."""
    outcome: str = "running"
    """Then ``sent``, ``failed`` or ``interrupted``."""
    seconds: float = 0.0
    bytes: int = 0
    done_bytes: int = 0
    """Of ``bytes``, what the receiver had when it ended."""
    error: dict[str, object] | None = None
    report: dict[str, Any] | None = None
    decisions: list[dict[str, Any]] = field(default_factory=list)
    _clock: float = field(default_factory=time.monotonic)

    def now_s(self) -> float:
        """Seconds since it began."""
        return self.at_s(time.monotonic())

    def at_s(self, clock: float) -> float:
        """The same of a time of ``time.monotonic``; 0 for what was so before."""
        return round(max(0.0, clock - self._clock), 3)

    def decided(self, policy: str, what: str, value: object, why: str, at_s: float | None) -> None:
        """``policy`` set ``what`` to ``value``; ``at_s`` is None when nobody noted the time."""
        self.decisions.append({"at_s": at_s, "policy": policy, "what": what, "value": value, "why": why})

    def reached(self, done: int, size: int, tally: Tally) -> None:
        """How far it is; a :data:`~dwcp_agent.transport.tally.Progress`."""
        self.done_bytes, self.bytes = done, size

    def ended(self, report: dict[str, Any] | None, error: BaseException | None) -> None:
        """With a report or an error."""
        self.seconds = round(time.monotonic() - self._clock, 6)
        if error is None:
            self.outcome, self.report = "sent", report
            self.done_bytes = self.bytes
        elif isinstance(error, AgentError):
            self.outcome = "failed"
            self.error = {"kind": type(error).__name__, "message": error.message, "exit_code": error.exit_code}
        elif isinstance(error, Exception):
            self.outcome = "failed"
            self.error = {"kind": type(error).__name__, "message": f"A bug: {error}", "exit_code": 1}
        else:
            self.outcome = "interrupted"
            self.error = {"kind": type(error).__name__, "message": "Interrupted.", "exit_code": 130}

    def as_json(self) -> dict[str, Any]:
        """What the file says."""
        names = ("token", "began", "source", "url", "outcome", "seconds", "bytes", "done_bytes", "error", "report", "decisions")
        return {"schema": 1, **{name: getattr(self, name) for name in names}}


@contextlib.contextmanager
def recorded(record: Record) -> Iterator[None]:
    """Writes the record when the block has ended, well or not. That it cannot be written changes nothing else."""
    try:
        yield
    except BaseException as error:
        record.ended(None, error)
        raise
    finally:
        # A full disk, a home that is read-only or not there: the transfer is what counts.
        with contextlib.suppress(OSError, ValueError, TypeError):
            _write(record)
        directory = ledger_directory()
        if directory is not None:
            count(directory, record.outcome, [(decision["policy"], decision["what"]) for decision in record.decisions])


def records() -> list[dict[str, Any]]:
    """All that are kept, newest first; what is no record is passed over."""
    found: list[dict[str, Any]] = []
    with contextlib.suppress(OSError):
        for path in cache_directory("transfers").glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError, ValueError):
                fields = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(fields, dict) and fields.get("schema") == 1 and fields.get("token") == path.stem:
                    found.append(fields)
    return sorted(found, key=lambda fields: -float(fields["began"]))


def _write(record: Record) -> None:
    directory = cache_directory("transfers")
    temporary = directory / f".{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as file:
            json.dump(record.as_json(), file)
        temporary.rename(directory / f"{record.token}{_SUFFIX}")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _prune(directory)


def _prune(directory: Path) -> None:
    ages: list[tuple[float, str]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            # Another transfer may end, and prune, at the same time.
            with contextlib.suppress(FileNotFoundError):
                if entry.name.endswith(_SUFFIX):
                    ages.append((entry.stat().st_mtime, entry.name))
    for _, name in sorted(ages)[:-KEPT]:
        (directory / name).unlink(missing_ok=True)
