"""``dwcp send DIRECTORY https://HOST:PORT/PREFIX``: every regular file below it as a transfer of its own, several at once."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from blake3 import blake3

from dwcp_agent.commands import preview, report
from dwcp_agent.commands.below import open_below
from dwcp_agent.commands.delivery import deliver
from dwcp_agent.commands.http import Endpoint, tls_of
from dwcp_agent.commands.item import Item, Terms, profile_of, token_of
from dwcp_agent.commands.pool import SessionPool
from dwcp_agent.commands.progress import Line
from dwcp_agent.commands.session import Session
from dwcp_agent.errors import AgentError, BadInput, Failed, Refused
from dwcp_agent.profiles.choice import LARGE_BYTES
from dwcp_agent.sessions.scaling import FIRST_SESSIONS, MOST_SESSIONS
from dwcp_agent.sessions.ticket import check_session_id
from dwcp_agent.store.names import parts_of
from dwcp_agent.telemetry.decisions import DecisionLog
from dwcp_agent.transport.source import open_source
from dwcp_agent.transport.tally import Tally

__all__ = ["Listing", "list_tree", "send_tree"]

_NAMED = 3
"""So many names are said in a sentence; the summary has all."""


@dataclass(frozen=True)
class Listing:
    """``files``: relative name and bytes of each, in order of names. ``skipped``: what is no regular file, and what it is."""

    files: list[tuple[str, int]]
    skipped: list[dict[str, str]]


def list_tree(directory: Path, prefix: str) -> Listing:
    """Everything below ``directory``; links are not followed.

    Raises BadInput when a directory cannot be read, there is no file, or a file's name below ``prefix`` can be none at the receiver.
    """
    files: list[tuple[str, int]] = []
    skipped: list[dict[str, str]] = []
    refused: list[str] = []
    for relative, status in _walk(directory, ""):
        if not stat.S_ISREG(status.st_mode):
            skipped.append({"name": relative, "why": "a link" if stat.S_ISLNK(status.st_mode) else "not a regular file"})
            continue
        files.append((relative, status.st_size))
        try:
            parts_of(prefix + relative)
        except BadInput as error:
            refused.append(f"{relative!r} ({error.message.rstrip('.')})")
    if refused:
        named = ", ".join(refused[:_NAMED]) + (f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else "")
        raise BadInput(f"Nothing was sent, since the receiver would refuse these names below {directory}: {named}.")
    if not files:
        raise BadInput(f"There is no regular file below {directory}.")
    return Listing(files, skipped)


def _walk(directory: Path, before: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything but directories, in order of names."""
    try:
        with os.scandir(directory) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(directory / entry.name, f"{before}{entry.name}/")
            else:
                yield before + entry.name, entry.stat(follow_symlinks=False)
    except OSError as error:
        raise BadInput(f"{error.filename or directory} cannot be listed: {error.strerror or error}.") from None


@dataclass
class _Sum:
    """What has happened to the files until now. Safe from several threads."""

    files: int
    bytes: int
    sent: int = 0
    sent_bytes: int = 0
    wire_bytes: int = 0
    done: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of those under way: bytes at the receiver, and on the wire."""
    failed: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def send_tree(arguments: argparse.Namespace, endpoint: Endpoint) -> None:
    """Sends every file; one that fails stops no other. Prints each file's report and at last a summary, as JSON one object a line.

    Raises BadInput before anything is sent; Unreachable or Refused when no session can be opened; Failed when a file could not be sent.
    """
    if arguments.baseline is not None and not arguments.baseline.is_dir():
        raise BadInput(f"--baseline of a directory is a directory with files of the same names, and {arguments.baseline} is none.")
    prefix = f"{endpoint.path.rstrip('/')}/" if endpoint.path.rstrip("/") else ""
    listing = list_tree(arguments.source, prefix)
    context = tls_of(arguments.ca, arguments.cert, arguments.key)
    of = arguments.session or f"send-{blake3(json.dumps([str(endpoint), prefix, str(arguments.source.resolve())]).encode()).hexdigest(8)}"
    try:
        check_session_id(f"{of}-{MOST_SESSIONS}")
    except Refused:
        raise BadInput(f"--session is too long for a directory, which has sessions called {of}-1 and so on.") from None
    # A large file fills the link by itself; small ones wait for round trips most of the time.
    large = sum(size for _, size in listing.files) > LARGE_BYTES * len(listing.files)
    most = min(len(listing.files), FIRST_SESSIONS if large else MOST_SESSIONS)
    log = DecisionLog()
    # A limit is shared out between sessions, so their number stays.
    asked = arguments.sessions or (FIRST_SESSIONS if arguments.limit else None)
    pool = SessionPool(lambda number: Session(endpoint, context, f"{of}-{number}"), asked, most, log)
    tree = _Tree(arguments, endpoint, prefix, listing, pool, log)
    try:
        tree.run()
    finally:
        pool.close()


class _Tree:
    def __init__(
        self, arguments: argparse.Namespace, endpoint: Endpoint, prefix: str, listing: Listing, pool: SessionPool, log: DecisionLog
    ) -> None:
        self._arguments = arguments
        self._endpoint = endpoint
        self._prefix = prefix
        self._listing = listing
        self._pool = pool
        self._log = log
        self._line = Line(not arguments.json)
        self._broken: BrokenPipeError | None = None
        """Nobody reads what is said any more."""
        self._sum = _Sum(len(listing.files), sum(size for _, size in listing.files))
        share = arguments.limit // min(arguments.sessions or FIRST_SESSIONS, len(listing.files)) if arguments.limit else None
        limit = max(1, share) if share is not None else None
        self._terms = Terms(arguments.streams, limit, arguments.patience, profile_of(arguments), arguments.weight, arguments.plain)

    def run(self) -> None:
        """All files, one after the other as sessions become free."""
        started = time.monotonic()
        first = self._pool.acquire()
        try:
            if not self._arguments.dry_run:
                first.open()  # when nobody answers, that is said once
        finally:
            self._pool.release(first)
        root = os.open(self._arguments.source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for relative, _ in self._listing.files:
                session = self._pool.acquire()
                if self._broken is not None:
                    raise self._broken
                # A daemon: whoever interrupts the command does not wait for the transfers. The receiver keeps what it has of them.
                threading.Thread(target=self._one, args=(session, root, relative), name=f"file-{relative}", daemon=True).start()
            self._pool.drain()
        finally:
            self._line.clear()
        os.close(root)  # not when interrupted: a thread may be at it
        self._summarise(time.monotonic() - started)

    def _one(self, session: Session, root: int, relative: str) -> None:
        try:
            told = self._send(session, root, relative)
        except Exception as error:  # a thread must not die silently: the file would be neither sent nor failed
            reason = error.message if isinstance(error, AgentError) else f"A bug: {type(error).__name__}: {error}."
            with self._sum.lock:
                self._sum.done.pop(relative, None)
                self._sum.failed.append({"name": self._prefix + relative, "error": reason})
                self._say(f"{self._prefix}{relative}: {reason}", sys.stderr)
        else:
            with self._sum.lock:
                self._sum.done.pop(relative, None)
                self._sum.sent += 1
                self._sum.sent_bytes += told["bytes"]
                self._sum.wire_bytes += told.get("wire_bytes", 0)
                words = preview.in_words if self._arguments.dry_run else report.in_words
                self._say(json.dumps(told) if self._arguments.json else words(told), sys.stdout)
        finally:
            self._pool.release(session)

    def _say(self, text: str, where: TextIO) -> None:
        self._line.clear()
        try:
            print(text, file=where, flush=True)
        except BrokenPipeError as error:
            self._broken = error

    def _send(self, session: Session, root: int, relative: str) -> dict[str, Any]:
        path, name = self._arguments.source / relative, self._prefix + relative
        with contextlib.ExitStack() as opened:
            descriptor = _open(root, relative, path)
            opened.callback(os.close, descriptor)
            at = Path(f"/proc/self/fd/{descriptor}")
            source = opened.enter_context(contextlib.closing(open_source(at)))
            baseline = self._arguments.baseline / relative if self._arguments.baseline else None
            old = None
            if baseline is not None and baseline.is_file():
                old = opened.enter_context(contextlib.closing(open_source(baseline)))
            item = Item(path, name, source, baseline if old is not None else None, old)
            if self._arguments.dry_run:
                return preview.preview(session, item)
            return deliver(session, item, token_of(item, self._endpoint, at), self._terms, self._telling(relative))

    def _telling(self, relative: str) -> Callable[[int, int, Tally], None]:
        def tell(done: int, size: int, tally: Tally) -> None:
            with self._sum.lock:
                self._sum.done[relative] = done, tally.wire_bytes
                there = self._sum.sent_bytes + sum(each[0] for each in self._sum.done.values())
                wire = self._sum.wire_bytes + sum(each[1] for each in self._sum.done.values())
                self._line.show(there, self._sum.bytes, wire, f"{self._sum.sent} of {self._sum.files} files, ")

        return tell

    def _summarise(self, seconds: float) -> None:
        done = self._sum
        summary = {
            "schema": 1,
            "summary": True,
            "dry_run": self._arguments.dry_run,
            "url": f"{self._endpoint}/{self._prefix}",
            "files": done.files,
            "sent": 0 if self._arguments.dry_run else done.sent,
            "bytes": done.sent_bytes,
            "wire_bytes": done.wire_bytes,
            "seconds": round(seconds, 6),
            "sessions": [{"value": each.value, "why": each.why} for each in self._log.decisions("sessions")],
            "failed": sorted(done.failed, key=lambda each: each["name"]),
            "skipped": self._listing.skipped,
        }
        if self._arguments.json:
            print(json.dumps(summary), flush=True)
        else:
            skipped = f"; {len(self._listing.skipped)} were skipped: no regular files" if self._listing.skipped else ""
            verb = "would be sent or are there" if self._arguments.dry_run else "are at the receiver"
            print(f"{done.sent} of {done.files} files, {done.sent_bytes} bytes, {verb}; {done.wire_bytes} bytes went{skipped}")
        if done.failed:
            names = sorted(each["name"] for each in done.failed)
            named = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
            what = "could not be compared" if self._arguments.dry_run else "were not sent"
            raise Failed(f"{len(names)} of {done.files} files {what}: {named}; the reasons stand above, and the others are done.")


def _open(root: int, relative: str, path: Path) -> int:
    try:
        descriptor = open_below(root, relative.split("/"))
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror or error}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Failed(f"{path} is no regular file any more.")
    return descriptor
