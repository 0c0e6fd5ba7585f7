"""What the receiver has under a name before a transfer, and whether this side has it too."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from pathlib import Path

from dwcp_agent.commands.cache import cache_directory
from dwcp_agent.commands.session import Session
from dwcp_agent.encoding.manifest import Manifest, manifest_of
from dwcp_agent.encoding.rounding import RoundedSource
from dwcp_agent.errors import Failed
from dwcp_agent.store.manifests import load_manifest, save_manifest
from dwcp_agent.transport.source import Source
from dwcp_agent.transport.units import Baseline

__all__ = ["Choice", "choose_baseline", "manifest_at"]

_READERS = 2


@dataclass(frozen=True)
class Choice:
    """``told``: ``none``, ``receiver`` or ``both sides``; and why it is that."""

    baseline: Baseline | None
    told: str
    why: str


def choose_baseline(session: Session, name: str, path: Path | None, old: Source | None) -> Choice:
    """What can be told by what is there: what the receiver has under ``name``, and ``old`` with its ``path`` on this side.

    Raises Unreachable, Refused, Failed.
    """
    ours = functools.cache(lambda: manifest_at(path, old)) if path is not None and old is not None else None
    known = session.baseline(name, ours)
    if known is None:
        return Choice(None, "none", "the receiver has nothing under this name")
    theirs = Baseline(known, pages=lambda runs: session.pages(name, known, runs))
    if ours is None:
        return Choice(theirs, "receiver", "the receiver has a version; this side was not told where it has one")
    # Only if what is here is what is there can the one be told by the other.
    if ours().size != known.size:
        return Choice(theirs, "receiver", f"the receiver's version has {known.size} bytes, and the one on this side {ours().size}")
    if ours().id != known.id:
        return Choice(theirs, "receiver", f"the receiver's version is {known.id[:12]}, and the one on this side {ours().id[:12]}")
    return Choice(Baseline(known, old), "both sides", "the version on this side is the one that the receiver has")


def manifest_at(path: Path, source: Source) -> Manifest:
    """A manifest of what is at ``path``, opened as ``source``. That of a file is kept, since a baseline is used again and again.

    Raises Failed when it cannot be read.
    """
    from concurrent.futures import ThreadPoolExecutor  # a tenth of the time that a command takes to start

    try:
        with contextlib.ExitStack() as opened, ThreadPoolExecutor(_READERS) as readers:
            try:
                directory = os.open(cache_directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, directory)
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                opened.callback(os.close, descriptor)
            except OSError:
                return manifest_of(source, readers)
            if not path.is_file() or isinstance(source, RoundedSource):
                return manifest_of(source, readers)  # a device's status says nothing of its content, nor a file's of what is made of it
            found = load_manifest(directory, str(path.resolve()), descriptor)
            if found is None:
                found = manifest_of(source, readers)
                save_manifest(directory, str(path.resolve()), descriptor, found)
            return found
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror or error}.") from None
