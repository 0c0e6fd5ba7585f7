"""What a host keeps, copied so that it fits together while the agent goes on: the copy is what a backup saves and what it is compared with.

Content gets its name by a rename and is never written to after that, so an opened file is one whole version of it. Databases are copied
by SQLite's own backup, which holds one transaction for as long as it takes. Files are never linked into the copy: a link changes the
original's ctime, by which the agent knows that its manifests still speak for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from golive.onhost.failures import Refused
from golive.onhost.places import Places

__all__ = ["MANIFEST", "copied", "differences", "read_manifest", "sizes"]

MANIFEST = "manifest.json"
_SQLITE = b"SQLite format 3\0"
_SIDES = ("-wal", "-shm", "-journal")
_CHUNK = 1 << 20
_SPARE = 64 << 20
"""Bytes that a copy leaves free on the host's disk."""
_STORE = "var/lib/dwcp/store"
_ROOTS = (_STORE, "var/lib/dwcp/senders", "var/lib/dwcp/gateway", "var/lib/dwcp/host", "var/lib/dwcp/admission.json", "etc/dwcp")
_LEFT_OUT = ("etc/dwcp/tls", "etc/dwcp/backup")
"""Keys and passwords are put on hosts from where they are kept; a backup is no second place for them."""
_UNITS = "etc/systemd/system"


def sizes(places: Places, *, content: bool) -> tuple[int, int]:
    """How many files a copy would have now, and how many bytes."""
    count = total = 0
    for _, path in _files(places, content):
        try:
            total += path.lstat().st_size
            count += 1
        except FileNotFoundError:
            continue
    return count, total


def copied(places: Places, target: Path, *, content: bool, about: Mapping[str, Any]) -> dict[str, Any]:
    """``target`` is a copy of what this host keeps, with its manifest, which is returned.

    Args:
        places: the host.
        target: made anew; what was there is gone.
        content: whether the received content is kept too, and not only what is known of it.
        about: more for the manifest's head.

    Raises:
        Refused: there is not room enough, or a database cannot be read.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700, parents=True)
    _room(target, sizes(places, content=content)[1])
    files: dict[str, dict[str, Any]] = {}
    databases: list[str] = []
    passed_over: list[str] = []
    for relative, path in _files(places, content):
        if relative.endswith(_SIDES) and path.with_name(path.name.rpartition("-")[0]).exists():
            continue  # a database's own; what they hold is in its copy
        found = _copy(path, target / relative)
        if found is None:
            continue  # it was replaced or removed meanwhile
        if not found:
            passed_over.append(relative)
            continue
        if found.pop("database"):
            databases.append(relative)
        files[relative] = found
    manifest = {**about, "schema": 1, "content": content, "files": files, "databases": databases, "passed_over": passed_over}
    (target / MANIFEST).write_text(json.dumps(manifest, sort_keys=True) + "\n", encoding="utf-8")
    return manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest that `copied` wrote. Raises Refused."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] == 1 and isinstance(data["files"], dict) and isinstance(data["databases"], list):
            return dict(data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path} is no manifest of a backup ({type(error).__name__}: {error}), so nothing can be compared with it.") from None
    raise Refused(f"{path} is a manifest of another kind than this program writes.")


def differences(manifest: Mapping[str, Any], restored: Path) -> list[str]:
    """What in ``restored`` is not as ``manifest`` says, as sentences; empty when all of it is, databases whole among it."""
    wrong: list[str] = []
    there = {str(path.relative_to(restored)) for path in restored.rglob("*") if path.is_symlink() or not path.is_dir()}
    wanted: Mapping[str, Mapping[str, Any]] = manifest["files"]
    wrong += [f"{name} is missing" for name in sorted(set(wanted) - there)]
    wrong += [f"{name} was never saved" for name in sorted(there - set(wanted) - {MANIFEST})]
    for name in sorted(set(wanted) & there):
        path = restored / name
        if path.is_symlink() or not path.is_file():
            wrong.append(f"{name} is no file")
        elif path.stat().st_size != wanted[name]["size"] or _digest(path) != wanted[name]["sha256"]:
            wrong.append(f"{name} has other content")
    if not wrong:
        wrong += [f"{name}: {trouble}" for name in manifest["databases"] if (trouble := _broken(restored / name))]
    return wrong


def _files(places: Places, content: bool) -> Iterator[tuple[str, Path]]:
    """(path below the root, path) of everything that is kept and is not a directory."""
    for name in _ROOTS:
        start = places.root / name
        if start.is_dir():
            yield from _below(places.root, start, content)
        elif start.exists():
            yield name, start
    units = places.root / _UNITS
    for path in sorted(units.glob("dwcp-*.service")):
        yield f"{_UNITS}/{path.name}", path


def _below(root: Path, start: Path, content: bool) -> Iterator[tuple[str, Path]]:
    for directory, names, files in os.walk(start):
        where = Path(directory)
        relative = str(where.relative_to(root))
        if relative == _STORE:
            # Partial content belongs to transfers that are under way; they are resumed or begin anew.
            names[:] = [name for name in names if not name.startswith(".partial") and (content or name.startswith("."))]
        names[:] = sorted(name for name in names if f"{relative}/{name}" not in _LEFT_OUT)
        for name in sorted(files):
            yield f"{relative}/{name}", where / name


def _copy(source: Path, target: Path) -> dict[str, Any] | None:
    """What the copy holds; None when there is no such file any more, empty when it is none that can be copied."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return {}  # a link, a socket
    with os.fdopen(descriptor, "rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            return {}
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = file.read(len(_SQLITE)) == _SQLITE
        if database:
            _copy_database(source, target)
        else:
            file.seek(0)
            with target.open("wb") as copy:
                shutil.copyfileobj(file, copy, _CHUNK)
    os.chown(target, before.st_uid, before.st_gid)
    target.chmod(stat.S_IMODE(before.st_mode))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    return {"size": target.stat().st_size, "sha256": _digest(target), "database": database}


def _copy_database(source: Path, target: Path) -> None:
    try:
        with _opened(source) as opened, sqlite3.connect(target) as copy:
            opened.backup(copy)
        opened.close()
        copy.close()
    except sqlite3.Error as error:
        raise Refused(f"{source} cannot be copied ({error}); a backup without it would be none.") from None


def _opened(path: Path) -> sqlite3.Connection:
    # Read-only, so that nothing of the agent's is written or checkpointed; a full URI escapes what a path may hold.
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)


def _broken(path: Path) -> str:
    try:
        opened = sqlite3.connect(path)
        try:
            [(said,)] = opened.execute("PRAGMA integrity_check(1)").fetchall()
        finally:
            opened.close()
    except (sqlite3.Error, ValueError) as error:
        return f"SQLite cannot read it ({error})"
    return "" if said == "ok" else f"SQLite says: {said}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _room(directory: Path, need: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < need + _SPARE:
        raise Refused(
            f"{directory} has {free >> 20} MiB free, a copy of what this host keeps needs {(need + _SPARE) >> 20} MiB; "
            "make room, or leave the content out (backup: {content: false})."
        )
