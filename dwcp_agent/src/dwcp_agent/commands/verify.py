"""``dwcp recv --verify NAME...``, on the host that has the content: what is stored is read again and compared with what was committed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from dwcp_agent.commands.below import open_below
from dwcp_agent.encoding.manifest import BLOCK, ID_CHARACTERS, Manifest, block_count, manifest_of
from dwcp_agent.errors import BadInput, Corrupt, Failed, Missing
from dwcp_agent.store.manifests import has_its_mark
from dwcp_agent.store.names import parts_of

__all__ = ["verify"]

_READERS = 2
_COMMITTING_S = 1.0
"""An agent names new content first and keeps its manifest then; so long it is waited for."""
_STEP_S = 0.05
_NAMED = 3


@dataclass(frozen=True)
class _Kept:
    """What the agent keeps of a commit: the manifest, and which file it was."""

    manifest: Manifest
    inode: int
    stamp: tuple[int, int]
    """Size and time of the last write, in nanoseconds."""


@dataclass
class _Opened:
    """Stored content, by a descriptor of its own: what replaces it meanwhile is another file."""

    descriptor: int
    size: int
    inode: int
    stamp: tuple[int, int]

    def chunk(self, offset: int, length: int) -> bytes:
        """Read and not mapped: a bad sector is an error then and not the end of the process. Raises OSError."""
        data = os.pread(self.descriptor, length, offset)
        if len(data) != length:
            raise OSError("it became shorter while it was read")
        return data

    def release(self, offset: int, length: int) -> None:
        """Nothing is mapped."""


def verify(arguments: argparse.Namespace) -> None:
    """Verifies each name and says what it found.

    Raises Corrupt when one is damaged; else Missing when one is not there; else Failed when one could not be told; BadInput.
    """
    from dwcp_agent.config import AgentConfig, load_config

    if arguments.id is not None and len(arguments.verify) != 1:
        raise BadInput("--id belongs to one name.")
    if arguments.id is not None and not re.fullmatch(rf"[0-9a-f]{{{ID_CHARACTERS}}}", arguments.id):
        raise BadInput(f"--id must be {ID_CHARACTERS} lower-case hexadecimal digits, as a transfer's report has them.")
    for name in arguments.verify:
        parts_of(name)
    store = load_config(arguments.config, AgentConfig).store
    try:
        root = os.open(store, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BadInput(f"store: {store}: {error.strerror}.") from None
    try:
        found = [_verified(root, _owner(root, name, arguments.owner), name, arguments.id) for name in arguments.verify]
    finally:
        os.close(root)
    print(json.dumps({"schema": 1, "store": str(store), "contents": found}) if arguments.json else "\n".join(map(_in_words, found)))
    for state, kind, words in (
        ("damaged", Corrupt, "damaged"),
        ("missing", Missing, "not in the store"),
        ("unknown", Failed, "not verified"),
    ):
        bad = [one for one in found if one["state"] == state]
        if bad:
            named = "; ".join(f"{one['name']} ({one['why']})" for one in bad[:_NAMED])
            more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
            raise kind(f"{len(bad)} of {len(found)} {words}: {named}{more}.")


def _owner(root: int, name: str, given: str | None) -> str | None:
    """The directory of the identity that has this name; None when nobody has. Raises BadInput when several do."""
    if given is not None:
        if len(parts_of(given)) != 1:
            raise BadInput(f"--owner is the name of a directory of the store, like operator.alice, and not {given!r}.")
        return given
    try:
        owners = [entry for entry in sorted(os.listdir(root)) if not entry.startswith(".") and _there(root, entry, name)]
    except OSError as error:
        raise BadInput(f"The store cannot be read: {error.strerror}.") from None
    if len(owners) > 1:
        raise BadInput(f"{name} is there of {', '.join(owners)}: say whose with --owner.")
    return owners[0] if owners else None


def _there(root: int, owner: str, name: str) -> bool:
    try:
        os.close(open_below(root, [owner, *parts_of(name)]))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise BadInput(f"The store cannot be read: {error.strerror}; run this as the agent's user or as root.") from None
    except OSError:
        return True  # something is, and opening it again says what is wrong with it
    return True


def _verified(root: int, owner: str | None, name: str, wanted: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name, "owner": owner, "state": "missing", "id": None, "bytes": None, "expected": wanted}
    if owner is None:
        return told | {"why": "no such content"}
    with _opened(root, owner, name) as (content, kept):
        if content is None:
            return told | {"why": "no such content"}
        told |= {"bytes": content.size, "expected": wanted or (kept.manifest.id if kept else None)}
        if kept is not None and kept.manifest.rounded is not None:
            told["rounded"] = kept.manifest.rounded
        # What the disk has is asked for, not what the cache still has of it.
        os.posix_fadvise(content.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            with ThreadPoolExecutor(_READERS) as readers:
                found = manifest_of(content, readers)
        except OSError as error:
            return told | {"state": "damaged", "why": f"it cannot be read: {error.strerror or error}"}
        told["id"] = found.id
        if _stamp_of(os.fstat(content.descriptor)) != content.stamp:
            return told | {"state": "unknown", "why": "it was written to while it was read"}
        return told | _judged(content, found, kept, wanted)


def _judged(content: _Opened, found: Manifest, kept: _Kept | None, wanted: str | None) -> dict[str, Any]:
    if found.id == (wanted or (kept.manifest.id if kept else None)):
        return {"state": "verified", "why": "as given with --id" if wanted else "as committed"}
    if wanted and not kept:
        return {"state": "damaged", "why": f"its id is {found.id} and not {wanted}"}
    if kept is None:
        return {"state": "unknown", "why": f"nothing is kept to compare it with; its id is {found.id}"}
    if found.id == kept.manifest.id:
        return {"state": "damaged", "why": f"it is {found.id} as committed, and not {wanted}"}
    since = "" if content.stamp == kept.stamp else ", and was written to since its commit"
    return {"state": "damaged", "why": f"{_difference(found, kept.manifest)}{since}"}


def _difference(found: Manifest, kept: Manifest) -> str:
    if found.size != kept.size:
        return f"it has {found.size} bytes and not {kept.size}"
    bad = [index for index in range(block_count(found.size)) if found.block(index) != kept.block(index)]
    return f"{len(bad)} of {block_count(found.size)} blocks are not as committed, the first at byte {bad[0] * BLOCK}"


@contextlib.contextmanager
def _opened(root: int, owner: str, name: str) -> Iterator[tuple[_Opened | None, _Kept | None]]:
    """The content, and what is kept of the commit of that very file; another transfer may replace both at any time. Raises Failed."""
    deadline = time.monotonic() + _COMMITTING_S
    while True:
        try:
            descriptor = open_below(root, [owner, *parts_of(name)])
        except (FileNotFoundError, NotADirectoryError):
            yield None, None
            return
        except PermissionError as error:
            raise BadInput(f"{name} cannot be read: {error.strerror}; run this as the agent's user or as root.") from None
        except OSError as error:
            raise Failed(f"{name} does not lead to a file: {error.strerror}.") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Failed(f"{name} does not lead to a file.")
            kept = _kept(root, f"{owner}/{name}")
            if kept is not None and kept.inode != status.st_ino:
                kept = None
                if time.monotonic() < deadline:
                    time.sleep(_STEP_S)
                    continue
            yield _Opened(descriptor, status.st_size, status.st_ino, _stamp_of(status)), kept
            return
        finally:
            os.close(descriptor)


def _kept(root: int, of: str) -> _Kept | None:
    """As ``dwcp_agent.store.manifests`` writes it; but one that does not fit its file any more is a finding here, and not removed."""
    try:
        with os.fdopen(open_below(root, [".manifests", blake3(of.encode(errors="surrogateescape")).hexdigest()]), "rb") as file:
            head: Any = json.loads(file.readline(4096))
            manifest = Manifest(head["size"], file.read(), head.get("rounded"))
            if not has_its_mark(head, manifest):
                return None
            return _Kept(manifest, head["inode"], (head["size"], head["mtime_ns"]))
    except (OSError, ValueError, TypeError, KeyError, BadInput):
        return None


def _stamp_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _in_words(one: dict[str, Any]) -> str:
    what = f"{one['owner']}/{one['name']}" if one["owner"] else one["name"]
    size = f", {one['bytes']} bytes, id {one['id']}" if one["id"] else ""
    rounded = f"; not the original: its numbers are rounded ({one['rounded']})" if one.get("rounded") else ""
    return f"{what}: {one['state']}, {one['why']}{size}{rounded}"
