"""The releases that were built on this machine: found by version or id, and bundled for the way to the hosts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tarfile
from pathlib import Path

from golive.environment import Environment, state_root
from golive.errors import BadInput, Refused
from golive.releases.model import ID, MANIFEST, SIGNATURE, Release, read_release
from golive.releases.verify import FILES, verify_for

__all__ = ["bundle", "find", "find_id", "newest", "store", "verified"]


def store() -> Path:
    """``.golive/releases``."""
    return state_root() / "releases"


def find(version: str) -> list[Release]:
    """All built releases of ``version``, the most recently built first. Nothing is verified; what has no sound manifest is left out."""
    found = []
    for path in store().glob("*-*"):
        if ID.fullmatch(path.name):
            with contextlib.suppress(Refused):
                found.append(read_release(path))
    return sorted((r for r in found if r.version == version), key=lambda r: (_built(r), r.id), reverse=True)


def newest(version: str) -> Release:
    """The most recently built release of ``version``. Raises BadInput when there is none."""
    found = find(version)
    if not found:
        raise BadInput(f"Release {version} is not built; run: ./inv package --release {version.split('+')[0]}.")
    return found[0]


def find_id(release_id: str) -> Release:
    """The release called ``release_id``. Raises BadInput when there is none."""
    path = store() / release_id
    if not ID.fullmatch(release_id) or not path.is_dir():
        raise BadInput(f"There is no release {release_id!r} under {store()}; run ./inv package.")
    return read_release(path)


def verified(env: Environment, release_id: str) -> Release:
    """The release called ``release_id``, its signature and every file checked as ``env`` demands. Raises BadInput or Refused."""
    return verify_for(env, find_id(release_id).path)


def bundle(release: Release) -> Path:
    """A tar of the release for its way to the hosts, made when it is not there yet. The same release gives the same bytes."""
    signature = hashlib.sha256((release.path / SIGNATURE).read_bytes()).hexdigest()[:12]
    target = state_root() / "cache" / "bundles" / f"{release.id}.{signature}.tar"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with tarfile.open(fresh, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name in (MANIFEST, SIGNATURE, *(f"{FILES}/{name}" for name in sorted(release.files))):
                source = release.path / name
                entry = tarfile.TarInfo(name)
                entry.size = source.stat().st_size
                entry.mode = 0o755 if name == f"{FILES}/uv" else 0o644
                with source.open("rb") as content:
                    tar.addfile(entry, content)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return target


def _built(release: Release) -> int:
    return (release.path / MANIFEST).stat().st_mtime_ns
