"""Builds a release: wheel, wheelhouse, manifest, signature; whole in its place or not there at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from golive.environment import ROOT, Environment, state_root
from golive.errors import GoliveError, Refused, Unprepared
from golive.releases import signing, wheelhouse
from golive.releases.catalogue import CATALOGUE, Recipe, recipe
from golive.releases.model import MANIFEST, SIGNATURE, Release, canonical, digest_of, id_of, read_release
from golive.releases.source import Exported, export
from golive.releases.store import store
from golive.releases.verify import FILES, check_files, verify_for

__all__ = ["build"]


def build(
    env: Environment, version: str, *, defect: str | None = None, key: Path | None = None, root: Path = ROOT, catalogue: Path = CATALOGUE
) -> Release:
    """The release of ``version``, verified and signed for ``env``; built only when these inputs were not built before.

    Args:
        env: where the release is to go; decides whose signature it bears.
        version: one of ``releases.yaml``; with a defect, any version.
        defect: a planted defect as on the command line (``errors=2%``); refused outside the lab.
        key: the operator's signing key; needed outside the lab.
        root: the checkout with ``dwcp_agent/``.
        catalogue: the list of releases.

    Raises:
        BadInput: the version, the defect or the key cannot be used.
        Unprepared: a tool, a key or the network for the first download is missing.
        Refused: a defect outside the lab, a key the toolkit made, sources that are not what was frozen.
    """
    wanted = recipe(version, defect, catalogue)
    if wanted.defect is not None and not env.is_lab:
        raise Refused(f"{env.name} is not a lab, so no release with a planted defect is built for it.")
    secret, trusted = signing.signer(env, key), signing.trust(env)
    with _alone():
        scratch = Path(tempfile.mkdtemp(prefix=".partial-", dir=store()))
        try:
            release = _build(env, wanted, root, scratch, secret, trusted)
        except OSError as error:
            raise Unprepared(f"Release {version} could not be built: {error}; nothing was left behind.") from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return verify_for(env, release)


def _build(env: Environment, wanted: Recipe, root: Path, scratch: Path, secret: Path, trusted: signing.Trust) -> Path:
    lock = root / wanted.entry.lock
    if not lock.is_file():
        raise Unprepared(f"{lock} is missing; it pins what release {wanted.version} depends on.")
    if wanted.entry.lock_digest not in (None, digest_of(lock)):
        raise Refused(f"{lock} is not the one that release {wanted.version} was frozen with; restore it.")
    sources = export(root, wanted.entry, wanted.version, scratch / "dwcp_agent")
    tools = wheelhouse.toolchain()
    inputs = _digest_of_inputs(wanted, sources, lock, tools)
    known = _known(env, inputs)
    if known is not None:
        return known
    fresh = scratch / "release"
    files = fresh / FILES
    files.mkdir(parents=True)
    defect = "" if wanted.defect is None else canonical(wanted.defect.manifest).decode().strip()
    own = wheelhouse.build_wheel(sources.path, files, version=wanted.version, phase4=wanted.entry.phase4, defect=defect)
    wheels = [own]
    for wheel in wheelhouse.dependencies(lock):
        wheels.append(Path(shutil.copyfile(wheel, files / wheel.name)))
    (files / "requirements.txt").write_text(wheelhouse.requirements(wheels), encoding="utf-8")
    shutil.copyfile(wheelhouse.uv_binary(), files / "uv")
    (files / "uv").chmod(0o755)
    manifest = _manifest(wanted, sources, tools, files)
    (fresh / MANIFEST).write_bytes(manifest)
    (fresh / SIGNATURE).write_bytes(signing.sign(manifest, secret, trusted.namespace))
    signing.check(manifest, fresh / SIGNATURE, trusted)
    release = _place(fresh, id_of(wanted.version, hashlib.sha256(manifest).hexdigest()))
    _remember(inputs, release)
    return release


def _manifest(wanted: Recipe, sources: Exported, tools: wheelhouse.Toolchain, files: Path) -> bytes:
    return canonical(
        {
            "schema": 1,
            "name": "dwcp-agent",
            "version": wanted.version,
            "kind": wanted.entry.kind,
            "phase4": wanted.entry.phase4,
            "defect": None if wanted.defect is None else wanted.defect.manifest,
            "source": {"commit": sources.commit, "tree": sources.tree, "digest": sources.digest},
            "python": ".".join(tools.python.split(".")[:2]),
            "platform": tools.platform,
            "files": {p.relative_to(files).as_posix(): digest_of(p) for p in sorted(files.rglob("*")) if p.is_file()},
        }
    )


def _place(fresh: Path, release_id: str) -> Path:
    """Puts a finished release in its place. The same one there already gets the new signature, or is replaced where it has rotted."""
    for path in [*fresh.rglob("*"), fresh]:
        _sync(path)
    target = store() / release_id
    if target.exists():
        try:
            check_files(read_release(target))
            (fresh / SIGNATURE).replace(target / SIGNATURE)
        except Refused:
            target.replace(fresh.parent / "rotten")
    if not target.exists():
        fresh.replace(target)
    _sync(target)
    _sync(store())
    return target


def _digest_of_inputs(wanted: Recipe, sources: Exported, lock: Path, tools: wheelhouse.Toolchain) -> str:
    entry = {"version": wanted.version, "kind": wanted.entry.kind, "phase4": wanted.entry.phase4}
    source = {"commit": sources.commit, "tree": sources.tree, "digest": sources.digest, "lock": digest_of(lock)}
    defect = None if wanted.defect is None else wanted.defect.manifest
    return hashlib.sha256(canonical({"entry": entry, "defect": defect, "source": source, "tools": tools.key()})).hexdigest()


def _index(inputs: str) -> Path:
    return state_root() / "cache" / "builds" / f"{inputs}.json"


def _known(env: Environment, inputs: str) -> Path | None:
    """The release that these inputs gave before, when it is still sound and signed for ``env``."""
    try:
        release = store() / str(json.loads(_index(inputs).read_text(encoding="utf-8"))["id"])
        verify_for(env, release)
    except (OSError, ValueError, KeyError, TypeError, GoliveError):
        return None  # built again below: sound inputs are at hand, a doubtful result is not worth a question
    return release


def _remember(inputs: str, release: Path) -> None:
    index = _index(inputs)
    index.parent.mkdir(parents=True, exist_ok=True)
    fresh = index.with_name(f".{index.name}.{os.getpid()}")
    fresh.write_bytes(canonical({"id": read_release(release).id}))
    fresh.replace(index)


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time on this machine; what a killed one left is cleared by the next."""
    store().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(store() / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in store().glob(".partial-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
