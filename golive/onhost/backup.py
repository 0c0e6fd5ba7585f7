"""``dwcp-host backup``: this host's state as a snapshot in a restic repository, and the proof that it can be restored.

A backup takes minutes on a large host, and traffic must be able to go back meanwhile: so it holds a lock of its own, and the host's lock
only while its token is looked at. restic inherits the lock: when this process is killed, the next call waits until restic has ended too,
and then finds the snapshot that it made.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from golive.onhost import durable, fence, kept
from golive.onhost import restic as program
from golive.onhost.command import Call, verb
from golive.onhost.failures import BadInput, Refused
from golive.onhost.places import Places
from golive.onhost.repository import serve

__all__ = ["restore", "status", "take", "verify"]

_ASK_S = 30.0
_KEEP = 5
"""Manifests and lines of verified snapshots that a host keeps."""
_POLL_S = 0.1


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env", required=True, help="environment")
    parser.add_argument("--of", required=True, metavar="RUN", help="the run that the snapshot belongs to")


def _changing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--token", type=int, required=True, help="fencing token of the controller's lease")
    parser.add_argument("--run", required=True, help="the run that asks")
    parser.add_argument("--wait", type=float, default=120.0, help="seconds to wait for another backup on this host")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds that restic may take")


def _taking(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    _changing(parser)
    parser.add_argument("--without-content", action="store_true", help="leave received content out, keep what is known of it")


def _verifying(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    _changing(parser)
    parser.add_argument("--snapshot", required=True, help="id, as `backup take` said it")
    parser.add_argument("--most-bytes", type=int, default=64 << 30, help="a larger snapshot is not restored to look at it")
    parser.add_argument("--least-of-last", type=float, default=0.5, help="share of the last verified one that it has to have")


def _restoring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--snapshot", required=True, help="id of the snapshot")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds that restic may take")


def _serving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", type=Path, required=True, help="where the repositories are, one a host")
    parser.add_argument("--listen", default="0.0.0.0", help="address")  # noqa: S104 every site's hosts come; who is nobody is refused by TLS
    parser.add_argument("--port", type=int, default=7460)
    parser.add_argument("--certificate", default="monitor", help="name of certificate and key in /etc/dwcp/tls")


@verb("backup status", help="the snapshot of a run and whether it was verified; asks the repository", changes=False, arguments=_common)
def status(call: Call) -> dict[str, Any]:
    """Raises Refused when the repository does not answer: whether there is a snapshot is unknown then."""
    places, run = call.places, call.options.of
    if not (program.settings_dir(places) / "repository").exists():
        return {"configured": False, "snapshot": None, "verified": None}
    try:
        found = _found(program.Restic(places), places, call.options.env, run)
    except program.NotThere:
        found = (
            None  # a `take` died, or its storage was full, after it wrote the settings: where there is no repository there is no snapshot
        )
    checked = [line for line in _verified(places) if found and line["run"] == run and line["snapshot"] == found.id]
    return {"configured": True, "snapshot": found.to_json() if found else None, "verified": checked[-1] if checked else None}


@verb("backup take", help="a snapshot of this run, unless there is one; settings as JSON on stdin", changes=False, arguments=_taking)
def take(call: Call) -> dict[str, Any]:
    """Settings come from stdin: they hold a password. Killed anywhere, it is called again and there is still one snapshot."""
    places, o, settings = call.places, call.options, _settings(call)
    with _alone(places, o.wait) as descriptor:
        _admitted(places, o)
        changed = program.write_settings(places, settings)
        restic = program.Restic(places, descriptor)
        result = _taken(restic, places, o)
        fence.record_effect(places, o.token, o.run, "backup take", {"env": o.env, "of": o.of}, result)
        return {**result, "settings_changed": changed}


def _taken(restic: program.Restic, places: Places, o: argparse.Namespace) -> dict[str, Any]:
    begun, home = time.monotonic(), _home(places)
    mark, stage, host = home / "taking.json", home / "stage", program.host_name(places)
    try:
        found = _found(restic, places, o.env, o.of)
    except program.NotThere:
        restic.init(_ASK_S)
        found = None
    if mark.exists():
        # An earlier one died: restic may have left its lock, and made its snapshot or not. Locks of the living are not touched.
        restic.unlock(_ASK_S)
    if found is None:
        durable.write_json(mark, {"run": o.of, "at": fence.now()})
        about = {"env": o.env, "run": o.of, "host": host, "at": fence.now()}
        manifest = kept.copied(places, stage, content=not o.without_content, about=about)
        # Before the snapshot: one that is there always has its manifest here.
        durable.write_text(_manifest(places, o.of), json.dumps(manifest, sort_keys=True) + "\n", 0o600)
        told = restic.backup(stage, host, _tags(o.env, o.of), o.limit)
        found = _found(restic, places, o.env, o.of)
        if found is None or not found.id.startswith(str(told.get("snapshot_id"))):
            raise Refused("restic said that it made a snapshot, and the repository does not list it; run it again.")
        added = int(told.get("data_added") or 0)
    else:
        added = None
    shutil.rmtree(stage, ignore_errors=True)
    _forget_old(places)
    durable.remove(mark)
    manifest = kept.read_manifest(_manifest(places, o.of))
    return {
        "changed": added is not None,
        "snapshot": found.id,
        "files": len(manifest["files"]),
        "bytes": _bytes(manifest),
        "added_bytes": added,
        "databases": len(manifest["databases"]),
        "passed_over": len(manifest["passed_over"]),
        "content": manifest["content"],
        "seconds": round(time.monotonic() - begun, 3),
    }


@verb("backup verify", help="restore a snapshot beside what is there, compare it, remove it again", changes=False, arguments=_verifying)
def verify(call: Call) -> dict[str, Any]:
    """Raises Refused unless every file is as it was saved, every database whole, and there is about as much as the last time."""
    places, o = call.places, call.options
    with _alone(places, o.wait) as descriptor:
        _admitted(places, o)
        begun, scratch = time.monotonic(), _home(places) / "scratch"
        known = [line for line in _verified(places) if line["run"] == o.of and line["snapshot"] == o.snapshot]
        if known:
            return {**known[-1], "seconds": 0.0, "changed": False}
        manifest = kept.read_manifest(_manifest(places, o.of))
        size, files = _bytes(manifest), len(manifest["files"])
        last = next((line for line in reversed(_verified(places)) if line["run"] != o.of), None)
        _plausible(files, size, last, o.least_of_last)
        if size > o.most_bytes:
            raise Refused(
                f"Snapshot {o.snapshot[:12]} has {size >> 20} MiB, over the {o.most_bytes >> 20} MiB that may be restored to look at it "
                "(backup: restore_limit_mib)."
            )
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            free = shutil.disk_usage(scratch).free
            if free < size * 1.1 + (64 << 20):
                raise Refused(f"{scratch} has {free >> 20} MiB free, restoring the snapshot needs {(size >> 20) + 64} MiB; make room.")
            program.Restic(places, descriptor).restore(o.snapshot, scratch, o.limit)
            if kept.read_manifest(scratch / kept.MANIFEST) != manifest:
                raise Refused(f"Snapshot {o.snapshot[:12]} is not the one that this host saved for run {o.of}: its manifest is another.")
            wrong = kept.differences(manifest, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise Refused(f"Snapshot {o.snapshot[:12]} does not restore what was saved: {wrong[0]}{more}.")
        line = {"run": o.of, "snapshot": o.snapshot, "files": files, "bytes": size, "at": fence.now()}
        line |= {"databases": len(manifest["databases"]), "last": {key: last[key] for key in ("run", "files", "bytes")} if last else None}
        _remember(places, line)
        result = {**line, "seconds": round(time.monotonic() - begun, 3)}
        fence.record_effect(places, o.token, o.run, "backup verify", {"of": o.of, "snapshot": o.snapshot}, result)
        return {**result, "changed": True}


@verb("backup restore", help="disaster only: this host's store becomes a snapshot's; settings on stdin", changes=True, arguments=_restoring)
def restore(call: Call) -> dict[str, Any]:
    """Refused while an agent runs here. The store that was there lies beside the new one afterwards; settings are not touched."""
    from golive.onhost import installed, units

    places, o, settings = call.places, call.options, _settings(call)
    agents = [release.unit for release in installed.listed(places, "agent")]
    running = sorted(name for name, unit in units.show(agents).items() if not unit.idle)
    if running:
        raise Refused(f"{running[0]} runs on this host; stop it first: what it writes meanwhile would be lost.")
    with _alone(places, 120.0) as descriptor:
        scratch, store = _home(places) / "restore", places.root / "var/lib/dwcp/store"
        program.write_settings(places, settings)  # a host that was made anew has none yet
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        program.Restic(places, descriptor).restore(o.snapshot, scratch, o.limit)
        manifest = kept.read_manifest(scratch / kept.MANIFEST)
        own = program.host_name(places)
        if manifest.get("host") != own:
            raise Refused(f"Snapshot {o.snapshot[:12]} is of host {manifest.get('host')}, this is {own}; nothing was changed.")
        wrong = kept.differences(manifest, scratch)
        if wrong:
            raise Refused(f"Snapshot {o.snapshot[:12]} does not restore what was saved: {wrong[0]}; nothing was changed.")
        aside = store.with_name(f"store.before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        fresh = scratch / "var/lib/dwcp/store"
        if not fresh.is_dir():
            raise Refused(f"Snapshot {o.snapshot[:12]} holds no store; nothing was changed.")
        owner = (store if store.exists() else store.parent).stat()
        for directory in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
            os.chown(directory, owner.st_uid, owner.st_gid)  # restic keeps owners of files; directories were made by the copy
            directory.chmod(0o750)
        if store.exists():
            store.rename(aside)
        fresh.rename(store)
        durable.sync_directory(store.parent)
        shutil.rmtree(scratch, ignore_errors=True)
    result = {"changed": True, "snapshot": o.snapshot, "run": manifest.get("run"), "files": len(manifest["files"]), "before": str(aside)}
    return {**result, "content": bool(manifest["content"])}


@verb("backup serve", help="the daemon of the repositories on ops (dwcp-backup.service)", changes=False, arguments=_serving)
def _serve(call: Call) -> dict[str, Any]:
    o = call.options
    serve(o.directory, (o.listen, o.port), tls=call.places.tls, certificate=o.certificate)
    return {}


def _settings(call: Call) -> dict[str, Any]:
    try:
        given = json.loads((call.input or sys.stdin).read() or "null")
    except ValueError:
        given = None
    if not isinstance(given, dict) or not isinstance(given.get("repository"), str) or not given["repository"].strip():
        raise BadInput('Settings come on stdin, as {"repository": URL, "password": TEXT or null, "certificate": true or false}.')
    if any(char in str(given.get(name) or "") for name in ("repository", "password") for char in "\n\r\0"):
        raise BadInput("A repository and a password are one line each.")
    return given


@contextmanager
def _alone(places: Places, wait_s: float) -> Iterator[int]:
    """No other backup runs on this host; gives the lock's descriptor, for children to keep."""
    path = places.lock.with_name("dwcp-backup.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Refused(f"Another backup has run on this host for over {wait_s:g} s; see `fuser -v {path}`.") from None
                time.sleep(_POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _admitted(places: Places, o: argparse.Namespace) -> None:
    """The token is this host's newest. The host's lock is free again afterwards: traffic never waits for a backup."""
    if o.token < 1:
        raise BadInput(f"--token must be a positive number, not {o.token}.")
    with fence.locked(places, o.wait):
        fence.admit(places, o.token, o.run)


def _found(restic: program.Restic, places: Places, env: str, run: str) -> program.Snapshot | None:
    snapshots = restic.snapshots(program.host_name(places), _tags(env, run), _ASK_S)
    return snapshots[-1] if snapshots else None


def _tags(env: str, run: str) -> tuple[str, ...]:
    for value in (env, run):
        if "," in value or not value:
            raise BadInput(f"{value!r} cannot be a tag of a snapshot.")
    return ("dwcp", f"env={env}", f"run={run}")


def _plausible(files: int, size: int, last: dict[str, Any] | None, least: float) -> None:
    if last is None:
        return
    for what, now, before in (("files", files, int(last["files"])), ("bytes", size, int(last["bytes"]))):
        if now < before * least:
            raise Refused(
                f"The snapshot has {now} {what}, the last verified one of this host had {before}: less than {least:.0%} of it. "
                "Look where the rest went; a lower `least_of_last` in the runbook lets it pass."
            )


def _bytes(manifest: dict[str, Any]) -> int:
    return sum(int(entry["size"]) for entry in manifest["files"].values())


def _home(places: Places) -> Path:
    home = places.root / "var/lib/dwcp/backup"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def _manifest(places: Places, run: str) -> Path:
    if "/" in run or run.startswith("."):
        raise BadInput(f"{run!r} is no run.")
    return _home(places) / "manifests" / f"{run}.json"


def _verified(places: Places) -> list[dict[str, Any]]:
    """The last verified snapshots, oldest first. A line that a crash tore is none."""
    path, found = _home(places) / "verified.jsonl", []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                found.append({**entry, "files": int(entry["files"]), "bytes": int(entry["bytes"]), "run": str(entry["run"])})
            except (ValueError, KeyError, TypeError):
                continue
    return found


def _remember(places: Places, line: dict[str, Any]) -> None:
    lines = [*_verified(places), line][-4 * _KEEP :]
    durable.write_text(_home(places) / "verified.jsonl", "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in lines), 0o600)


def _forget_old(places: Places) -> None:
    found = sorted((_home(places) / "manifests").glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[_KEEP:]:
        path.unlink(missing_ok=True)
