"""Targets: files of our own that may be damaged."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

from dwcp_agent._build import VERSION
from dwcp_agent.encoding.manifest import BLOCK, Manifest, block_count
from dwcp_agent.errors import BadInput, Refused
from dwcp_agent.release import of_directory
from dwcp_agent.sessions.admission import Admission, Elsewhere
from dwcp_agent.store.manifests import load_manifest, read_manifest, save_manifest
from dwcp_agent.store.partial import Partial
from fuzz.given import Given, edited
from fuzz.place import emptied, fresh

__all__ = ["admission", "journal", "manifest", "release"]

SIZE = 40 * BLOCK + 5
NAME = "images/disk-1.raw"


@functools.cache
def _kept() -> tuple[int, int, Path, bytes, Manifest]:
    """A directory, an open file, its manifest as a file, that file's content, and the manifest."""
    place = fresh("manifests")
    content = place / "content"
    content.write_bytes(bytes(range(256)) * 700)
    descriptor = os.open(content, os.O_RDONLY)
    kept = emptied(place / "kept")
    directory = os.open(kept, os.O_RDONLY | os.O_DIRECTORY)
    found = read_manifest(descriptor)
    save_manifest(directory, NAME, descriptor, found)
    (path,) = kept.iterdir()
    return directory, descriptor, path, path.read_bytes(), found


def manifest(data: bytes) -> None:
    """A kept manifest that is damaged is not there; it never says anything else than the content's own."""
    given = Given(data)
    directory, descriptor, path, genuine, expected = _kept()
    if given.number(1):
        path.write_bytes(edited(genuine, given))
    else:
        status = os.fstat(descriptor)
        text = given.rest().replace(b"@size", b"%d" % status.st_size).replace(b"@mtime", b"%d" % status.st_mtime_ns)
        text = text.replace(b"@ctime", b"%d" % status.st_ctime_ns).replace(b"@inode", b"%d" % status.st_ino)
        path.write_bytes(text.replace(b"@id", expected.id.encode()).replace(b"@hashes", expected.hashes))
    found = load_manifest(directory, NAME, descriptor)
    assert found is None or found == expected, "a damaged manifest was believed"
    if path.read_bytes() == genuine if path.exists() else False:
        assert found == expected


def journal(data: bytes) -> None:
    """A damaged journal names nothing that was not written, can be gone on with, and refuses only what was begun as something else."""
    given = Given(data)
    place = fresh("partial")
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        partial = Partial.opened(directory, "key", NAME, SIZE)
        written = set()
        for _ in range(given.number(8)):
            first = given.number(40)
            count = 1 + given.number(40 - first)
            partial.note(first * BLOCK, min(count * BLOCK, SIZE - first * BLOCK))
            written.update(range(first, first + count))
        partial.close()
        _damage(directory, given)
        try:
            again = Partial.opened(directory, "key", NAME, SIZE)
        except Refused:
            assert _is_another(_content(directory, "key.journal")), "what is only damaged was refused"
            return
        _is_sound(again, written)
        first = given.number(40)
        again.note(first * BLOCK, min(BLOCK, SIZE - first * BLOCK))
        before = _blocks(again)
        again.close()
        last = Partial.opened(directory, "key", NAME, SIZE)
        assert _blocks(last) == before | {first}, "what was noted after a repair is forgotten"
        last.remove()
        assert not list(place.iterdir())
    finally:
        os.close(directory)


def _is_another(content: bytes) -> bool:
    """True when it begins as the journal of something else."""
    try:
        head = json.loads(content.split(b"\n")[0].decode())
        return isinstance(head["name"], str) and type(head["size"]) is int and (head["name"], head["size"]) != (NAME, SIZE)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _damage(directory: int, given: Given) -> None:
    which = ("key.journal", "key.content")[given.number(7) == 0]
    content = _content(directory, which) if which == "key.journal" else b""
    if given.number(3) == 0:
        changed = given.bytes(given.number(0xFF)).replace(b"@name", json.dumps(NAME).encode()).replace(b"@size", b"%d" % SIZE)
    else:
        changed = edited(content, given)
    descriptor = os.open(which, os.O_WRONLY | os.O_TRUNC, dir_fd=directory)
    try:
        os.write(descriptor, changed)
    finally:
        os.close(descriptor)


def _content(directory: int, name: str) -> bytes:
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=directory), "rb") as file:
        return file.read()


def _blocks(partial: Partial) -> set[int]:
    found = {block for first, count in partial.blocks.runs(1 << 20) for block in range(first, first + count)}
    assert partial.blocks.there == len(found)
    return found


def _is_sound(partial: Partial, written: set[int]) -> None:
    assert os.fstat(partial.content).st_size == SIZE
    assert partial.blocks.count == block_count(SIZE)
    found = _blocks(partial)
    assert found <= written, f"a damaged journal names blocks that nobody wrote: {sorted(found - written)}"


def admission(data: bytes) -> None:
    """Anything in the admission file is a percentage and slots, or leaves what was understood before."""
    path = fresh("admission") / "admission.json"
    path.write_bytes(b'{"weights": {"slot_b": 37}, "slots": {}}')
    rules = Admission(path, "a", {"a": 7400, "b": 7410})
    assert rules.weight() == 37
    path.unlink()
    path.write_bytes(b" " + data)
    weight = rules.weight()
    assert weight is not None and 0 <= weight <= 100
    for session in ("s-1", "s-2", "s-3"):
        try:
            rules.check(session)
        except (Elsewhere, Refused):
            continue


def release(data: bytes) -> None:
    """Anything beside the code is this release's manifest, or a sentence."""
    directory = fresh("release")
    (directory / "manifest.json").write_bytes(data.replace(b"@version", VERSION.encode()))
    try:
        found = of_directory(directory)
    except BadInput:
        return
    assert found.version == VERSION and "+" not in found.id
