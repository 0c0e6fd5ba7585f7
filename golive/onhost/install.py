"""``dwcp-host install``: a signed bundle becomes a complete release beside whatever runs.

The environment is built under ``<id>.partial`` and gets its name when all of it is on disk. A process killed anywhere in between leaves a
``.partial`` that nothing takes for a release and that the next install or prune removes.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any

from golive.onhost import durable, installed, units
from golive.onhost.bundle import Bundle, opened
from golive.onhost.command import Call, verb
from golive.onhost.failures import Refused
from golive.onhost.fence import Lock
from golive.onhost.fits import misfit
from golive.onhost.installed import PARTIAL

__all__ = ["install"]

_ROOM = 5
"""An installation takes at most this many times its bundle's size: the bundle's files, unpacked wheels and bytecode."""
_SPARE = 64 << 20
_UV_S = 300.0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE.tar")
    parser.add_argument("--kind", choices=installed.KINDS, required=True)
    parser.add_argument("--slot", choices=("a", "b"), required=True, help="ports of an agent's release; a load client has none")
    parser.add_argument("--from", dest="source", metavar="HOST:PORT", help="fetch BUNDLE.tar there first: the cache of this site")
    parser.add_argument("--sha256", default="", help="with --from: what BUNDLE.tar has to hash to")
    parser.add_argument("--remove-bundle", action="store_true", help="remove BUNDLE.tar once it is installed")


@verb("install", help="verify a bundle and install it beside what runs", changes=True, arguments=_arguments)
def install(call: Call) -> dict[str, Any]:
    """A complete release is left alone. Raises Refused for a bundle that is unsigned, changed or of the wrong kind, and for a full disk."""
    kind, slot = call.options.kind, call.options.slot
    installed.sweep(call.places)
    if call.options.source:
        from golive.onhost.cache import fetch

        fetch(call.places, call.options.source, call.options.sha256, call.options.bundle)
    with opened(call.places, call.held, call.options.bundle) as bundle:
        if bundle.manifest["kind"] != kind:
            raise Refused(f"Release {bundle.id} is of kind {bundle.manifest['kind']}, not {kind}.")
        why = misfit(bundle.manifest)
        if why:
            raise Refused(f"Release {bundle.id} cannot run on this host: {why}; nothing was changed.")
        changed = _slot_is(call, bundle.id, slot) if kind == "agent" else False
        if installed.complete(call.places, kind, bundle.id) is None:
            _build(call, bundle, kind)
            changed = True
    if call.options.remove_bundle:
        call.options.bundle.unlink(missing_ok=True)
    return {"changed": changed, "id": bundle.id, "kind": kind, "slot": slot if kind == "agent" else None}


def _slot_is(call: Call, release: str, slot: str) -> bool:
    """The release has ``slot``; says whether that is new. Raises Refused while it runs in the other, or another one has this slot."""
    others = [r for r in installed.listed(call.places, "agent") if r.slot == slot and r.id != release]
    own = units.named("agent", release)
    states = units.show([own, *(r.unit for r in others)])
    for other in others:
        if states[other.unit].enabled or not states[other.unit].idle:
            raise Refused(f"Slot {slot} is taken: {other.unit} is {states[other.unit].state}; deactivate it first.")
    if installed.slot_of(call.places, release) == slot:
        return False
    if states[own].enabled or not states[own].idle:
        raise Refused(f"{own} is {states[own].state} in the other slot; deactivate it before it changes to slot {slot}.")
    durable.write_text(call.places.slot_file(release), f"DWCP_SLOT={slot}\n")
    return True


def _build(call: Call, bundle: Bundle, kind: str) -> None:
    directory = call.places.releases(kind)
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    target = directory / bundle.id
    fresh = directory / (bundle.id + PARTIAL)
    files = directory / (bundle.id + ".files" + PARTIAL)
    _room_for(bundle, directory)
    try:
        if target.is_dir():  # named like a release, but its manifest is not the one: whatever happened to it, it is no release
            if not units.show([units.named(kind, bundle.id)])[units.named(kind, bundle.id)].idle:
                raise Refused(f"{target} was altered and its unit runs; deactivate {bundle.id} before it is installed again.")
            target.replace(directory / (bundle.id + ".altered" + PARTIAL))
        files.mkdir(mode=0o755)
        bundle.extract(files)
        _venv(call.held, files, fresh, bundle)
        for name, content in (("manifest.json", bundle.content), ("manifest.json.sig", bundle.signature)):
            (fresh / name).write_bytes(content)
        (fresh / ".lock").unlink(missing_ok=True)  # uv's own, which anyone could write to
        _on_disk(fresh)
        fresh.replace(target)
        durable.sync_directory(directory)
    finally:
        installed.sweep(call.places)


def _venv(lock: Lock, files: Path, target: Path, bundle: Bundle) -> None:
    """``target`` is a virtual environment that can be renamed, with exactly the bundle's wheels, their hashes checked again by uv."""
    python = bundle.manifest["python"]
    common = ["--offline", "--no-cache", "--no-config", "--no-progress", "--color", "never"]
    temporary = files / ".tmp"
    temporary.mkdir(mode=0o700)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(temporary), "TMPDIR": str(temporary), "LC_ALL": "C.UTF-8"}
    uv = str(files / "uv")
    system = ["--relocatable", "--no-python-downloads", "--python-preference", "only-system"]
    checked = ["--no-index", "--no-deps", "--require-hashes", "--link-mode", "copy", "--compile-bytecode"]
    where = ["--python", str(target / "bin/python"), "--find-links", str(files), "--requirement", str(files / "requirements.txt")]
    for command in (
        [uv, "venv", *common, *system, "--python", python, str(target)],
        [uv, "pip", "install", *common, *checked, *where],
    ):
        try:
            # What serves on this host comes first: unpacking and compiling take what is left.
            done = lock.run(["nice", "-n", "19", *command], env=environment, umask=0o022, timeout=_UV_S)
        except subprocess.TimeoutExpired:
            raise Refused(f"uv {command[1]} did not end within {_UV_S:g} s; nothing was installed.") from None
        except OSError as error:
            raise Refused(f"The bundle's uv cannot be run on this host: {error}; nothing was installed.") from None
        if done.returncode != 0:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise Refused(f"uv {command[1]} failed for {bundle.id}: {' '.join(said)[:400] or 'no reason given'}; nothing was installed.")


def _room_for(bundle: Bundle, directory: Path) -> None:
    free = os.statvfs(directory)
    there, needed = free.f_bavail * free.f_frsize, bundle.size * _ROOM + _SPARE
    if there < needed:
        raise Refused(f"{directory} has {there >> 20} MiB free, and {bundle.id} needs up to {needed >> 20} MiB; make room, then run again.")


def _on_disk(directory: Path) -> None:
    """Everything written to this filesystem so far survives a power cut: one call instead of one per file."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), f"syncfs: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)
